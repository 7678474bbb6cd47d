//! Reads a secret without leaving copies of it behind.

use std::io::{self, ErrorKind, Read};

use keyway_secrets::SecretValue;
use zeroize::Zeroizing;

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
}
