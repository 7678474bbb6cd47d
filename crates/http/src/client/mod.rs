//! [`Exchange`]: one connection for each request.
//!
//! The HTTP/1.1 here is written for this one use, without a general client's queues between a
//! caller and its connection: together with the fresh stream below it, a call must cost hardly
//! more than one on a connection that is kept open. It is also what lets every buffer that a
//! message passed through be zeroed.

mod body;
mod error;
mod request;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, StatusCode, Uri};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

pub use self::body::ExchangeBody;
pub use self::error::ExchangeError;
use crate::BoxError;
use crate::syntax::Limits;
use crate::syntax::head::{ResponseHead, parse_response};
use crate::wire::Reader;
use crate::wire::SendError;

/// A transport that opens a connection for each request, by a connector, and closes it afterwards.
///
/// It is made for connections that cost next to nothing, such as the streams of a multiplexed
/// socket: there is no pool, and no task is spawned, since the connection is driven by the future
/// of the request and then by the body of the response.
///
/// The write side stays open until the response was read to its end, because a peer may take an
/// earlier close as "the caller is gone" (Go's HTTP server does), and is then always closed, because
/// a peer may wait for that before it shuts down. Dropping the future, or the body before its end,
/// drops the connection.
///
/// Responses may be HTTP/1.1 or 1.0; interim ones (status 1xx) are skipped, trailers are read and
/// dropped, and switching protocols is an error. Heads may have 64 KiB and 100 fields. All buffers
/// made here are zeroed before they are freed.
///
/// The connector is a `tower::Service<Uri>` whose response implements tokio's I/O traits:
///
/// ```
/// use keyway_http::Exchange;
/// use tokio::net::UnixStream;
///
/// let connector = tower::service_fn(|_: http::Uri| UnixStream::connect("/run/demo.sock"));
/// let transport = Exchange::new(connector);
/// # drop(transport);
/// ```
#[derive(Clone)]
pub struct Exchange<C> {
    connector: C,
}

impl<C> Exchange<C> {
    /// A transport over the connections of `connector`.
    #[must_use]
    pub fn new(connector: C) -> Self {
        Self { connector }
    }

    /// The connector.
    #[must_use]
    pub fn connector(&self) -> &C {
        &self.connector
    }
}

impl<C> fmt::Debug for Exchange<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl<C, I, B> Service<http::Request<B>> for Exchange<C>
where
    C: Service<Uri, Response = I>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = http::Response<ExchangeBody<I, B>>;
    type Error = ExchangeError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ExchangeError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let ready = self.connector.poll_ready(cx);
        ready.map_err(|error| ExchangeError::Connect(error.into()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let connecting = self.connector.call(request.uri().clone());
        let method = request.method().clone();
        let mut writer = request::writer(request);
        Box::pin(async move {
            let connected = connecting.await;
            let mut io = connected.map_err(|error| ExchangeError::Connect(error.into()))?;
            let mut reader = Reader::new();
            let (mut unsent, mut interim) = (None, 0);
            let head = poll_fn(|cx| {
                match writer.poll_send(&mut io, cx) {
                    Poll::Ready(Err(SendError::Body(error))) => {
                        return Poll::Ready(Err(ExchangeError::Body(error)));
                    }
                    Poll::Ready(Err(SendError::Io(error))) => unsent = Some(error),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
                poll_head(&mut reader, &mut io, &method, &mut interim, cx)
            });
            let head = match (head.await, unsent) {
                // A peer that stopped reading may have said why; only without an answer is the
                // failed write what there is to tell.
                (Err(ExchangeError::Closed), Some(error)) => return Err(error.into()),
                (head, _) => head?,
            };
            Ok(ExchangeBody::response(head, io, reader, writer).await)
        })
    }
}

/// Reads the head of the final response.
fn poll_head<I: AsyncRead + Unpin>(
    reader: &mut Reader,
    io: &mut I,
    method: &Method,
    interim: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Result<ResponseHead, ExchangeError>> {
    loop {
        if let Some(head) = next_head(reader, method, interim)? {
            return Poll::Ready(Ok(head));
        }
        if std::task::ready!(reader.poll_fill(io, cx))? == 0 {
            let error = match reader.is_empty() {
                true => ExchangeError::Closed,
                false => ExchangeError::Truncated,
            };
            return Poll::Ready(Err(error));
        }
    }
}

/// The most interim responses before the final one: each is forgotten when it was read, but they
/// must not go on without end.
const MAX_INTERIM: usize = 100;

/// Takes the head of the final response out of the reader; `None` if it has not all arrived.
/// `interim` counts those before it.
fn next_head(
    reader: &mut Reader,
    method: &Method,
    interim: &mut usize,
) -> Result<Option<ResponseHead>, ExchangeError> {
    let malformed = |reason| ExchangeError::Malformed { reason };
    while !reader.is_empty() {
        let parsed = parse_response(reader.unread(), Limits::RESPONSE, method, false)?;
        let Some((head, size)) = parsed else {
            return Ok(None);
        };
        reader.consume(size);
        match head.status {
            StatusCode::SWITCHING_PROTOCOLS => return Err(malformed("it switches protocols")),
            status if !status.is_informational() => return Ok(Some(head)),
            _ if *interim == MAX_INTERIM => {
                return Err(malformed("it has too many interim responses"));
            }
            _ => *interim += 1,
        }
    }
    Ok(None)
}
