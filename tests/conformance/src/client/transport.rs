//! The transports of the client: one for each version of HTTP.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connected;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyway_http::Exchange;
use keyway_mux::Session;
use keyway_rpc::{Body, BoxError};
use tokio::net::TcpStream;
use tower::util::MapResponse;
use tower_service::Service;

use crate::network::{self, Io};

/// HTTP/1.1 by this workspace's own transport, HTTP/2 by `hyper_util`'s client.
#[derive(Clone)]
pub(super) struct Transports {
    pub(super) http1: Transport,
    pub(super) http2: Transport,
}

impl Transports {
    pub(super) fn new(dial: Dial) -> Self {
        let http2 = legacy::Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build(MapResponse::new(dial.clone(), Connection::new as Wrap));
        Self {
            http1: Transport::Http1(Exchange::new(dial)),
            http2: Transport::Http2(Box::new(http2)),
        }
    }
}

/// Either transport, as one type.
#[derive(Clone)]
pub(super) enum Transport {
    Http1(Exchange<Dial>),
    Http2(Box<legacy::Client<MapResponse<Dial, Wrap>, Body>>),
}

type BoxBody = UnsyncBoxBody<bytes::Bytes, BoxError>;

impl Service<Request<Body>> for Transport {
    type Response = Response<BoxBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Http1(service) => {
                Service::<Request<Body>>::poll_ready(service, cx).map_err(Into::into)
            }
            Self::Http2(service) => service.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self {
            Self::Http1(service) => {
                let response = service.call(request);
                Box::pin(async {
                    Ok(response
                        .await?
                        .map(|body| body.map_err(Into::into).boxed_unsync()))
                })
            }
            Self::Http2(service) => {
                let response = service.call(request);
                Box::pin(async {
                    Ok(response
                        .await?
                        .map(|body| body.map_err(Into::into).boxed_unsync()))
                })
            }
        }
    }
}

/// Connects to the address in the URI.
#[derive(Clone)]
pub(super) enum Dial {
    Tcp,
    Mux(Session),
}

impl Dial {
    async fn connect(self, uri: Uri) -> io::Result<Box<dyn Io>> {
        let missing = || io::Error::other("the URI has no port");
        let port = uri.port_u16().ok_or_else(missing)?;
        let io: Box<dyn Io> = match self {
            Self::Tcp => {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Mux(session) => Box::new(network::dial(&session, port).await?),
        };
        Ok(io)
    }
}

impl Service<Uri> for Dial {
    type Response = Box<dyn Io>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection of either kind.
pub(super) struct Connection(TokioIo<Box<dyn Io>>);

/// Makes a connection of hyper of a byte stream.
type Wrap = fn(Box<dyn Io>) -> Connection;

impl Connection {
    fn new(io: Box<dyn Io>) -> Self {
        Self(TokioIo::new(io))
    }
}

impl legacy::connect::Connection for Connection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
