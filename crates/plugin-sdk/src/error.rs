//! The error of providers and access-control modules.

mod context;
mod convert;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use keyway_local::with_causes;
use keyway_proto::keyway::v1::{Failure, FailureKind};
use keyway_proto::limits::{MAX_REMEDY_LEN, MAX_RETRY_AFTER};

pub use self::context::ResultExt;

/// The error of a provider or an access-control module.
///
/// Kind, message, remedy and `retry_after` are sent to the caller, so **never put a value into a message.**
/// There is one constructor for each [`ErrorKind`].
///
/// The text of other errors is never sent. `?` converts the most common errors (ids, patterns, [`std::io::Error`],
/// UTF-8, integers) into a fixed sentence; [`ResultExt`] gives any other error a kind and a message of the author's. The
/// original error is the [`source`](StdError::source), which is written to the plugin's own log at DEBUG.
///
/// ```
/// use keyway_plugin_sdk::{ErrorKind, ProviderError, ResultExt};
///
/// fn port(text: &str) -> Result<u16, ProviderError> {
///     if text.is_empty() {
///         return Err(ProviderError::unavailable("the vault is not running").with_remedy("start it with `vault up`"));
///     }
///     text.parse::<u16>().or_fatal("the setting `port` is not a port number")
/// }
/// assert_eq!(port("").unwrap_err().remedy(), Some("start it with `vault up`"));
/// assert_eq!(port("x").unwrap_err().kind(), ErrorKind::Fatal);
/// assert_eq!(port("x").unwrap_err().to_string(), "the setting `port` is not a port number");
/// ```
#[derive(Clone)]
pub struct ProviderError {
    kind: ErrorKind,
    message: Cow<'static, str>,
    remedy: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident, $constructor:ident, $wire:expr;)*) => {
        /// The kind of an error. It decides the exit code and the message that the user gets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[doc = $doc])* $kind,)*
        }

        impl ErrorKind {
            /// Returns the kind on the wire; `None` for [`NotFound`](Self::NotFound), which is not a failure.
            fn to_wire(self) -> Option<FailureKind> {
                match self {
                    $(Self::$kind => $wire,)*
                }
            }

            #[cfg(feature = "test-kit")]
            fn from_wire(kind: FailureKind) -> Option<Self> {
                [$(Self::$kind),*].into_iter().find(|known| known.to_wire() == Some(kind))
            }
        }

        impl ProviderError {
            $(
                $(#[doc = $doc])*
                #[must_use]
                pub fn $constructor(message: impl Into<Cow<'static, str>>) -> Self {
                    Self::new(ErrorKind::$kind, message)
                }
            )*
        }
    };
}

kinds! {
    /// The provider cannot enumerate its secrets. Return it for a pattern instead of an empty list.
    CannotList, cannot_list, Some(FailureKind::CannotList);
    /// The store does not give this secret to this user.
    Denied, denied, Some(FailureKind::Denied);
    /// The provider is misconfigured. Returned by the set-up, it ends the process with status 78, and the daemon does not
    /// restart the plugin before something has changed.
    Fatal, fatal, Some(FailureKind::Fatal);
    /// The provider failed for any other reason.
    Internal, internal, Some(FailureKind::Internal);
    /// The store cannot hold a secret with this id, which counts as "no matching secret". For a query for one id.
    Invalid, invalid, Some(FailureKind::Invalid);
    /// The store is locked.
    Locked, locked, Some(FailureKind::Locked);
    /// The provider needs to prompt the user, and [prompts are forbidden](crate::Query::may_ask_user).
    NeedsUser, needs_user, Some(FailureKind::NeedsUser);
    /// No secret matches; equivalent to an empty list. It is not a failure: the daemon calls lower ranks.
    NotFound, not_found, None;
    /// The store's quota is exhausted; see [`with_retry_after`](ProviderError::with_retry_after).
    Quota, quota, Some(FailureKind::Quota);
    /// The store took too long.
    TimedOut, timed_out, Some(FailureKind::TimedOut);
    /// The provider is not logged in at its store.
    Unauthenticated, unauthenticated, Some(FailureKind::Unauthenticated);
    /// The store cannot be reached now.
    Unavailable, unavailable, Some(FailureKind::Unavailable);
}

impl ProviderError {
    fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            remedy: None,
            retry_after: None,
            source: None,
        }
    }

    /// Returns this error with another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds one sentence with an action for the user, such as "unlock it with `vault unlock`". It is shown after the
    /// plugin's name and truncated to 256 bytes.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        let remedy = remedy.into();
        let end = remedy.floor_char_boundary(MAX_REMEDY_LEN);
        self.remedy = Some(match remedy {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
            Cow::Owned(mut text) => {
                text.truncate(end);
                Cow::Owned(text)
            }
        });
        self
    }

    /// Adds the delay before a retry can succeed, at most 1 h. The daemon does not call a provider whose quota is exhausted
    /// before it has passed.
    #[must_use]
    pub fn with_retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time.min(MAX_RETRY_AFTER));
        self
    }

    /// Adds the cause of this error, for the plugin's own log. It is never sent.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the author's message about the failure.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the action for the user, if the author gave one.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// Returns the delay before a retry can succeed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns `true` unless the kind is [`ErrorKind::NotFound`], which is not a failure.
    pub(crate) fn is_failure(&self) -> bool {
        self.kind.to_wire().is_some()
    }

    /// Returns the failure without its message; `None` for [`ErrorKind::NotFound`].
    pub(crate) fn to_failure(&self) -> Option<Failure> {
        let mut failure = Failure::of_kind(self.kind.to_wire()?);
        failure.remedy = self.remedy.as_deref().map(str::to_owned);
        failure.retry_after = self
            .retry_after
            .and_then(|time| prost_types::Duration::try_from(time).ok());
        Some(failure)
    }

    /// Converts into the error of the RPC.
    pub(crate) fn into_rpc(self) -> keyway_rpc::Error {
        match self.to_failure() {
            Some(failure) => failure.into_error(self.message.into_owned()),
            None => keyway_rpc::Error::not_found(self.message),
        }
    }

    /// Writes the cause of this error to the plugin's own log. `request_id` is that of the failed request.
    pub(crate) fn log_source(&self, request_id: Option<&str>) {
        if let Some(source) = &self.source {
            let (message, cause) = (&self.message, with_causes(&**source));
            let request = request_id.unwrap_or_default();
            tracing::debug!(kind = ?self.kind, %cause, request, "{message}");
        }
    }

    /// Reads the error of a call as a daemon does. `is_single` states whether the query was for one id.
    #[cfg(feature = "test-kit")]
    pub(crate) fn from_rpc(error: &keyway_rpc::Error, is_single: bool) -> Self {
        let message = error.message().to_owned();
        match Failure::of_error(error, is_single) {
            Some(failure) => Self::from_failure(failure, message),
            None if error.code() == keyway_rpc::Code::NotFound => Self::not_found(message),
            None => Self::invalid(message),
        }
    }

    #[cfg(feature = "test-kit")]
    pub(crate) fn from_failure(failure: Failure, message: String) -> Self {
        let kind = ErrorKind::from_wire(failure.kind()).unwrap_or(ErrorKind::Internal);
        Self {
            retry_after: failure.retry_after(),
            remedy: failure.remedy.map(Cow::Owned),
            ..Self::new(kind, message)
        }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Omits the cause, whose text may hold a value.
impl fmt::Debug for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderError")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("remedy", &self.remedy)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

impl StdError for ProviderError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use keyway_rpc::Code;

    use super::*;

    /// Otherwise it could exceed the limits of the header or the error that carries it, which would lose the kind as well.
    #[test]
    fn a_long_remedy_is_cut_before_it_is_sent() {
        let error = ProviderError::locked("locked").with_remedy("x".repeat(100_000));
        let failure = error.to_failure().unwrap();
        assert_eq!(
            (failure.kind(), failure.remedy().len()),
            (FailureKind::Locked, 256)
        );
    }

    #[test]
    fn each_kind_is_sent_as_its_code_with_the_detail() {
        type Make = fn(&'static str) -> ProviderError;
        let rows: [(Make, Code, FailureKind); 11] = [
            (
                ProviderError::locked,
                Code::FailedPrecondition,
                FailureKind::Locked,
            ),
            (
                ProviderError::needs_user,
                Code::FailedPrecondition,
                FailureKind::NeedsUser,
            ),
            (
                ProviderError::denied,
                Code::PermissionDenied,
                FailureKind::Denied,
            ),
            (
                ProviderError::unavailable,
                Code::Unavailable,
                FailureKind::Unavailable,
            ),
            (
                ProviderError::timed_out,
                Code::DeadlineExceeded,
                FailureKind::TimedOut,
            ),
            (
                ProviderError::quota,
                Code::ResourceExhausted,
                FailureKind::Quota,
            ),
            (
                ProviderError::invalid,
                Code::InvalidArgument,
                FailureKind::Invalid,
            ),
            (ProviderError::fatal, Code::Internal, FailureKind::Fatal),
            (
                ProviderError::unauthenticated,
                Code::Unauthenticated,
                FailureKind::Unauthenticated,
            ),
            (
                ProviderError::cannot_list,
                Code::Unimplemented,
                FailureKind::CannotList,
            ),
            (
                ProviderError::internal,
                Code::Internal,
                FailureKind::Internal,
            ),
        ];
        for (make, code, kind) in rows {
            let error = make("words").into_rpc();
            assert_eq!((error.code(), error.message()), (code, "words"));
            let failure = Failure::of_error(&error, false).expect("a failure");
            assert_eq!(failure.kind(), kind);
        }
        let missing = ProviderError::not_found("no such entry").into_rpc();
        assert_eq!(
            (missing.code(), missing.details().len()),
            (Code::NotFound, 0)
        );
    }

    #[test]
    fn remedy_and_retry_after_are_sent_within_their_limits() {
        let error = ProviderError::quota("the quota is used up")
            .with_remedy("ä".repeat(200))
            .with_retry_after(Duration::from_secs(7200));
        assert_eq!(error.remedy().map(str::len), Some(MAX_REMEDY_LEN));
        assert_eq!(error.retry_after(), Some(MAX_RETRY_AFTER));
        let failure = Failure::of_error(&error.into_rpc(), true).expect("a failure");
        assert_eq!(failure.remedy().len(), MAX_REMEDY_LEN);
        assert_eq!(failure.retry_after(), Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn the_cause_is_neither_sent_nor_formatted() {
        let error = ProviderError::internal("cannot parse the index").with_source("canary-value");
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("canary-value")
        );
        let shown = format!("{error} {error:?} {:?}", error.clone().into_rpc());
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn the_cause_is_logged_at_debug_only() {
        let error = ProviderError::internal("cannot parse the index");
        let error = error.with_source("expected a list");
        let log = || error.log_source(Some("0123456789abcdef"));
        let quiet = crate::log::capture::CapturedLines::start("info");
        log();
        assert_eq!(quiet.get(), Vec::<String>::new());
        drop(quiet);
        let verbose = crate::log::capture::CapturedLines::start("debug");
        log();
        assert_eq!(
            verbose.get(),
            [
                "DEBUG keyway_plugin_sdk::error: cannot parse the index kind=Internal cause=expected a list request=\"0123456789abcdef\"\n"
            ]
        );
    }
}
