//! [`Address`]: the address at which a daemon listens.

mod unix;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest path or abstract name that a Unix socket address holds, in bytes (108 on Linux, with one to spare for
/// the zero byte that ends a path or starts an abstract name).
pub const MAX_ADDRESS_LENGTH: usize = 107;

/// The address of a Unix socket: a path, or a name in Linux's abstract namespace.
///
/// Written as text, a leading `@` means an abstract name: `@docker-secrets-engine/1000/daemon.sock`. Everything else is
/// a path.
///
/// ```
/// use keyway_local::Address;
///
/// let path: Address = "/run/user/1000/keyway/daemon.sock".parse()?;
/// let name: Address = "@docker-secrets-engine/1000/daemon.sock".parse()?;
/// assert_eq!(name, Address::reference(1000));
/// assert_eq!(path.to_string(), "/run/user/1000/keyway/daemon.sock");
/// # Ok::<(), keyway_local::ParseAddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a Unix socket has no third kind of address"
)]
pub enum Address {
    /// A path in the file system.
    Path(PathBuf),
    /// A name in the abstract namespace, without the `@`. It has no file permissions.
    Abstract(String),
}

impl Address {
    /// Reads an address as it is written in a flag, a file or an environment variable.
    ///
    /// # Errors
    ///
    /// Returns [`ParseAddressError`] if the text is empty, too long for a socket address, holds a zero byte, is a URL or a
    /// path that a shell should have expanded, or names an abstract socket in other than UTF-8.
    pub fn from_os_str(text: &OsStr) -> Result<Self, ParseAddressError> {
        let bytes = text.as_encoded_bytes();
        let name = bytes.strip_prefix(b"@");
        if bytes.is_empty() || name.is_some_and(<[u8]>::is_empty) {
            return Err(ParseAddressError::Empty);
        }
        if bytes.contains(&0) {
            return Err(ParseAddressError::ZeroByte);
        }
        if is_url(bytes) {
            return Err(ParseAddressError::Url);
        }
        if bytes.starts_with(b"~") {
            return Err(ParseAddressError::Tilde);
        }
        let address = match name {
            None => Self::Path(text.into()),
            Some(name) => {
                let name = str::from_utf8(name).map_err(|_| ParseAddressError::NotUtf8)?;
                Self::Abstract(name.to_owned())
            }
        };
        address.check_length()?;
        Ok(address)
    }

    /// Returns the abstract name at which the protocol's reference implementation listens for the user `uid` on Linux, and
    /// at which its clients and plugins look.
    #[must_use]
    pub fn reference(uid: u32) -> Self {
        Self::Abstract(format!("docker-secrets-engine/{uid}/daemon.sock"))
    }

    /// Checks that the address fits a socket address of the system.
    pub(crate) fn check_length(&self) -> Result<(), ParseAddressError> {
        let length = match self {
            Self::Path(path) => path.as_os_str().len(),
            Self::Abstract(name) => name.len(),
        };
        if length > MAX_ADDRESS_LENGTH {
            return Err(ParseAddressError::TooLong { length });
        }
        Ok(())
    }

    /// Returns the path, unless the address is an abstract name.
    pub fn as_path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Abstract(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        Self::from_os_str(OsStr::new(text))
    }
}

/// The I/O error contains the error, whose message states the remedy.
impl From<ParseAddressError> for io::Error {
    fn from(error: ParseAddressError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<Address> for OsString {
    fn from(address: Address) -> Self {
        match address {
            Address::Path(path) => path.into(),
            Address::Abstract(name) => format!("@{name}").into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?})", self.to_string())
    }
}

/// Error of parsing an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseAddressError {
    /// The text is empty, or an `@` alone.
    #[error("a socket address is empty: give a path, or @name for an abstract socket")]
    Empty,
    /// The name of an abstract socket is not UTF-8.
    #[error("the name of an abstract socket is not UTF-8")]
    NotUtf8,
    /// The path starts with `~`, which only a shell expands.
    #[error("a socket path that starts with ~ was not expanded by a shell: give the absolute path")]
    Tilde,
    /// The address has more bytes than the system takes.
    #[error(
        "a socket address of {length} bytes is too long, because the system takes {MAX_ADDRESS_LENGTH} at most: choose a shorter path, such as {shorter}",
        shorter = shorter_path()
    )]
    TooLong {
        /// Its length in bytes, without the `@`.
        length: usize,
    },
    /// The text is a URL.
    #[error("a socket address is a path, not a URL: leave out the scheme before the path")]
    Url,
    /// The text holds a zero byte, which would end a path.
    #[error("a socket address holds a zero byte")]
    ZeroByte,
}

/// Returns a place for a socket that is short wherever the user's directories are.
fn shorter_path() -> String {
    let uid = rustix::process::geteuid().as_raw();
    format!("/tmp/keyway-{uid}/daemon.sock")
}

/// Returns `true` for `unix:/path`, `unix:///path` and anything else with a scheme and `//`.
fn is_url(text: &[u8]) -> bool {
    let Some(colon) = text.iter().position(|&byte| byte == b':') else {
        return false;
    };
    let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    is_scheme && (rest.starts_with(b"//") || scheme.eq_ignore_ascii_case(b"unix"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_to_address_and_back() {
        for text in [
            "a:b.sock",
            "./unix:x",
            "./~/b.sock",
            "/a/b.sock",
            "relative.sock",
            "@name",
            "@a/b/c",
            "./@not-abstract",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(OsString::from(address), OsString::from(text));
        }
        assert_eq!("@a".parse(), Ok(Address::Abstract("a".to_owned())));
        assert_eq!("a".parse(), Ok(Address::Path("a".into())));
    }

    #[test]
    fn an_invalid_address_is_refused() {
        let parse = |text: &str| text.parse::<Address>();
        assert_eq!(parse(""), Err(ParseAddressError::Empty));
        assert_eq!(parse("@"), Err(ParseAddressError::Empty));
        assert_eq!(parse("/a\0b"), Err(ParseAddressError::ZeroByte));
        for url in [
            "unix:///a/b",
            "unix:/a/b",
            "UNIX:a",
            "http://localhost/a",
            "ssh+x://h",
        ] {
            assert_eq!(parse(url), Err(ParseAddressError::Url), "{url}");
        }
        for path in ["~/a.sock", "~", "~ann/a.sock"] {
            assert_eq!(parse(path), Err(ParseAddressError::Tilde), "{path}");
        }
    }

    #[test]
    fn an_address_that_is_too_long_is_refused_with_a_shorter_place() {
        let parse = |text: &str| text.parse::<Address>();
        assert!(parse(&"x".repeat(107)).is_ok());
        assert!(parse(&format!("@{}", "x".repeat(107))).is_ok());
        let error = parse(&"x".repeat(108)).unwrap_err();
        assert_eq!(error, ParseAddressError::TooLong { length: 108 });
        let text = error.to_string();
        for part in ["108 bytes", "107 at most", "/tmp/keyway-"] {
            assert!(text.contains(part), "{text}");
        }
        // The system's own words would name neither number.
        let made: Address = PathBuf::from("x".repeat(200)).into();
        let text = made.to_socket_addr().unwrap_err().to_string();
        assert!(text.contains("200 bytes"), "{text}");
    }
}
