//! Many bytes in one direction.

use std::num::NonZeroUsize;

use keyway_yamux_engine::YamuxSession;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_local};

use super::sessions;
use crate::contenders::{Contender, Running};

/// How many bytes one transfer moves, over however many streams.
pub const BULK: usize = PORTIONS * PORTION;

/// In how many portions, of which each stream carries as many, one after the other.
const PORTIONS: usize = 8;

/// What a stream carries before it waits until all of it was read.
const PORTION: usize = 4 * 1024 * 1024;

/// What sender and receiver hand over at a time.
const PIECE: usize = 64 * 1024;

/// Sends a portion in pieces and waits until they were all read.
async fn send(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), piece: &[u8]) {
    for _ in 0..PORTION / PIECE {
        stream.write_all(piece).await.expect("the receiver reads");
    }
    stream.flush().await.expect("the receiver reads");
    stream.read_u8().await.expect("the receiver has read");
}

/// Reads portions, and says so after each.
async fn receive(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut piece = vec![0; PIECE];
    let mut total = 0;
    while let Ok(count) = stream.read(&mut piece).await {
        let Some(count) = NonZeroUsize::new(count) else {
            return;
        };
        total += count.get();
        assert_eq!(piece[0], 7);
        if total == PORTION {
            total = 0;
            stream.write_all(b"!").await.expect("the sender waits");
            stream.flush().await.expect("the sender waits");
        }
    }
}

/// A sender that waits for its turn: the word to go on, and the word that it is done.
struct Sender {
    go: mpsc::UnboundedSender<()>,
}

/// Several streams, each of which carries its portions.
struct Transfers {
    senders: Vec<Sender>,
    done: mpsc::UnboundedReceiver<()>,
}

impl Transfers {
    fn on<S>(streams: Vec<S>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let portions = PORTIONS / streams.len();
        let (finished, done) = mpsc::unbounded_channel();
        let start = |mut stream: S| {
            let (go, mut turns) = mpsc::unbounded_channel();
            let finished = finished.clone();
            spawn_local(async move {
                let piece = vec![7; PIECE];
                while turns.recv().await.is_some() {
                    for _ in 0..portions {
                        send(&mut stream, &piece).await;
                    }
                    if finished.send(()).is_err() {
                        return;
                    }
                }
            });
            Sender { go }
        };
        let senders = streams.into_iter().map(start).collect();
        Self { senders, done }
    }

    async fn transfer(&mut self) {
        for sender in &self.senders {
            sender.go.send(()).expect("the sender waits");
        }
        for _ in &self.senders {
            self.done.recv().await.expect("every sender finishes");
        }
    }
}

/// Bare socket pairs: one, or as many as there are streams beside it.
struct Raw<const PAIRS: usize>(Transfers);

impl<const PAIRS: usize> Contender for Raw<PAIRS> {
    async fn start() -> Self {
        let mut senders = Vec::new();
        for _ in 0..PAIRS {
            let (near, far) = UnixStream::pair().expect("a socket pair");
            spawn_local(receive(far));
            senders.push(near);
        }
        Self(Transfers::on(senders))
    }

    async fn call(&mut self) {
        self.0.transfer().await;
    }
}

/// Streams of one session of ours.
struct Keyway<const STREAMS: usize>(Transfers);

impl<const STREAMS: usize> Contender for Keyway<STREAMS> {
    async fn start() -> Self {
        let (client, server) = sessions();
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            streams.push(client.open().await.expect("the session is open"));
        }
        spawn_local(async move {
            let mut receivers = JoinSet::new();
            while let Ok(Some(stream)) = server.accept().await {
                receivers.spawn_local(receive(stream));
            }
        });
        // The session lives as long as its handle.
        spawn_local(async move {
            client.closed().await.expect("nobody ends the session");
        });
        Self(Transfers::on(streams))
    }

    async fn call(&mut self) {
        self.0.transfer().await;
    }
}

/// Streams of one session of the `yamux` crate.
struct Yamux<const STREAMS: usize>(Transfers);

impl<const STREAMS: usize> Contender for Yamux<STREAMS> {
    async fn start() -> Self {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let (client, client_driver) = YamuxSession::client(near);
        let (server, server_driver) = YamuxSession::server(far);
        spawn_local(client_driver);
        spawn_local(server_driver);
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            streams.push(client.open().await.expect("the session is open"));
        }
        spawn_local(async move {
            let mut receivers = JoinSet::new();
            while let Some(stream) = server.accept().await {
                receivers.spawn_local(receive(stream));
            }
        });
        spawn_local(async move {
            client.closed().await.expect("nobody ends the session");
        });
        Self(Transfers::on(streams))
    }

    async fn call(&mut self) {
        self.0.transfer().await;
    }
}

/// The contenders, in the order in which they are reported.
#[must_use]
pub fn bulk() -> Vec<Running> {
    vec![
        Running::start::<Raw<1>>("raw socket pair"),
        Running::start::<Raw<8>>("eight raw socket pairs"),
        Running::start::<Keyway<1>>("keyway-mux, one stream"),
        Running::start::<Keyway<8>>("keyway-mux, eight streams"),
        Running::start::<Yamux<1>>("yamux crate, one stream"),
        Running::start::<Yamux<8>>("yamux crate, eight streams"),
    ]
}
