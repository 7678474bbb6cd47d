//! Opening a regular file, and nothing else, without blocking.

use std::fmt;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a file was not opened, or not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path leads to something other than a regular file.
    #[error("{path} is {kind}, not a regular file", path = .path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What is there.
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
    #[error("{path} cannot be read: {source}", path = .path.display())]
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
