//! Open a stream, send 64 bytes, get 64 back, close.

use keyway_mux::Session;
use tokio::task::spawn_local;

use super::others::{Dial, TokioYamux, Yamux};
use super::{request, serve, sessions};
use crate::contenders::{Contender, RawEcho, Running};

/// A fresh stream of one session for each call.
struct Keyway(Session);

impl Contender for Keyway {
    async fn start() -> Self {
        let (client, server) = sessions();
        spawn_local(serve(server));
        Self(client)
    }

    async fn call(&mut self) {
        request(self.0.open().await.expect("the session is open")).await;
    }
}

/// Returns the contenders, in the order of reports.
#[must_use]
pub fn calls() -> Vec<Running> {
    vec![
        Running::start::<RawEcho>("raw 64-byte echo"),
        Running::start::<Keyway>("keyway-mux"),
        Running::start::<Yamux>("yamux crate"),
        Running::start::<TokioYamux>("tokio-yamux"),
        Running::start::<Dial>("dialling each time"),
    ]
}
