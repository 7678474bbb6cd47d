//! Ids, patterns and names on the command line.

use keyway_secrets::{Id, ParseIdError, ParsePatternError, Pattern};

/// What a reference to a secret starts with in an environment or a file. It may stand before an id on the command line too.
pub(crate) const SCHEME: &str = "se://";

/// Reads an id.
pub(crate) fn id(text: &str) -> Result<Id, ParseIdError> {
    text.strip_prefix(SCHEME).unwrap_or(text).parse()
}

/// Reads a pattern.
pub(crate) fn pattern(text: &str) -> Result<Pattern, ParsePatternError> {
    text.strip_prefix(SCHEME).unwrap_or(text).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_taken_for_its_id() {
        assert_eq!(id("se://web/token").unwrap().as_str(), "web/token");
        assert_eq!(pattern("se://web/*").unwrap().to_string(), "web/*");
        assert_eq!(id("web/token").unwrap().as_str(), "web/token");
        assert!(id("se://se://a").is_err());
    }
}
