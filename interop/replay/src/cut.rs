//! The pieces in which bytes are written.

use std::fmt;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;

use crate::outq;

/// The pieces in which bytes are written. Except for [`Cut::Whole`], a piece is
/// written only after the peer has read the one before it, so that no read of
/// the peer can join two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// One byte at a time.
    Bytes,
    /// Pieces of so many bytes: 11 and 13 move through the frames by one byte less and more than the header of one.
    Every(NonZeroUsize),
    /// Pieces of random length up to 64 bytes, from this seed.
    Random(u64),
    /// Everything at once.
    Whole,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes => f.write_str("one byte at a time"),
            Self::Every(length) => write!(f, "{length} bytes at a time"),
            Self::Random(seed) => write!(f, "cut at random with seed {seed}"),
            Self::Whole => f.write_str("whole"),
        }
    }
}

impl std::str::FromStr for Cut {
    type Err = String;

    /// `whole`, `bytes`, `every:LENGTH` or `random:SEED`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "whole" => Ok(Self::Whole),
            None if text == "bytes" => Ok(Self::Bytes),
            Some(("every", length)) => {
                let length = length
                    .parse()
                    .map_err(|e| format!("the length {length:?}: {e}"))?;
                Ok(Self::Every(length))
            }
            Some(("random", seed)) => {
                let seed = seed
                    .parse()
                    .map_err(|e| format!("the seed {seed:?}: {e}"))?;
                Ok(Self::Random(seed))
            }
            _ => Err(format!("{text:?} is not a cut")),
        }
    }
}

/// Writes pieces to a socket.
///
/// A peer that does not read while it writes would wait for ever, so such a
/// wait ends with an error after 10 s.
#[derive(Debug)]
pub struct Cutter {
    cut: Cut,
    state: u64,
}

impl Cutter {
    /// Creates a writer of these pieces.
    pub fn new(cut: Cut) -> Self {
        let seed = if let Cut::Random(seed) = cut { seed } else { 0 };
        // The generator below must not start at zero.
        Self {
            cut,
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// Returns the error of the socket, or `TimedOut` if the peer reads nothing for 10 s.
    pub fn write(&mut self, mut socket: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let length = self.next_length().min(bytes.len());
            let (piece, rest) = bytes.split_at(length);
            if self.cut != Cut::Whole {
                outq::wait_until_read(socket)?;
            }
            socket.write_all(piece)?;
            bytes = rest;
        }
        Ok(())
    }

    fn next_length(&mut self) -> usize {
        match self.cut {
            Cut::Whole => usize::MAX,
            Cut::Bytes => 1,
            Cut::Every(length) => length.get(),
            Cut::Random(_) => {
                // Xorshift: small, and the same everywhere for one seed.
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                usize::try_from(self.state % 64).map_or(1, |length| length + 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn no_read_joins_two_pieces() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || Cutter::new(Cut::Bytes).write(&ours, b"abc"));
        let mut buffer = [0; 16];
        for expected in b"abc" {
            assert_eq!(theirs.read(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], *expected);
        }
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn one_seed_cuts_in_one_way() {
        let lengths = |seed| {
            let mut cutter = Cutter::new(Cut::Random(seed));
            (0..20).map(|_| cutter.next_length()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(7), lengths(7));
        assert_ne!(lengths(7), lengths(8));
        assert!(lengths(7).iter().all(|n| (1..=64).contains(n)));
    }

    #[test]
    fn ways_to_cut_have_names() {
        assert_eq!("whole".parse(), Ok(Cut::Whole));
        assert_eq!("bytes".parse(), Ok(Cut::Bytes));
        assert_eq!("random:5".parse(), Ok(Cut::Random(5)));
        let eleven = NonZeroUsize::new(11).unwrap();
        assert_eq!("every:11".parse(), Ok(Cut::Every(eleven)));
        assert!("every:0".parse::<Cut>().is_err());
        assert!("random".parse::<Cut>().is_err());
    }
}
