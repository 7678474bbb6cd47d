//! `flush` and `shutdown` are complete when the connection has accepted the bytes, and not before.

mod support;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use keyway_mux::{Config, Role, Session, SessionError, Stream};
use support::{End, bounded, end};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    task::JoinHandle,
    time::sleep,
};

const HEADER: usize = 12;

/// The bytes that a connection accepts, and whether it flushes.
#[derive(Clone, Default)]
struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    capacity: AtomicUsize,
    taken: AtomicUsize,
    holds_back: AtomicBool,
    is_broken: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    fn open(&self, bytes: usize) {
        self.0.capacity.fetch_add(bytes, Ordering::Relaxed);
        self.wake();
    }

    fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    fn hold_back(&self, holds_back: bool) {
        self.0.holds_back.store(holds_back, Ordering::Relaxed);
        self.wake();
    }

    fn break_off(&self) {
        self.0.is_broken.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.0.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    fn wait<T>(&self, cx: &Context<'_>) -> Poll<T> {
        *self.0.waker.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn check(&self) -> io::Result<()> {
        if self.0.is_broken.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

/// A connection that accepts as many bytes as its gate allows, and from which nothing can be read.
struct Gated(Gate);

impl AsyncRead for Gated {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self(gate) = &*self;
        gate.check()?;
        let count = buffer.len().min(gate.0.capacity.load(Ordering::Relaxed));
        if count == 0 {
            return gate.wait(cx);
        }
        gate.0.capacity.fetch_sub(count, Ordering::Relaxed);
        gate.0.taken.fetch_add(count, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self(gate) = &*self;
        gate.check()?;
        if gate.0.holds_back.load(Ordering::Relaxed) {
            return gate.wait(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn gated() -> (Gate, End) {
    let gate = Gate::default();
    let config = Config::new().keep_alive(None);
    let client = end(Gated(gate.clone()), Role::Client, config);
    (gate, client)
}

/// Runs all tasks until they wait.
async fn settle() {
    sleep(Duration::from_millis(10)).await;
}

async fn open(session: &Session, bytes: &[u8]) -> Stream {
    let mut stream = session.open().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Writes and flushes, on a connection that may not accept the bytes.
fn send(mut stream: Stream, len: usize) -> JoinHandle<io::Result<Stream>> {
    tokio::spawn(async move {
        stream.write_all(&vec![7; len]).await?;
        stream.flush().await?;
        Ok(stream)
    })
}

fn flush(mut stream: Stream) -> JoinHandle<io::Result<Stream>> {
    tokio::spawn(async move {
        stream.flush().await?;
        Ok(stream)
    })
}

fn shutdown(mut stream: Stream) -> JoinHandle<io::Result<Stream>> {
    tokio::spawn(async move {
        stream.shutdown().await?;
        Ok(stream)
    })
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_until_the_connection_has_accepted_the_bytes() {
    for len in [1, 100, 5_000, 60_000] {
        let (gate, client) = gated();
        let stream = open(&client.session, &vec![7; len]).await;
        let flushing = flush(stream);
        let frames = len.div_ceil(16_384);
        let wire = len + frames * HEADER;
        for step in [wire - 1, 1] {
            settle().await;
            assert!(!flushing.is_finished(), "{} of {wire} bytes", gate.taken());
            gate.open(step);
        }
        bounded("the flush", flushing).await.unwrap().unwrap();
        assert_eq!(gate.taken(), wire);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_until_the_connection_has_accepted_fin() {
    let (gate, client) = gated();
    let stream = open(&client.session, b"request").await;
    let ending = shutdown(stream);
    for step in [HEADER + 7, HEADER - 1, 1] {
        settle().await;
        assert!(!ending.is_finished(), "{} bytes", gate.taken());
        gate.open(step);
    }
    let mut stream = bounded("the shutdown", ending).await.unwrap().unwrap();
    assert_eq!(gate.taken(), 2 * HEADER + 7);
    // Again, and a flush after it, are complete at once.
    stream.shutdown().await.unwrap();
    stream.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flush_of_a_new_stream_sends_its_syn() {
    let (gate, client) = gated();
    let flushing = flush(client.session.open().await.unwrap());
    for step in [HEADER - 1, 1] {
        settle().await;
        assert!(!flushing.is_finished(), "{} bytes", gate.taken());
        gate.open(step);
    }
    let mut stream = bounded("the flush", flushing).await.unwrap().unwrap();
    assert_eq!(gate.taken(), HEADER);
    // With nothing more to send it is complete at once.
    stream.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flush_does_not_wait_for_later_writes_of_other_streams() {
    let (gate, client) = gated();
    let first = open(&client.session, b"first").await;
    let flushing = flush(first);
    let other = send(client.session.open().await.unwrap(), 50_000);
    settle().await;
    gate.open(HEADER + 5);
    bounded("the first flush", flushing).await.unwrap().unwrap();
    // The connection accepts nothing more from now on.
    settle().await;
    assert!(!other.is_finished());
    gate.open(100_000);
    bounded("the second flush", other).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn bytes_that_a_connection_buffers_are_not_flushed() {
    let (gate, client) = gated();
    gate.hold_back(true);
    gate.open(1 << 20);
    let flushing = flush(open(&client.session, b"request").await);
    let large = send(client.session.open().await.unwrap(), 100_000);
    settle().await;
    assert!(!flushing.is_finished() && !large.is_finished());
    gate.hold_back(false);
    bounded("the flush", flushing).await.unwrap().unwrap();
    bounded("the large flush", large).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flush_and_a_shutdown_fail_with_the_session() {
    let (gate, client) = gated();
    let flushing = flush(open(&client.session, b"request").await);
    let ending = shutdown(open(&client.session, b"request").await);
    settle().await;
    gate.break_off();
    for waiting in [flushing, ending] {
        let error = bounded("an error", waiting).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
    // A finished stream is no exception, because its FIN was never accepted.
    let outcome = bounded("the end", client.session.closed()).await;
    assert!(matches!(outcome, Err(SessionError::Io(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_accepts_nothing_fails_a_flush_at_the_write_timeout() {
    let (_gate, client) = gated();
    let flushing = flush(open(&client.session, b"request").await);
    let start = tokio::time::Instant::now();
    let error = bounded("an error", flushing).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() <= Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_flush_leaves_no_waiter() {
    let (gate, client) = gated();
    let mut stream = open(&client.session, b"request").await;
    for _ in 0..3 {
        let cancelled = tokio::time::timeout(Duration::from_millis(5), stream.flush()).await;
        assert!(cancelled.is_err());
    }
    drop(stream);
    let other = flush(open(&client.session, b"request").await);
    gate.open(1 << 20);
    bounded("the flush", other).await.unwrap().unwrap();
    assert_eq!(gate.taken(), 2 * (HEADER + 7) + HEADER);
}

/// The I/O traits of hyper and tokio behave alike.
#[cfg(feature = "hyper")]
#[tokio::test(start_paused = true)]
async fn hypers_flush_and_shutdown_are_those_of_tokio() {
    use std::future::poll_fn;

    use hyper::rt::Write;

    let (gate, client) = gated();
    let mut stream = open(&client.session, b"request").await;
    let ending = tokio::spawn(async move {
        poll_fn(|cx| Write::poll_flush(Pin::new(&mut stream), cx)).await?;
        poll_fn(|cx| {
            ready!(Write::poll_shutdown(Pin::new(&mut stream), cx))?;
            Poll::Ready(Ok::<_, io::Error>(()))
        })
        .await?;
        Ok::<_, io::Error>(stream)
    });
    for step in [HEADER + 6, 1, HEADER - 1, 1] {
        settle().await;
        assert!(!ending.is_finished(), "{} bytes", gate.taken());
        gate.open(step);
    }
    drop(bounded("the end", ending).await.unwrap().unwrap());
}
