//! Ids and patterns on the command line.

use keyway_runtime::PluginName;
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

/// Parses a pattern for a listing: a place that ends with `/` is everything below it.
pub(crate) fn place(text: &str) -> Result<Pattern, ParsePatternError> {
    match text.ends_with('/') {
        true => pattern(&format!("{text}**")),
        false => pattern(text),
    }
}

/// Parses the name of a provider: that of an executable file. The error does not repeat the text.
pub(crate) fn provider(text: &str) -> Result<String, &'static str> {
    let name = text.parse::<PluginName>().ok();
    let name = name.filter(PluginName::is_plain);
    name.map(|name| name.as_str().to_owned())
        .ok_or("a provider's name has letters, digits, `.`, `_` and `-`, at most 64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_provider_is_that_of_a_file() {
        assert_eq!(provider("vault-2").as_deref(), Ok("vault-2"));
        for text in ["", "a b", "a/b", "..", "not/a=token"] {
            assert!(provider(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_scheme_of_a_reference_is_stripped() {
        assert_eq!(id("se://web/token").unwrap().as_str(), "web/token");
        assert_eq!(pattern("se://web/*").unwrap().to_string(), "web/*");
        assert_eq!(place("se://web/").unwrap().to_string(), "web/**");
        assert_eq!(place("web/*").unwrap().to_string(), "web/*");
        assert!(place("/").is_err() && place("web//").is_err());
        assert_eq!(id("web/token").unwrap().as_str(), "web/token");
        assert!(id("se://se://a").is_err());
    }
}
