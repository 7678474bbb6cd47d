//! The service, implemented without generated code.

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, future::BoxFuture};
use keyway_mux::StreamInfo;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::NamedService,
};
use tower::service_fn;

use super::{messages, receive};

pub(super) const ECHO: &str = "/test.Bytes/Echo";
pub(super) const PEER: &str = "/test.Bytes/Peer";
pub(super) const HANG: &str = "/test.Bytes/Hang";
pub(super) const DOWN: &str = "/test.Bytes/Down";
pub(super) const UP: &str = "/test.Bytes/Up";
pub(super) const BOTH: &str = "/test.Bytes/Both";

/// Messages as they are.
#[derive(Clone, Copy, Default)]
pub(super) struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// The service; it counts the calls in flight.
#[derive(Clone, Default)]
pub(crate) struct Service {
    n_calls: Arc<AtomicUsize>,
}

/// One call in flight.
struct Ongoing(Arc<AtomicUsize>);

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl NamedService for Service {
    const NAME: &'static str = "test.Bytes";
}

impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        async move { Ok(service.respond(request).await) }.boxed()
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl Service {
    pub(crate) fn n_calls(&self) -> usize {
        self.n_calls.load(Ordering::Relaxed)
    }

    fn begin(&self) -> Ongoing {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        Ongoing(Arc::clone(&self.n_calls))
    }

    async fn respond(self, request: http::Request<Body>) -> http::Response<Body> {
        let mut grpc = tonic::server::Grpc::new(Plain);
        match request.uri().path() {
            ECHO => grpc.unary(service_fn(echo), request).await,
            PEER => grpc.unary(service_fn(peer), request).await,
            HANG => {
                let hang = service_fn(|_: Request<Bytes>| self.clone().hang());
                grpc.unary(hang, request).await
            }
            DOWN => {
                let down = service_fn(|request| self.clone().down(request));
                grpc.server_streaming(down, request).await
            }
            UP => {
                let up = service_fn(|request| self.clone().up(request));
                grpc.client_streaming(up, request).await
            }
            BOTH => {
                let both = service_fn(|request| self.clone().both(request));
                grpc.streaming(both, request).await
            }
            path => Status::unimplemented(path).into_http(),
        }
    }

    async fn hang(self) -> Result<Response<Bytes>, Status> {
        let _ongoing = self.begin();
        pending().await
    }

    async fn down(self, request: Request<Bytes>) -> Result<Response<Responses>, Status> {
        let ongoing = self.begin();
        let mut wanted = request.into_inner();
        let (count, len) = (wanted.get_u64() as usize, wanted.get_u64() as usize);
        let responses = messages(count, len).map(move |one| {
            let _ongoing = &ongoing;
            Ok(one)
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn up(self, request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
        let _ongoing = self.begin();
        let mut received = request.into_inner();
        let len = received.message().await?.unwrap_or_default().get_u64();
        let count = receive(received, len as usize).await? as u64;
        Ok(Response::new(Bytes::copy_from_slice(&count.to_be_bytes())))
    }

    async fn both(self, request: Request<Streaming<Bytes>>) -> Result<Response<Responses>, Status> {
        let ongoing = self.begin();
        let responses = request.into_inner().inspect_ok(move |_| {
            let _ongoing = &ongoing;
        });
        Ok(Response::new(responses.boxed()))
    }
}

async fn echo(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    Ok(Response::new(request.into_inner()))
}

/// Responds with the peer of the session's configuration.
async fn peer(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let info = request.extensions().get::<StreamInfo>();
    let peer = info.and_then(|info| info.peer::<&'static str>());
    let peer = peer.ok_or_else(|| Status::unauthenticated("the session has no peer"))?;
    Ok(Response::new(Bytes::from_static(peer.as_bytes())))
}
