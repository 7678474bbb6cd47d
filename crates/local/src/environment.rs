//! The variables of the environment that name the daemon of a client.

use std::ffi::OsString;

use crate::address::{Address, ParseAddressError};

/// The environment variable that names the daemon's address, for the daemon and for its clients.
pub const SOCKET_VARIABLE: &str = "KEYWAY_SOCKET";

/// The environment variable that names the uid whose daemon a client accepts, besides `--daemon-uid`.
pub const DAEMON_UID_VARIABLE: &str = "KEYWAY_DAEMON_UID";

/// A variable of the environment that names the daemon is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// `KEYWAY_SOCKET` is not an address.
    #[error("{SOCKET_VARIABLE} is wrong")]
    Socket(#[from] ParseAddressError),
    /// `KEYWAY_DAEMON_UID` is not a uid.
    #[error("{DAEMON_UID_VARIABLE} is wrong: a uid is a whole number from 0 to 4294967294")]
    DaemonUid,
}

/// Reads the address that `KEYWAY_SOCKET` names; `None` if the variable is unset or empty.
///
/// # Errors
///
/// Returns [`EnvironmentError::Socket`] if the variable holds something that is not an address.
pub fn given_address(
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Address>, EnvironmentError> {
    let Some(given) = environment(SOCKET_VARIABLE).filter(|given| !given.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(Address::from_os_str(&given)?))
}

/// Reads the uid whose daemon is accepted from [`DAEMON_UID_VARIABLE`]; `None` if the variable is unset or empty.
///
/// # Errors
///
/// Returns [`EnvironmentError::DaemonUid`] if its value is not a uid.
pub fn daemon_uid(
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<u32>, EnvironmentError> {
    let Some(text) = environment(DAEMON_UID_VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let uid = text.to_str().and_then(|text| text.parse().ok());
    // The largest number denotes no user: system calls interpret it as "unchanged".
    let uid = uid.filter(|&uid: &u32| uid != u32::MAX);
    uid.map(Some).ok_or(EnvironmentError::DaemonUid)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns the lookup of an environment of these variables.
    pub(crate) fn lookup<'a>(
        variables: &'a [(&'a str, &'a str)],
    ) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| {
            variables
                .iter()
                .find(|(found, _)| *found == name)
                .map(|(_, value)| value.into())
        }
    }

    #[test]
    fn the_uid_of_the_daemon_is_read_from_the_environment() {
        let read = |text: &str| daemon_uid(lookup(&[("KEYWAY_DAEMON_UID", text)]));
        assert_eq!(daemon_uid(|_| None), Ok(None));
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("0"), Ok(Some(0)));
        for text in ["-1", "ann", "4294967295", "1 "] {
            assert_eq!(read(text), Err(EnvironmentError::DaemonUid), "{text}");
        }
    }

    #[test]
    fn the_address_is_read_from_the_environment() {
        let read = |text: &str| given_address(lookup(&[("KEYWAY_SOCKET", text)]));
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("@mine"), Ok(Some("@mine".parse().unwrap())));
        assert_eq!(read("@"), Err(ParseAddressError::Empty.into()));
    }
}
