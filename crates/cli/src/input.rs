//! Reads a secret, or a file that may hold some, without leaving copies behind.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use keyway_secrets::SecretValue;
use zeroize::Zeroizing;

use crate::stdio::Stdin;

/// The path that stands for standard input.
pub(crate) const STDIN: &str = "-";

/// Largest length of a file in bytes.
const MAX_FILE_LEN: usize = 64 << 20;

/// Size of the first buffer in bytes, enough for most values.
const INITIAL_CAPACITY: usize = 4096;

/// Error of [`read_secret`].
#[derive(Debug)]
pub(crate) enum ReadSecretError {
    /// The reader failed.
    Io(io::Error),
    /// The input is longer than the limit.
    TooLong,
}

/// Reads to the end, but at most `limit` bytes. Buffers that become too small are zeroized.
///
/// # Errors
///
/// Returns [`ReadSecretError::TooLong`] if there are more than `limit` bytes, and [`ReadSecretError::Io`] if the reader
/// fails.
pub(crate) fn read_secret(
    reader: &mut impl Read,
    limit: usize,
) -> Result<SecretValue, ReadSecretError> {
    let mut buffer = Zeroizing::new(vec![0; INITIAL_CAPACITY]);
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            let mut larger = Zeroizing::new(vec![0; filled * 2]);
            larger[..filled].copy_from_slice(&buffer);
            buffer = larger;
        }
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(ReadSecretError::Io(error)),
        }
        if filled > limit {
            return Err(ReadSecretError::TooLong);
        }
    }
    Ok(SecretValue::from(&buffer[..filled]))
}

/// Appends bytes. A buffer that becomes too small is zeroized.
pub(crate) fn append(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let len = buffer.len() + bytes.len();
    if len > buffer.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(len.max(2 * buffer.len())));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(bytes);
}

/// Error of [`read_file`].
#[derive(Debug)]
pub(crate) struct ReadFileError {
    /// The name of the file for the user; `None` if the path is not that of a file, because it may be a secret in the wrong place.
    pub(crate) label: Option<String>,
    pub(crate) cause: io::Error,
}

/// Returns the name of a file for the user.
pub(crate) fn label(path: &Path) -> String {
    match path.as_os_str() == STDIN {
        true => "stdin".to_owned(),
        false => path.display().to_string(),
    }
}

/// Reads a file, or stdin if the path is [`STDIN`], of at most 64 MiB.
///
/// # Errors
///
/// Returns a [`ReadFileError`] if the file cannot be read or is longer.
pub(crate) fn read_file(path: &Path) -> Result<SecretValue, ReadFileError> {
    let result = match path.as_os_str() == STDIN {
        true => read_secret(&mut Stdin, MAX_FILE_LEN),
        false => File::open(path)
            .map_err(ReadSecretError::Io)
            .and_then(|mut file| read_secret(&mut file, MAX_FILE_LEN)),
    };
    result.map_err(|error| ReadFileError {
        label: (path.as_os_str() == STDIN || path.exists() && !path.is_dir()).then(|| label(path)),
        cause: match error {
            ReadSecretError::Io(error) => error,
            ReadSecretError::TooLong => io::Error::other("the file has more than 64 MiB"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns its content in small pieces, with interruptions.
    struct Pieces<'a>(&'a [u8], bool);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            let n = buffer.len().min(700).min(self.0.len());
            let (piece, rest) = self.0.split_at(n);
            buffer[..n].copy_from_slice(piece);
            self.0 = rest;
            Ok(n)
        }
    }

    #[test]
    fn short_and_interrupted_reads_are_reassembled() {
        for length in [
            0,
            1,
            INITIAL_CAPACITY - 1,
            INITIAL_CAPACITY,
            INITIAL_CAPACITY + 1,
            40_000,
        ] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let value = read_secret(&mut Pieces(&bytes, false), 40_000).unwrap();
            assert_eq!(value.expose(), bytes);
        }
    }

    #[test]
    fn one_byte_over_the_limit_is_an_error() {
        let bytes = [7; 101];
        let read = |limit| read_secret(&mut Pieces(&bytes, false), limit);
        assert!(read(101).is_ok());
        assert!(matches!(read(100), Err(ReadSecretError::TooLong)));
    }

    #[test]
    fn a_buffer_grows_by_bytes_and_by_pieces() {
        let mut buffer = Zeroizing::new(Vec::new());
        let mut expected = Vec::new();
        for len in [0, 1, 1, 1, 5000, 0, 1, 20_000] {
            let piece = vec![len as u8; len];
            append(&mut buffer, &piece);
            expected.extend(piece);
            assert_eq!(*buffer, expected);
        }
    }
}
