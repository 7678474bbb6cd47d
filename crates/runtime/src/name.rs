//! The name of a plugin.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a plugin: one to 64 characters of `A-Z a-z 0-9 . _ -`, but not `.` or `..`.
///
/// A launched plugin is named by the file name of its executable, and must register with that name; a plugin
/// that was started by hand chooses its own. The alphabet keeps a name safe in a file name, an HTTP header and
/// a log line. Cloning is cheap.
///
/// ```
/// use keyway_runtime::PluginName;
///
/// let name: PluginName = "file".parse()?;
/// assert_eq!(name.as_str(), "file");
/// assert!("no/slash".parse::<PluginName>().is_err());
/// # Ok::<(), keyway_runtime::ParsePluginNameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(Arc<str>);

/// Why a text is not the name of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePluginNameError {
    /// The text is empty.
    #[error("a plugin name must not be empty")]
    Empty,
    /// The text is longer than [`PluginName::MAX_LEN`] bytes.
    #[error("a plugin name has at most {max} characters, this one has {len}", max = PluginName::MAX_LEN)]
    TooLong {
        /// The length of the text in bytes.
        len: usize,
    },
    /// A character is outside `A-Z a-z 0-9 . _ -`, or the text is `.` or `..`.
    #[error("{0:?} is not a plugin name: use letters, digits, `.`, `_` and `-`")]
    Character(String),
    /// A file name is not UTF-8.
    #[error("the file name {0:?} is not a plugin name: use letters, digits, `.`, `_` and `-`")]
    FileName(std::ffi::OsString),
}

impl PluginName {
    /// The length limit in bytes.
    pub const MAX_LEN: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that the plugin in this executable must register with: the file name, less `.exe`.
    ///
    /// # Errors
    ///
    /// When the file name is not a plugin name.
    pub fn from_executable(path: &Path) -> Result<Self, ParsePluginNameError> {
        let file_name = path.file_name().unwrap_or_default();
        let Some(text) = file_name.to_str() else {
            return Err(ParsePluginNameError::FileName(file_name.to_owned()));
        };
        text.strip_suffix(".exe").unwrap_or(text).parse()
    }
}

impl FromStr for PluginName {
    type Err = ParsePluginNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match text {
            "" => Err(ParsePluginNameError::Empty),
            _ if text.len() > Self::MAX_LEN => {
                Err(ParsePluginNameError::TooLong { len: text.len() })
            }
            "." | ".." => Err(ParsePluginNameError::Character(text.into())),
            _ if text.bytes().all(allowed) => Ok(Self(text.into())),
            _ => Err(ParsePluginNameError::Character(text.into())),
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
        f.write_str(&self.0)
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
    fn the_alphabet_and_the_length_are_enforced() {
        let longest = "a".repeat(PluginName::MAX_LEN);
        for good in ["file", "docker-pass", "a.b_c-1", "...", longest.as_str()] {
            assert_eq!(
                good.parse::<PluginName>().map(String::from).as_deref(),
                Ok(good)
            );
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "ü",
            "a\n",
            &"a".repeat(PluginName::MAX_LEN + 1),
        ] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_executable_gives_its_file_name() {
        let name = |path: &str| PluginName::from_executable(Path::new(path)).map(String::from);
        assert_eq!(name("/plugins/file").as_deref(), Ok("file"));
        assert_eq!(name("/plugins/pass.exe").as_deref(), Ok("pass"));
        assert!(name("/plugins/with space").is_err());
        assert!(name("/").is_err());
    }
}
