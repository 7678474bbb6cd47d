//! [`ServeError`]: how a connection failed.

use std::io;
use std::time::Duration;

use crate::BoxError;

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The peer broke the protocol or went away in the middle, or the I/O failed.
    #[error("HTTP/1.1 connection: {0}")]
    Http(#[from] hyper::Error),
    /// The I/O failed.
    #[error("HTTP/1.1 connection: {0}")]
    Io(#[from] io::Error),
    /// The peer went away while its request was answered.
    #[error("the peer went away before it was answered")]
    Gone,
    /// The body of a response failed.
    #[error("the body of the response: {0}")]
    Body(#[source] BoxError),
    /// The head of a request was begun and not finished in time.
    #[error("the head of a request did not come within {limit:?}")]
    SlowHead {
        /// [`ServeConfig::header_read_timeout`](super::ServeConfig::header_read_timeout).
        limit: Duration,
    },
    /// The peer did not take a response in time.
    #[error("the peer took too little of a response within {limit:?}")]
    SlowReader {
        /// [`ServeConfig::write_timeout`](super::ServeConfig::write_timeout).
        limit: Duration,
    },
}
