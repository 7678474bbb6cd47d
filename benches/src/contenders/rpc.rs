//! The same call by `keyway-rpc`.

use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use keyway_mux::{Connector, Listener};
use keyway_rpc::client::Client;
use keyway_rpc::http1::{Exchange, ServeConfig, serve, serve_connection};
use keyway_rpc::{Body, Error, MethodSpec, Route, Router};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tower_service::Service;

use super::hyper_alone::sessions;
use super::{Contender, Payload};

static ECHO: MethodSpec = MethodSpec::unary("/bench.Echo/Echo");

fn router() -> Router {
    let echo = |request: keyway_rpc::Request<Payload>| async move {
        Ok::<_, Error>(request.into_message().into())
    };
    Router::new().add_route(Route::unary(&ECHO, echo))
}

/// One connection for all calls.
pub struct RpcKeptAlive(Client<KeptAlive>);

/// A fresh stream of one multiplexed session for each call.
pub struct RpcFreshStream(Client<Exchange<Connector>>);

impl Contender for RpcKeptAlive {
    async fn start() -> Self {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        spawn_local(async move {
            let config = ServeConfig::default();
            let served = serve_connection(TokioIo::new(far), router(), &config, pending()).await;
            served.expect("the client is well-behaved");
        });
        let near = TokioIo::new(near);
        let (sender, connection) = hyper::client::conn::http1::handshake(near)
            .await
            .expect("a handshake sends nothing");
        spawn_local(connection);
        Self(Client::new(KeptAlive::new(sender)))
    }

    async fn call(&mut self) {
        echo(&self.0).await;
    }
}

impl Contender for RpcFreshStream {
    async fn start() -> Self {
        let (client, server) = sessions();
        let router = router();
        spawn_local(async move {
            let make_service = move |_: &_| router.clone();
            serve(
                Listener::new(server),
                make_service,
                ServeConfig::default(),
                pending(),
            )
            .await
        });
        Self(Client::new(Exchange::new(Connector::new(client))))
    }

    async fn call(&mut self) {
        echo(&self.0).await;
    }
}

async fn echo<S: keyway_rpc::client::Transport>(client: &Client<S>) {
    let sent = Payload::sample();
    let answer = client
        .unary::<Payload, Payload>(&ECHO, sent.clone().into())
        .await;
    assert_eq!(answer.expect("the server answers").into_message(), sent);
}

/// A transport over one connection.
#[derive(Clone)]
struct KeptAlive(std::sync::Arc<Mutex<SendRequest<Body>>>);

impl KeptAlive {
    fn new(sender: SendRequest<Body>) -> Self {
        Self(std::sync::Arc::new(Mutex::new(sender)))
    }
}

impl Service<Request<Body>> for KeptAlive {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let sender = std::sync::Arc::clone(&self.0);
        Box::pin(async move {
            let path = request.uri().path().parse().expect("a path is a URI");
            *request.uri_mut() = path;
            let host = http::HeaderValue::from_static("localhost");
            request.headers_mut().insert("host", host);
            let mut sender = sender.lock().await;
            sender.ready().await?;
            sender.send_request(request).await
        })
    }
}
