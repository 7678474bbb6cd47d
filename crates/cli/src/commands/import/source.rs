//! A file that values are moved out of: read once with checks, and replaced at once if nothing has changed it since.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use keyway_local::uid::KnownUids;
use rustix::fs::{AtFlags, Gid};
use rustix::fs::{
    FileType, FlockOperation, Mode, OFlags, Stat, XattrFlags, fchmod, fchown, fgetxattr,
    flistxattr, flock, fsetxattr, fstat, ftruncate, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::steps::{self, Step};
use crate::failure::Failure;

/// Largest file in bytes: 1 MiB. Files of settings are far smaller.
pub(super) const MAX_FILE_LEN: u64 = 1024 * 1024;

/// A file with its content.
pub(super) struct Source {
    /// The path that the user gave.
    pub(super) given: PathBuf,
    /// The path without links.
    pub(super) path: PathBuf,
    /// Whether the given path is a symbolic link.
    pub(super) is_link: bool,
    pub(super) text: Zeroizing<Vec<u8>>,
    directory: OwnedFd,
    name: OsString,
    stat: Stat,
}

impl Source {
    /// Reads the file. `breaks_hard_links` accepts a file with several names.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the file cannot be read, or may not be replaced: it belongs to another user, has several names,
    /// is not a regular file or is too large.
    pub(super) fn open(given: &Path, breaks_hard_links: bool) -> Result<Self, Failure> {
        let path = fs::canonicalize(given).map_err(|error| unreadable(given, &error))?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(not_regular(given));
        };
        let failed = |errno: Errno| unreadable(given, &errno.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty()).map_err(failed)?;
        let file = open_file(&directory, name).map_err(failed)?;
        let stat = fstat(&file).map_err(failed)?;
        check(given, &stat, breaks_hard_links)?;
        let text = read(file).map_err(|error| unreadable(given, &error))?;
        Ok(Self {
            is_link: given.is_symlink(),
            given: given.to_owned(),
            name: name.to_owned(),
            directory,
            stat,
            text,
            path,
        })
    }

    /// Returns an error if the file is not the one that was read, or has other content.
    pub(super) fn check_unchanged(&self) -> Result<(), Failure> {
        let is_unchanged = || -> io::Result<bool> {
            let file = open_file(&self.directory, &self.name)?;
            let stat = fstat(&file)?;
            let identity = |stat: &Stat| {
                (
                    stat.st_dev,
                    stat.st_ino,
                    stat.st_mode,
                    stat.st_uid,
                    stat.st_gid,
                )
            };
            Ok(identity(&stat) == identity(&self.stat) && *read(file)? == *self.text)
        };
        match is_unchanged() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::error(
                format_args!("{} was changed in the meantime", self.given.display()),
                "The file is as it was; run the command again",
            )),
            Err(error) => Err(unreadable(&self.given, &error)),
        }
    }

    /// Replaces the content of the file; mode, owner, group and extended attributes stay. A reader sees the old content or the
    /// new one, also after a power failure.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the file was changed since it was read, or cannot be replaced. It is then unchanged.
    pub(super) fn replace(&self, content: &[u8]) -> Result<(), Failure> {
        let mut temporary = OsString::from(".");
        temporary.push(&self.name);
        temporary.push(".keyway.tmp");
        let file = self
            .lock_temporary(&temporary)
            .map_err(|error| self.unwritable(&error))?;
        let written = self
            .fill(file, content)
            .map_err(|error| self.unwritable(&error));
        let replaced = written.and_then(|lock| {
            self.check_unchanged()?;
            renameat(&self.directory, &temporary, &self.directory, &self.name)
                .map_err(|errno| self.unwritable(&errno.into()))?;
            Ok(lock)
        });
        if replaced.is_err() {
            // The first error is the one to report.
            let _ = unlinkat(&self.directory, &temporary, AtFlags::empty());
        }
        let _lock = replaced?;
        steps::reached(Step::Renamed);
        self.sync_directory()?;
        steps::reached(Step::DirectorySynced);
        Ok(())
    }

    /// Opens the temporary file, which is locked until it is closed. One left behind by an import that was killed is used again.
    fn lock_temporary(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags =
            OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let stat = fstat(&file)?;
        let current = statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_own = KnownUids::read().is_own(stat.st_uid)
            && FileType::from_raw_mode(stat.st_mode).is_file();
        if !is_own || stat.st_nlink != 1 || stat.st_ino != current.st_ino {
            return Err(io::Error::other(format!(
                "{} is in the way",
                name.display()
            )));
        }
        Ok(file)
    }

    /// Writes the content durably, and then the metadata of the file.
    fn fill(&self, file: OwnedFd, content: &[u8]) -> io::Result<File> {
        ftruncate(&file, 0)?;
        fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        steps::reached(Step::Created);
        let mut file = File::from(file);
        let (first, second) = content.split_at(content.len() / 2);
        file.write_all(first)?;
        steps::reached(Step::HalfWritten);
        file.write_all(second)?;
        if fstat(&file)?.st_gid != self.stat.st_gid {
            fchown(&file, None, Some(Gid::from_raw(self.stat.st_gid)))?;
        }
        fchmod(&file, Mode::from_raw_mode(self.stat.st_mode))?;
        self.copy_attributes(&file)?;
        file.sync_all()?;
        steps::reached(Step::Synced);
        Ok(file)
    }

    /// Copies the extended attributes, such as access control lists. Those that the system manages are left to it.
    fn copy_attributes(&self, to: &File) -> io::Result<()> {
        const MAX_LEN: usize = 64 * 1024;
        let from = open_file(&self.directory, &self.name)?;
        let mut names = vec![0; MAX_LEN];
        let n = match flistxattr(&from, &mut names) {
            Err(Errno::NOTSUP) => return Ok(()),
            other => other?,
        };
        for name in names[..n]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            if name.starts_with(b"security.") || name.starts_with(b"trusted.") {
                continue;
            }
            let mut value = vec![0; MAX_LEN];
            let n = fgetxattr(&from, name, &mut value)?;
            fsetxattr(to, name, &value[..n], XattrFlags::empty())?;
        }
        Ok(())
    }

    /// Writes a copy of the file beside it, with mode 0600, and returns its path.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the copy cannot be written in full.
    pub(super) fn back_up(&self) -> Result<PathBuf, Failure> {
        const MAX_BACKUPS: usize = 100;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for number in 1..=MAX_BACKUPS {
            let mut name = self.name.clone();
            name.push(".bak");
            if number > 1 {
                name.push(format!(".{number}"));
            }
            let file = match openat(&self.directory, &name, flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) => continue,
                other => other.map_err(|errno| self.unwritable(&errno.into()))?,
            };
            let mut file = File::from(file);
            let written = file.write_all(&self.text).and_then(|()| file.sync_all());
            written.map_err(|error| self.unwritable(&error))?;
            self.sync_directory()?;
            steps::reached(Step::BackedUp);
            return Ok(self.path.with_file_name(name));
        }
        let error = io::Error::other(format!("there are {MAX_BACKUPS} backups already"));
        Err(self.unwritable(&error))
    }

    fn sync_directory(&self) -> Result<(), Failure> {
        rustix::fs::fsync(self.directory.as_fd()).map_err(|errno| self.unwritable(&errno.into()))
    }

    fn unwritable(&self, error: &io::Error) -> Failure {
        Failure::error(
            format_args!("{} cannot be replaced: {error}", self.given.display()),
            "Its values are in the file as before, and also in the store; remove the cause and run the command again",
        )
    }
}

/// Opens a file in a directory without following a link or waiting for a writer of a FIFO.
fn open_file(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

/// Reads a regular file that is not to be replaced. A link is not followed.
///
/// # Errors
///
/// Returns an error if the file is larger than [`MAX_FILE_LEN`], and those of the system.
pub(super) fn read_only(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if u64::try_from(stat.st_size).is_ok_and(|len| len > MAX_FILE_LEN) {
        return Err(io::Error::other(format!(
            "it has more than {MAX_FILE_LEN} bytes"
        )));
    }
    read(file)
}

/// Reads a file of at most [`MAX_FILE_LEN`] bytes without leaving copies behind.
fn read(file: OwnedFd) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::from(file);
    let len = file.metadata()?.len().min(MAX_FILE_LEN);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut text = Zeroizing::new(vec![0; len + 1]);
    let mut filled = 0;
    loop {
        match file.read(&mut text[filled..])? {
            0 => break,
            n => filled += n,
        }
        if filled == text.len() {
            return Err(io::Error::other("it grows while it is read"));
        }
    }
    text.truncate(filled);
    Ok(text)
}

/// Returns an error for a file that may not be replaced.
fn check(given: &Path, stat: &Stat, breaks_hard_links: bool) -> Result<(), Failure> {
    let file = given.display();
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(not_regular(given));
    }
    if !KnownUids::read().is_own(stat.st_uid) {
        return Err(Failure::error(
            format_args!("{file} belongs to the uid {}", stat.st_uid),
            "The file is as it was; run the command as that user",
        ));
    }
    if u64::try_from(stat.st_size).is_ok_and(|len| len > MAX_FILE_LEN) {
        return Err(Failure::error(
            format_args!(
                "{file} has {} bytes, more than the limit of {MAX_FILE_LEN}",
                stat.st_size
            ),
            "The file is as it was; move the lines with secrets to a file of their own",
        ));
    }
    if stat.st_nlink > 1 && !breaks_hard_links {
        return Err(Failure::error(
            format_args!(
                "{file} has {} names (hard links), and the others would keep the old values",
                stat.st_nlink
            ),
            "The file is as it was; find them with `find -samefile`, or give --break-hard-links to rewrite this name alone",
        ));
    }
    Ok(())
}

fn not_regular(given: &Path) -> Failure {
    Failure::error(
        format_args!("{} is not a regular file", given.display()),
        "Name a file; `keyway import --scan DIR` finds the files of a directory",
    )
}

/// A path that does not exist may be a secret in the wrong place, so it is not repeated.
fn unreadable(given: &Path, error: &io::Error) -> Failure {
    let file = match given.symlink_metadata() {
        Ok(_) => given.display().to_string(),
        Err(_) => "a file".to_owned(),
    };
    Failure::error(
        format_args!("{file} cannot be read: {error}"),
        "Name a file that exists and that you may read",
    )
}
