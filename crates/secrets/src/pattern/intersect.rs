//! The one pattern that says what two patterns have in common, if there is one.
//!
//! There is at most one candidate. The shortest ids of the answer must be exactly the shortest ids that both patterns
//! match, which fixes its literals and its `*`. Where `**` stands in it is then settled place by place: a `**` belongs
//! there exactly when both patterns go on matching with it. What remains is to prove the candidate: that both
//! patterns cover it, and that every id which both match is matched by it.

use super::canonical::Canonical;
use super::contain::covers;
use super::element::elements;
use super::product;

/// Pairs of positions times the length of the shortest common id; what larger patterns share is not looked for.
const MAX_SIZE: usize = 1 << 24;

/// The text of the pattern that matches exactly what `left` and `right` both match. Neither covers the other.
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
