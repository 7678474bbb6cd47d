//! Containment: whether the ids of one pattern are a subset of those of another.
//!
//! The alphabet of components is unbounded, so every pattern matches ids whose wildcard components equal no literal. On
//! such ids a literal of the wider pattern can only match a literal of the narrower one. Hence `wide` covers `narrow`
//! exactly if the literals of `wide` can be mapped in order onto equal literals of `narrow`, so that each closed gap of
//! `wide` spans a stretch of `narrow` of exactly that length without `**`, and each open gap spans a stretch that is
//! long enough even if every `**` in it is empty. The start and the end of both patterns count as one literal each.
//!
//! One mapping serves all lengths of all `**` of `narrow` by an exchange argument: given a mapping that works if one
//! `**` is empty and one that works if it is long, the first's literals up to a suitable gap and the second's from there
//! on (or the other way round) work for both.

use std::collections::HashMap;

use super::canonical::{Canonical, Gap};
use super::steps::Steps;

/// Returns `true` if `wide` matches every id that `narrow` matches; `None` if that takes too many steps.
pub(super) fn covers(
    wide: &Canonical<'_>,
    narrow: &Canonical<'_>,
    steps: &mut Steps,
) -> Option<bool> {
    let stops = Stops::new(wide, narrow);
    let reachable = stops.reachable(Direction::Forward, steps)?;
    Some(!reachable[wide.gaps.len()].is_empty())
}

/// Returns the gaps of `narrow` that can be opened one at a time while `wide` still covers it; `None` if that takes too
/// many steps, or if `wide` does not cover `narrow` as it is. All gaps of `narrow` must be closed.
///
/// An opened gap has to lie within an open gap of `wide`. The mapping on each side of it is one of `narrow` as it is, so
/// the places reachable from both ends decide: of those the outermost pair leaves most space.
pub(super) fn openable(
    wide: &Canonical<'_>,
    narrow: &Canonical<'_>,
    steps: &mut Steps,
) -> Option<Vec<bool>> {
    let stops = Stops::new(wide, narrow);
    let from_start = stops.reachable(Direction::Forward, steps)?;
    let from_end = stops.reachable(Direction::Backward, steps)?;
    from_start.last()?.first()?;
    let mut openable = vec![false; narrow.gaps.len()];
    for (index, gap) in wide.gaps.iter().enumerate().filter(|(_, gap)| gap.open) {
        steps.take(openable.len())?;
        if let (Some(&from), Some(&to)) = (from_start[index].first(), from_end[index + 1].last())
            && stops.fits(gap, from, to)
        {
            openable[from..to].fill(true);
        }
    }
    Some(openable)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// One literal of the narrower pattern, or its start or end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Its index in components if every `**` is empty.
    at: usize,
    /// Number of `**` runs before it.
    opens: usize,
}

/// The places of `narrow`, and to which of them the start, the literals and the end of `wide` can map by their text.
struct Stops<'a> {
    wide: &'a Canonical<'a>,
    places: Vec<Place>,
    /// In ascending order, per literal of `wide` with its start and end.
    candidates: Vec<Vec<usize>>,
}

impl<'a> Stops<'a> {
    fn new(wide: &'a Canonical<'a>, narrow: &Canonical<'_>) -> Self {
        let places = places(narrow);
        let mut occurrences: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, literal) in narrow.literals.iter().enumerate() {
            occurrences.entry(literal).or_default().push(index + 1);
        }
        let of_literal = |literal: &&str| occurrences.get(*literal).cloned().unwrap_or_default();
        let mut candidates = vec![vec![0]];
        candidates.extend(wide.literals.iter().map(of_literal));
        candidates.push(vec![places.len() - 1]);
        Self {
            wide,
            places,
            candidates,
        }
    }

    /// Returns, per literal of `wide` with its start and end, the places that are reachable from one end of the patterns, in
    /// ascending order.
    fn reachable(&self, direction: Direction, steps: &mut Steps) -> Option<Vec<Vec<usize>>> {
        let mut reachable = vec![Vec::new(); self.candidates.len()];
        let last = self.candidates.len() - 1;
        let order: Vec<(usize, usize, usize)> = match direction {
            Direction::Forward => (0..last).map(|gap| (gap, gap, gap + 1)).collect(),
            Direction::Backward => (0..last).rev().map(|gap| (gap, gap + 1, gap)).collect(),
        };
        let origin = order[0].1;
        reachable[origin].clone_from(&self.candidates[origin]);
        for (gap, from, to) in order {
            steps.take(1 + reachable[from].len() + self.candidates[to].len())?;
            reachable[to] = self.step(direction, &self.wide.gaps[gap], &reachable[from], to);
        }
        Some(reachable)
    }

    /// Returns the candidates of `to` that are reachable over `gap` from one of `from`.
    fn step(&self, direction: Direction, gap: &Gap, from: &[usize], to: usize) -> Vec<usize> {
        let candidates = self.candidates[to].iter().copied();
        let nearest = match direction {
            Direction::Forward => from.first(),
            Direction::Backward => from.last(),
        };
        let Some(&nearest) = nearest else {
            return Vec::new();
        };
        let ordered = |near, far| match direction {
            Direction::Forward => (near, far),
            Direction::Backward => (far, near),
        };
        if gap.open {
            let fits = |&to: &usize| {
                let (first, second) = ordered(nearest, to);
                self.fits(gap, first, second)
            };
            return candidates.filter(fits).collect();
        }
        // Both are in ascending order, so one pass finds all pairs at the right distance.
        let mut from = from.iter().copied().peekable();
        let is_behind = |from: usize, to: usize| match direction {
            Direction::Forward => self.places[from].at + gap.min + 1 < self.places[to].at,
            Direction::Backward => self.places[from].at < self.places[to].at + gap.min + 1,
        };
        let mut reached = Vec::new();
        for to in candidates {
            while from.next_if(|&from| is_behind(from, to)).is_some() {}
            let is_reached = from.peek().is_some_and(|&from| {
                let (first, second) = ordered(from, to);
                self.fits(gap, first, second)
            });
            if is_reached {
                reached.push(to);
            }
        }
        reached
    }

    /// Returns `true` if `gap` of the wider pattern can span the stretch between two places.
    fn fits(&self, gap: &Gap, from: usize, to: usize) -> bool {
        let (from, to) = (self.places[from], self.places[to]);
        match gap.open {
            true => to.at > from.at + gap.min,
            false => to.at == from.at + gap.min + 1 && to.opens == from.opens,
        }
    }
}

/// Returns the start, the literals and the end of a pattern.
fn places(pattern: &Canonical<'_>) -> Vec<Place> {
    let mut places = Vec::with_capacity(pattern.gaps.len() + 1);
    let mut place = Place { at: 0, opens: 0 };
    places.push(place);
    for gap in &pattern.gaps {
        place = Place {
            at: place.at + gap.min + 1,
            opens: place.opens + usize::from(gap.open),
        };
        places.push(place);
    }
    places
}
