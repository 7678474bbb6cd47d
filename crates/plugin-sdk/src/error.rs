//! What a plugin says when it cannot answer.

use std::error::Error as StdError;
use std::fmt;

use keyway_rpc::Code;

/// Why a provider (or an access-control module) has no answer.
///
/// Kind and message travel to the program that asked, and into the daemon's logs: **never put a value into a message.**
/// One constructor for each kind that a caller can tell apart; `?` on any other error makes an
/// [`internal`](Self::internal) one with that error's text. (For the sake of that `?` this type does not implement
/// [`std::error::Error`] itself.)
///
/// ```
/// use keyway_plugin_sdk::{ErrorKind, ProviderError};
///
/// fn port(text: &str) -> Result<u16, ProviderError> {
///     if text.is_empty() {
///         return Err(ProviderError::unavailable("the vault does not listen; start it with `vault up`"));
///     }
///     Ok(text.parse::<u16>()?)
/// }
/// assert_eq!(port("").unwrap_err().kind(), ErrorKind::Unavailable);
/// assert_eq!(port("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub struct ProviderError {
    kind: ErrorKind,
    message: String,
}

/// What kind of failure it is; decides what a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store took too long. Trying again may help.
    DeadlineExceeded,
    /// A bug, or something that nobody foresaw.
    Internal,
    /// The question makes no sense to this provider.
    InvalidArgument,
    /// The store is locked, or needs its user to do something first.
    Locked,
    /// There is no such secret.
    NotFound,
    /// The store refuses to hand the secret to this caller.
    PermissionDenied,
    /// The store's quota is used up.
    ResourceExhausted,
    /// The provider's credentials at its store are missing or wrong.
    Unauthenticated,
    /// The store cannot be reached now. Trying again may help.
    Unavailable,
    /// The provider does not offer this.
    Unimplemented,
}

macro_rules! constructors {
    ($($(#[doc = $doc:literal])* $name:ident => $kind:ident),* $(,)?) => {
        impl ProviderError {
            $(
                $(#[doc = $doc])*
                #[must_use]
                pub fn $name(message: impl Into<String>) -> Self {
                    Self { kind: ErrorKind::$kind, message: message.into() }
                }
            )*
        }
    };
}

constructors! {
    /// The store took too long.
    deadline_exceeded => DeadlineExceeded,
    /// A bug, or something that nobody foresaw.
    internal => Internal,
    /// The question makes no sense to this provider.
    invalid_argument => InvalidArgument,
    /// The store is locked, or needs its user to do something first; the message says what.
    locked => Locked,
    /// There is no such secret. An empty list says the same.
    not_found => NotFound,
    /// The store refuses to hand the secret out.
    permission_denied => PermissionDenied,
    /// The store's quota is used up.
    resource_exhausted => ResourceExhausted,
    /// The provider's credentials at its store are missing or wrong.
    unauthenticated => Unauthenticated,
    /// The store cannot be reached now.
    unavailable => Unavailable,
    /// The provider does not offer this.
    unimplemented => Unimplemented,
}

impl ProviderError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same failure, said to be of another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// What goes to the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What a call was answered with, for the test daemon.
    #[cfg(feature = "test-kit")]
    pub(crate) fn from_rpc(error: keyway_rpc::Error) -> Self {
        Self {
            kind: ErrorKind::of(error.code()),
            message: error.message().to_owned(),
        }
    }

    pub(crate) fn into_rpc(self) -> keyway_rpc::Error {
        keyway_rpc::Error::new(self.kind.code(), self.message)
    }
}

impl ErrorKind {
    fn code(self) -> Code {
        match self {
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Internal => Code::Internal,
            Self::InvalidArgument => Code::InvalidArgument,
            Self::Locked => Code::FailedPrecondition,
            Self::NotFound => Code::NotFound,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::ResourceExhausted => Code::ResourceExhausted,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Unavailable => Code::Unavailable,
            Self::Unimplemented => Code::Unimplemented,
        }
    }

    #[cfg(feature = "test-kit")]
    fn of(code: Code) -> Self {
        match code {
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::FailedPrecondition => Self::Locked,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::NotFound => Self::NotFound,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::Unauthenticated => Self::Unauthenticated,
            Code::Unavailable => Self::Unavailable,
            Code::Unimplemented => Self::Unimplemented,
            _ => Self::Internal,
        }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProviderError({:?}: {})", self.kind, self.message)
    }
}

impl<E: StdError> From<E> for ProviderError {
    fn from(error: E) -> Self {
        Self::internal(with_causes(&error))
    }
}

/// The text of an error and of all its causes, in one line.
pub(crate) fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the list")]
    struct Outer(#[source] std::io::Error);

    fn fails() -> Result<(), ProviderError> {
        Err(Outer(std::io::Error::other("disk on fire")))?;
        Ok(())
    }

    #[test]
    fn the_question_mark_keeps_all_causes() {
        let error = fails().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.message(), "cannot read the list: disk on fire");
    }

    #[test]
    fn the_kind_decides_the_code() {
        let error = ProviderError::locked("unlock the keyring first").into_rpc();
        assert_eq!(error.code(), Code::FailedPrecondition);
        assert_eq!(error.message(), "unlock the keyring first");
        let other = fails()
            .unwrap_err()
            .with_kind(ErrorKind::Unavailable)
            .into_rpc();
        assert_eq!(other.code(), Code::Unavailable);
    }
}
