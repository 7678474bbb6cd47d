//! A small call beside a large transfer on the same session.

use std::time::Duration;

use keyway_mux::{Session, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, spawn_local};

use super::{request, respond, sessions};
use crate::thread_time::thread_time;

/// Median latencies of a call on a fresh stream, in CPU time of the thread that both ends and the transfer run on.
#[derive(Clone, Copy, Debug)]
pub struct Latencies {
    /// With nothing else on the session.
    pub idle: Duration,
    /// Beside a transfer that never pauses.
    pub beside: Duration,
}

/// Measures calls in alternating rounds on a session with nothing else and on one with a transfer.
///
/// # Panics
///
/// Panics if a session or a runtime cannot be started.
#[must_use]
pub fn latencies(rounds: usize, calls: usize) -> Latencies {
    let mut idle = Side::start(false);
    let mut beside = Side::start(true);
    for _ in 0..rounds {
        idle.measure(calls);
        beside.measure(calls);
    }
    Latencies {
        idle: idle.median(),
        beside: beside.median(),
    }
}

struct Side {
    runtime: Runtime,
    tasks: LocalSet,
    session: Session,
    latencies: Vec<Duration>,
}

impl Side {
    fn start(is_busy: bool) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be started");
        let tasks = LocalSet::new();
        let session = tasks.block_on(&runtime, async {
            let (client, server) = sessions();
            if is_busy {
                let mut sender = client.open().await.expect("the session is open");
                sender.write_all(&[7]).await.expect("the receiver reads");
                let receiver = server
                    .accept()
                    .await
                    .expect("a stream was opened")
                    .expect("a stream was opened");
                spawn_local(send_forever(sender));
                spawn_local(receive_forever(receiver));
            }
            spawn_local(async move {
                while let Ok(Some(stream)) = server.accept().await {
                    spawn_local(respond(stream));
                }
            });
            client
        });
        Self {
            runtime,
            tasks,
            session,
            latencies: Vec::new(),
        }
    }

    fn measure(&mut self, calls: usize) {
        let Self {
            runtime,
            tasks,
            session,
            latencies,
        } = self;
        tasks.block_on(runtime, async {
            for _ in 0..calls {
                let started = thread_time();
                request(session.open().await.expect("the session is open")).await;
                latencies.push(thread_time() - started);
            }
        });
    }

    fn median(mut self) -> Duration {
        self.latencies.sort_unstable();
        self.latencies[self.latencies.len() / 2]
    }
}

async fn send_forever(mut stream: Stream) {
    let piece = [7; 64 * 1024];
    while stream.write_all(&piece).await.is_ok() {}
}

async fn receive_forever(mut stream: Stream) {
    let mut piece = vec![0; 64 * 1024];
    while stream.read(&mut piece).await.is_ok_and(|count| count > 0) {}
}
