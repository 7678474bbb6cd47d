//! Random values.

use std::io;

use keyway_secrets::SecretValue;
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

/// The default length: 32 characters of 6 bits are 192 bits.
pub(crate) const DEFAULT_LEN: &str = "32";
/// The shortest length: 48 bits.
const MIN_LEN: usize = 8;
/// The longest length.
const MAX_LEN: usize = 4096;
/// 64 characters that need no quotes in a shell, a URL or an env file, so that each takes 6 random bits.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Parses a length. The error does not repeat the text.
pub(crate) fn length(text: &str) -> Result<usize, &'static str> {
    let len = text.parse().ok();
    let len = len.filter(|len| (MIN_LEN..=MAX_LEN).contains(len));
    len.ok_or("a length is a whole number from 8 to 4096")
}

/// Returns a value of `len` random characters, each of 64 equally likely ones.
///
/// # Errors
///
/// Returns the error of the system call.
pub(crate) fn value(len: usize) -> io::Result<SecretValue> {
    let mut bytes = Zeroizing::new(vec![0_u8; len]);
    let mut filled = 0;
    while filled < len {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    let characters = bytes.iter().map(|byte| ALPHABET[usize::from(byte % 64)]);
    Ok(SecretValue::new(characters.collect()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_length_is_a_number_within_the_limits() {
        assert_eq!(length(DEFAULT_LEN), Ok(32));
        assert_eq!((length("8"), length("4096")), (Ok(8), Ok(4096)));
        for text in ["", "7", "4097", "-1", "x", "1e3"] {
            assert!(length(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_differ_and_use_the_whole_alphabet() {
        let alphabet: BTreeSet<u8> = ALPHABET.iter().copied().collect();
        assert_eq!(alphabet.len(), 64);
        let value = |len| value(len).unwrap();
        assert_ne!(value(32), value(32));
        // The chance that one of 64 characters is not among 65,536 is below 2^-1400.
        let seen: BTreeSet<u8> = value(65_536).expose().iter().copied().collect();
        assert_eq!(seen, alphabet);
        assert_eq!(value(9).len(), 9);
    }
}
