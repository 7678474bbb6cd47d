//! [`upgrade`]: switches a byte stream to another protocol.

use std::fmt;

use http::{Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{ExchangeBody, Then};
use super::error::ExchangeError;
use super::exchange::{Expect, exchange};
use super::request::{self, ConnectionOption};
use crate::wire::Upgraded;

/// Error of an upgrade.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError<I> {
    /// No response came.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The server responded with another status than 101. The body, which may end with its stream, can be read.
    #[error("the server refused the upgrade with status {}", .0.status())]
    Refused(Box<Response<ExchangeBody<I, String>>>),
}

impl<I> fmt::Debug for UpgradeError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(error) => f.debug_tuple("Exchange").field(error).finish(),
            Self::Refused(response) => f.debug_tuple("Refused").field(&response.status()).finish(),
        }
    }
}

/// Requests the server at the other end of `io` to switch protocols, and returns the stream once it has: the next byte that is
/// read is the first behind the head of the response.
///
/// `request` names the protocol in `upgrade`; `connection: upgrade` is added. `allows_version_0` accepts a response of
/// the version 0.0, which some acceptors write. There is no timeout: the caller bounds the time.
///
/// # Errors
///
/// Returns [`UpgradeError::Refused`] if the server responds with another status than 101, and [`UpgradeError::Exchange`] if
/// there is no response.
///
/// # Cancel safety
///
/// Dropping the future drops the stream.
pub async fn upgrade<I>(
    io: I,
    request: Request<()>,
    allows_version_0: bool,
) -> Result<Upgraded<I>, UpgradeError<I>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let method = request.method().clone();
    let request = request.map(|()| String::new());
    let writer = request::writer(request, ConnectionOption::Upgrade);
    let exchanged = exchange(io, writer, &method, Expect::Upgrade { allows_version_0 }).await;
    let (head, connection) = exchanged.map_err(|failed| failed.error)?;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Upgraded::new(connection.reader, connection.io));
    }
    let response = ExchangeBody::response(head, connection, true, Then::Close);
    Err(UpgradeError::Refused(Box::new(response)))
}
