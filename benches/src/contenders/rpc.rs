//! The same call by `keyway-rpc`.

use std::future::pending;

use keyway_http::{Exchange, Limits, serve, serve_connection};
use keyway_mux::{Connector, Listener};
use keyway_rpc::client::Client;
use keyway_rpc::{Body, Error, MethodSpec, Route, Router};
use tokio::net::UnixStream;
use tokio::task::spawn_local;

use super::hyper_alone::sessions;
use super::kept_alive::KeptAlive;
use super::{Contender, Payload};

static ECHO: MethodSpec = MethodSpec::unary("/bench.Echo/Echo");

fn router() -> Router {
    let echo = |request: keyway_rpc::Request<Payload>| async move {
        Ok::<_, Error>(request.into_message().into())
    };
    Router::new().add_route(Route::unary(&ECHO, echo))
}

/// One connection for all calls.
pub struct RpcKeptAlive(Client<KeptAlive<Body>>);

/// A fresh stream of one multiplexed session for each call.
pub struct RpcFreshStream(Client<Exchange<Connector>>);

impl Contender for RpcKeptAlive {
    async fn start() -> Self {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        spawn_local(async move {
            let config = Limits::default();
            let served = serve_connection(far, router(), &config, pending()).await;
            served.expect("the client is well-behaved");
        });
        Self(Client::new(KeptAlive::connect(near).await))
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
            let make_service = move |_: &_, _| router.clone();
            serve(
                Listener::new(server),
                make_service,
                Limits::default(),
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
    let response = client
        .unary::<Payload, Payload>(&ECHO, sent.clone().into())
        .await;
    assert_eq!(response.expect("the server responds").into_message(), sent);
}
