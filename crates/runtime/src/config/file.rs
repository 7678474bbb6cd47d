//! The configuration file: found, bounded, trusted, read.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_local::file::{Offences, OpenError, check_opened, open_regular, read_opened};

use super::document::Document;
use super::{Config, keys};
use crate::model::Sha256;

/// Error of reading a configuration file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No file is at the path, nor a link.
    #[error("the configuration {path} does not exist", path = .path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// A configuration that was in force before is absent.
    #[error("the configuration {path}, which was in force before, does not exist", path = .path.display())]
    FormerAbsent {
        /// The file.
        path: PathBuf,
    },
    /// The former configuration is another file than the one that would be read.
    #[error("the configuration {path}, which was in force before, is not read by this start", path = .path.display())]
    FormerUnread {
        /// The file that was in force before.
        path: PathBuf,
    },
    /// It is not a regular file, is too large or cannot be read.
    #[error("the configuration cannot be read")]
    Read(#[source] OpenError),
    /// The configuration and the plugin directories were not read in time.
    #[error(
        "reading the configuration and the plugin directories took longer than {limit:?}: check their file systems"
    )]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The audit log that it names cannot be written.
    #[error("the audit log that `[audit]` names cannot be used")]
    Audit(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another user could have written it.
    #[error("the configuration is not used")]
    Untrusted(#[source] Offences),
    /// Its text is not a configuration.
    #[error("{path}:{line}: {}{message}", key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default(), path = .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key, with the tables that it is in, where one can be named.
        key: Option<String>,
        /// The fault.
        message: String,
    },
}

impl Config {
    /// The most bytes that a configuration file may have: 1 MiB.
    pub const MAX_FILE_LEN: u64 = 1024 * 1024;

    /// Reads the file at `path` over this configuration: settings that the file does not mention keep their values.
    ///
    /// Only a regular file is read (never a FIFO, which could block), of at most [`MAX_FILE_LEN`](Self::MAX_FILE_LEN) bytes.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Absent`] if there is no such file, and another [`ConfigError`] if the file cannot be read, is not
    /// trustworthy or holds an error. The configuration is unchanged then.
    pub fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let opened = open_regular(path, Self::MAX_FILE_LEN).map_err(|error| match error {
            OpenError::Io { source, .. }
                if source.kind() == io::ErrorKind::NotFound && !has_broken_link(path) =>
            {
                ConfigError::Absent { path: path.into() }
            }
            error => ConfigError::Read(error),
        });
        let mut file = opened?;
        check_opened(&file, path).map_err(ConfigError::Untrusted)?;
        let bytes = read_opened(&mut file, path, Self::MAX_FILE_LEN).map_err(ConfigError::Read)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| ConfigError::Invalid {
            path: path.into(),
            line: bytes[..error.valid_up_to()]
                .split(|byte| *byte == b'\n')
                .count(),
            key: None,
            message: "the text is not UTF-8".into(),
        })?;
        self.read_text(text, path)
    }

    /// As [`read_file`](Self::read_file), with the text of the file. Messages name `path`, and relative paths in the text begin
    /// at its directory.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Invalid`] if the text holds an error. The configuration is unchanged then.
    pub fn read_text(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let document = Document { text, path };
        let tree = document.parse()?;
        let mut config = self.clone();
        let directory = path.parent().unwrap_or(Path::new("/"));
        keys::read(document.table(&tree), directory, &mut config)?;
        config.file = Some(path.into());
        config.hash = Sha256::of(text.as_bytes());
        config.lines = document.lines(&tree);
        *self = config;
        Ok(())
    }
}

/// Returns whether the path, or a directory on the way to it, is a link to something that does not exist: then a file is meant
/// to be there.
fn has_broken_link(path: &Path) -> bool {
    path.ancestors().any(|part| {
        part.symlink_metadata().is_ok()
            && part
                .metadata()
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    })
}

#[cfg(test)]
mod tests;
