//! Matching an id against a pattern, and whether two patterns share an id.

use super::element::Element;
use super::steps::Steps;

/// Returns `true` if `id` matches `pattern`; `None` if that takes too many steps.
///
/// Backtracks to one point only: if a component does not match, the last `**` takes one component more. Earlier `**`
/// never need to be reconsidered, because the last one reaches whatever a longer stretch of theirs could reach.
pub(super) fn matches(pattern: &str, id: &str, steps: &mut Steps) -> Option<bool> {
    let mut elements = pattern.split('/');
    let mut components = id.split('/');
    // The elements after the last `**`, and the components left where that `**` ends now.
    let mut resume = None;
    loop {
        steps.take(1)?;
        let before = components.clone();
        match (elements.next(), components.next()) {
            (None, None) => return Some(true),
            (Some("**"), _) => {
                components = before.clone();
                resume = Some((elements.clone(), before));
            }
            (Some(element), Some(component)) if element == "*" || element == component => {}
            _ => {
                let Some((after_many, from)) = &mut resume else {
                    return Some(false);
                };
                if from.next().is_none() {
                    return Some(false);
                }
                elements = after_many.clone();
                components = from.clone();
            }
        }
    }
}

/// Returns `true` if some id matches both: if the end of both patterns is reachable over pairs of positions. `None` if that
/// takes too many steps.
///
/// Every step advances in at least one pattern, so one pass in order visits each pair once.
pub(super) fn overlaps(a: &[Element<'_>], b: &[Element<'_>], steps: &mut Steps) -> Option<bool> {
    let mut row = vec![false; b.len() + 1];
    row[0] = true;
    for &left in a {
        steps.take(row.len())?;
        let mut next = vec![false; b.len() + 1];
        for j in 0..=b.len() {
            if row[j] {
                advance(left, b.get(j).copied(), j, &mut row, &mut next);
            }
        }
        row = next;
    }
    // `a` is exhausted: only `**` may remain in `b`.
    let reached = row.iter().rposition(|&reached| reached);
    Some(reached.is_some_and(|j| b[j..].iter().all(|&element| element == Element::Many)))
}

/// Marks the pairs that one step reaches from the pair whose position in the second pattern is `j`: `row` holds the
/// positions before `left`, `next` those after it.
fn advance(
    left: Element<'_>,
    right: Option<Element<'_>>,
    j: usize,
    row: &mut [bool],
    next: &mut [bool],
) {
    if left == Element::Many {
        next[j] = true; // `**` ends here,
        if right.is_some() {
            row[j + 1] = true; // or takes the next component of the other pattern.
        }
        return;
    }
    match right {
        Some(Element::Many) => {
            row[j + 1] = true;
            next[j] = true;
        }
        Some(right) if compatible(left, right) => next[j + 1] = true,
        _ => {}
    }
}

/// Returns `true` if one component matches both elements, neither of which is `**`.
fn compatible(left: Element<'_>, right: Element<'_>) -> bool {
    match (left, right) {
        (Element::Literal(left), Element::Literal(right)) => left == right,
        _ => true,
    }
}
