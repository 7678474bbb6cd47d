//! [`ExchangeError`].

use std::io;

use crate::BoxError;

/// Why an exchange ended without a response, or in the middle of its body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The connector made no connection.
    #[error("no connection: {0}")]
    Connect(#[source] BoxError),
    /// The body of the request failed.
    #[error("the body of the request failed: {0}")]
    Body(#[source] BoxError),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer closed the connection without an answer.
    #[error("the peer closed the connection without an answer")]
    Closed,
    /// The peer closed the connection in the middle of its answer.
    #[error("the peer closed the connection in the middle of its answer")]
    Truncated,
    /// What came is not a response of HTTP/1.1.
    #[error("the answer is not HTTP/1.1: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl ExchangeError {
    pub(super) fn malformed(reason: &'static str) -> Self {
        Self::Malformed { reason }
    }
}
