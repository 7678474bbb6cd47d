//! The product automaton of two patterns: the ids that both match are the paths from the start of both to the end of
//! both.

use std::collections::HashMap;

use super::element::Element;
use super::steps::Steps;
use crate::limits::MAX_COMPONENTS;

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
/// possible at some index, which no pattern can express. Also returns `None` if it takes too many steps.
pub(super) fn shortest<'a>(
    a: &[Element<'a>],
    b: &[Element<'a>],
    steps_taken: &mut Steps,
) -> Option<Vec<Element<'a>>> {
    let width = b.len() + 1;
    // Two passes over all pairs.
    steps_taken.take(2 * (a.len() + 1) * width)?;
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

/// Returns `true` if every id that both patterns match is matched by `outer`; `None` if the proof takes too many steps.
///
/// Searches for a counterexample: a path to the end of both patterns whose id `outer` does not match. Along a path it
/// simulates `outer` as a set of positions. Where any component is possible the path takes one that no literal names,
/// because that helps `outer` least; and of two paths to the same pair only the one with fewer positions is followed,
/// for the same reason.
pub(super) fn within(
    a: &[Element<'_>],
    b: &[Element<'_>],
    outer: &[Element<'_>],
    steps_taken: &mut Steps,
) -> Option<bool> {
    let outer = Automaton::new(outer);
    let mut seen: HashMap<Pair, Vec<Positions>> = HashMap::new();
    let mut open = vec![((0, 0), outer.start())];
    while let Some((pair, positions)) = open.pop() {
        let known = seen.entry(pair).or_default();
        steps_taken.take((1 + known.len()) * WORDS)?;
        if known.iter().any(|fewer| fewer.is_subset(&positions)) {
            continue;
        }
        if pair == (a.len(), b.len()) && !positions.contains(outer.end) {
            return Some(false);
        }
        known.retain(|more| !positions.is_subset(more));
        known.push(positions);
        for (step, to) in steps(a, b, pair) {
            steps_taken.take(WORDS)?;
            open.push((to, outer.after(positions, step)));
        }
    }
    Some(true)
}

/// The machine words of a set of positions: one position before each component and one behind the last.
const WORDS: usize = (MAX_COMPONENTS + 1).div_ceil(64);

/// A set of positions in a pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Positions([u64; WORDS]);

impl Positions {
    fn contains(&self, position: usize) -> bool {
        self.0[position / 64] & (1 << (position % 64)) != 0
    }

    fn insert(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    fn is_subset(&self, other: &Self) -> bool {
        let mut words = self.0.iter().zip(&other.0);
        words.all(|(mine, theirs)| mine & !theirs == 0)
    }

    fn combine(&self, other: &Self, operation: impl Fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|word| {
            operation(self.0[word], other.0[word])
        }))
    }

    fn and(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a & b)
    }

    fn or(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a | b)
    }

    /// Each position becomes the next one.
    fn next(&self) -> Self {
        Self(std::array::from_fn(|word| {
            let carried = word.checked_sub(1).map_or(0, |lower| self.0[lower] >> 63);
            self.0[word] << 1 | carried
        }))
    }
}

/// A pattern that is simulated on all of its positions at once. No two `**` of it are neighbours, as in canonical text.
struct Automaton<'a> {
    /// The position behind the last component.
    end: usize,
    many: Positions,
    one: Positions,
    literals: HashMap<&'a str, Positions>,
}

impl<'a> Automaton<'a> {
    fn new(pattern: &[Element<'a>]) -> Self {
        let mut automaton = Self {
            end: pattern.len(),
            many: Positions::default(),
            one: Positions::default(),
            literals: HashMap::new(),
        };
        for (position, &element) in pattern.iter().enumerate() {
            let places = match element {
                Element::Many => &mut automaton.many,
                Element::One => &mut automaton.one,
                Element::Literal(literal) => automaton.literals.entry(literal).or_default(),
            };
            places.insert(position);
        }
        automaton
    }

    fn start(&self) -> Positions {
        let mut positions = Positions::default();
        positions.insert(0);
        self.closed(positions)
    }

    fn after(&self, positions: Positions, step: Step<'_>) -> Positions {
        let literal = match step {
            Step::Epsilon => return positions,
            Step::Any => None,
            Step::Literal(literal) => self.literals.get(literal),
        };
        let consumed = literal.map_or(self.one, |literal| self.one.or(literal));
        let moved = positions.and(&consumed).next();
        self.closed(moved.or(&positions.and(&self.many)))
    }

    /// Adds the positions behind each `**`, which may be empty.
    fn closed(&self, positions: Positions) -> Positions {
        positions.or(&positions.and(&self.many).next())
    }
}
