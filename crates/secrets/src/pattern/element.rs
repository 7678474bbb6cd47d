//! A pattern as a sequence of elements, the input of the algorithms.

/// One component of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element<'a> {
    /// Exactly this component.
    Literal(&'a str),
    /// `*`: exactly one component of any content.
    One,
    /// `**`: zero or more components.
    Many,
}

/// Splits the text of a valid pattern.
pub(super) fn elements(text: &str) -> Vec<Element<'_>> {
    text.split('/')
        .map(|component| match component {
            "*" => Element::One,
            "**" => Element::Many,
            literal => Element::Literal(literal),
        })
        .collect()
}
