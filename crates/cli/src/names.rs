//! Ids and patterns on the command line.

use keyway_secrets::{Id, ParseIdError, ParsePatternError, Pattern};

/// The scheme of references to secrets in environments and files. It is also accepted before an id on the command line.
pub(crate) const SCHEME: &str = "se://";

/// Parses an id, with or without [`SCHEME`].
pub(crate) fn id(text: &str) -> Result<Id, ParseIdError> {
    text.strip_prefix(SCHEME).unwrap_or(text).parse()
}

/// Parses a pattern, with or without [`SCHEME`].
pub(crate) fn pattern(text: &str) -> Result<Pattern, ParsePatternError> {
    text.strip_prefix(SCHEME).unwrap_or(text).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_a_reference_is_stripped() {
        assert_eq!(id("se://web/token").unwrap().as_str(), "web/token");
        assert_eq!(pattern("se://web/*").unwrap().to_string(), "web/*");
        assert_eq!(id("web/token").unwrap().as_str(), "web/token");
        assert!(id("se://se://a").is_err());
    }
}
