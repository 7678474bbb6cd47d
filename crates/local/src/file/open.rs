//! Opening a regular file, and nothing else, without blocking.

use std::fmt;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Error of opening or reading a regular file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path leads to something other than a regular file.
    #[error("{path} is {kind}, not a regular file", path = .path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// The kind of the file.
        kind: FileKind,
    },
    /// The file is larger than the limit.
    #[error("{path} has {len} bytes, more than the limit of {max_len}", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The number of bytes that were found; the file may have more.
        len: u64,
        /// The limit in bytes.
        max_len: u64,
    },
    /// The operating system returned an error.
    #[error("{path} cannot be read", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// A kind of file that is not a regular one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A block or character device.
    Device,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A symbolic link, where none is followed.
    Link,
    /// Any other kind.
    Other,
    /// A Unix socket.
    Socket,
}

impl FileKind {
    pub(super) fn of(file_type: FileType) -> Self {
        if file_type.is_dir() {
            Self::Directory
        } else if file_type.is_fifo() {
            Self::Fifo
        } else if file_type.is_symlink() {
            Self::Link
        } else if file_type.is_socket() {
            Self::Socket
        } else if file_type.is_char_device() || file_type.is_block_device() {
            Self::Device
        } else {
            Self::Other
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "a device",
            Self::Directory => "a directory",
            Self::Fifo => "a FIFO",
            Self::Link => "a symbolic link",
            Self::Other => "a special file",
            Self::Socket => "a socket",
        })
    }
}

/// Opens the regular file at `path` for reading if it has at most `max_len` bytes. Links are followed.
///
/// Returns at once for a FIFO without a writer, because the file is opened without blocking.
///
/// # Errors
///
/// Returns [`OpenError::NotRegular`] for a directory, FIFO, socket or device, [`OpenError::TooLarge`] for a file above the
/// limit, and [`OpenError::Io`] if the file cannot be opened.
pub fn open_regular(path: &Path, max_len: u64) -> Result<File, OpenError> {
    let failed = |source| OpenError::Io {
        path: path.into(),
        source,
    };
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let (file, metadata) = match opened {
        Ok(file) => {
            let metadata = file.metadata().map_err(failed)?;
            (Some(file), metadata)
        }
        // A socket cannot be opened at all.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            (None, path.metadata().map_err(failed)?)
        }
        Err(error) => return Err(failed(error)),
    };
    match file {
        Some(file) if metadata.is_file() => {
            if metadata.len() > max_len {
                return Err(OpenError::TooLarge {
                    path: path.into(),
                    len: metadata.len(),
                    max_len,
                });
            }
            Ok(file)
        }
        _ => Err(OpenError::NotRegular {
            path: path.into(),
            kind: FileKind::of(metadata.file_type()),
        }),
    }
}

/// Opens the regular file at `path` for reading and appending, and creates it with mode 0600 if it is absent. A link is not followed.
///
/// Returns at once for a FIFO, because the file is opened without blocking.
///
/// # Errors
///
/// Returns [`OpenError::NotRegular`] for a link, directory, FIFO, socket or device, and [`OpenError::Io`] if the file cannot be
/// opened.
pub fn open_to_append(path: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Io {
        path: path.into(),
        source,
    };
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    let opened = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path);
    let kind = match &opened {
        Ok(file) => file.metadata().map_err(failed)?.file_type(),
        // The error names the kind of the file, if it is not a regular one.
        Err(_) => match path.symlink_metadata() {
            Ok(metadata) => metadata.file_type(),
            Err(_) => return opened.map_err(failed),
        },
    };
    if kind.is_file() {
        return opened.map_err(failed);
    }
    Err(OpenError::NotRegular {
        path: path.into(),
        kind: FileKind::of(kind),
    })
}

/// Reads the regular file at `path` if it has at most `max_len` bytes.
///
/// # Errors
///
/// As [`open_regular`] and [`read_opened`].
pub fn read_regular(path: &Path, max_len: u64) -> Result<Vec<u8>, OpenError> {
    read_opened(&mut open_regular(path, max_len)?, path, max_len)
}

/// Reads the rest of `file`, which was opened at `path`, if it has at most `max_len` bytes.
///
/// # Errors
///
/// Returns [`OpenError::TooLarge`] if the file has grown beyond the limit since it was opened, and [`OpenError::Io`] if it
/// cannot be read.
pub fn read_opened(file: &mut File, path: &Path, max_len: u64) -> Result<Vec<u8>, OpenError> {
    let mut content = Vec::new();
    file.take(max_len.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|source| OpenError::Io {
            path: path.into(),
            source,
        })?;
    let len = content.len() as u64;
    if len > max_len {
        return Err(OpenError::TooLarge {
            path: path.into(),
            len,
            max_len,
        });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn kind_of(path: &Path) -> FileKind {
        match open_regular(path, 10) {
            Err(OpenError::NotRegular { kind, .. }) => kind,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_regular_files_are_opened_and_none_blocks() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("a FIFO");
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).expect("a socket");
        assert_eq!(kind_of(&fifo), FileKind::Fifo);
        assert_eq!(kind_of(&socket), FileKind::Socket);
        assert_eq!(kind_of(directory.path()), FileKind::Directory);
        assert_eq!(kind_of(Path::new("/dev/null")), FileKind::Device);
        let error = open_regular(&fifo, 10).expect_err("refused").to_string();
        assert!(
            error.ends_with("fifo is a FIFO, not a regular file"),
            "{error}"
        );
    }

    #[test]
    fn only_regular_files_are_appended_to_and_links_are_not_followed() {
        use std::io::Write as _;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        for _ in 0..2 {
            let mut file = open_to_append(&path("file")).expect("opened");
            file.write_all(b"line\n").expect("written");
        }
        let content = std::fs::read(path("file")).expect("read");
        assert_eq!(content, b"line\nline\n");
        let mode = std::os::unix::fs::MetadataExt::mode(&path("file").metadata().expect("a file"));
        assert_eq!(mode & 0o777, 0o600);
        let permissions = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), permissions).expect("a FIFO");
        std::os::unix::fs::symlink(path("file"), path("link")).expect("a link");
        let _listener = UnixListener::bind(path("socket")).expect("a socket");
        for (name, kind) in [
            ("fifo", FileKind::Fifo),
            ("link", FileKind::Link),
            ("socket", FileKind::Socket),
            (".", FileKind::Directory),
            ("/dev/null", FileKind::Device),
        ] {
            let error = open_to_append(&path(name)).expect_err(name);
            assert!(
                matches!(&error, OpenError::NotRegular { kind: found, .. } if *found == kind),
                "{error}"
            );
        }
        assert!(matches!(
            open_to_append(&path("absent/file")),
            Err(OpenError::Io { .. })
        ));
    }

    #[test]
    fn a_file_above_the_limit_is_refused_before_and_while_it_is_read() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        std::fs::write(&path, "12345").expect("a file");
        assert_eq!(read_regular(&path, 5).expect("read"), b"12345");
        assert!(matches!(
            open_regular(&path, 4),
            Err(OpenError::TooLarge {
                len: 5,
                max_len: 4,
                ..
            })
        ));
        let mut opened = open_regular(&path, 5).expect("opened");
        std::fs::write(&path, "123456").expect("the file grows");
        assert!(matches!(
            read_opened(&mut opened, &path, 5),
            Err(OpenError::TooLarge { len: 6, .. })
        ));
    }

    #[test]
    fn an_absent_file_is_an_error_of_the_operating_system() {
        let error = open_regular(Path::new("/nonexistent/file"), 1).expect_err("refused");
        assert!(
            matches!(&error, OpenError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound),
            "{error}"
        );
    }
}
