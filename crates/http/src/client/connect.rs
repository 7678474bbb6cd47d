//! [`Exchange`]: a byte stream for each request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::body::{ExchangeBody, Then};
use super::error::ExchangeError;
use super::exchange::{Expect, exchange};
use super::request::{self, ConnectionOption};
use crate::BoxError;

/// A transport that opens a byte stream for each request, by a connector, and closes it afterwards.
///
/// It is made for streams that cost next to nothing, such as those of a multiplexed socket: there is no pool, and no task
/// is spawned, since the stream is driven by the future of the request and then by the body of the response.
///
/// Each request has `connection: close`. The write half stays open until the response was read to its end, because a
/// peer may take an earlier close as "the caller is gone" (Go's HTTP server does), and is then always closed, because a
/// peer may wait for that before it shuts down. Dropping the future, or the body before its end, drops the stream.
///
/// Responses may be HTTP/1.1 or 1.0; interim ones (status 1xx) are skipped, trailers are read and dropped, and switching
/// protocols is an error. Heads may have 64 KiB and 100 fields. All buffers made here are zeroed before they are freed.
/// There is no timeout: the caller bounds the time of a request.
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
    accepts_close_delimited: bool,
}

impl<C> Exchange<C> {
    /// Creates a transport over the streams of `connector`.
    #[must_use]
    pub fn new(connector: C) -> Self {
        Self {
            connector,
            accepts_close_delimited: false,
        }
    }

    /// Sets whether a body may end with its stream, as HTTP/1.0 servers have it. Default: `false`.
    ///
    /// Such a body is not distinguishable from one whose sender died in the middle of it, so it suits only those whose format has
    /// an end of its own. Otherwise reading one is [`ExchangeError::Unframed`]; status and fields are read in either case.
    #[must_use]
    pub fn accept_close_delimited(mut self, accept: bool) -> Self {
        self.accepts_close_delimited = accept;
        self
    }

    /// Returns the connector.
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
        let accepts_close_delimited = self.accepts_close_delimited;
        let method = request.method().clone();
        let writer = request::writer(request, ConnectionOption::Close);
        Box::pin(async move {
            let connected = connecting.await;
            let io = connected.map_err(|error| ExchangeError::Connect(error.into()))?;
            let exchanged = exchange(io, writer, &method, Expect::Response).await;
            let (head, connection) = exchanged.map_err(|failed| failed.error)?;
            let then = Then::Close;
            Ok(ExchangeBody::response(
                head,
                connection,
                accepts_close_delimited,
                then,
            ))
        })
    }
}
