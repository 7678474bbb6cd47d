//! The configuration of a store.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_local::base_directory;
use keyway_secrets::SecretValue;

use crate::StoreError;

/// Environment variable that names the directory of the store.
pub const STORE_VARIABLE: &str = "KEYWAY_FILE_STORE";
/// Environment variable that names the identity file, if it is not in the store's directory.
pub const IDENTITY_VARIABLE: &str = "KEYWAY_FILE_IDENTITY";
/// Environment variable that names a file whose first line is the identity's passphrase.
pub const PASSPHRASE_FILE_VARIABLE: &str = "KEYWAY_FILE_PASSPHRASE_FILE";

/// Name of an identity without a passphrase in the store's directory.
pub(crate) const PLAIN_IDENTITY: &str = "identity.txt";
/// Name of an identity that is protected by a passphrase in the store's directory.
pub(crate) const PROTECTED_IDENTITY: &str = "identity.age";

/// Default number of versions kept per secret, including the current one.
pub const DEFAULT_VERSIONS_KEPT: usize = 10;
/// The time for which a removed version is kept for [`Store::restore`](crate::Store::restore): 30 days.
pub const REMOVED_KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Default timeout of a writer that waits for another one.
pub const DEFAULT_LOCK_WAIT: Duration = Duration::from_secs(5);

/// The configuration of a [`Store`](crate::Store).
///
/// ```
/// use keyway_plugin_file::StoreConfig;
///
/// let config = StoreConfig::new("/home/ann/secrets").versions_kept(3);
/// assert_eq!(config.dir().to_str(), Some("/home/ann/secrets"));
/// ```
#[derive(Clone, Debug)]
pub struct StoreConfig {
    dir: PathBuf,
    identity: Option<PathBuf>,
    passphrase: Option<Passphrase>,
    versions_kept: usize,
    removed_kept_for: Duration,
    lock_wait: Duration,
    work_factor: Option<u8>,
}

/// The source of the identity's passphrase.
#[derive(Clone, Debug)]
pub(crate) enum Passphrase {
    /// The first line of this file, which is read together with the identity.
    File(PathBuf),
    /// The user.
    Entered(SecretValue),
}

impl StoreConfig {
    /// Creates the configuration of a store in `dir` with the defaults: an unprotected identity file in the same directory,
    /// [`DEFAULT_VERSIONS_KEPT`] versions, [`DEFAULT_LOCK_WAIT`].
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            identity: None,
            passphrase: None,
            versions_kept: DEFAULT_VERSIONS_KEPT,
            removed_kept_for: REMOVED_KEPT_FOR,
            lock_wait: DEFAULT_LOCK_WAIT,
            work_factor: None,
        }
    }

    /// Reads the configuration from the environment: the directory in [`STORE_VARIABLE`], else `$XDG_DATA_HOME/keyway`, else
    /// `$HOME/.local/share/keyway`; the files in [`IDENTITY_VARIABLE`] and [`PASSPHRASE_FILE_VARIABLE`].
    ///
    /// `lookup` is usually `|name| std::env::var_os(name)`. An empty variable counts as unset, and so does a relative
    /// `XDG_DATA_HOME`, as the XDG base directory specification demands.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::NoLocation`] if no variable names a directory, and [`StoreError::RelativePath`] if one of the
    /// three `KEYWAY_FILE_*` variables holds a relative path, which the daemon and a command would resolve differently.
    pub fn from_env(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, StoreError> {
        let path = |name: &'static str| match lookup(name).filter(|value| !value.is_empty()) {
            Some(value) if Path::new(&value).is_absolute() => Ok(Some(PathBuf::from(value))),
            Some(value) => Err(StoreError::RelativePath {
                variable: name,
                path: value.into(),
            }),
            None => Ok(None),
        };
        let dir = match path(STORE_VARIABLE)? {
            Some(dir) => dir,
            None => default_dir(&lookup).ok_or(StoreError::NoLocation)?,
        };
        let mut config = Self::new(dir);
        config.identity = path(IDENTITY_VARIABLE)?;
        config.passphrase = path(PASSPHRASE_FILE_VARIABLE)?.map(Passphrase::File);
        Ok(config)
    }

    /// Sets the path of the identity. Default: a file in the store's directory.
    #[must_use]
    pub fn identity(mut self, path: impl Into<PathBuf>) -> Self {
        self.identity = Some(path.into());
        self
    }

    /// Protects the identity with the passphrase on the first line of `path`. Default: no passphrase.
    ///
    /// The file is read together with the identity and must be readable by its owner only.
    #[must_use]
    pub fn passphrase_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.passphrase = Some(Passphrase::File(path.into()));
        self
    }

    /// Protects the identity with this passphrase. Default: no passphrase.
    #[must_use]
    pub fn passphrase(mut self, passphrase: SecretValue) -> Self {
        self.passphrase = Some(Passphrase::Entered(passphrase));
        self
    }

    /// Returns this configuration with another passphrase of the identity; `None` for none.
    pub(crate) fn protected_by(&self, passphrase: Option<&SecretValue>) -> Self {
        Self {
            passphrase: passphrase.cloned().map(Passphrase::Entered),
            ..self.clone()
        }
    }

    /// Leaves the identity unprotected, as is the default.
    #[must_use]
    pub fn without_passphrase(mut self) -> Self {
        self.passphrase = None;
        self
    }

    /// Sets the number of versions kept per secret, including the current one and removed ones; at least one. Default:
    /// [`DEFAULT_VERSIONS_KEPT`].
    #[must_use]
    pub fn versions_kept(mut self, count: usize) -> Self {
        self.versions_kept = count.max(1);
        self
    }

    /// Sets how long removed versions are kept for [`Store::restore`](crate::Store::restore); each write drops older ones.
    /// Default: [`REMOVED_KEPT_FOR`].
    #[must_use]
    pub fn removed_kept_for(mut self, time: Duration) -> Self {
        self.removed_kept_for = time;
        self
    }

    /// Sets the timeout of a wait for another writer. Default: [`DEFAULT_LOCK_WAIT`].
    #[must_use]
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }

    /// Sets the scrypt work factor of a new passphrase-protected identity to `2^log_n` (1 to 63). Default: age
    /// chooses one that takes about a second on this machine.
    ///
    /// A low factor makes guessing the passphrase cheap.
    #[must_use]
    pub fn work_factor(mut self, log_n: u8) -> Self {
        self.work_factor = Some(log_n.clamp(1, 63));
        self
    }

    /// Returns the store's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn max_versions(&self) -> usize {
        self.versions_kept
    }

    pub(crate) fn max_removed_age(&self) -> Duration {
        self.removed_kept_for
    }

    pub(crate) fn lock_timeout(&self) -> Duration {
        self.lock_wait
    }

    pub(crate) fn passphrase_work_factor(&self) -> Option<u8> {
        self.work_factor
    }

    pub(crate) fn passphrase_source(&self) -> Option<&Passphrase> {
        self.passphrase.as_ref()
    }

    /// Returns `true` if a passphrase is configured.
    pub fn has_passphrase(&self) -> bool {
        self.passphrase.is_some()
    }

    /// Returns the file that the passphrase is read from, if one is configured.
    pub fn passphrase_path(&self) -> Option<&Path> {
        match &self.passphrase {
            Some(Passphrase::File(path)) => Some(path),
            _ => None,
        }
    }

    /// Returns `true` if the identity is not in the store's directory.
    pub(crate) fn is_identity_elsewhere(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns the path of the identity: by default `identity.age` with a passphrase, `identity.txt` without one.
    pub fn identity_path(&self) -> PathBuf {
        self.identity
            .clone()
            .unwrap_or_else(|| match self.passphrase {
                Some(_) => self.dir.join(PROTECTED_IDENTITY),
                None => self.dir.join(PLAIN_IDENTITY),
            })
    }

    /// Returns the default path of an identity that is protected if this configuration has no passphrase, and vice versa.
    pub(crate) fn other_identity_path(&self) -> Option<PathBuf> {
        match (&self.identity, &self.passphrase) {
            (Some(_), _) => None,
            (None, Some(_)) => Some(self.dir.join(PLAIN_IDENTITY)),
            (None, None) => Some(self.dir.join(PROTECTED_IDENTITY)),
        }
    }
}

fn default_dir(lookup: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let data = base_directory(lookup, "XDG_DATA_HOME", ".local/share")?;
    Some(data.join("keyway"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &'static [(&str, &str)]) -> Result<StoreConfig, StoreError> {
        StoreConfig::from_env(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_store_directory_is_read_from_the_environment() {
        let dir = |pairs| {
            from(pairs)
                .map(|config| config.dir.to_str().map(str::to_owned))
                .unwrap()
        };
        assert_eq!(
            dir(&[("HOME", "/h")]).as_deref(),
            Some("/h/.local/share/keyway")
        );
        assert_eq!(
            dir(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]).as_deref(),
            Some("/d/keyway")
        );
        assert_eq!(
            dir(&[("HOME", "/h"), ("XDG_DATA_HOME", "d")]).as_deref(),
            Some("/h/.local/share/keyway")
        );
        assert_eq!(
            dir(&[("HOME", "/h"), (STORE_VARIABLE, "/s")]).as_deref(),
            Some("/s")
        );
        assert_eq!(
            dir(&[("HOME", "/h"), (STORE_VARIABLE, "")]).as_deref(),
            Some("/h/.local/share/keyway")
        );
    }

    #[test]
    fn a_missing_or_relative_directory_is_an_error() {
        assert!(matches!(from(&[]), Err(StoreError::NoLocation)));
        assert!(matches!(
            from(&[(STORE_VARIABLE, "s")]),
            Err(StoreError::RelativePath { .. })
        ));
    }

    #[test]
    fn the_name_of_the_identity_file_depends_on_the_passphrase() {
        let plain = StoreConfig::new("/s");
        assert_eq!(plain.identity_path(), Path::new("/s/identity.txt"));
        assert_eq!(
            plain.other_identity_path().as_deref(),
            Some(Path::new("/s/identity.age"))
        );
        let protected = plain.passphrase_file("/p");
        assert_eq!(protected.identity_path(), Path::new("/s/identity.age"));
        let elsewhere = protected.identity("/usb/key");
        assert_eq!(elsewhere.identity_path(), Path::new("/usb/key"));
        assert_eq!(elsewhere.other_identity_path(), None);
    }
}
