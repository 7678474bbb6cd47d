//! Kinds of failure: their Connect codes, and how an error is read with and without the detail.

use std::time::Duration;

#[cfg(any(feature = "client", feature = "server"))]
use keyway_rpc::{Code, Error, ErrorDetail};

use crate::keyway::v1::{Failure, FailureKind};
use crate::limits::{MAX_REMEDY_LEN, MAX_RETRY_AFTER};

/// The request header of `RegisterPlugin` in which a plugin describes itself: a [`crate::keyway::v1::PluginDescription`].
pub const DESCRIBE_HEADER: &str = "keyway-describe-bin";

/// The response header that marks the result of a plugin as incomplete: a [`Failure`].
pub const INCOMPLETE_HEADER: &str = "keyway-incomplete-bin";

/// The response header in which the daemon describes the providers that failed beside a partial result: a
/// [`crate::keyway::v1::Failures`].
pub const FAILURES_HEADER: &str = "keyway-failures-bin";

/// The header that names a request in the daemon's log, the audit log and at the plugin: 16 hex digits.
pub const REQUEST_ID_HEADER: &str = "keyway-request-id";

/// The request header that forbids prompts if its value is `0`.
pub const MAY_ASK_USER_HEADER: &str = "keyway-may-ask-user";

/// The request header of a write that is to happen although another provider outranks or equals the value, if its value is `1`.
pub const FORCE_HEADER: &str = "keyway-force";

/// The header of a client's request that names the command for which it is made, as a file name of printable ASCII without a path
/// or arguments, at most [`MAX_COMMAND_LEN`] bytes. The audit log records it as the client's own statement.
pub const COMMAND_HEADER: &str = "keyway-command";

/// The longest name in a [`COMMAND_HEADER`], in bytes; a longer one is cut.
pub const MAX_COMMAND_LEN: usize = 64;

impl FailureKind {
    /// Returns `true` if a plugin may report this kind; the others are the daemon's own.
    #[must_use]
    pub fn is_of_plugin(self) -> bool {
        (1..16).contains(&i32::from(self))
    }

    /// Returns the name without its prefix, as in `LOCKED`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.as_str_name()
            .strip_prefix("FAILURE_KIND_")
            .unwrap_or("UNSPECIFIED")
    }

    /// Returns the Connect code of an error of this kind.
    #[cfg(any(feature = "client", feature = "server"))]
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Locked | Self::NeedsUser | Self::Conflict => Code::FailedPrecondition,
            Self::Denied => Code::PermissionDenied,
            Self::Unavailable | Self::Starting | Self::Down | Self::Busy | Self::Refused => {
                Code::Unavailable
            }
            Self::TimedOut => Code::DeadlineExceeded,
            Self::Quota => Code::ResourceExhausted,
            Self::Invalid => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::CannotList => Code::Unimplemented,
            Self::Fatal | Self::Internal | Self::Unspecified => Code::Internal,
        }
    }
}

impl Failure {
    /// Returns a failure of this kind without a remedy.
    #[must_use]
    pub fn of_kind(kind: FailureKind) -> Self {
        Self {
            kind: Some(kind.into()),
            ..Self::default()
        }
    }

    /// Applies the limits to the failure of a peer: an unknown kind or one of the daemon becomes unspecified, a negative
    /// `retry_after` is removed, and one that is too long is reduced, as a remedy is.
    #[must_use]
    pub fn within_limits(mut self) -> Self {
        if !self.kind().is_of_plugin() {
            self.kind = None;
        }
        self.retry_after = self.retry_after().map(|time| prost_types::Duration {
            seconds: time.as_secs().try_into().unwrap_or(i64::MAX),
            nanos: time.subsec_nanos().try_into().unwrap_or_default(),
        });
        if let Some(remedy) = &mut self.remedy {
            remedy.truncate(remedy.floor_char_boundary(MAX_REMEDY_LEN));
        }
        self
    }

    /// Returns the time after which a retry makes sense, at most [`MAX_RETRY_AFTER`]. A negative time counts as none.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let time = Duration::try_from(self.retry_after?).ok()?;
        Some(time.min(MAX_RETRY_AFTER))
    }

    /// Returns the failure of an error of a plugin; `None` if no secret matches. `is_single` states whether the query was for
    /// one id.
    ///
    /// The kind is that of the detail; without one that of the code, for plugins that do not send details; never that of the text.
    #[cfg(any(feature = "client", feature = "server"))]
    #[must_use]
    pub fn of_error(error: &Error, is_single: bool) -> Option<Self> {
        // A detail that does not decode counts as none: the code decides.
        let detail = error.detail::<Self>().unwrap_or_default();
        let mut failure = detail.unwrap_or_default().within_limits();
        match failure.kind() {
            FailureKind::Unspecified if error.code() == Code::NotFound => None,
            FailureKind::Unspecified => {
                failure.kind = Some(kind_of_code(error.code(), is_single).into());
                Some(failure)
            }
            FailureKind::Invalid if is_single => None,
            _ => Some(failure),
        }
    }

    /// Returns the error that carries this failure as its detail, with `message` for the caller.
    #[cfg(any(feature = "client", feature = "server"))]
    #[must_use]
    pub fn into_error(self, message: impl Into<String>) -> Error {
        Error::new(self.kind().code(), message.into()).with_detail(ErrorDetail::new(&self))
    }
}

#[cfg(any(feature = "client", feature = "server"))]
fn kind_of_code(code: Code, is_single: bool) -> FailureKind {
    match code {
        Code::FailedPrecondition => FailureKind::Locked,
        Code::PermissionDenied => FailureKind::Denied,
        Code::Unavailable => FailureKind::Unavailable,
        Code::DeadlineExceeded => FailureKind::TimedOut,
        Code::ResourceExhausted => FailureKind::Quota,
        Code::Unauthenticated => FailureKind::Unauthenticated,
        Code::Unimplemented if !is_single => FailureKind::CannotList,
        _ => FailureKind::Internal,
    }
}

#[cfg(all(test, feature = "client"))]
mod tests {
    use super::*;

    fn kind(error: &Error, is_single: bool) -> Option<FailureKind> {
        Failure::of_error(error, is_single).map(|failure| failure.kind())
    }

    #[test]
    fn the_kind_is_that_of_the_detail_or_of_the_code() {
        let fatal = Failure::of_kind(FailureKind::Fatal).into_error("no settings");
        assert_eq!(fatal.code(), Code::Internal);
        assert_eq!(kind(&fatal, true), Some(FailureKind::Fatal));
        let locked = ErrorDetail::new(&Failure::of_kind(FailureKind::Locked));
        for code in [Code::Internal, Code::NotFound] {
            let error = Error::new(code, "").with_detail(locked.clone());
            assert_eq!(kind(&error, true), Some(FailureKind::Locked), "{code:?}");
        }
        for (code, expected) in [
            (Code::FailedPrecondition, FailureKind::Locked),
            (Code::PermissionDenied, FailureKind::Denied),
            (Code::Unavailable, FailureKind::Unavailable),
            (Code::DeadlineExceeded, FailureKind::TimedOut),
            (Code::ResourceExhausted, FailureKind::Quota),
            (Code::Unauthenticated, FailureKind::Unauthenticated),
            (Code::InvalidArgument, FailureKind::Internal),
            (Code::Unknown, FailureKind::Internal),
        ] {
            assert_eq!(
                kind(&Error::new(code, ""), true),
                Some(expected),
                "{code:?}"
            );
        }
    }

    #[test]
    fn the_kind_of_some_codes_depends_on_the_query() {
        let unimplemented = Error::unimplemented("");
        assert_eq!(kind(&unimplemented, false), Some(FailureKind::CannotList));
        assert_eq!(kind(&unimplemented, true), Some(FailureKind::Internal));
        let invalid = Failure::of_kind(FailureKind::Invalid).into_error("");
        assert_eq!(kind(&invalid, true), None);
        assert_eq!(kind(&invalid, false), Some(FailureKind::Invalid));
        assert_eq!(kind(&Error::not_found(""), true), None);
    }

    #[test]
    fn a_plugin_cannot_claim_a_kind_of_the_daemon() {
        let busy = Failure::of_kind(FailureKind::Busy).into_error("");
        assert_eq!(kind(&busy, true), Some(FailureKind::Unavailable));
    }

    #[test]
    fn limits_apply_to_the_failure_of_a_peer() {
        let failure = Failure {
            kind: Some(99),
            retry_after: Some(prost_types::Duration {
                seconds: 1 << 40,
                nanos: 0,
            }),
            remedy: Some("ä".repeat(200)),
        };
        let failure = failure.within_limits();
        assert_eq!(failure.kind(), FailureKind::Unspecified);
        assert_eq!(failure.retry_after(), Some(MAX_RETRY_AFTER));
        assert_eq!(failure.remedy().len(), MAX_REMEDY_LEN);
        let negative = prost_types::Duration {
            seconds: -1,
            nanos: 0,
        };
        let failure = Failure {
            retry_after: Some(negative),
            ..Failure::default()
        };
        assert_eq!(failure.within_limits().retry_after, None);
    }
}
