//! Does an id match a pattern, and do two patterns share an id?

use super::element::Element;

/// Matches with one point to return to: when a component does not fit, the last `**` takes one component more. Earlier
/// `**` never need to be reconsidered, because whatever a longer stretch of theirs could reach the last one reaches too.
pub(super) fn matches(pattern: &str, id: &str) -> bool {
    let mut wanted = pattern.split('/');
    let mut given = id.split('/');
    // What to expect after the last `**`, and what is left from where that `**` ends now.
    let mut resume = None;
    loop {
        let before = given.clone();
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("**"), _) => {
                given = before.clone();
                resume = Some((wanted.clone(), before));
            }
            (Some(element), Some(component)) if element == "*" || element == component => {}
            _ => {
                let Some((after_many, from)) = &mut resume else {
                    return false;
                };
                if from.next().is_none() {
                    return false;
                }
                wanted = after_many.clone();
                given = from.clone();
            }
        }
    }
}

/// Whether some id matches both: whether the end of both patterns can be reached over pairs of positions. Every step
/// goes forward in at least one pattern, so one pass in order sees each pair once.
pub(super) fn overlaps(a: &[Element<'_>], b: &[Element<'_>]) -> bool {
    let mut row = vec![false; b.len() + 1];
    row[0] = true;
    for &left in a {
        let mut next = vec![false; b.len() + 1];
        for j in 0..=b.len() {
            if row[j] {
                advance(left, b.get(j).copied(), j, &mut row, &mut next);
            }
        }
        row = next;
    }
    // `a` is used up: `b` may only have `**` left.
    let reached = row.iter().rposition(|&reached| reached);
    reached.is_some_and(|j| b[j..].iter().all(|&element| element == Element::Many))
}

/// Marks where one step leads from a reached pair of positions, `j` being the position in the second pattern: `row`
/// holds the positions while `left` is still to come, `next` those after it.
fn advance(
    left: Element<'_>,
    right: Option<Element<'_>>,
    j: usize,
    row: &mut [bool],
    next: &mut [bool],
) {
    if left == Element::Many {
        next[j] = true; // it ends here,
        if right.is_some() {
            row[j + 1] = true; // or takes what the other pattern says next.
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

/// Whether one component fits two elements, neither of which is `**`.
fn compatible(left: Element<'_>, right: Element<'_>) -> bool {
    match (left, right) {
        (Element::Literal(left), Element::Literal(right)) => left == right,
        _ => true,
    }
}
