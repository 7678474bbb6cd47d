//! The name of a plugin.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a plugin: a text of 1 to 256 bytes.
///
/// A launched plugin is named by the file name of its executable, which must be *plain* ([`is_plain`](Self::is_plain)), and
/// must register with that name; an external plugin chooses its own. Because such a name may hold anything, `Display` escapes
/// unprintable characters; [`as_str`](Self::as_str) is the name as it is. Cloning is cheap.
///
/// ```
/// use keyway_runtime::PluginName;
///
/// let name: PluginName = "file".parse()?;
/// assert!(name.is_plain());
/// let external: PluginName = "my store\n".parse()?;
/// assert_eq!(external.to_string(), r"my store\n");
/// assert!("".parse::<PluginName>().is_err());
/// # Ok::<(), keyway_runtime::ParsePluginNameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(Arc<str>);

/// Error of parsing the name of a plugin from a text or a file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePluginNameError {
    /// The text is empty.
    #[error("a plugin name must not be empty")]
    Empty,
    /// The text is longer than [`PluginName::MAX_LEN`] bytes, or a file name is longer than [`PluginName::MAX_PLAIN_LEN`].
    #[error("a plugin name here has at most {max} bytes, this one has {len}")]
    TooLong {
        /// The length of the text in bytes.
        len: usize,
        /// The limit that holds.
        max: usize,
    },
    /// A file name is not a plain name.
    #[error("the file name {0:?} is not a plugin name: use letters, digits, `.`, `_` and `-`")]
    FileName(std::ffi::OsString),
}

impl PluginName {
    /// The length limit in bytes.
    pub const MAX_LEN: usize = keyway_proto::limits::MAX_NAME_LEN;

    /// The length limit of a plain name in bytes.
    pub const MAX_PLAIN_LEN: usize = 64;

    /// Returns the name as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a file can have the name: at most 64 characters of `A-Z a-z 0-9 . _ -`, and neither `.` nor `..`.
    pub fn is_plain(&self) -> bool {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        self.0.len() <= Self::MAX_PLAIN_LEN
            && !matches!(&*self.0, "." | "..")
            && self.0.bytes().all(is_allowed)
    }

    /// Returns the name that the plugin in this executable must register with: the file name, less `.exe`.
    ///
    /// # Errors
    ///
    /// Returns [`ParsePluginNameError`] if the file name is not a plain name.
    pub fn from_executable(path: &Path) -> Result<Self, ParsePluginNameError> {
        let file_name = path.file_name().unwrap_or_default();
        let invalid = || ParsePluginNameError::FileName(file_name.to_owned());
        let text = file_name.to_str().ok_or_else(invalid)?;
        let text = text.strip_suffix(".exe").unwrap_or(text);
        if text.len() > Self::MAX_PLAIN_LEN {
            return Err(ParsePluginNameError::TooLong {
                len: text.len(),
                max: Self::MAX_PLAIN_LEN,
            });
        }
        let name: Self = text.parse()?;
        name.is_plain().then_some(name).ok_or_else(invalid)
    }
}

impl FromStr for PluginName {
    type Err = ParsePluginNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.len() {
            0 => Err(ParsePluginNameError::Empty),
            len if len > Self::MAX_LEN => Err(ParsePluginNameError::TooLong {
                len,
                max: Self::MAX_LEN,
            }),
            _ => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for PluginName {
    type Error = ParsePluginNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PluginName> for String {
    fn from(name: PluginName) -> Self {
        name.as_str().into()
    }
}

impl<'de> serde::Deserialize<'de> for PluginName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for PluginName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rule of `char::escape_debug`, which also covers marks of direction and other invisible characters, without its
        // escapes of quotes.
        self.0.chars().try_for_each(|character| match character {
            '"' | '\'' => write!(f, "{character}"),
            _ => write!(f, "{}", character.escape_debug()),
        })
    }
}

impl fmt::Debug for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl AsRef<str> for PluginName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for PluginName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_any_text_of_1_to_256_bytes() {
        let longest = "a".repeat(PluginName::MAX_LEN);
        for good in ["file", "a/b", "my store", "ü", "a\n", ".", &longest] {
            let name = good.parse::<PluginName>().map(String::from);
            assert_eq!(name.as_deref(), Ok(good));
        }
        for bad in ["", &"a".repeat(PluginName::MAX_LEN + 1)] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_plain_name_is_short_and_fits_a_file_name() {
        let is_plain = |text: &str| text.parse::<PluginName>().expect("a name").is_plain();
        let longest = "a".repeat(PluginName::MAX_PLAIN_LEN);
        for good in ["file", "docker-pass", "a.b_c-1", "...", &longest] {
            assert!(is_plain(good), "{good}");
        }
        let too_long = "a".repeat(PluginName::MAX_PLAIN_LEN + 1);
        for bad in [".", "..", "a/b", "a b", "ü", "a\n", &too_long] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    #[test]
    fn control_characters_of_a_name_are_shown_escaped() {
        let shown = |text: &str| text.parse::<PluginName>().expect("a name").to_string();
        assert_eq!(shown("it's a \"store\" ü"), "it's a \"store\" ü");
        assert_eq!(shown("a\x1b[31m\n\u{202e}b"), r"a\u{1b}[31m\n\u{202e}b");
    }

    #[test]
    fn an_executable_gives_its_file_name() {
        let name = |path: &str| PluginName::from_executable(Path::new(path)).map(String::from);
        assert_eq!(name("/plugins/file").as_deref(), Ok("file"));
        assert_eq!(name("/plugins/pass.exe").as_deref(), Ok("pass"));
        assert!(name("/plugins/with space").is_err());
        assert!(name(&format!("/plugins/{}", "a".repeat(65))).is_err());
        assert!(name("/").is_err());
    }
}
