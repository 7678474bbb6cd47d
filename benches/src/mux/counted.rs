//! The reads and writes of one call.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use keyway_mux::Session;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, spawn_local};

use super::{request, serve, sessions_on};

/// Reads and writes of one end.
#[derive(Debug, Default)]
pub struct Counts {
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Counts {
    fn snapshot(&self) -> SystemCalls {
        SystemCalls {
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
        }
    }
}

/// The number of reads and writes of a socket.
#[derive(Clone, Copy, Debug)]
pub struct SystemCalls {
    /// Reads that found bytes.
    pub reads: u64,
    /// Writes that moved bytes.
    pub writes: u64,
}

/// A connection that counts the reads and writes that moved bytes. The others rarely reach the operating system, because the
/// runtime knows that the socket is not ready.
#[derive(Debug)]
pub struct Counted<T> {
    io: T,
    counts: Arc<Counts>,
}

impl<T> Counted<T> {
    fn new(io: T) -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let counted = Self {
            io,
            counts: Arc::clone(&counts),
        };
        (counted, counts)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.counts.reads.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buffer);
        if written.is_ready() {
            self.counts.writes.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        if written.is_ready() {
            self.counts.writes.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Makes `calls` calls, `callers` at a time, on one session. Returns the counts of the client and of the server. `meanwhile`
/// is called before and after the calls.
///
/// # Panics
///
/// Panics if a call fails.
pub fn counted_calls(
    callers: u64,
    calls: u64,
    mut meanwhile: impl FnMut(),
) -> (SystemCalls, SystemCalls) {
    let runtime = runtime();
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let ((near, client_counts), (far, server_counts)) = (Counted::new(near), Counted::new(far));
        let (client, server) = sessions_on(near, far);
        spawn_local(serve(server));
        call(&client, callers, callers * 10).await;
        let before = (client_counts.snapshot(), server_counts.snapshot());
        meanwhile();
        call(&client, callers, calls).await;
        meanwhile();
        let after = (client_counts.snapshot(), server_counts.snapshot());
        (since(before.0, after.0), since(before.1, after.1))
    })
}

async fn call(client: &Session, callers: u64, calls: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let client = client.clone();
        tasks.spawn_local(async move {
            for _ in 0..calls / callers {
                request(client.open().await.expect("the session is open")).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no call fails");
    }
}

fn since(before: SystemCalls, after: SystemCalls) -> SystemCalls {
    SystemCalls {
        reads: after.reads - before.reads,
        writes: after.writes - before.writes,
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be started")
}
