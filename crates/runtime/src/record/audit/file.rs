//! The file of the audit log, as the thread that writes it sees it. Everything here blocks.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::PathBuf;

use keyway_local::file::{Offences, OpenError, check_file, open_to_append};

use crate::config::AuditConfig;

/// Error of the audit file.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Untrusted(#[from] Offences),
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A file that is renamed when it is full, and only ever holds whole lines.
#[derive(Debug)]
pub(super) struct LogFile {
    config: AuditConfig,
    opened: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    n_bytes: u64,
}

impl LogFile {
    pub(super) fn new(config: AuditConfig) -> Self {
        Self {
            config,
            opened: None,
        }
    }

    /// Opens the file unless it is open and still the one at its path.
    ///
    /// # Errors
    ///
    /// Returns [`FileError`] if the path leads to something else than a regular file, a link included, or to one that another user
    /// owns or may write.
    pub(super) fn open(&mut self) -> Result<(), FileError> {
        self.opened().map(drop)
    }

    fn opened(&mut self) -> Result<&mut Opened, FileError> {
        let opened = match self.opened.take() {
            Some(opened) if self.is_at_path(&opened.file) => opened,
            _ => self.open_anew()?,
        };
        Ok(self.opened.insert(opened))
    }

    /// Appends whole lines. After an error the file ends with a whole line, or the next one begins with a line break.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`FileError::Write`] if not all lines were written.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), FileError> {
        let mut rest = lines;
        while !rest.is_empty() {
            let max_bytes = self.config.max_bytes;
            let opened = self.opened()?;
            let (fitting, remaining) = rest.split_at(fitting(rest, opened.n_bytes, max_bytes));
            let result = if fitting.is_empty() {
                self.opened = None;
                self.rotate()
            } else {
                opened.append(fitting)
            };
            if let Err(source) = result {
                self.opened = None;
                return Err(FileError::Write {
                    path: self.config.path.clone(),
                    source,
                });
            }
            rest = remaining;
        }
        Ok(())
    }

    /// Returns `true` if `file` was neither removed nor renamed.
    fn is_at_path(&self, file: &File) -> bool {
        let place = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let (at_path, opened) = (fs::symlink_metadata(&self.config.path), file.metadata());
        matches!((at_path.map(place), opened.map(place)), (Ok(one), Ok(other)) if one == other)
    }

    fn open_anew(&self) -> Result<Opened, FileError> {
        let path = &*self.config.path;
        let failed = |source| OpenError::Io {
            path: path.into(),
            source,
        };
        if let Some(directory) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(failed)?;
        }
        let file = open_to_append(path)?;
        let metadata = file.metadata().map_err(failed)?;
        check_file(&file, path)?;
        let mut opened = Opened {
            file,
            n_bytes: metadata.len(),
        };
        opened.end_line().map_err(failed)?;
        Ok(opened)
    }

    /// Makes the file the newest of the former ones, and drops those beyond [`AuditConfig::keep`].
    fn rotate(&self) -> io::Result<()> {
        if self.config.keep == 0 {
            return fs::remove_file(&self.config.path);
        }
        for generation in (1..self.config.keep).rev() {
            match fs::rename(self.former(generation), self.former(generation + 1)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        fs::rename(&self.config.path, self.former(1))
    }

    /// Returns the path of a former file; 1 is the newest.
    fn former(&self, generation: u32) -> PathBuf {
        let mut name = self.config.path.clone().into_os_string();
        name.push(format!(".{generation}"));
        name.into()
    }
}

impl Opened {
    /// Appends lines. A part of a line that a full disk has taken is cut off again.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let result = self.file.write_all(lines);
        match result {
            Ok(()) => self.n_bytes += lines.len() as u64,
            // Should that fail too, the line is ended when the file is opened again.
            Err(_) => drop(self.file.set_len(self.n_bytes)),
        }
        result
    }

    /// Ends a line that was written in part, by this daemon or by one before.
    fn end_line(&mut self) -> io::Result<()> {
        let Some(last) = self.n_bytes.checked_sub(1) else {
            return Ok(());
        };
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, last)?;
        if byte != *b"\n" {
            self.append(b"\n")?;
        }
        Ok(())
    }
}

/// Returns how many bytes of `lines` are whole lines for which a file of `n_bytes` has room. An empty file has room for one line.
fn fitting(lines: &[u8], n_bytes: u64, max_bytes: u64) -> usize {
    let mut len = 0;
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let is_first = n_bytes == 0 && len == 0;
        if !is_first && n_bytes + (len + line.len()) as u64 > max_bytes {
            break;
        }
        len += line.len();
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const LINE: &[u8] = b"a line\n";

    struct Log {
        directory: tempfile::TempDir,
        file: LogFile,
    }

    /// Returns a log with `max_bytes`, of which `keep` former files are kept.
    fn log(max_bytes: u64, keep: u32) -> Log {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = AuditConfig::new(directory.path().join("audit.jsonl"));
        (config.max_bytes, config.keep) = (max_bytes, keep);
        Log {
            directory,
            file: LogFile::new(config),
        }
    }

    impl Log {
        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).expect("a file")
        }

        fn append(&mut self, lines: &[u8]) {
            self.file.append(lines).expect("written");
        }
    }

    #[test]
    fn a_file_that_was_removed_or_renamed_is_replaced_by_a_new_one() {
        let mut log = log(1024, 1);
        log.append(LINE);
        fs::remove_file(log.path("audit.jsonl")).expect("removed");
        log.append(b"second\n");
        assert_eq!(log.read("audit.jsonl"), "second\n");
        fs::rename(log.path("audit.jsonl"), log.path("old")).expect("renamed");
        fs::write(log.path("audit.jsonl"), "").expect("a new file");
        log.append(b"third\n");
        assert_eq!(log.read("audit.jsonl"), "third\n");
        assert_eq!(log.read("old"), "second\n");
    }

    #[test]
    fn as_many_former_files_are_kept_as_configured() {
        for keep in [0, 1, 3] {
            let mut log = log(10, keep);
            // Lines that are written together go to as many files.
            log.append(&LINE.repeat(6));
            let mut names: Vec<_> = fs::read_dir(log.directory.path())
                .expect("listed")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            let former = (1..=keep).map(|generation| format!("audit.jsonl.{generation}").into());
            let expected: Vec<std::ffi::OsString> = std::iter::once("audit.jsonl".into())
                .chain(former)
                .collect();
            assert_eq!(names, expected);
            assert_eq!(log.read("audit.jsonl"), "a line\n");
        }
    }

    #[test]
    fn as_many_lines_as_fit_are_written_together() {
        assert_eq!(fitting(&LINE.repeat(3), 0, 20), 14);
        assert_eq!(fitting(&LINE.repeat(3), 7, 20), 7);
        assert_eq!(fitting(LINE, 14, 20), 0);
        assert_eq!(fitting(LINE, 0, 1), 7);
    }

    #[test]
    fn a_line_that_an_earlier_daemon_wrote_in_part_is_ended_first() {
        let mut log = log(1024, 1);
        fs::write(log.path("audit.jsonl"), "whole\nhalf a li").expect("written");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(log.path("audit.jsonl"), private).expect("the mode");
        log.append(LINE);
        assert_eq!(log.read("audit.jsonl"), "whole\nhalf a li\na line\n");
    }

    #[test]
    fn only_a_regular_file_that_other_users_cannot_write_is_used() {
        let mut log = log(1024, 1);
        let path = log.path("audit.jsonl");
        let target = log.path("target");
        fs::write(&target, "").expect("a file");
        type Make = fn(&std::path::Path, &std::path::Path) -> io::Result<()>;
        let kinds: [(&str, Make); 3] = [
            ("is a FIFO, not a regular file", |path, _| {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                Ok(rustix::fs::mkfifoat(rustix::fs::CWD, path, mode)?)
            }),
            ("is a symbolic link, not a regular file", |path, target| {
                symlink(target, path)
            }),
            ("can be written by other users", |path, _| {
                fs::write(path, "")?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o606))
            }),
        ];
        for (reason, make) in kinds {
            make(&path, &target).expect("made");
            let error = log.file.append(LINE).expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
            fs::remove_file(&path).expect("removed");
        }
        log.append(LINE);
        assert_eq!(fs::read(&target).expect("untouched"), b"");
    }
}
