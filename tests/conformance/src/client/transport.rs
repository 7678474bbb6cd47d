//! The transports of the client: one for each version of HTTP.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyway_rpc::http1::Exchange;
use keyway_rpc::{Body, BoxError};
use tokio::net::TcpStream;
use tower_service::Service;

/// HTTP/1.1 by this workspace's own transport, HTTP/2 by `hyper_util`'s client.
#[derive(Clone)]
pub(super) struct Transports {
    pub(super) http1: Transport,
    pub(super) http2: Transport,
}

impl Transports {
    pub(super) fn new() -> Self {
        let http2 = legacy::Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http();
        Self {
            http1: Transport::Http1(Exchange::new(Dial)),
            http2: Transport::Http2(http2),
        }
    }
}

/// Either transport, as one type.
#[derive(Clone)]
pub(super) enum Transport {
    Http1(Exchange<Dial>),
    Http2(legacy::Client<HttpConnector, Body>),
}

type BoxBody = UnsyncBoxBody<bytes::Bytes, BoxError>;

impl Service<Request<Body>> for Transport {
    type Response = Response<BoxBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Http1(service) => service.poll_ready(cx).map_err(Into::into),
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
pub(super) struct Dial;

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let address = uri
                .authority()
                .ok_or_else(|| io::Error::other("no address"))?;
            let stream = TcpStream::connect(address.as_str()).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
