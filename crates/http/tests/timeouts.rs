//! The timeouts of a server for a client that sends and reads, in virtual time.

mod support;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use keyway_http::{Limits, ServeError};
use keyway_test_support::echo::rpc::{Body, Router};
use keyway_test_support::echo::{Alive, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep, timeout};

use support::{Ended, connection, head, read_raw};

const SECOND: Duration = Duration::from_secs(1);

/// A connection without a shutdown.
fn served(config: Limits, router: Router) -> (DuplexStream, Ended) {
    connection(config, router, oneshot::channel().1)
}

/// Calls the echo with a message of this size.
async fn call(io: &mut DuplexStream, size: usize) {
    let field = [&[0x0a_u8][..], &varint(size), &vec![b'a'; size]].concat();
    let head = head(&format!("content-length: {}\r\n", field.len()));
    let request = [head.as_bytes(), &field].concat();
    io.write_all(&request).await.expect("the server reads");
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Reads one response of one letter.
async fn read_response(io: &mut DuplexStream) {
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\n\x0a\x01a") {
        response.push(io.read_u8().await.expect("the server responds"));
    }
    assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

/// Go's clients keep a connection for 90 s, and fail a request that is sent while it ends.
#[tokio::test(start_paused = true)]
async fn a_pool_may_keep_a_connection_for_longer_than_a_head_may_take() {
    let (mut io, ended) = served(Limits::default(), router(&Alive::default()));
    for _ in 0..4 {
        call(&mut io, 1).await;
        let response = timeout(SECOND, read_response(&mut io));
        response.await.expect("at once");
        sleep(100 * SECOND).await;
    }
    let started = Instant::now();
    assert_eq!(
        read_raw(&mut io).await,
        "",
        "nothing for the rest of the time"
    );
    ended.await.expect("no panic").expect("an orderly end");
    assert_eq!(started.elapsed(), 20 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_ends_in_order() {
    let config = Limits::default().first_byte_timeout(7 * SECOND);
    let (mut io, ended) = served(config, router(&Alive::default()));
    let started = Instant::now();
    assert_eq!(read_raw(&mut io).await, "");
    assert_eq!(started.elapsed(), 7 * SECOND);
    ended.await.expect("no panic").expect("an orderly end");
}

/// Counted from the first byte, whether the head is the first, second or third, and in pieces of
/// any size.
#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    for before in 0..3 {
        let config = Limits::default()
            .first_byte_timeout(200 * SECOND)
            .head_timeout(5 * SECOND);
        let (mut io, ended) = served(config, router(&Alive::default()));
        for _ in 0..before {
            call(&mut io, 1).await;
            read_response(&mut io).await;
        }
        sleep(100 * SECOND).await;
        let ended = tokio::spawn(async { (ended.await.expect("no panic"), Instant::now()) });
        let started = Instant::now();
        for byte in b"\r\nPOST /test.Echo/Echo HTTP/1.1\r\n" {
            if io.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(SECOND).await;
        }
        let (ended, at) = ended.await.expect("no panic");
        assert_eq!(at - started, 5 * SECOND, "after {before} requests");
        let Err(ServeError::SlowHead { limit }) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(limit, 5 * SECOND);
    }
}

/// The time of the handler does not count as idle, and the idle timeout begins again after it.
#[tokio::test(start_paused = true)]
async fn the_idle_timeout_begins_after_a_long_call() {
    for in_pieces in [false, true] {
        let config = Limits::default()
            .idle_timeout(5 * SECOND)
            .head_timeout(5 * SECOND);
        let router = router(&Alive::default()).max_timeout(100 * SECOND);
        let (mut io, ended) = served(config, router);
        let started = Instant::now();
        let request = head("content-length: 0\r\n").replace("Echo/Echo", "Echo/Hang");
        let (front, rest) = request.split_at(if in_pieces { 9 } else { 0 });
        for piece in [front, rest] {
            let written = io.write_all(piece.as_bytes()).await;
            written.expect("the server reads");
            tokio::task::yield_now().await;
        }
        let mut first = [0; 12];
        io.read_exact(&mut first)
            .await
            .expect("the server responds");
        assert_eq!(&first, b"HTTP/1.1 504");
        assert_eq!(started.elapsed(), 100 * SECOND);
        read_raw(&mut io).await;
        assert_eq!(started.elapsed(), 105 * SECOND);
        ended.await.expect("no panic").expect("an orderly end");
    }
}

/// The way in which a response of a megabyte is read.
struct Reading {
    bytes: usize,
    every: Duration,
}

impl Reading {
    /// Returns the number of received response bytes, and the time.
    async fn of(self, io: &mut DuplexStream) -> (usize, Duration) {
        let started = Instant::now();
        let (mut total, mut buffer) = (0, vec![0; self.bytes]);
        loop {
            sleep(self.every).await;
            let mut read = 0;
            while read < buffer.len() {
                // An idle connection is not waited for.
                let more = timeout(SECOND / 10, io.read(&mut buffer[read..]));
                match more.await {
                    Ok(Ok(bytes @ 1..)) => read += bytes,
                    Ok(_) | Err(_) => return (total + read, started.elapsed()),
                }
            }
            total += read;
        }
    }
}

const LARGE: usize = 1024 * 1024;

/// A large response has no time limit as long as its reader makes progress.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_receives_all_of_a_large_response() {
    for before in 0..2 {
        let (mut io, _ended) = served(Limits::default(), router(&Alive::default()));
        for _ in 0..before {
            call(&mut io, 1).await;
            read_response(&mut io).await;
        }
        call(&mut io, LARGE).await;
        let reading = Reading {
            bytes: 80 * 1024,
            every: 20 * SECOND,
        };
        let (total, took) = reading.of(&mut io).await;
        assert!(total > LARGE, "{total} bytes");
        assert!(took > 250 * SECOND, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_below_the_minimum_rate_is_disconnected() {
    for (bytes, most) in [(1, 30), (1024, 60)] {
        for before in 0..2 {
            let (mut io, ended) = served(Limits::default(), router(&Alive::default()));
            for _ in 0..before {
                call(&mut io, 1).await;
                read_response(&mut io).await;
            }
            call(&mut io, LARGE).await;
            let started = Instant::now();
            let reading = Reading {
                bytes,
                every: SECOND,
            };
            tokio::select! {
                ended = ended => {
                    let ended = ended.expect("no panic");
                    assert!(matches!(ended, Err(ServeError::SlowReader { .. })), "{ended:?}");
                }
                read = reading.of(&mut io) => panic!("{read:?}"),
            }
            let took = started.elapsed().as_secs();
            assert!((30..=most).contains(&took), "{took} s for {bytes} bytes");
        }
    }
}

/// The write timeout does not apply while the body itself is pending.
#[tokio::test(start_paused = true)]
async fn a_slow_body_is_not_a_slow_reader() {
    for in_pieces in [false, true] {
        let service = support::tower_fn(|_| http::Response::new(Body::new(Drops::new(3))));
        let (mut io, _ended) = connection(Limits::default(), service, oneshot::channel().1);
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let (front, rest) = request.split_at(if in_pieces { 9 } else { 0 });
        for piece in [front, rest] {
            io.write_all(piece).await.expect("the server reads");
            tokio::task::yield_now().await;
        }
        let mut response = Vec::new();
        while !response.ends_with(b"0\r\n\r\n") {
            response.push(io.read_u8().await.expect("the server responds"));
        }
        let response = String::from_utf8(response).expect("ASCII");
        assert_eq!(response.matches("\r\n4\r\ndrop").count(), 3, "{response}");
    }
}

/// A body of chunks with 200 s before each.
struct Drops {
    left: usize,
    timer: Pin<Box<Sleep>>,
}

impl Drops {
    fn new(left: usize) -> Self {
        let timer = Box::pin(sleep(200 * SECOND));
        Self { left, timer }
    }
}

impl http_body::Body for Drops {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.timer.as_mut().poll(cx));
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.timer = Box::pin(sleep(200 * SECOND));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"drop")))))
    }
}
