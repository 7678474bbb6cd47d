//! Reading a secret without leaving copies of it behind.

use std::io::{self, ErrorKind, Read};

use keyway_secrets::SecretValue;
use zeroize::Zeroizing;

/// Room for most values, so that they are read into one buffer.
const FIRST_ROOM: usize = 4096;

/// Why a secret could not be read.
#[derive(Debug)]
pub(crate) enum ReadSecretError {
    /// The reader failed.
    Io(io::Error),
    /// There is more than was allowed.
    TooLong,
}

/// Reads to the end, but at most `limit` bytes. A buffer that becomes too small is wiped.
pub(crate) fn read_secret(
    reader: &mut impl Read,
    limit: usize,
) -> Result<SecretValue, ReadSecretError> {
    let mut buffer = Zeroizing::new(vec![0; FIRST_ROOM]);
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

    /// Gives what it holds in small pieces, with interruptions.
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
    fn every_byte_arrives_whatever_the_pieces() {
        for length in [0, 1, FIRST_ROOM - 1, FIRST_ROOM, FIRST_ROOM + 1, 40_000] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let value = read_secret(&mut Pieces(&bytes, false), 40_000).unwrap();
            assert_eq!(value.expose(), bytes);
        }
    }

    #[test]
    fn one_byte_too_many_is_refused() {
        let bytes = [7; 101];
        let read = |limit| read_secret(&mut Pieces(&bytes, false), limit);
        assert!(read(101).is_ok());
        assert!(matches!(read(100), Err(ReadSecretError::TooLong)));
    }
}
