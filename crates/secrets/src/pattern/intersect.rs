//! The intersection of two patterns, if a single pattern describes it.
//!
//! There is at most one candidate. The shortest ids of the result must be exactly the shortest ids that both patterns
//! match, which fixes its literals and its `*`. Its `**` then follow gap by gap: a gap is open exactly if both patterns
//! still cover the candidate with it open. The last step proves the candidate: both patterns cover it, and it matches
//! every id that both match.

use super::canonical::Canonical;
use super::contain::{covers, openable};
use super::element::elements;
use super::product;
use super::steps::Steps;
use crate::limits::validate_size;

/// Returns the text of the pattern that matches exactly the ids that both `left` and `right` match; `None` also if it exceeds
/// the limits of a pattern, or takes too many steps. Neither may cover the other.
pub(super) fn intersection(left: &str, right: &str, steps: &mut Steps) -> Option<String> {
    let (a, b) = (elements(left), elements(right));
    let shortest = product::shortest(&a, &b, steps)?;
    let mut candidate = Canonical::from_elements(&shortest);
    validate_size(&candidate.render()).ok()?;
    let (left, right) = (Canonical::from_elements(&a), Canonical::from_elements(&b));
    let by_left = openable(&left, &candidate, steps)?;
    let by_right = openable(&right, &candidate, steps)?;
    for (gap, by_both) in candidate
        .gaps
        .iter_mut()
        .zip(by_left.into_iter().zip(by_right))
    {
        gap.open = by_both == (true, true);
    }
    let text = candidate.render();
    validate_size(&text).ok()?;
    let is_proven = covers(&left, &candidate, steps)?
        && covers(&right, &candidate, steps)?
        && product::within(&a, &b, &elements(&text), steps)?;
    is_proven.then_some(text)
}
