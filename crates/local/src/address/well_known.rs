//! The addresses that daemons of this protocol use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Address, ParseAddressError, SOCKET_VARIABLE};

impl Address {
    /// Keyway's own default: `keyway/daemon.sock` in `$XDG_RUNTIME_DIR`, without that variable in `$XDG_STATE_HOME`
    /// (which is `$HOME/.local/state` when unset).
    ///
    /// `None` when none of the three variables holds an absolute path.
    pub fn default_path(environment: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let base = directory(&environment, "XDG_RUNTIME_DIR")
            .or_else(|| directory(&environment, "XDG_STATE_HOME"))
            .or_else(|| Some(directory(&environment, "HOME")?.join(".local/state")))?;
        Some(Self::Path(base.join("keyway/daemon.sock")))
    }

    /// The abstract name at which the protocol's reference implementation listens for the user `uid` on Linux, and at
    /// which its clients and plugins look.
    pub fn reference(uid: u32) -> Self {
        Self::Abstract(format!("docker-secrets-engine/{uid}/daemon.sock"))
    }

    /// The paths at which older plugins look for a daemon: plugin SDK v0.0.11 to v0.0.22, then v0.0.10 and before.
    ///
    /// A daemon listens there only when it is told to. Paths whose variables are missing are left out.
    pub fn older_peers(environment: impl Fn(&str) -> Option<OsString>) -> Vec<Self> {
        let home_cache = directory(&environment, "HOME").map(|home| home.join(".cache"));
        let user_cache = directory(&environment, "XDG_CACHE_HOME").or_else(|| home_cache.clone());
        let newer = user_cache.map(|cache| cache.join("docker-secrets-engine/engine.sock"));
        let oldest = directory(&environment, "XDG_RUNTIME_DIR")
            .or(home_cache)
            .map(|base| base.join("secrets-engine/engine.sock"));
        newer.into_iter().chain(oldest).map(Self::Path).collect()
    }

    /// Where a client of the user `uid` looks for the daemon, in this order: `KEYWAY_SOCKET` alone when it is set, else
    /// the [default path](Self::default_path) and then the [reference's name](Self::reference).
    ///
    /// # Errors
    ///
    /// `KEYWAY_SOCKET` is set to something that is not an address.
    pub fn candidates(
        environment: impl Fn(&str) -> Option<OsString>,
        uid: u32,
    ) -> Result<Vec<Self>, ParseAddressError> {
        if let Some(given) = environment(SOCKET_VARIABLE).filter(|given| !given.is_empty()) {
            return Ok(vec![Self::from_os_str(&given)?]);
        }
        Ok(Self::default_path(environment)
            .into_iter()
            .chain([Self::reference(uid)])
            .collect())
    }
}

/// An absolute path from the environment; the XDG specification says to ignore others.
fn directory(environment: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    environment(name)
        .map(PathBuf::from)
        .filter(|path| Path::is_absolute(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(
        variables: &'a [(&'a str, &'a str)],
    ) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| {
            variables
                .iter()
                .find(|(found, _)| *found == name)
                .map(|(_, value)| value.into())
        }
    }

    fn texts(addresses: impl IntoIterator<Item = Address>) -> Vec<String> {
        addresses
            .into_iter()
            .map(|address| address.to_string())
            .collect()
    }

    #[test]
    fn the_default_path_follows_xdg() {
        let check = |variables: &[(&str, &str)], expected: Option<&str>| {
            let found = Address::default_path(environment(variables));
            assert_eq!(
                texts(found),
                texts(expected.map(|text| text.parse().unwrap()))
            );
        };
        let home = ("HOME", "/home/x");
        check(
            &[home, ("XDG_RUNTIME_DIR", "/run/user/1")],
            Some("/run/user/1/keyway/daemon.sock"),
        );
        check(
            &[home, ("XDG_STATE_HOME", "/state")],
            Some("/state/keyway/daemon.sock"),
        );
        check(&[home], Some("/home/x/.local/state/keyway/daemon.sock"));
        check(
            &[home, ("XDG_RUNTIME_DIR", "relative")],
            Some("/home/x/.local/state/keyway/daemon.sock"),
        );
        check(&[], None);
    }

    #[test]
    fn a_named_socket_is_the_only_candidate() {
        let found = Address::candidates(
            environment(&[("HOME", "/h"), ("KEYWAY_SOCKET", "@mine")]),
            7,
        );
        assert_eq!(texts(found.unwrap()), ["@mine"]);
        let found = Address::candidates(environment(&[("HOME", "/h"), ("KEYWAY_SOCKET", "")]), 7);
        assert_eq!(
            texts(found.unwrap()),
            [
                "/h/.local/state/keyway/daemon.sock",
                "@docker-secrets-engine/7/daemon.sock"
            ]
        );
        let found = Address::candidates(environment(&[("KEYWAY_SOCKET", "@")]), 7);
        assert_eq!(found, Err(ParseAddressError::Empty));
    }

    #[test]
    fn older_peers_look_in_caches() {
        let check = |variables: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(
                texts(Address::older_peers(environment(variables))),
                expected
            );
        };
        check(
            &[("HOME", "/h")],
            &[
                "/h/.cache/docker-secrets-engine/engine.sock",
                "/h/.cache/secrets-engine/engine.sock",
            ],
        );
        check(
            &[
                ("HOME", "/h"),
                ("XDG_CACHE_HOME", "/c"),
                ("XDG_RUNTIME_DIR", "/r"),
            ],
            &[
                "/c/docker-secrets-engine/engine.sock",
                "/r/secrets-engine/engine.sock",
            ],
        );
        check(&[], &[]);
    }
}
