//! Many bytes in one direction.

use std::num::NonZeroUsize;

use keyway_yamux_engine::YamuxSession;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_local};

use super::sessions;
use crate::contenders::{Contender, Running};

/// The number of bytes of one transfer, over all of its streams.
pub const BULK: usize = PORTIONS * PORTION;

/// The number of portions of a transfer. Each stream carries the same number of them, one after the other.
const PORTIONS: usize = 8;

/// The number of bytes that a stream carries before its sender waits until all were read.
const PORTION: usize = 4 * 1024 * 1024;

/// The size of each write and of the buffer of each read, in bytes.
const PIECE: usize = 64 * 1024;

/// Sends a portion in pieces and waits until they were all read.
async fn send(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), piece: &[u8]) {
    for _ in 0..PORTION / PIECE {
        stream.write_all(piece).await.expect("the receiver reads");
    }
    stream.flush().await.expect("the receiver reads");
    stream.read_u8().await.expect("the receiver has read");
}

/// Reads portions, and acknowledges each with a byte.
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

/// The handle of the task that sends on one stream.
struct Sender {
    start: mpsc::UnboundedSender<()>,
}

/// Streams that share one transfer.
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
        #[expect(clippy::disallowed_methods, reason = "one message per round")]
        let (finished, done) = mpsc::unbounded_channel();
        let start = |mut stream: S| {
            #[expect(clippy::disallowed_methods, reason = "one message per round")]
            let (start, mut starts) = mpsc::unbounded_channel();
            let finished = finished.clone();
            spawn_local(async move {
                let piece = vec![7; PIECE];
                while starts.recv().await.is_some() {
                    for _ in 0..portions {
                        send(&mut stream, &piece).await;
                    }
                    if finished.send(()).is_err() {
                        return;
                    }
                }
            });
            Sender { start }
        };
        let senders = streams.into_iter().map(start).collect();
        Self { senders, done }
    }

    async fn transfer(&mut self) {
        for sender in &self.senders {
            sender.start.send(()).expect("the sender waits");
        }
        for _ in &self.senders {
            self.done.recv().await.expect("every sender finishes");
        }
    }
}

/// Bare socket pairs.
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

/// Streams of one session of `keyway-mux`.
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
            client.closed().await.expect("the session stays open");
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
            client.closed().await.expect("the session stays open");
        });
        Self(Transfers::on(streams))
    }

    async fn call(&mut self) {
        self.0.transfer().await;
    }
}

/// Returns the contenders, in the order of reports.
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
