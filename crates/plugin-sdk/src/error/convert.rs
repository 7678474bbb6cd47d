//! Conversions of common errors by `?`: a fixed sentence each, never the text of the error.

use std::io;
use std::num::ParseIntError;
use std::str::Utf8Error;
use std::string::FromUtf8Error;

use keyway_secrets::{ParseIdError, ParsePatternError};

use super::{ErrorKind, ProviderError};

macro_rules! internal {
    ($($error:ty => $sentence:literal),* $(,)?) => {
        $(
            #[doc = concat!("Converts into an internal error: \"", $sentence, "\".")]
            impl From<$error> for ProviderError {
                fn from(error: $error) -> Self {
                    Self::internal($sentence).with_source(error)
                }
            }
        )*
    };
}

internal! {
    FromUtf8Error => "a text of the store is not UTF-8",
    ParseIdError => "a name of the store is not an id",
    ParseIntError => "a text of the store is not a whole number in range",
    ParsePatternError => "a text of the store is not a pattern",
    Utf8Error => "a text of the store is not UTF-8",
}

/// Converts by the kind of the I/O error: timed out, unavailable if a connection failed, otherwise internal. A missing
/// file is a failure and not a missing secret.
impl From<io::Error> for ProviderError {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::TimedOut => ErrorKind::TimedOut,
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NotConnected => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        let message = format!("an input or output operation failed: {}", error.kind());
        Self::new(kind, message).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use keyway_secrets::{Id, Pattern};

    use super::*;

    #[test]
    fn each_conversion_is_a_fixed_sentence_without_the_errors_text() {
        let errors: [ProviderError; 6] = [
            "canary//value".parse::<Id>().unwrap_err().into(),
            "canary*/value".parse::<Pattern>().unwrap_err().into(),
            io::Error::other("canary").into(),
            String::from_utf8(b"canary\xff".to_vec())
                .unwrap_err()
                .into(),
            std::str::from_utf8(&b"canary\xff"[..]).unwrap_err().into(),
            "canary".parse::<u16>().unwrap_err().into(),
        ];
        let sentences: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            sentences,
            [
                "a name of the store is not an id",
                "a text of the store is not a pattern",
                "an input or output operation failed: other error",
                "a text of the store is not UTF-8",
                "a text of the store is not UTF-8",
                "a text of the store is not a whole number in range",
            ]
        );
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Internal);
            assert!(std::error::Error::source(&error).is_some(), "{error}");
        }
    }

    #[test]
    fn an_io_error_keeps_its_kind() {
        let kind = |kind: io::ErrorKind| ProviderError::from(io::Error::from(kind)).kind();
        assert_eq!(kind(io::ErrorKind::TimedOut), ErrorKind::TimedOut);
        assert_eq!(
            kind(io::ErrorKind::ConnectionRefused),
            ErrorKind::Unavailable
        );
        assert_eq!(
            kind(io::ErrorKind::NotFound),
            ErrorKind::Internal,
            "a missing file is not a missing secret"
        );
    }
}
