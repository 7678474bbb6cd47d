//! The canonical form: two patterns that match the same ids have the same one.

use super::element::{Element, elements};

/// The wildcards between two literals of a pattern, before the first, or after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// Minimum number of components.
    pub(super) min: usize,
    /// `true` if more components are possible.
    pub(super) open: bool,
}

/// A pattern as its literals and the gaps around them. The order of `*` and `**` in a run of wildcards does not matter:
/// a run is its minimum length and whether it can be longer.
///
/// Invariant: `gaps.len() == literals.len() + 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Canonical<'a> {
    pub(super) literals: Vec<&'a str>,
    pub(super) gaps: Vec<Gap>,
}

impl<'a> Canonical<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self::from_elements(&elements(text))
    }

    pub(super) fn from_elements(elements: &[Element<'a>]) -> Self {
        let mut literals = Vec::new();
        let mut gaps = Vec::new();
        let mut gap = Gap {
            min: 0,
            open: false,
        };
        for &element in elements {
            match element {
                Element::One => gap.min += 1,
                Element::Many => gap.open = true,
                Element::Literal(literal) => {
                    literals.push(literal);
                    gaps.push(std::mem::replace(
                        &mut gap,
                        Gap {
                            min: 0,
                            open: false,
                        },
                    ));
                }
            }
        }
        // An id has at least one component, so `**` alone is equivalent to `*/**`.
        if literals.is_empty() {
            gap.min = gap.min.max(1);
        }
        gaps.push(gap);
        Self { literals, gaps }
    }

    /// Returns the text, with `*` before `**` in each run of wildcards.
    pub(super) fn render(&self) -> String {
        if self.literals.is_empty() && self.gaps[0] == (Gap { min: 1, open: true }) {
            return "**".to_owned();
        }
        let mut components = Vec::new();
        for (index, gap) in self.gaps.iter().enumerate() {
            components.extend(std::iter::repeat_n("*", gap.min));
            components.extend(gap.open.then_some("**"));
            components.extend(self.literals.get(index));
        }
        components.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::Canonical;

    #[test]
    fn equivalent_patterns_have_one_canonical_text() {
        for (written, canonical) in [
            ("a/**/**", "a/**"),
            ("a/**/*", "a/*/**"),
            ("**/*/**/a/*", "*/**/a/*"),
            ("**/**", "**"),
            ("*/**", "**"),
            ("**/*", "**"),
            ("**/*/*", "*/*/**"),
            ("a/b", "a/b"),
            ("*", "*"),
        ] {
            assert_eq!(Canonical::new(written).render(), canonical);
        }
    }
}
