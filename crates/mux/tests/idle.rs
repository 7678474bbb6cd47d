//! A waiting task is not woken without an event.
//!
//! Each poll gets a waker that `will_wake` none of those before it, as the clones of one waker may be in a program that
//! was compiled in several units: a replaced waker must be dropped, not woken.

mod support;

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use keyway_mux::{Config, Driver, Role, Session, Stream};
use support::{End, bounded, end, stream, wired_pair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// How often each future is polled.
const POLLS: usize = 100;

/// Counts the wake-ups of the wakers that it makes.
#[derive(Clone, Default)]
struct WakeUps(Arc<AtomicUsize>);

struct CountingWaker(Arc<AtomicUsize>);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl WakeUps {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A waker that `will_wake` no other one.
    fn new_waker(&self) -> Waker {
        Waker::from(Arc::new(CountingWaker(Arc::clone(&self.0))))
    }

    /// Polls once with a waker that was not used before.
    fn poll<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        poll(&mut Context::from_waker(&self.new_waker()))
    }
}

/// Lets the drivers run until they have nothing to do.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Calls `poll` many times without an event, and checks that there was no wake-up.
async fn stays_asleep<T>(what: &str, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) {
    let wake_ups = WakeUps::default();
    for _ in 0..POLLS {
        assert!(wake_ups.poll(&mut poll).is_pending(), "{what} was ready");
        // The first poll may have queued a frame.
        settle().await;
    }
    drop(poll);
    settle().await;
    assert_eq!(wake_ups.count(), 0, "wake-ups of {what}");
}

/// The same for a future, and for one that is made anew for each poll.
async fn waits_asleep<F: Future>(what: &str, make: impl Fn() -> F) {
    let make = || Box::pin(make());
    let mut future = make();
    stays_asleep(what, move |cx| Pin::new(&mut future).poll(cx)).await;
    stays_asleep(what, |cx| Pin::new(&mut make()).poll(cx)).await;
    let (mut first, mut second) = (make(), make());
    stays_asleep(what, move |cx| {
        let polled = Pin::new(&mut first).poll(cx).map(drop);
        match Pin::new(&mut second).poll(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => polled,
        }
    })
    .await;
}

/// A connection whose peer sends nothing and accepts every byte.
struct Silent;

impl AsyncRead for Silent {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Silent {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A configuration with which an idle session sends nothing.
fn quiet() -> Config {
    Config::new().keep_alive(None)
}

fn silent(role: Role, config: Config) -> End {
    end(Silent, role, config.keep_alive(None))
}

/// Two ends that are idle, with a stream between them.
async fn idle_stream() -> (End, End, Stream, Stream) {
    let (client, server) = support::wired_pair_with(1 << 20, 1 << 20, quiet(), quiet());
    let (near, far) = stream(&client.session, &server.session).await;
    settle().await;
    (client, server, near, far)
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_is_not_woken() {
    let (_client, _server, mut near, _far) = idle_stream().await;
    stays_asleep("a reader", move |cx| {
        let mut buffer = [0; 10];
        Pin::new(&mut near).poll_read(cx, &mut ReadBuf::new(&mut buffer))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_an_unannounced_stream_is_not_woken() {
    let client = silent(Role::Client, Config::new());
    let mut near = client.session.open().await.unwrap();
    stays_asleep("a reader", move |cx| {
        let mut buffer = [0; 10];
        Pin::new(&mut near).poll_read(cx, &mut ReadBuf::new(&mut buffer))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_writer_without_window_is_not_woken() {
    let (_client, _server, mut near, _far) = idle_stream().await;
    let filling = near.write_all(&[7; 1 << 20]);
    let filled = tokio::time::timeout(Duration::from_millis(100), filling).await;
    assert!(filled.is_err(), "the window is smaller");
    stays_asleep("a writer", move |cx| {
        Pin::new(&mut near).poll_write(cx, b"more")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_accept_is_not_woken() {
    let (_client, server, _near, _far) = idle_stream().await;
    waits_asleep("an accept", || server.session.accept()).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_is_not_woken() {
    let client = silent(Role::Client, Config::new().max_unacknowledged(1));
    let mut first = client.session.open().await.unwrap();
    first.write_all(b"x").await.unwrap();
    settle().await;
    waits_asleep("an open", || client.session.open()).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_for_the_end_is_not_woken() {
    let (client, _server, _near, _far) = idle_stream().await;
    waits_asleep("closed", || client.session.closed()).await;
    waits_asleep("peer_draining", || client.session.peer_draining()).await;
}

fn start(role: Role, config: Config) -> (Session, Driver) {
    match role {
        Role::Client => Session::client(Silent, config),
        Role::Server => Session::server(Silent, config),
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_driver_is_not_woken() {
    for role in [Role::Client, Role::Server] {
        let (session, mut driver) = start(role, quiet());
        stays_asleep("a driver", move |cx| Pin::new(&mut driver).poll(cx)).await;
        drop(session);
        // With the timer of a ping.
        let (session, mut driver) = start(role, Config::new());
        stays_asleep("a driver", move |cx| Pin::new(&mut driver).poll(cx)).await;
        drop(session);
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_with_an_open_stream_is_not_woken() {
    let (session, mut driver) = Session::client(Silent, quiet());
    let mut near = session.open().await.unwrap();
    near.write_all(b"x").await.unwrap();
    stays_asleep("a driver", move |cx| Pin::new(&mut driver).poll(cx)).await;
}

#[tokio::test(start_paused = true)]
async fn the_waker_of_a_finished_driver_is_not_woken() {
    let (session, mut driver) = Session::client(tokio::io::empty(), quiet());
    let streams = [session.open().await.unwrap(), session.open().await.unwrap()];
    let wake_ups = WakeUps::default();
    let ended = async {
        while wake_ups
            .poll(|cx| Pin::new(&mut driver).poll(cx))
            .is_pending()
        {
            settle().await;
        }
    };
    bounded("the driver", ended).await;
    let before = wake_ups.count();
    drop(streams);
    session.go_away();
    drop(session);
    drop(driver);
    settle().await;
    assert_eq!(wake_ups.count(), before);
}

#[tokio::test(start_paused = true)]
async fn only_the_last_waker_is_woken() {
    let (client, server) = wired_pair(1 << 20, 1 << 20);
    let (mut near, mut far) = stream(&client.session, &server.session).await;
    let (earlier, last) = (WakeUps::default(), WakeUps::default());
    let mut buffer = [0; 10];
    let mut accepting = pin!(client.session.accept());
    let mut draining = pin!(client.session.peer_draining());
    for wake_ups in [&earlier, &earlier, &last] {
        let read =
            wake_ups.poll(|cx| Pin::new(&mut near).poll_read(cx, &mut ReadBuf::new(&mut buffer)));
        assert!(read.is_pending());
        assert!(wake_ups.poll(|cx| accepting.as_mut().poll(cx)).is_pending());
        assert!(wake_ups.poll(|cx| draining.as_mut().poll(cx)).is_pending());
    }
    far.write_all(b"!").await.unwrap();
    settle().await;
    assert_eq!((earlier.count(), last.count()), (0, 1), "a reader");
    let mut opened = server.session.open().await.unwrap();
    opened.write_all(b"?").await.unwrap();
    settle().await;
    assert_eq!((earlier.count(), last.count()), (0, 2), "an accept");
    server.session.go_away();
    settle().await;
    assert_eq!(
        (earlier.count(), last.count()),
        (0, 3),
        "a peer that drains"
    );
    assert_eq!(near.read_u8().await.unwrap(), b'!');
}
