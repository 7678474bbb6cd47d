//! The intersection of two patterns, if a single pattern describes it.
//!
//! There is at most one candidate. The shortest ids of the result must be exactly the shortest ids that both patterns
//! match, which fixes its literals and its `*`. Its `**` then follow gap by gap: a gap is open exactly if both patterns
//! still cover the candidate with it open. The last step proves the candidate: both patterns cover it, and it matches
//! every id that both match.

use super::canonical::Canonical;
use super::contain::covers;
use super::element::elements;
use super::product;

/// Limit on pairs of positions times the length of the shortest common id; larger patterns have no intersection.
const MAX_SIZE: usize = 1 << 24;

/// Returns the text of the pattern that matches exactly the ids that both `left` and `right` match. Neither may cover
/// the other.
pub(super) fn intersection(left: &str, right: &str) -> Option<String> {
    let (a, b) = (elements(left), elements(right));
    if (a.len() + 1).checked_mul(b.len() + 1)? > MAX_SIZE / 16 {
        return None;
    }
    let shortest = product::shortest(&a, &b)?;
    if (a.len() + 1) * (b.len() + 1) * shortest.len() > MAX_SIZE {
        return None;
    }
    let (left, right) = (Canonical::from_elements(&a), Canonical::from_elements(&b));
    let candidate = widen(Canonical::from_elements(&shortest), &left, &right);
    let proven = covers(&left, &candidate)
        && covers(&right, &candidate)
        && product::within(&a, &b, &candidate);
    proven.then(|| candidate.render())
}

/// Opens each gap that both patterns allow to be open.
fn widen<'a>(
    shortest: Canonical<'a>,
    left: &Canonical<'_>,
    right: &Canonical<'_>,
) -> Canonical<'a> {
    let mut widened = shortest.clone();
    let mut probe = shortest;
    for gap in 0..probe.gaps.len() {
        probe.gaps[gap].open = true;
        widened.gaps[gap].open = covers(left, &probe) && covers(right, &probe);
        probe.gaps[gap].open = false;
    }
    widened
}
