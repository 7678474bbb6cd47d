//! The frames that the peer receives, through the whole driver.

mod support;

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    task::Poll,
    time::Duration,
};

use keyway_mux::{Config, ProtocolError, Role, SessionError};
use support::{Flags, Frame, Kind, Peer, bounded, close, end, stream, wired_pair};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::Instant,
};

#[tokio::test(start_paused = true)]
async fn m01_a_handler_that_sleeps_80_seconds_is_acknowledged_in_time() {
    let (mut peer, server) = Peer::new(Config::new().keep_alive(None));
    let session = server.session.clone();
    let handler = tokio::spawn(async move {
        let mut stream = session.accept().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(80)).await;
        stream.write_all(b"done").await.unwrap();
        stream
    });
    let start = Instant::now();
    peer.send(Frame::data(1, Flags::SYN, b"request\n")).await;
    assert_eq!(peer.receive().await, Frame::window_update(1, Flags::ACK, 0));
    assert!(
        start.elapsed() <= Duration::from_millis(10),
        "{:?}",
        start.elapsed()
    );
    tokio::time::sleep(Duration::from_secs(81)).await;
    assert_eq!(peer.receive().await, Frame::data(1, Flags::NONE, b"done"));
    handler.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_response_carries_the_acknowledgement_and_fin_follows_in_the_same_write() {
    let (mut peer, server) = Peer::new(Config::default());
    let session = server.session.clone();
    tokio::spawn(async move {
        let mut stream = session.accept().await.unwrap().unwrap();
        let mut text = [0; 2];
        stream.read_exact(&mut text).await.unwrap();
        stream.write_all(b"result").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    peer.send(Frame::data(1, Flags::SYN, b"hi")).await;
    assert_eq!(peer.receive().await, Frame::data(1, Flags::ACK, b"result"));
    assert_eq!(peer.receive().await, Frame::window_update(1, Flags::FIN, 0));
}

#[tokio::test(start_paused = true)]
async fn m24_pings_are_sent_and_acknowledged() {
    let (mut peer, _server) = Peer::new(Config::default());
    peer.send(Frame::ping(Flags::SYN, 77)).await;
    assert_eq!(peer.receive().await, Frame::ping(Flags::ACK, 77));
    tokio::time::sleep(Duration::from_secs(29)).await;
    let ping = peer.receive().await;
    assert_eq!(
        (ping.header.kind, ping.header.flags),
        (Kind::Ping, Flags::SYN)
    );
}

#[tokio::test(start_paused = true)]
async fn m24_a_dead_peer_ends_the_session() {
    let (_peer, server) = Peer::new(Config::default());
    let start = Instant::now();
    let outcome = tokio::time::timeout(Duration::from_secs(60), server.driver)
        .await
        .unwrap();
    assert!(matches!(
        outcome.unwrap(),
        Err(SessionError::KeepAliveTimeout(_))
    ));
    assert!(
        start.elapsed() < Duration::from_secs(42),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn m15_close_sends_go_away_drains_and_closes() {
    let (mut peer, server) = Peer::new(Config::default());
    peer.send(Frame::data(1, Flags::SYN, b"hi")).await;
    let mut stream = bounded("the accept", server.session.accept())
        .await
        .unwrap()
        .unwrap();
    server.session.close();
    let closing = server.session.closed();
    stream.write_all(b"last").await.unwrap();
    drop(stream);
    assert_eq!(peer.receive().await, Frame::go_away(0));
    assert_eq!(peer.receive().await, Frame::data(1, Flags::ACK, b"last"));
    assert_eq!(peer.receive().await, Frame::window_update(1, Flags::FIN, 0));
    peer.send(Frame::data(3, Flags::SYN, b"too late")).await;
    assert_eq!(peer.receive().await, Frame::window_update(3, Flags::RST, 0));
    peer.send(Frame::window_update(1, Flags::FIN, 0)).await;
    assert_eq!(peer.rest().await, []);
    drop(peer);
    bounded("the close", closing).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn m22_close_ends_although_the_peer_is_silent_and_keeps_the_connection() {
    let (mut peer, server) = Peer::new(Config::default());
    peer.send(Frame::data(1, Flags::SYN, b"hi")).await;
    let _stream = bounded("the accept", server.session.accept())
        .await
        .unwrap()
        .unwrap();
    let start = Instant::now();
    // Many at once, in one task and in others.
    let others: Vec<_> = (0..10)
        .map(|_| {
            let session = server.session.clone();
            tokio::spawn(async move { close(&session).await })
        })
        .collect();
    let timed_out = |outcome| matches!(outcome, Err(SessionError::DrainTimeout { streams: 1 }));
    assert!(timed_out(
        bounded("the close", close(&server.session)).await
    ));
    for other in others {
        assert!(timed_out(bounded("another close", other).await.unwrap()));
    }
    assert!(
        start.elapsed() <= Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert!(timed_out(
        bounded("the driver", server.driver).await.unwrap()
    ));
}

#[tokio::test(start_paused = true)]
async fn m06_m14_a_violation_is_reported_with_its_code_and_ends_only_this_session() {
    let (mut peer, server) = Peer::new(Config::default());
    let mut frame = Frame::data(1, Flags::SYN, b"");
    frame.header.length = u32::MAX;
    peer.send(frame).await;
    assert_eq!(peer.rest().await, [Frame::go_away(1)]);
    drop(peer);
    let outcome = bounded("the driver", server.driver).await.unwrap();
    assert!(matches!(
        outcome,
        Err(SessionError::Protocol(ProtocolError::WindowExceeded {
            length: u32::MAX,
            ..
        }))
    ));
}

#[tokio::test(start_paused = true)]
async fn m05_pongs_are_sent_although_a_stream_is_blocked() {
    let (mut peer, server) = Peer::new(Config::default());
    peer.send(Frame::window_update(1, Flags::SYN, 0)).await;
    let mut stream = bounded("the accept", server.session.accept())
        .await
        .unwrap()
        .unwrap();
    let writing = tokio::spawn(async move { stream.write_all(&[0; 1 << 20]).await });
    let mut received = 0;
    while received < 256 * 1024 {
        received += peer.receive().await.payload.len();
    }
    peer.send(Frame::ping(Flags::SYN, 5)).await;
    assert_eq!(peer.receive().await, Frame::ping(Flags::ACK, 5));
    peer.send(Frame::window_update(1, Flags::NONE, 1 << 20))
        .await;
    while received < 1 << 20 {
        received += peer.receive().await.payload.len();
    }
    bounded("the writer", writing).await.unwrap().unwrap();
}

/// A connection that reports more written bytes than it was given.
struct Liar;

impl AsyncRead for Liar {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Liar {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buffer.len() * 2 + 1000))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn m13_a_connection_that_reports_too_many_bytes_causes_no_panic() {
    let client = end(Liar, Role::Client, Config::default());
    let mut stream = client.session.open().await.unwrap();
    tokio::task::yield_now().await;
    for size in [10, 5000, 100_000] {
        stream.write_all(&vec![0; size]).await.unwrap();
    }
    tokio::task::yield_now().await;
    drop(stream);
    bounded("the close", close(&client.session)).await.unwrap();
    bounded("the driver", client.driver).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_buffers_is_flushed() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let near = tokio::io::BufStream::with_capacity(1 << 16, 1 << 16, near);
    let client = end(near, Role::Client, Config::default());
    let server = end(far, Role::Server, Config::default());
    for size in [1, 6000] {
        let mut stream = client.session.open().await.unwrap();
        stream.write_all(&vec![0; size]).await.unwrap();
        let mut far = bounded("the accept", server.session.accept())
            .await
            .unwrap()
            .unwrap();
        let mut bytes = vec![1; size];
        bounded("the bytes", far.read_exact(&mut bytes))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn m31_a_clean_session_logs_nothing_above_debug() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let (client, server) = support::pair();
    for _ in 0..3 {
        let (near, far) = stream(&client.session, &server.session).await;
        drop((near, far));
    }
    bounded("the close", close(&client.session)).await.unwrap();
    bounded("the server", server.driver).await.unwrap().unwrap();
    let seen = log.0.lock().unwrap();
    assert!(!seen.is_empty(), "nothing was logged at all");
    let loud: Vec<_> = seen
        .iter()
        .filter(|level| **level < tracing::Level::DEBUG)
        .collect();
    assert!(loud.is_empty(), "{loud:?}");
}

/// Remembers the level of every event.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<tracing::Level>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().unwrap().push(*event.metadata().level());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn bytes_received_before_a_broken_pipe_can_still_be_read() {
    let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
    let client = end(near, Role::Client, Config::default());
    let mut stream = client.session.open().await.unwrap();
    stream.write_all(b"request\n").await.unwrap();
    stream.flush().await.unwrap();
    let mut request = [0; 20];
    far.read_exact(&mut request).await.unwrap();
    // The peer responds and disconnects, and this task writes before the response was read.
    let response = [&[0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 6][..], b"result"].concat();
    far.write_all(&response).await.unwrap();
    drop(far);
    let _written = stream.write(&[0; 50_000]).await;
    let mut text = [0; 6];
    bounded("the response", stream.read_exact(&mut text))
        .await
        .unwrap();
    assert_eq!(&text, b"result");
    assert!(bounded("the end", stream.read_u8()).await.is_err());
    let outcome = bounded("the driver", client.driver).await.unwrap();
    assert!(matches!(
        outcome,
        Err(SessionError::Io(_) | SessionError::ConnectionLost { .. })
    ));
}

/// A read that is cancelled before the SYN of its stream was sent leaves nothing to send. A write of zero bytes, which returns 0,
/// must not be mistaken for the end of the connection.
#[tokio::test]
async fn a_read_cancelled_before_its_syn_was_sent_leaves_nothing_to_send() {
    let (client, server) = wired_pair(1 << 20, 1 << 20);
    for _ in 0..20 {
        let mut stream = client.session.open().await.unwrap();
        let mut byte = [0];
        let mut reading = Box::pin(stream.read(&mut byte));
        let is_pending = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx).is_pending())).await;
        assert!(is_pending);
        drop(reading);
        drop(stream);
        tokio::task::yield_now().await;
    }
    let (near, far) = bounded("a stream", stream(&client.session, &server.session)).await;
    drop((near, far));
    bounded("the close", close(&client.session)).await.unwrap();
    bounded("the client", client.driver).await.unwrap().unwrap();
}
