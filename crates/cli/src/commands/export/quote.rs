//! Values as words of env files and of shells.

use zeroize::Zeroizing;

use crate::reference;

/// Why a format cannot hold a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unrepresentable(pub(super) &'static str);

/// Returns a value as `keyway run`, bash and node read it from an env file.
///
/// These have only two forms in common: single quotes, in which everything is literal, and double quotes around text without
/// the characters that one of them interprets.
///
/// # Errors
///
/// Returns [`Unrepresentable`] for a value that not all of them would read back.
pub(super) fn dotenv(value: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unrepresentable> {
    if value.contains(&0) {
        return Err(Unrepresentable("a zero byte"));
    }
    if str::from_utf8(value).is_err() {
        return Err(Unrepresentable("text that is not UTF-8"));
    }
    if value.contains(&b'\r') {
        return Err(Unrepresentable("a carriage return, which node removes"));
    }
    if reference::scan(value).next().is_some() {
        return Err(Unrepresentable(
            "se://, which `keyway run` takes for a reference",
        ));
    }
    match value.contains(&b'\'') {
        false => Ok(surrounded(value, b'\'')),
        true if value.iter().any(|byte| b"\"\\$`".contains(byte)) => Err(Unrepresentable(
            "a single quote, and one of \" \\ $ ` which are read differently beside it",
        )),
        true => Ok(surrounded(value, b'"')),
    }
}

/// Returns a value as a word of a POSIX shell.
///
/// # Errors
///
/// Returns [`Unrepresentable`] for a zero byte, which a variable cannot hold.
pub(super) fn shell(value: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unrepresentable> {
    if value.contains(&0) {
        return Err(Unrepresentable("a zero byte"));
    }
    let n_quotes = value.iter().filter(|byte| **byte == b'\'').count();
    // Large enough not to be reallocated, which would leave a copy of the value.
    let mut word = Zeroizing::new(Vec::with_capacity(value.len() + 3 * n_quotes + 2));
    word.push(b'\'');
    for byte in value {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            other => word.push(*other),
        }
    }
    word.push(b'\'');
    Ok(word)
}

fn surrounded(value: &[u8], quote: u8) -> Zeroizing<Vec<u8>> {
    let mut word = Zeroizing::new(Vec::with_capacity(value.len() + 2));
    word.push(quote);
    word.extend_from_slice(value);
    word.push(quote);
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::env_file::{self, Piece};

    #[test]
    fn values_that_are_read_differently_are_refused() {
        let word = |value: &str| {
            dotenv(value.as_bytes()).map(|word| String::from_utf8(word.to_vec()).unwrap())
        };
        assert_eq!(word("").unwrap(), "''");
        assert_eq!(word("a\"\\$`\nb").unwrap(), "'a\"\\$`\nb'");
        assert_eq!(word("it's").unwrap(), "\"it's\"");
        for value in [
            "it's $x",
            "'`'",
            "'\\",
            "'\"",
            "a\0",
            "a\r",
            "x se://a",
            "{{se://a}}",
        ] {
            assert!(word(value).is_err(), "{value:?}");
        }
        assert!(dotenv(b"\xff").is_err());
        assert_eq!(**shell(b"a'\xff$").unwrap(), *b"'a'\\''\xff$'");
        assert!(shell(b"\0").is_err());
    }

    proptest! {
        #[test]
        fn run_reads_every_word_back(value in "[a-z'\"\\\\$`{}#= \n\u{e9}]{0,30}") {
            let Ok(word) = dotenv(value.as_bytes()) else {
                return Ok(());
            };
            let line = [b"A=", word.as_slice(), b"\n"].concat();
            let entries = env_file::parse(&line).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
            prop_assert_eq!(entries.len(), 1);
            let read = match entries[0].value.as_slice() {
                [] => &[][..],
                [Piece::Text(text)] => text.as_slice(),
                _ => return Err(TestCaseError::fail("an expansion")),
            };
            prop_assert_eq!(read, value.as_bytes());
        }
    }
}
