//! The place of the configuration file, and the memory of the one that was in force before.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use keyway_local::file::{OpenError, create_private_directory, read_regular, replace};
use keyway_local::with_causes;

use super::{Config, ConfigError};

/// The most bytes of a path that the kernel takes.
const MAX_PATH_LEN: u64 = 4096;

/// The configuration file of a daemon, read at the start and at each reload.
///
/// A configuration that was in force and is absent must not lift its rules: while the daemon runs, an absent file is then an
/// error and the old configuration stays; at the next start it is one, too, because the path is remembered in the state
/// directory. `--no-config`, or an empty file, is the way back to the defaults.
#[derive(Debug)]
pub struct ConfigSource {
    choice: ConfigChoice,
    /// The file that remembers the path that was read last.
    memory: PathBuf,
    was_read: AtomicBool,
}

/// Which configuration file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigChoice {
    /// This file, which has to exist.
    File(PathBuf),
    /// This file if it exists; `None`: there is no default path.
    Default(Option<PathBuf>),
    /// None: the defaults are in force.
    NoFile,
}

impl ConfigSource {
    /// Creates a source that keeps the last file in `state_dir`: the one of flags and environment, because the directory
    /// that a configuration names is not known while that is absent.
    pub fn new(choice: ConfigChoice, state_dir: &Path) -> Self {
        Self {
            choice,
            memory: state_dir.join("configuration"),
            was_read: AtomicBool::new(false),
        }
    }

    /// Reads the file over `config`.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError`] if the file cannot be read or holds an error, and if a configuration was in force before that is
    /// absent or another file. The configuration is unchanged then.
    pub fn read_into(&self, config: &mut Config) -> Result<(), ConfigError> {
        match &self.choice {
            ConfigChoice::NoFile => Ok(()),
            ConfigChoice::File(path) => match config.read_file(path) {
                // A path that was in force is not mistyped user input: the error may name it.
                Err(ConfigError::Absent { .. }) if self.is_former(path) => {
                    Err(ConfigError::FormerAbsent { path: path.clone() })
                }
                result => result,
            },
            ConfigChoice::Default(None) => self.check_former(None),
            ConfigChoice::Default(Some(path)) => match config.read_file(path) {
                Err(ConfigError::Absent { .. }) => self.check_former(Some(path)),
                result => result,
            },
        }
    }

    /// Remembers which file `config` was read from, or that there was none. Blocks.
    ///
    /// To be called when that configuration is in force. A directory that cannot be written is logged once.
    pub fn remember(&self, config: &Config) {
        let remembered = match &config.file {
            Some(path) => {
                self.was_read.store(true, Ordering::Release);
                let former = read_memory(&self.memory);
                if former.is_ok_and(|former| former.as_ref() == Some(path)) {
                    return;
                }
                write_memory(&self.memory, path)
            }
            None => match fs::remove_file(&self.memory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            },
        };
        if let Err(error) = remembered {
            tracing::error!(
                path = %self.memory.display(), error = %with_causes(&error),
                "path of the configuration not recorded: a start without this file will not be refused"
            );
        }
    }

    /// Returns `true` if the file that is chosen was in force before. Blocks.
    #[must_use]
    pub fn is_known(&self) -> bool {
        match &self.choice {
            ConfigChoice::File(path) | ConfigChoice::Default(Some(path)) => self.is_former(path),
            ConfigChoice::Default(None) | ConfigChoice::NoFile => false,
        }
    }

    /// Returns `true` if the file at `path` was in force before.
    fn is_former(&self, path: &Path) -> bool {
        self.was_read.load(Ordering::Acquire)
            || read_memory(&self.memory).is_ok_and(|former| former.as_deref() == Some(path))
    }

    /// Allows the defaults unless a configuration was in force before.
    fn check_former(&self, path: Option<&Path>) -> Result<(), ConfigError> {
        if let Some(path) = path
            && self.was_read.load(Ordering::Acquire)
        {
            return Err(ConfigError::FormerAbsent { path: path.into() });
        }
        let former = read_memory(&self.memory).map_err(ConfigError::Read)?;
        match former {
            None => Ok(()),
            Some(former) if former.symlink_metadata().is_ok() => {
                Err(ConfigError::FormerUnread { path: former })
            }
            Some(former) => Err(ConfigError::FormerAbsent { path: former }),
        }
    }
}

/// Returns the path that was remembered, if any.
fn read_memory(path: &Path) -> Result<Option<PathBuf>, OpenError> {
    match read_regular(path, MAX_PATH_LEN) {
        Ok(bytes) => Ok(Some(OsString::from_vec(bytes).into())),
        Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_memory(memory: &Path, path: &Path) -> io::Result<()> {
    if let Some(directory) = memory.parent() {
        create_private_directory(directory).map_err(io::Error::other)?;
    }
    replace(memory, path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Home {
        directory: tempfile::TempDir,
    }

    impl Home {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a temporary directory");
            Self { directory }
        }

        fn file(&self) -> PathBuf {
            self.directory.path().join("config.toml")
        }

        fn write(&self, text: &str) {
            fs::write(self.file(), text).expect("written");
        }

        fn remove(&self) {
            fs::remove_file(self.file()).expect("removed");
        }

        fn source(&self, choice: ConfigChoice) -> ConfigSource {
            ConfigSource::new(choice, &self.directory.path().join("state"))
        }

        /// Returns a daemon without flags.
        fn plain(&self) -> ConfigSource {
            self.source(ConfigChoice::Default(Some(self.file())))
        }
    }

    /// Reads and puts into force.
    fn start(source: &ConfigSource) -> Result<Config, ConfigError> {
        let mut config = Config::new("@test".parse().expect("an address"), "/state");
        source.read_into(&mut config)?;
        source.remember(&config);
        Ok(config)
    }

    #[test]
    fn a_default_file_may_be_absent_until_it_was_read() {
        let home = Home::new();
        let source = home.plain();
        assert_eq!(start(&source).expect("defaults").file, None);
        home.write("[plugins.a]");
        assert_eq!(start(&source).expect("read").file, Some(home.file()));
        home.remove();
        assert!(
            matches!(start(&source), Err(ConfigError::FormerAbsent { path }) if path == home.file())
        );
        home.write("");
        start(&source).expect("read again");
    }

    #[test]
    fn a_later_start_without_the_former_configuration_fails_unless_no_config_is_given() {
        let home = Home::new();
        home.write("[plugins.a]");
        start(&home.plain()).expect("read");
        home.remove();
        for _ in 0..2 {
            let refused = start(&home.plain());
            assert!(
                matches!(refused, Err(ConfigError::FormerAbsent { path }) if path == home.file())
            );
        }
        start(&home.source(ConfigChoice::NoFile)).expect("defaults");
        start(&home.plain()).expect("forgotten");
        home.write("");
        start(&home.plain()).expect("an empty file");
    }

    #[test]
    fn a_start_without_the_file_that_was_named_before_fails() {
        let home = Home::new();
        home.write("");
        let named = || home.source(ConfigChoice::File(home.file()));
        assert!(!named().is_known());
        start(&named()).expect("read");
        assert!(named().is_known());
        let none = home.source(ConfigChoice::Default(None));
        assert!(matches!(
            start(&none),
            Err(ConfigError::FormerUnread { .. })
        ));
        let other = home.directory.path().join("other.toml");
        let other = home.source(ConfigChoice::Default(Some(other)));
        assert!(
            matches!(start(&other), Err(ConfigError::FormerUnread { path }) if path == home.file())
        );
        home.remove();
        assert!(
            matches!(start(&named()), Err(ConfigError::FormerAbsent { path }) if path == home.file())
        );
        let never = home.directory.path().join("never.toml");
        let never = home.source(ConfigChoice::File(never));
        assert!(matches!(start(&never), Err(ConfigError::Absent { .. })));
    }

    #[test]
    fn an_unreadable_memory_of_the_configuration_is_an_error() {
        let home = Home::new();
        fs::create_dir_all(home.directory.path().join("state/configuration")).expect("created");
        assert!(matches!(start(&home.plain()), Err(ConfigError::Read(_))));
    }

    #[test]
    fn an_unwritable_directory_does_not_stop_the_daemon() {
        let home = Home::new();
        home.write("");
        fs::write(home.directory.path().join("state"), "not a directory").expect("written");
        let source = home.plain();
        start(&source).expect("read");
        home.remove();
        assert!(matches!(
            start(&source),
            Err(ConfigError::FormerAbsent { .. })
        ));
    }
}
