//! The product automaton of two patterns: the ids that both match are the paths from the start of both to the end of
//! both.

use std::collections::HashMap;

use super::canonical::Canonical;
use super::element::{Element, elements};

/// Limit on the comparisons of states in [`within`].
const MAX_WORK: usize = 1 << 18;

/// A state of the product: a position in each pattern.
type Pair = (usize, usize);

/// A transition from a pair: with a component that must be this literal, with any component, or with none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    Literal(&'a str),
    Any,
    Epsilon,
}

/// Returns the transitions from `pair`.
fn steps<'a>(
    a: &[Element<'a>],
    b: &[Element<'a>],
    pair: Pair,
) -> impl Iterator<Item = (Step<'a>, Pair)> {
    let (i, j) = pair;
    let (left, right) = (a.get(i).copied(), b.get(j).copied());
    let skip_left = (left == Some(Element::Many)).then_some((Step::Epsilon, (i + 1, j)));
    let skip_right = (right == Some(Element::Many)).then_some((Step::Epsilon, (i, j + 1)));
    let consume = left.zip(right).and_then(|(left, right)| {
        let i = if left == Element::Many { i } else { i + 1 };
        let j = if right == Element::Many { j } else { j + 1 };
        let step = match (left, right) {
            (Element::Literal(left), Element::Literal(right)) if left != right => return None,
            (Element::Literal(literal), _) | (_, Element::Literal(literal)) => {
                Step::Literal(literal)
            }
            _ => Step::Any,
        };
        Some((step, (i, j)))
    });
    [skip_left, skip_right, consume].into_iter().flatten()
}

/// Returns the elements of the shortest ids that both patterns match: a literal where all of them agree, `*` where
/// any component is possible. Returns `None` if there is no common id, or if several components but not all are
/// possible at some index, which no pattern can express.
pub(super) fn shortest<'a>(a: &[Element<'a>], b: &[Element<'a>]) -> Option<Vec<Element<'a>>> {
    let width = b.len() + 1;
    let cell = |(i, j): Pair| i * width + j;
    let pairs = || (0..=a.len()).flat_map(move |i| (0..width).map(move |j| (i, j)));
    let cost = |step: Step<'_>| u32::from(step != Step::Epsilon);

    // Every step but the one that stays on two `**` advances, so one pass in order finds all distances.
    let mut from_start = vec![u32::MAX; (a.len() + 1) * width];
    from_start[0] = 0;
    for pair in pairs().filter(|&pair| pair != (a.len(), b.len())) {
        let here = from_start[cell(pair)];
        if here != u32::MAX {
            for (step, to) in steps(a, b, pair) {
                let there = &mut from_start[cell(to)];
                *there = (*there).min(here + cost(step));
            }
        }
    }
    let length = *from_start.last()?;
    if length == u32::MAX {
        return None;
    }

    // Backwards over the steps that lie on a shortest path, collecting the components possible at each index.
    let mut on_shortest_path = vec![false; from_start.len()];
    *on_shortest_path.last_mut()? = true;
    let mut components: Vec<Option<Element<'a>>> = vec![None; length as usize];
    for pair in pairs().collect::<Vec<_>>().into_iter().rev() {
        let here = from_start[cell(pair)];
        if here == u32::MAX {
            continue;
        }
        for (step, to) in steps(a, b, pair) {
            let is_shortest = from_start[cell(to)] == here + cost(step);
            if to != pair && on_shortest_path[cell(to)] && is_shortest {
                on_shortest_path[cell(pair)] = true;
                if let Some(possible) = components.get_mut(here as usize) {
                    add(possible, step)?;
                }
            }
        }
    }
    components.into_iter().collect()
}

/// Adds a step to the components possible at one index. Returns `None` for two different literals without `*`.
fn add<'a>(possible: &mut Option<Element<'a>>, step: Step<'a>) -> Option<()> {
    let new = match step {
        Step::Epsilon => return Some(()),
        Step::Any => Element::One,
        Step::Literal(literal) => Element::Literal(literal),
    };
    match *possible {
        None => *possible = Some(new),
        Some(old) if old == new || old == Element::One => {}
        Some(_) if new == Element::One => *possible = Some(new),
        Some(_) => return None,
    }
    Some(())
}

/// Returns `true` if every id that both patterns match is matched by `outer`; `false` also if the proof would exceed
/// [`MAX_WORK`].
///
/// Searches for a counterexample: a path to the end of both patterns whose id `outer` does not match. Along a path it
/// simulates `outer` as a set of positions. Where any component is possible the path takes one that no literal names,
/// because that helps `outer` least; and of two paths to the same pair only the one with fewer positions is followed,
/// for the same reason.
pub(super) fn within(a: &[Element<'_>], b: &[Element<'_>], outer: &Canonical<'_>) -> bool {
    let text = outer.render();
    let outer = elements(&text);
    let mut work = 0;
    let mut seen: HashMap<Pair, Vec<Positions>> = HashMap::new();
    let mut open = vec![((0, 0), Positions::start(&outer))];
    while let Some((pair, positions)) = open.pop() {
        let known = seen.entry(pair).or_default();
        work += 1 + known.len();
        if work > MAX_WORK {
            return false;
        }
        if known.iter().any(|fewer| fewer.is_subset(&positions)) {
            continue;
        }
        if pair == (a.len(), b.len()) && !positions.contains(outer.len()) {
            return false;
        }
        known.retain(|more| !positions.is_subset(more));
        known.push(positions.clone());
        for (step, to) in steps(a, b, pair) {
            open.push((to, positions.after(step, &outer)));
        }
    }
    true
}

/// A set of positions in a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Positions(Vec<u64>);

impl Positions {
    fn empty(pattern: &[Element<'_>]) -> Self {
        Self(vec![0; pattern.len() / 64 + 1])
    }

    fn start(pattern: &[Element<'_>]) -> Self {
        let mut positions = Self::empty(pattern);
        positions.insert(pattern, 0);
        positions
    }

    fn contains(&self, position: usize) -> bool {
        self.0[position / 64] & (1 << (position % 64)) != 0
    }

    /// Adds a position, and those behind it that are reachable because `**` may be empty.
    fn insert(&mut self, pattern: &[Element<'_>], mut position: usize) {
        loop {
            self.0[position / 64] |= 1 << (position % 64);
            if pattern.get(position) != Some(&Element::Many) {
                return;
            }
            position += 1;
        }
    }

    fn is_subset(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .all(|(mine, theirs)| mine & !theirs == 0)
    }

    fn after(&self, step: Step<'_>, pattern: &[Element<'_>]) -> Self {
        if step == Step::Epsilon {
            return self.clone();
        }
        let mut after = Self::empty(pattern);
        for (position, &element) in pattern
            .iter()
            .enumerate()
            .filter(|&(position, _)| self.contains(position))
        {
            match element {
                Element::Many => after.insert(pattern, position),
                Element::One => after.insert(pattern, position + 1),
                Element::Literal(literal) if step == Step::Literal(literal) => {
                    after.insert(pattern, position + 1)
                }
                Element::Literal(_) => {}
            }
        }
        after
    }
}
