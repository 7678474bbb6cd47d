//! What the failure of a transport means for the call.

use crate::{BoxError, Code, Error, MethodSpec};

/// The error of a call whose transport failed with `cause`, which becomes its source.
///
/// A transport may speak in this crate's own errors, as a tower layer that limits or authorizes
/// does. A stream of HTTP/2 that was reset carries a code of its own; `expired` says that the
/// deadline has passed, of which a peer speaks as of any other end of a call. Anything else means
/// that the service is not available, which may be known only after the request was sent.
pub(super) fn transport_error(cause: BoxError, spec: &MethodSpec, expired: bool) -> Error {
    let cause = match cause.downcast::<Error>() {
        Ok(error) => return *error,
        Err(cause) => cause,
    };
    let (path, why) = (spec.path(), describe(&*cause));
    let (code, what) = match reset_code(&*cause) {
        Some(Code::Canceled) if expired => (Code::DeadlineExceeded, "was not answered in time"),
        Some(code) => (code, "was reset"),
        None => (Code::Unavailable, "failed"),
    };
    Error::new(code, format!("{path} {what}: {why}")).with_source(cause)
}

/// The texts of all causes. Some errors repeat their source in their own text, and others, as those
/// of `hyper_util`, do not even hint at it.
fn describe(cause: &(dyn std::error::Error + 'static)) -> String {
    let mut text = cause.to_string();
    for cause in std::iter::successors(cause.source(), |cause| cause.source()) {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
    }
    text
}

/// The error of a call whose answer was shorter than it said, without a word from the transport:
/// so hyper tells that a peer reset a stream of HTTP/2 with `NO_ERROR`.
pub(super) fn cut_short(spec: &MethodSpec) -> Error {
    let path = spec.path();
    Error::internal(format!("{path} was reset in the middle of its answer"))
}

/// The code for the first stream reset in a chain of causes.
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

/// The table of connect-go, which is that of gRPC over HTTP/2. What it leaves out is `internal`
/// here, as is most of what it names: the peer or this end broke the protocol.
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
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error")]
    struct Silent(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("no connection: {0}")]
    struct Repeating(#[source] Silent);

    #[test]
    fn every_cause_is_told_once() {
        static ECHO: MethodSpec = MethodSpec::unary("/test.Echo/Echo");
        let refused = || Silent(io::Error::other("connection refused"));
        let error = transport_error(refused().into(), &ECHO, false);
        let text = "unavailable: /test.Echo/Echo failed: client error: connection refused";
        assert_eq!(error.to_string(), text);
        let error = transport_error(Repeating(refused()).into(), &ECHO, false);
        let text = "no connection: client error: connection refused";
        assert!(error.message().ends_with(text), "{error}");
        assert_eq!(error.message().matches("refused").count(), 1, "{error}");
    }
}
