//! The same call without `keyway-mux`.

use futures::StreamExt;
use keyway_yamux_engine::YamuxSession;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio_yamux::{Config, Control, Session};

use super::{request_and_shut_down, respond_and_shut_down};
use crate::contenders::Contender;

/// The `yamux` crate, as `keyway-yamux-engine` drives it.
pub(super) struct Yamux(YamuxSession);

impl Contender for Yamux {
    async fn start() -> Self {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let (client, client_driver) = YamuxSession::client(near);
        let (server, server_driver) = YamuxSession::server(far);
        spawn_local(client_driver);
        spawn_local(server_driver);
        spawn_local(async move {
            while let Some(stream) = server.accept().await {
                spawn_local(respond_and_shut_down(stream));
            }
        });
        Self(client)
    }

    async fn call(&mut self) {
        request_and_shut_down(self.0.open().await.expect("the session is open")).await;
    }
}

/// The `tokio-yamux` crate.
pub(super) struct TokioYamux(Control);

impl Contender for TokioYamux {
    async fn start() -> Self {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let mut client = Session::new_client(near, Config::default());
        let mut server = Session::new_server(far, Config::default());
        let control = client.control();
        // The session is its own driver.
        spawn_local(async move { while let Some(Ok(_)) = client.next().await {} });
        spawn_local(async move {
            while let Some(Ok(stream)) = server.next().await {
                spawn_local(respond_and_shut_down(stream));
            }
        });
        Self(control)
    }

    async fn call(&mut self) {
        request_and_shut_down(self.0.open_stream().await.expect("the session is open")).await;
    }
}

/// A connection to a listening socket for each call, without a multiplexer.
pub(super) struct Dial(TempDir);

const SOCKET: &str = "socket";

impl Contender for Dial {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join(SOCKET)).expect("a new socket");
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(respond_and_shut_down(stream));
            }
        });
        Self(folder)
    }

    async fn call(&mut self) {
        let stream = UnixStream::connect(self.0.path().join(SOCKET)).await;
        request_and_shut_down(stream.expect("the server listens")).await;
    }
}
