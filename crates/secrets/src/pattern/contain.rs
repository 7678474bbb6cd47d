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

use super::canonical::Canonical;

/// One literal of the narrower pattern, or its start or end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Its index in components if every `**` is empty.
    at: usize,
    /// Number of `**` runs before it.
    opens: usize,
}

/// Returns `true` if `wide` matches every id that `narrow` matches.
pub(super) fn covers(wide: &Canonical<'_>, narrow: &Canonical<'_>) -> bool {
    let places = places(narrow);
    // The places of `narrow` that the current literal of `wide` can map to, in ascending order.
    let mut reachable = vec![0];
    for (index, gap) in wide.gaps.iter().enumerate() {
        let candidates = match wide.literals.get(index) {
            Some(&literal) => occurrences(narrow, literal),
            None => vec![places.len() - 1],
        };
        reachable = if gap.open {
            let first = places[reachable[0]].at;
            candidates
                .into_iter()
                .filter(|&to| places[to].at > first + gap.min)
                .collect()
        } else {
            at_distance(&places, &reachable, candidates, gap.min + 1)
        };
        if reachable.is_empty() {
            return false;
        }
    }
    true
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

/// Returns the places where `literal` occurs.
fn occurrences(pattern: &Canonical<'_>, literal: &str) -> Vec<usize> {
    let literals = pattern.literals.iter().enumerate();
    literals
        .filter(|&(_, &found)| found == literal)
        .map(|(index, _)| index + 1)
        .collect()
}

/// Returns those of `candidates` that are exactly `distance` behind a place of `from`, with no `**` between them.
fn at_distance(
    places: &[Place],
    from: &[usize],
    candidates: Vec<usize>,
    distance: usize,
) -> Vec<usize> {
    let starts = |to: usize| {
        let Place { at, opens } = places[to];
        let at = at.checked_sub(distance)?;
        from.binary_search_by_key(&at, |&start| places[start].at)
            .ok()
            .filter(|&found| places[from[found]].opens == opens)
    };
    candidates
        .into_iter()
        .filter(|&to| starts(to).is_some())
        .collect()
}
