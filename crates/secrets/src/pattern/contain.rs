//! Is one pattern's set inside another's?
//!
//! A component of an id may be any word, so for every pattern there are ids whose wildcard places hold words that no
//! literal names. On such ids a literal of the wider pattern can only stand on a literal of the narrower one. Hence
//! `wide` covers `narrow` exactly when the literals of `wide` can be laid onto equal literals of `narrow`, in order,
//! so that each closed gap of `wide` spans a stretch of `narrow` of just that length which contains no `**`, and each
//! open gap spans a stretch that is long enough even when every `**` in it is empty. The start and the end of both
//! patterns count as one more literal each.
//!
//! That one layout serves all lengths of all `**` of `narrow` at once follows by exchange: of a layout that works when
//! one `**` is empty and one that works when it is long, the first's literals up to a suitable gap and the second's
//! from there on (or the other way round) work for both.

use super::canonical::Canonical;

/// One literal of the narrower pattern, or its start or end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Where it stands when every `**` is empty, counted in components.
    at: usize,
    /// How many `**` runs come before it.
    opens: usize,
}

/// Whether every id that `narrow` matches is matched by `wide`.
pub(super) fn covers(wide: &Canonical<'_>, narrow: &Canonical<'_>) -> bool {
    let places = places(narrow);
    // The places of `narrow` on which the current literal of `wide` can stand, in rising order.
    let mut reachable = vec![0];
    for (index, gap) in wide.gaps.iter().enumerate() {
        let candidates = match wide.literals.get(index) {
            Some(&literal) => named(narrow, literal),
            None => vec![places.len() - 1],
        };
        reachable = if gap.open {
            let first = places[reachable[0]].at;
            candidates
                .into_iter()
                .filter(|&to| places[to].at > first + gap.min)
                .collect()
        } else {
            exactly(&places, &reachable, candidates, gap.min + 1)
        };
        if reachable.is_empty() {
            return false;
        }
    }
    true
}

/// The start, the literals and the end of a pattern.
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

/// The places where `literal` stands.
fn named(pattern: &Canonical<'_>, literal: &str) -> Vec<usize> {
    let literals = pattern.literals.iter().enumerate();
    literals
        .filter(|&(_, &found)| found == literal)
        .map(|(index, _)| index + 1)
        .collect()
}

/// Those of `candidates` that stand exactly `distance` behind a place of `from`, with no `**` between them.
fn exactly(
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
