//! Where a daemon listens.

#[cfg(unix)]
mod unix;
mod well_known;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The environment variable that names the daemon's address, for the daemon and for its clients.
pub const SOCKET_VARIABLE: &str = "KEYWAY_SOCKET";

/// The longest path or abstract name that a Unix socket address holds, in bytes (108 on Linux, with one to spare for
/// the zero byte that ends a path or starts an abstract name).
pub const MAX_ADDRESS_LENGTH: usize = 107;

/// The address of a Unix socket: a path, or a name in Linux's abstract namespace.
///
/// Written as text, a leading `@` means an abstract name: `@docker-secrets-engine/1000/daemon.sock`. Everything else is
/// a path.
///
/// Finding the right address never reads the environment itself: functions that need it take a lookup, for which
/// programs pass `|name| std::env::var_os(name)` and tests what they like.
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
    /// The address of what was written in a flag or an environment variable.
    ///
    /// # Errors
    ///
    /// The text is empty, too long for a socket address, holds a zero byte, or names an abstract socket in other than
    /// UTF-8.
    pub fn from_os_str(text: &OsStr) -> Result<Self, ParseAddressError> {
        let bytes = text.as_encoded_bytes();
        let name = bytes.strip_prefix(b"@");
        if bytes.is_empty() || name.is_some_and(<[u8]>::is_empty) {
            return Err(ParseAddressError::Empty);
        }
        let length = name.unwrap_or(bytes).len();
        if length > MAX_ADDRESS_LENGTH {
            return Err(ParseAddressError::TooLong { length });
        }
        if bytes.contains(&0) {
            return Err(ParseAddressError::ZeroByte);
        }
        match name {
            None => Ok(Self::Path(text.into())),
            Some(name) => {
                let name = str::from_utf8(name).map_err(|_| ParseAddressError::NotUtf8)?;
                Ok(Self::Abstract(name.to_owned()))
            }
        }
    }

    /// The path, unless the address is an abstract name.
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

/// Why a text is not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseAddressError {
    /// Nothing, or an `@` alone.
    #[error("a socket address is empty: give a path, or @name for an abstract socket")]
    Empty,
    /// An abstract name that is not UTF-8.
    #[error("the name of an abstract socket is not UTF-8")]
    NotUtf8,
    /// More bytes than a Unix socket address holds.
    #[error(
        "a socket address of {length} bytes is too long: {MAX_ADDRESS_LENGTH} is the most that the system takes"
    )]
    TooLong {
        /// Its length in bytes, without the `@`.
        length: usize,
    },
    /// A zero byte, which ends a path.
    #[error("a socket address holds a zero byte")]
    ZeroByte,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_to_address_and_back() {
        for text in [
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
    fn what_is_no_address() {
        let parse = |text: &str| text.parse::<Address>();
        assert_eq!(parse(""), Err(ParseAddressError::Empty));
        assert_eq!(parse("@"), Err(ParseAddressError::Empty));
        assert_eq!(parse("/a\0b"), Err(ParseAddressError::ZeroByte));
        assert!(parse(&"x".repeat(107)).is_ok());
        assert!(parse(&format!("@{}", "x".repeat(107))).is_ok());
        assert_eq!(
            parse(&"x".repeat(108)),
            Err(ParseAddressError::TooLong { length: 108 })
        );
    }
}
