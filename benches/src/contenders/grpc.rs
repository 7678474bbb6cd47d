//! The same call as gRPC, by tonic over HTTP/2.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::task::spawn_local;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::{Contender, Payload};

/// One HTTP/2 connection for all calls.
pub struct Tonic(Grpc<Channel>);

impl Contender for Tonic {
    async fn start() -> Self {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        spawn_local(async move {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let served = server
                .serve_connection(TokioIo::new(far), service_fn(serve))
                .await;
            served.expect("the client is well-behaved");
        });
        let client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let connected = client.handshake(TokioIo::new(near)).await;
        let (sender, connection) = connected.expect("the server speaks HTTP/2");
        spawn_local(connection);
        let origin = http::Uri::from_static("http://localhost");
        Self(Grpc::with_origin(Channel(sender), origin))
    }

    async fn call(&mut self) {
        let sent = Payload::sample();
        self.0.ready().await.expect("the connection is open");
        let path = PathAndQuery::from_static("/bench.Echo/Echo");
        let codec = ProstCodec::<Payload, Payload>::default();
        let response = self
            .0
            .unary(tonic::Request::new(sent.clone()), path, codec)
            .await;
        assert_eq!(response.expect("the server responds").into_inner(), sent);
    }
}

/// The connection in the form that tonic accepts.
#[derive(Clone)]
struct Channel(SendRequest<Body>);

impl GrpcService<Body> for Channel {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<http::Response<Incoming>>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

async fn serve(request: http::Request<Incoming>) -> Result<http::Response<Body>, Infallible> {
    let mut grpc = tonic::server::Grpc::new(ProstCodec::<Payload, Payload>::default());
    Ok(grpc.unary(Echo, request).await)
}

struct Echo;

impl Service<tonic::Request<Payload>> for Echo {
    type Response = tonic::Response<Payload>;
    type Error = tonic::Status;
    type Future = std::future::Ready<Result<Self::Response, tonic::Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tonic::Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Payload>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(request.into_inner())))
    }
}
