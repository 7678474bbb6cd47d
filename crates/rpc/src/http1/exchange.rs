//! [`Exchange`]: one connection for each request.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Uri, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::rt::{Read, Write};
use tower_service::Service;

use crate::{Body, BoxError};

/// The most bytes that the head of a response may have.
const MAX_HEAD: usize = 64 * 1024;

/// A transport that opens a connection for each request, by a connector, and closes it afterwards.
///
/// It is made for connections that cost next to nothing, such as the streams of a multiplexed
/// socket: there is no pool, and no task is spawned, since the connection is polled by the future of
/// the request and then by the body of the response.
///
/// The write side stays open until the response was read to its end, because a peer may take an
/// earlier close as "the caller is gone" (Go's HTTP server does), and is then always closed, because
/// a peer may wait for that before it shuts down. Dropping the future, or the body before its end,
/// drops the connection.
///
/// The connector is a `tower::Service<Uri>` whose I/O objects implement hyper's traits:
///
/// ```
/// use keyway_rpc::http1::{Exchange, TokioIo};
/// use tokio::net::UnixStream;
///
/// # #[derive(Clone)] struct Connector;
/// # impl tower_service::Service<http::Uri> for Connector {
/// #     type Response = TokioIo<UnixStream>;
/// #     type Error = std::io::Error;
/// #     type Future = std::pin::Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// #     fn call(&mut self, _: http::Uri) -> Self::Future {
/// #         Box::pin(async { UnixStream::connect("/run/demo.sock").await.map(TokioIo::new) })
/// #     }
/// # }
/// let transport = Exchange::new(Connector);
/// let client = keyway_rpc::client::Client::new(transport);
/// ```
#[derive(Clone)]
pub struct Exchange<C> {
    connector: C,
    builder: Builder,
}

/// Why an exchange ended without a response, or in the middle of its body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The connector made no connection.
    #[error("no connection: {0}")]
    Connect(#[source] BoxError),
    /// The connection failed, or what came over it is not HTTP/1.1.
    #[error("HTTP/1.1: {0}")]
    Http(#[from] hyper::Error),
}

impl<C> Exchange<C> {
    /// A transport over the connections of `connector`.
    ///
    /// Heads of responses may have 64 KiB and 100 fields.
    #[must_use]
    pub fn new(connector: C) -> Self {
        let mut builder = Builder::new();
        builder.max_header_size(MAX_HEAD);
        Self { connector, builder }
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

impl<C, I> Service<http::Request<Body>> for Exchange<C>
where
    C: Service<Uri, Response = I>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
    I: Read + Write + Send + Unpin + 'static,
{
    type Response = http::Response<ExchangeBody<I>>;
    type Error = ExchangeError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ExchangeError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        self.connector
            .poll_ready(cx)
            .map_err(|error| ExchangeError::Connect(error.into()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let connecting = self.connector.call(request.uri().clone());
        let builder = self.builder.clone();
        Box::pin(async move {
            let io = connecting
                .await
                .map_err(|error| ExchangeError::Connect(error.into()))?;
            to_origin_form(&mut request);
            exchange(&builder, io, request).await
        })
    }
}

/// HTTP/1.1 wants the authority in a field of its own, and the path alone in the request line.
fn to_origin_form(request: &mut http::Request<Body>) {
    let uri = std::mem::take(request.uri_mut()).into_parts();
    let authority = uri
        .authority
        .as_ref()
        .map_or("localhost", |authority| authority.as_str());
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let host = HeaderValue::from_str(authority).expect("an authority holds only visible ASCII");
    request.headers_mut().entry(HOST).or_insert(host);
    if let Some(path) = uri.path_and_query {
        *request.uri_mut() = Uri::from(path);
    }
    *request.version_mut() = Version::HTTP_11;
}

async fn exchange<I>(
    builder: &Builder,
    io: I,
    request: http::Request<Body>,
) -> Result<http::Response<ExchangeBody<I>>, ExchangeError>
where
    I: Read + Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = builder.handshake(io).await?;
    let mut driver = Driver {
        connection: Some(connection),
    };
    let mut response = pin!(sender.send_request(request));
    // Only the connection can make the response ready, and it is polled right here, so that the
    // response needs no waker: a real one would wake this task for nothing.
    let response = poll_fn(|cx| {
        driver.poll(cx);
        response
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    });
    let (parts, incoming) = response.await?.into_parts();
    let mut body = ExchangeBody {
        incoming,
        sender: Some(sender),
        driver,
    };
    if body.incoming.is_end_stream() {
        poll_fn(|cx| {
            body.finish(cx);
            Poll::Ready(())
        })
        .await;
    }
    Ok(http::Response::from_parts(parts, body))
}

/// hyper's side of the connection. Its errors reach the caller through the response or the body.
struct Driver<I: Read + Write> {
    connection: Option<Connection<I, Body>>,
}

impl<I: Read + Write + Send + Unpin + 'static> Driver<I> {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            self.connection = None;
        }
    }
}

/// The body of a response, which keeps its connection going.
pub struct ExchangeBody<I: Read + Write> {
    incoming: Incoming,
    sender: Option<SendRequest<Body>>,
    driver: Driver<I>,
}

impl<I: Read + Write + Send + Unpin + 'static> ExchangeBody<I> {
    /// Closes the write side. Without a sender hyper shuts the connection down when it is polled;
    /// a peer that does not take even that is not waited for.
    fn finish(&mut self, cx: &mut Context<'_>) {
        self.sender = None;
        self.driver.poll(cx);
        self.driver.connection = None;
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        // As above: nothing but the driver makes the body ready. It is asked first, since hyper
        // reads a body only when somebody wants it.
        let mut idle = Context::from_waker(Waker::noop());
        let ready = Pin::new(&mut self.incoming).poll_frame(&mut idle);
        if ready.is_ready() {
            return ready;
        }
        self.driver.poll(cx);
        Pin::new(&mut self.incoming).poll_frame(&mut idle)
    }
}

impl<I: Read + Write + Send + Unpin + 'static> HttpBody for ExchangeBody<I> {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        let frame = ready!(self.poll_incoming(cx));
        if frame.is_none() || self.incoming.is_end_stream() {
            self.finish(cx);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(ExchangeError::Http)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<I: Read + Write> fmt::Debug for ExchangeBody<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeBody").finish_non_exhaustive()
    }
}
