//! [`ServeError`]: how a connection failed.

use std::io;
use std::time::Duration;

use crate::BoxError;

/// Error of a connection that ended before its peer had all responses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The byte stream failed.
    #[error("the byte stream failed")]
    Io(#[from] io::Error),
    /// The head of a request violates HTTP/1.1. The response with the status of the fault was sent.
    #[error("malformed request head: {reason}")]
    Malformed {
        /// The rule that the head violates.
        reason: &'static str,
    },
    /// The peer closed the connection within the head of a request.
    #[error("the peer closed the connection within the head of a request")]
    Truncated,
    /// The peer closed the connection before it had the response.
    #[error("the peer closed the connection before the response was sent")]
    PeerGone,
    /// The body of a response failed, or the response cannot be sent.
    #[error("response cannot be sent")]
    Response(#[source] BoxError),
    /// The head of a request was incomplete after [`Limits::head_timeout`](crate::Limits::head_timeout).
    #[error("the head of a request was incomplete after {limit:?}")]
    SlowHead {
        /// The timeout.
        limit: Duration,
    },
    /// The peer took less than 64 KiB of a response within
    /// [`Limits::write_timeout`](crate::Limits::write_timeout).
    #[error("the peer took too little of a response within {limit:?}")]
    SlowReader {
        /// The timeout.
        limit: Duration,
    },
    /// The connection waited for its peer, and its place was given to another connection.
    #[error("the place of the connection was given to another")]
    Evicted,
    /// The HTTP/2 connection failed.
    #[cfg(feature = "h2c")]
    #[error("HTTP/2 connection failed")]
    Http2(#[from] hyper::Error),
}
