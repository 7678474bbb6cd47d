//! Failures of a transport as errors of the call.

use crate::{BoxError, Code, Error, MethodSpec};

/// Returns the error of a call whose transport failed with `cause`, which becomes its source and is not part of the message.
///
/// An [`Error`] of this crate, as tower layers return that limit or authorize, is the error of the
/// call. A stream of HTTP/2 that was reset carries a code; `expired` distinguishes a peer that
/// cancels at the deadline. Any other cause is `unavailable`, also after the request was sent.
pub(super) fn transport_error(cause: BoxError, spec: &MethodSpec, expired: bool) -> Error {
    let cause = match cause.downcast::<Error>() {
        Ok(error) => return *error,
        Err(cause) => cause,
    };
    let (code, what) = match reset_code(&*cause) {
        Some(Code::Canceled) if expired => (Code::DeadlineExceeded, "missed the deadline"),
        Some(code) => (code, "was reset"),
        None => (Code::Unavailable, "failed"),
    };
    Error::new(code, format!("{} {what}", spec.path())).with_source(cause)
}

/// Returns the error of a call whose response is shorter than declared without an error of the
/// transport: hyper reports a stream of HTTP/2 that was reset with `NO_ERROR` like that.
pub(super) fn cut_short(spec: &MethodSpec) -> Error {
    let path = spec.path();
    Error::internal(format!("{path} was reset in the middle of its response"))
}

/// Returns the code of the first stream reset in a chain of causes.
#[cfg(feature = "http2")]
fn reset_code(cause: &(dyn std::error::Error + 'static)) -> Option<Code> {
    let chain = std::iter::successors(Some(cause), |cause| cause.source());
    let reset = chain
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .find(|error| error.is_reset())?;
    reset.reason().map(code_for)
}

#[cfg(not(feature = "http2"))]
fn reset_code(_: &(dyn std::error::Error + 'static)) -> Option<Code> {
    None
}

/// Maps a reason by the table of connect-go, which is that of gRPC over HTTP/2. Reasons outside of it
/// are `internal`, as most of its own are: one of the ends broke the protocol.
#[cfg(feature = "http2")]
fn code_for(reason: h2::Reason) -> Code {
    match reason {
        h2::Reason::REFUSED_STREAM => Code::Unavailable,
        h2::Reason::CANCEL => Code::Canceled,
        h2::Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use keyway_test_support::assert_causes_said_once;

    use super::*;

    #[test]
    fn the_cause_of_a_failed_transport_is_the_source_and_not_in_the_message() {
        static ECHO: MethodSpec = MethodSpec::unary("/test.Echo/Echo");
        let refused = io::Error::other("connection refused");
        let error = transport_error(refused.into(), &ECHO, false);
        assert_eq!(error.to_string(), "unavailable: /test.Echo/Echo failed");
        let source = error.source().map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("connection refused"));
        assert_causes_said_once(&error);
    }
}
