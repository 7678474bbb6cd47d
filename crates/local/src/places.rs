//! The addresses of one user's daemon: where it listens, and where its clients look.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::address::Address;
use crate::peer::Rule;
use crate::uid::KnownUids;
use crate::xdg::{absolute, base_directory};

/// The directories in which the daemon of one user listens.
///
/// ```
/// use keyway_local::Places;
/// use std::ffi::OsString;
///
/// let environment = |name: &str| (name == "XDG_RUNTIME_DIR").then(|| OsString::from("/run/user/7"));
/// let places = Places::new(7, environment, |_| false);
/// assert_eq!(places.default_address().unwrap().to_string(), "/run/user/7/keyway/daemon.sock");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    uid: u32,
    /// `$XDG_RUNTIME_DIR`, or the directory that the system creates for a logged-in user.
    runtime: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    state: Option<PathBuf>,
    /// `$XDG_CACHE_HOME`.
    cache: Option<PathBuf>,
    /// The directory that the oldest plugins take.
    oldest: Option<PathBuf>,
}

/// Additions to the defaults, for [`Places::listen`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "programs make one, and a new field is a new decision of theirs"
)]
pub struct ListenOptions {
    /// The addresses of flags, environment or configuration; empty: the default ones.
    pub given: Vec<Address>,
    /// `true` if the reference's abstract name is one of the default addresses.
    pub abstract_address: bool,
    /// `true` if Docker's `engine.sock` is one of the default addresses.
    pub docker_socket: bool,
    /// `true` if the daemon also listens where older plugins look.
    pub older: bool,
}

/// The addresses at which a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listen {
    /// The addresses without which the daemon does not start.
    pub listen: Vec<Address>,
    /// The addresses at which it listens if no other process does.
    pub listen_also: Vec<Address>,
}

impl Places {
    /// Returns the places of the user of this process, as the environment and `/run/user` are now.
    #[must_use]
    pub fn of_process() -> Self {
        Self::in_environment(|name| std::env::var_os(name))
    }

    /// Returns the places of the user of this process for an environment that was read before.
    #[must_use]
    pub fn in_environment(environment: impl Fn(&str) -> Option<OsString>) -> Self {
        let known = KnownUids::read();
        Self::new(known.own(), environment, |path| {
            belongs_to(path, known.own(), &known)
        })
    }

    /// Returns the places of the user `uid`, as far as they are known without that user's environment. For the user of this
    /// process they are those of [`of_process`](Self::of_process).
    #[must_use]
    pub fn of_user(uid: u32) -> Self {
        let known = KnownUids::read();
        if uid == known.own() {
            return Self::of_process();
        }
        Self::new(uid, |_| None, |path| belongs_to(path, uid, &known))
    }

    /// Returns the places of the user `uid` for an environment and for a test whether a directory is that user's.
    ///
    /// Variables that are relative paths are ignored, as the XDG base directory specification demands.
    #[must_use]
    pub fn new(
        uid: u32,
        environment: impl Fn(&str) -> Option<OsString>,
        is_own_directory: impl Fn(&Path) -> bool,
    ) -> Self {
        let runtime = absolute(&environment, "XDG_RUNTIME_DIR");
        Self {
            uid,
            state: base_directory(&environment, "XDG_STATE_HOME", ".local/state"),
            cache: base_directory(&environment, "XDG_CACHE_HOME", ".cache"),
            oldest: base_directory(&environment, "XDG_RUNTIME_DIR", ".cache"),
            runtime: runtime.or_else(|| {
                Some(PathBuf::from(format!("/run/user/{uid}")))
                    .filter(|path| is_own_directory(path))
            }),
        }
    }

    /// Returns the default address: `keyway/daemon.sock` in `$XDG_RUNTIME_DIR`; without that variable in `/run/user/<uid>`
    /// if it belongs to the user, else in `$XDG_STATE_HOME`.
    #[must_use]
    pub fn default_address(&self) -> Option<Address> {
        let base = self.runtime.as_ref().or(self.state.as_ref())?;
        Some(base.join("keyway/daemon.sock").into())
    }

    /// Returns the abstract name at which current clients and plugins of the protocol's reference implementation look.
    #[must_use]
    pub fn reference(&self) -> Address {
        Address::reference(self.uid)
    }

    /// Returns Docker's `engine.sock`, where programs look that use the reference's default path, and plugins built with SDK
    /// v0.0.11 to v0.0.22.
    #[must_use]
    pub fn docker(&self) -> Option<Address> {
        let cache = self.cache.as_ref()?;
        Some(cache.join("docker-secrets-engine/engine.sock").into())
    }

    /// Returns where plugins look that were built with SDK v0.0.10 and before.
    #[must_use]
    pub fn oldest(&self) -> Option<Address> {
        let base = self.oldest.as_ref()?;
        Some(base.join("secrets-engine/engine.sock").into())
    }

    /// Returns where a client looks for the daemon, in this order: at `given` alone if there is one, else at the default
    /// path, at the reference's abstract name, and at Docker's `engine.sock`.
    #[must_use]
    pub fn candidates(&self, given: Option<Address>) -> Vec<Address> {
        if let Some(given) = given {
            return vec![given];
        }
        let path = self.default_address().into_iter();
        path.chain([self.reference()])
            .chain(self.docker())
            .collect()
    }

    /// Returns where a daemon listens.
    ///
    /// Addresses that are given replace the default ones. The default ones besides the path, and those of older plugins, are
    /// taken where they are free.
    #[must_use]
    pub fn listen(&self, options: ListenOptions) -> Listen {
        let is_default = options.given.is_empty();
        let listen = if is_default {
            self.default_address().into_iter().collect()
        } else {
            options.given
        };
        let reference = (is_default && options.abstract_address).then(|| self.reference());
        let docker = ((is_default || options.older) && options.docker_socket)
            .then(|| self.docker())
            .flatten();
        let oldest = options.older.then(|| self.oldest()).flatten();
        let listen_also = reference.into_iter().chain(docker).chain(oldest);
        Listen {
            listen_also: listen_also
                .filter(|address| !listen.contains(address))
                .collect(),
            listen,
        }
    }
}

fn belongs_to(path: &Path, uid: u32, known: &KnownUids) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_dir() && Rule::Uid(uid).accepts(metadata.uid(), known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::lookup;

    const HOME: (&str, &str) = ("HOME", "/h");

    fn places(variables: &[(&str, &str)]) -> Places {
        Places::new(7, lookup(variables), |_| false)
    }

    fn texts(addresses: impl IntoIterator<Item = Address>) -> Vec<String> {
        addresses
            .into_iter()
            .map(|address| address.to_string())
            .collect()
    }

    #[test]
    fn the_default_path_follows_xdg() {
        let check = |variables: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(texts(places(variables).default_address()), expected);
        };
        check(
            &[HOME, ("XDG_RUNTIME_DIR", "/run/user/1")],
            &["/run/user/1/keyway/daemon.sock"],
        );
        check(
            &[HOME, ("XDG_STATE_HOME", "/state")],
            &["/state/keyway/daemon.sock"],
        );
        check(&[HOME], &["/h/.local/state/keyway/daemon.sock"]);
        check(
            &[HOME, ("XDG_RUNTIME_DIR", "relative")],
            &["/h/.local/state/keyway/daemon.sock"],
        );
        check(&[], &[]);
    }

    #[test]
    fn the_runtime_directory_of_the_user_serves_without_its_variable() {
        let is_ours = |path: &Path| path == Path::new("/run/user/7");
        let own = Places::new(7, lookup(&[HOME]), is_ours);
        assert_eq!(
            texts(own.default_address()),
            ["/run/user/7/keyway/daemon.sock"]
        );
        // The oldest plugins know the variable alone.
        assert_eq!(
            texts(own.oldest()),
            ["/h/.cache/secrets-engine/engine.sock"]
        );
        let other = Places::new(8, lookup(&[HOME]), is_ours);
        assert_eq!(
            texts(other.default_address()),
            ["/h/.local/state/keyway/daemon.sock"]
        );
    }

    #[test]
    fn a_directory_belongs_to_its_owner_and_a_link_to_none() {
        let root = tempfile::tempdir().unwrap();
        let known = KnownUids::read();
        assert!(belongs_to(root.path(), known.own(), &known));
        assert!(!belongs_to(root.path(), known.own() + 1, &known));
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        assert!(!belongs_to(&link, known.own(), &known));
        let unmapped = KnownUids::from_parts(known.own(), None, Some(&known.own().to_string()));
        assert!(!belongs_to(root.path(), known.own(), &unmapped));
    }

    #[test]
    fn clients_look_at_the_path_first() {
        assert_eq!(
            texts(places(&[HOME]).candidates(None)),
            [
                "/h/.local/state/keyway/daemon.sock",
                "@docker-secrets-engine/7/daemon.sock",
                "/h/.cache/docker-secrets-engine/engine.sock",
            ]
        );
        let given = "@mine".parse().unwrap();
        assert_eq!(texts(places(&[HOME]).candidates(Some(given))), ["@mine"]);
    }

    #[test]
    fn a_daemon_listens_at_every_default_address() {
        let defaults = ListenOptions {
            given: Vec::new(),
            abstract_address: true,
            docker_socket: true,
            older: false,
        };
        let places = places(&[HOME, ("XDG_CACHE_HOME", "/c"), ("XDG_RUNTIME_DIR", "/r")]);
        let check = |options: &ListenOptions, listen: &[&str], also: &[&str]| {
            let found = places.listen(options.clone());
            assert_eq!(texts(found.listen), listen, "{options:?}");
            assert_eq!(texts(found.listen_also), also, "{options:?}");
        };
        let path = "/r/keyway/daemon.sock";
        let name = "@docker-secrets-engine/7/daemon.sock";
        let docker = "/c/docker-secrets-engine/engine.sock";
        let oldest = "/r/secrets-engine/engine.sock";
        check(&defaults, &[path], &[name, docker]);
        let older = ListenOptions {
            older: true,
            ..defaults.clone()
        };
        check(&older, &[path], &[name, docker, oldest]);
        let no_name = ListenOptions {
            abstract_address: false,
            ..defaults.clone()
        };
        check(&no_name, &[path], &[docker]);
        let no_docker = ListenOptions {
            docker_socket: false,
            ..older.clone()
        };
        check(&no_docker, &[path], &[name, oldest]);
        let given = |options: &ListenOptions, text: &str| ListenOptions {
            given: vec![text.parse().unwrap()],
            ..options.clone()
        };
        check(&given(&defaults, "/x.sock"), &["/x.sock"], &[]);
        check(&given(&older, "/x.sock"), &["/x.sock"], &[docker, oldest]);
        check(&given(&older, docker), &[docker], &[oldest]);
    }
}
