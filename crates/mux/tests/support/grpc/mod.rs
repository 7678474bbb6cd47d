//! A gRPC service whose messages are plain bytes, its client, and sessions that have both at each end.

mod client;
mod service;

use std::sync::LazyLock;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use keyway_mux::{Connector, Listener, Session};
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Status, Streaming,
    transport::{Endpoint, Server},
};

pub(crate) use self::{client::Client, service::Service};
use super::support::{End, Random, bounded};

/// The largest message that tonic takes.
pub(crate) const LARGEST: usize = 4 << 20;

/// Bytes that depend on the position: other seeds give other bytes.
pub(crate) fn message(seed: usize, len: usize) -> Bytes {
    static ALL: LazyLock<Bytes> = LazyLock::new(|| {
        let mut random = Random::new(1);
        (0..2 * LARGEST).map(|_| random.below(256) as u8).collect()
    });
    let start = seed * 7919 % LARGEST;
    ALL.slice(start..start + len)
}

/// `count` messages, each with its own bytes.
pub(crate) fn messages(count: usize, len: usize) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::iter(0..count).map(move |seed| message(seed, len))
}

/// Receives all messages and returns their number.
///
/// # Panics
///
/// Panics if a message differs from that of [`messages`].
pub(crate) async fn receive(mut received: Streaming<Bytes>, len: usize) -> Result<usize, Status> {
    let mut count = 0;
    while let Some(one) = received.message().await? {
        assert!(one == message(count, len), "message {count} differs");
        count += 1;
    }
    Ok(count)
}

/// An end that serves the peer's calls and makes its own.
pub(crate) struct Party {
    pub(crate) end: End,
    pub(crate) service: Service,
    pub(crate) server: JoinHandle<Result<(), tonic::transport::Error>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Party {
    pub(crate) fn new(end: End) -> Self {
        let service = Service::default();
        let (stop, stopped) = oneshot::channel();
        let server = Server::builder()
            .add_service(service.clone())
            .serve_with_incoming_shutdown(
                Listener::new(end.session.clone()),
                shutdown_signal(end.session.clone(), stopped),
            );
        Self {
            end,
            service,
            server: tokio::spawn(server),
            stop: Some(stop),
        }
    }

    /// A client with a channel of its own, which is a stream of the session.
    pub(crate) async fn client(&self) -> Client {
        let connector = Connector::new(self.end.session.clone());
        let endpoint = Endpoint::from_static("http://peer");
        let channel = bounded("a channel", endpoint.connect_with_connector(connector)).await;
        Client::new(channel.unwrap())
    }

    /// Stops the server gracefully: it finishes its calls and accepts no others.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) fn open_streams(&self) -> usize {
        self.end.session.stats().open_streams
    }

    /// Waits for the server, then for the end of the session.
    pub(crate) async fn finished(self) {
        bounded("the server", self.server).await.unwrap().unwrap();
        self.end.finished().await;
    }
}

/// Resolves when the server is stopped or the peer closes. Later calls are refused instead of waiting for a stopped server.
async fn shutdown_signal(session: Session, stopped: oneshot::Receiver<()>) {
    tokio::select! {
        Ok(()) = stopped => {}
        () = session.peer_draining() => {}
    }
    session.go_away();
}
