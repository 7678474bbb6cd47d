//! [`ExchangeError`].

use std::io;

use crate::BoxError;
use crate::syntax::SyntaxError;
use crate::wire::ReadError;

/// Error of an exchange that ended without a response, or in the middle of its body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The connector made no connection.
    #[error("no connection")]
    Connect(#[source] BoxError),
    /// The body of the request failed.
    #[error("the body of the request failed")]
    Body(#[source] BoxError),
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The peer closed the connection without a response.
    #[error("the peer closed the connection without a response")]
    Closed,
    /// The peer closed the connection in the middle of its response.
    #[error("the peer closed the connection in the middle of its response")]
    Truncated,
    /// The body of the response has neither a length nor chunks, so its end is not distinguishable from the end of its sender.
    #[error("the response has neither a length nor chunks, so its end is not known")]
    Unframed,
    /// The received bytes are not a response of HTTP/1.1.
    #[error("the response is not HTTP/1.1: {reason}")]
    Malformed {
        /// The violated rule.
        reason: &'static str,
    },
}

impl From<SyntaxError> for ExchangeError {
    fn from(error: SyntaxError) -> Self {
        Self::Malformed {
            reason: error.reason(),
        }
    }
}

impl From<ReadError> for ExchangeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => Self::Io(error),
            ReadError::Truncated => Self::Truncated,
            ReadError::Syntax(error) => error.into(),
        }
    }
}
