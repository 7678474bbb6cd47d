//! The end of a session on a connection that is slow, half closed or broken: bytes that streams have accepted are
//! sent, or the outcome is an error.

mod support;

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use keyway_mux::{Config, Role, SessionError, Stream, StreamError};
use support::{Control, End, Flags, Frame, bounded, controlled, end, eventually};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, advance, sleep},
};

const SECOND: Duration = Duration::from_secs(1);

fn client(config: Config) -> (End, Control) {
    let (io, control) = controlled();
    (end(io, Role::Client, config.keep_alive(None)), control)
}

/// A client, its connection, and a stream that both ends know.
async fn opened(config: Config) -> (End, Control, Stream) {
    let (client, control) = client(config);
    let mut stream = client.session.open().await.unwrap();
    control.allow(1_000);
    stream.write_all(b"?").await.unwrap();
    stream.flush().await.unwrap();
    settle().await;
    assert_eq!(control.frames(), [Frame::data(1, Flags::SYN, b"?")]);
    control.send(&[Frame::window_update(1, Flags::ACK, 0)]);
    settle().await;
    // The connection accepts nothing more.
    let spare = 1_000 - 13;
    control.take_back(spare);
    (client, control, stream)
}

/// Runs all tasks until they wait, without advancing the time.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A client whose stream has written 10 kB that the connection has not taken, and has ended both ways.
async fn blocked(config: Config) -> (End, Control) {
    let (client, control, mut stream) = opened(config).await;
    stream.write_all(&[7; 10_000]).await.unwrap();
    control.send(&[Frame::window_update(1, Flags::FIN, 0)]);
    drop(stream);
    settle().await;
    assert_eq!(client.session.stats().open_streams, 0);
    (client, control)
}

/// Returns the number of payload bytes that the connection has accepted.
fn payload(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| frame.payload.len()).sum()
}

async fn outcome(client: End) -> Result<(), SessionError> {
    let closed = bounded("the close", client.session.closed()).await;
    let driver = bounded("the driver", client.driver).await.unwrap();
    assert_eq!(closed.is_ok(), driver.is_ok());
    driver
}

#[tokio::test(start_paused = true)]
async fn close_sends_what_a_connection_takes_within_the_write_timeout() {
    for pause in [SECOND, 9 * SECOND] {
        let (client, control) = blocked(Config::new()).await;
        client.session.close();
        sleep(pause).await;
        control.allow(1);
        sleep(pause).await;
        control.allow(usize::MAX);
        settle().await;
        assert_eq!(payload(&control.frames()), 10_000);
        control.end_input(Ok(()));
        outcome(client).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_session_sends_what_the_connection_takes_within_the_write_timeout() {
    let (client, control) = blocked(Config::new()).await;
    drop(client.session);
    sleep(SECOND).await;
    control.allow(usize::MAX);
    control.end_input(Ok(()));
    bounded("the driver", client.driver).await.unwrap().unwrap();
    assert_eq!(payload(&control.frames()), 10_000);
}

#[tokio::test(start_paused = true)]
async fn close_is_an_error_if_the_connection_takes_nothing() {
    let (client, control) = blocked(Config::new()).await;
    let start = Instant::now();
    client.session.close();
    let error = outcome(client).await.unwrap_err();
    assert!(matches!(error, SessionError::WriteTimeout(_)), "{error:?}");
    assert!(start.elapsed() <= 10 * SECOND, "{:?}", start.elapsed());
    assert!(control.taken().is_empty());
}

/// The peer has closed its side of the connection and still reads.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_input_leaves_time_to_send() {
    let (client, control) = blocked(Config::new()).await;
    control.end_input(Ok(()));
    sleep(SECOND).await;
    control.allow(usize::MAX);
    outcome(client).await.unwrap();
    assert_eq!(payload(&control.frames()), 10_000);
    assert!(control.is_shut());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_input_is_an_error_if_queued_bytes_cannot_be_sent() {
    let (client, control) = blocked(Config::new()).await;
    control.end_input(Ok(()));
    assert!(outcome(client).await.is_err());

    let (client, control) = blocked(Config::new()).await;
    control.end_input(Ok(()));
    settle().await;
    control.fail_writes(io::ErrorKind::BrokenPipe);
    assert!(outcome(client).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_reset_connection_is_an_error_if_bytes_are_queued() {
    for is_closing in [false, true] {
        let (client, control) = blocked(Config::new()).await;
        if is_closing {
            client.session.close();
            settle().await;
        }
        control.end_input(Err(io::ErrorKind::ConnectionReset));
        assert!(outcome(client).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_a_connection_holds_back_count_as_unsent() {
    // Never flushed; flushed in time; the peer ends while they are held back.
    for case in 0..3 {
        let (client, control) = blocked(Config::new()).await;
        control.block_flush(true);
        control.allow(usize::MAX);
        client.session.close();
        sleep(2 * SECOND).await;
        match case {
            0 => {}
            1 => {
                control.block_flush(false);
                control.end_input(Ok(()));
            }
            _ => control.end_input(Err(io::ErrorKind::ConnectionReset)),
        }
        assert_eq!(outcome(client).await.is_ok(), case == 1, "case {case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_fails_is_an_error_and_one_that_hangs_ends() {
    let (client, control) = blocked(Config::new()).await;
    control.allow(usize::MAX);
    control.fail_shutdown(io::ErrorKind::Other);
    client.session.close();
    assert!(matches!(outcome(client).await, Err(SessionError::Io(_))));

    let (client, control) = blocked(Config::new()).await;
    control.allow(usize::MAX);
    control.block_shutdown(true);
    client.session.close();
    outcome(client).await.unwrap();
}

/// Time-outs count from the call, not from the last frame of the peer.
#[tokio::test(start_paused = true)]
async fn the_peer_has_the_full_close_timeout_after_the_last_stream() {
    let (client, control, stream) = opened(Config::new()).await;
    control.allow(usize::MAX);
    control.send(&[Frame::window_update(1, Flags::FIN, 0)]);
    settle().await;
    sleep(5 * SECOND).await;
    client.session.close();
    sleep(SECOND).await;
    drop(stream);
    settle().await;
    let start = Instant::now();
    outcome(client).await.unwrap();
    assert!(start.elapsed() >= SECOND / 2, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_timeout_is_an_error_that_counts_the_streams() {
    let (client, control, stream) = opened(Config::new()).await;
    control.allow(usize::MAX);
    let other = client.session.open().await.unwrap();
    sleep(60 * SECOND).await;
    let start = Instant::now();
    client.session.close();
    let error = outcome(client).await.unwrap_err();
    assert!(
        matches!(error, SessionError::DrainTimeout { streams: 2 }),
        "{error:?}"
    );
    assert!(start.elapsed() >= 2 * SECOND, "{:?}", start.elapsed());
    drop((stream, other));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_dropped_with_bytes_in_its_queue_is_an_error() {
    let (client, _control) = blocked(Config::new()).await;
    client.session.close();
    settle().await;
    client.driver.abort();
    let closed = bounded("the close", client.session.closed()).await;
    assert!(matches!(closed, Err(SessionError::DriverDropped)));
}

/// Whether an error is a broken pipe of the connection.
fn is_broken_pipe(error: &SessionError) -> bool {
    matches!(error, SessionError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

fn assert_broken(error: &io::Error) {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(
        matches!(inner, Some(StreamError::Session(error)) if is_broken_pipe(error)),
        "{error:?}"
    );
}

/// Writes fail with the connection's error, and reads of what was sent before do not.
#[tokio::test(start_paused = true)]
async fn a_write_error_reaches_every_writer_and_is_the_outcome() {
    for size in [100, 20_000, 200_000] {
        let (client, control, mut stream) = opened(Config::new()).await;
        let mut other = client.session.open().await.unwrap();
        let waiting = tokio::spawn(async move { other.write_all(&vec![7; 1 << 20]).await });
        settle().await;
        let opening = client.session.open().await.unwrap();
        control.send_silently(&[Frame::data(1, Flags::NONE, b"said before")]);
        control.fail_writes(io::ErrorKind::BrokenPipe);
        let start = Instant::now();
        // The first write may still be queued; the connection fails at the flush at the latest.
        let first = stream.write(&vec![7; size]).await;
        settle().await;
        for error in [
            first.and(stream.write(b"x").await).unwrap_err(),
            stream.flush().await.unwrap_err(),
            stream.shutdown().await.unwrap_err(),
            bounded("a waiting writer", waiting)
                .await
                .unwrap()
                .unwrap_err(),
        ] {
            assert_broken(&error);
        }
        assert!(client.session.open().await.is_err());
        assert_eq!(start.elapsed(), Duration::ZERO);
        let mut text = [0; 11];
        bounded("reading", stream.read_exact(&mut text))
            .await
            .unwrap();
        assert_eq!(&text, b"said before");
        drop(opening);
        let error = outcome(client).await.unwrap_err();
        assert!(is_broken_pipe(&error), "{error:?}");
        assert!(start.elapsed() <= 2 * SECOND, "{:?}", start.elapsed());
        assert_broken(&stream.write(b"x").await.unwrap_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_fails_is_a_write_error() {
    let (client, control, mut stream) = opened(Config::new()).await;
    control.block_flush(true);
    control.allow(usize::MAX);
    stream.write_all(&[7; 16_384]).await.unwrap();
    settle().await;
    control.fail_writes(io::ErrorKind::BrokenPipe);
    settle().await;
    assert_broken(&stream.write(b"x").await.unwrap_err());
    assert!(is_broken_pipe(&outcome(client).await.unwrap_err()));
}

/// The process was stopped: the timer has elapsed and the response has arrived at the same moment.
#[tokio::test(start_paused = true)]
async fn a_late_driver_reads_before_it_checks_the_drain_deadline() {
    let (client, control, mut stream) = opened(Config::new()).await;
    control.allow(usize::MAX);
    client.session.close();
    sleep(SECOND).await;
    control.send_silently(&[
        Frame::data(1, Flags::NONE, b"response"),
        Frame::window_update(1, Flags::FIN, 0),
    ]);
    advance(5 * SECOND).await;
    let mut text = Vec::new();
    bounded("reading", stream.read_to_end(&mut text))
        .await
        .unwrap();
    assert_eq!(text, b"response");
    drop(stream);
    settle().await;
    let frames = control.frames();
    assert!(
        frames.iter().all(|frame| !frame.has(Flags::RST)),
        "{frames:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_driver_writes_before_it_checks_the_write_timeout() {
    let (client, control, mut stream) = opened(Config::new()).await;
    stream.write_all(&[7; 10_000]).await.unwrap();
    settle().await;
    control.allow_silently(usize::MAX);
    advance(60 * SECOND).await;
    settle().await;
    assert_eq!(payload(&control.frames()), 10_000);
    assert!(client.session.open().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_late_driver_reads_before_it_checks_the_keep_alive() {
    let (io, control) = controlled();
    let client = end(io, Role::Client, Config::new());
    control.allow(usize::MAX);
    sleep(31 * SECOND).await;
    let ping = control.frames().remove(0);
    control.send_silently(&[Frame::ping(Flags::ACK, ping.header.length)]);
    advance(60 * SECOND).await;
    settle().await;
    assert!(client.session.open().await.is_ok());
}

/// More has arrived than one poll reads.
#[tokio::test(start_paused = true)]
async fn a_late_driver_reads_everything_before_it_checks_a_deadline() {
    let (client, control, mut stream) = opened(Config::new()).await;
    control.allow(usize::MAX);
    let mut other = client.session.open().await.unwrap();
    other.write_all(b"?").await.unwrap();
    other.flush().await.unwrap();
    client.session.close();
    sleep(SECOND).await;
    let chunk = Frame::data(3, Flags::NONE, &[7; 16_384]);
    let mut frames = vec![chunk; 15];
    frames.extend(vec![Frame::ping(Flags::ACK, 0); 60_000]);
    frames.extend([
        Frame::data(1, Flags::NONE, b"last"),
        Frame::window_update(1, Flags::FIN, 0),
        Frame::window_update(3, Flags::FIN, 0),
    ]);
    control.send_silently(&frames);
    advance(5 * SECOND).await;
    let mut text = Vec::new();
    bounded("reading", stream.read_to_end(&mut text))
        .await
        .unwrap();
    assert_eq!(text, b"last");
}

#[tokio::test(start_paused = true)]
async fn a_response_without_ack_makes_a_later_reset_a_reset() {
    for response in [
        Frame::window_update(1, Flags::FIN, 0),
        Frame::window_update(1, Flags::NONE, 0),
        Frame::data(1, Flags::NONE, b""),
    ] {
        let (client, control) = client(Config::new());
        control.allow(usize::MAX);
        let mut stream = client.session.open().await.unwrap();
        stream.write_all(b"request").await.unwrap();
        stream.flush().await.unwrap();
        settle().await;
        control.send(&[response, Frame::window_update(1, Flags::RST, 0)]);
        settle().await;
        let error = stream.write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error:?}");
    }
    let (client, control) = client(Config::new());
    control.allow(usize::MAX);
    let mut stream = client.session.open().await.unwrap();
    stream.write_all(b"request").await.unwrap();
    stream.flush().await.unwrap();
    settle().await;
    control.send(&[Frame::window_update(1, Flags::RST, 0)]);
    settle().await;
    let error = stream.write(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

/// HashiCorp's implementation drops what its reader has not taken when a reset arrives.
#[tokio::test(start_paused = true)]
async fn an_early_response_to_a_large_upload_arrives_some_time_before_the_reset() {
    for drops_first in [false, true] {
        let (io, control) = controlled();
        let server = end(io, Role::Server, Config::new().keep_alive(None));
        control.allow(usize::MAX);
        let upload = |frames| vec![Frame::data(1, Flags::NONE, &[7; 16_384]); frames];
        control.send(&[Frame::window_update(1, Flags::SYN, 0)]);
        let mut stream = bounded("accepting", server.session.accept())
            .await
            .unwrap()
            .unwrap();
        if !drops_first {
            control.send(&upload(16));
            settle().await;
        }
        stream.write_all(b"too large").await.unwrap();
        drop(stream);
        settle().await;
        if drops_first {
            control.send(&upload(16));
            settle().await;
        }
        let frames = control.frames();
        assert_eq!(payload(&frames), 9);
        assert!(
            frames.iter().any(|frame| frame.has(Flags::FIN)),
            "{frames:?}"
        );
        assert!(
            frames.iter().all(|frame| !frame.has(Flags::RST)),
            "{frames:?}"
        );
        sleep(SECOND).await;
        assert_eq!(control.frames(), [Frame::window_update(1, Flags::RST, 0)]);
        assert_eq!(server.session.stats().open_streams, 0);
    }
}

/// A connection of tokio is pending without being blocked if the budget of the task that writes is spent.
#[tokio::test]
async fn a_task_without_budget_does_not_make_the_connection_look_blocked() {
    let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
    let writes = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let near = CountingPending {
        io: near,
        pending: std::sync::Arc::clone(&writes),
    };
    let client = end(near, Role::Client, Config::new());
    let reading = tokio::spawn(async move {
        let mut bytes = vec![0; 1 << 16];
        while far.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    });
    let mut stream = client.session.open().await.unwrap();
    stream.flush().await.unwrap();
    eventually("the driver", || client.session.stats().open_streams == 1).await;
    tokio::task::yield_now().await;
    // Spends the budget, and then writes to a socket that is empty.
    poll_fn(|cx| {
        for _ in 0..127 {
            if let Poll::Ready(proceed) = tokio::task::coop::poll_proceed(cx) {
                proceed.made_progress();
            }
        }
        for _ in 0..2 {
            // The stream may be pending, its connection may not.
            let _written = pin!(stream.write(&[7; 16_384])).poll(cx);
        }
        Poll::Ready(())
    })
    .await;
    assert_eq!(writes.load(std::sync::atomic::Ordering::Relaxed), 0);
    drop(stream);
    client.driver.abort();
    drop(client.session);
    bounded("the reader", reading).await.unwrap();
}

/// Counts the writes that were pending.
struct CountingPending {
    io: tokio::net::UnixStream,
    pending: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl AsyncRead for CountingPending {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CountingPending {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buffer);
        let is_pending = usize::from(written.is_pending());
        self.pending
            .fetch_add(is_pending, std::sync::atomic::Ordering::Relaxed);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, buffers);
        let is_pending = usize::from(written.is_pending());
        self.pending
            .fetch_add(is_pending, std::sync::atomic::Ordering::Relaxed);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
