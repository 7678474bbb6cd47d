//! More silent connections than a server has places, of each kind: a new client is served beside
//! them, and all of them end.

use bytes::Bytes;
use keyway_http::Limits;
use tokio::io::AsyncReadExt;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::server::{MANY, SECOND, Server, http2_request, request, tasks};

/// Opens many connections, checks that a new client is served beside them, and that none is left
/// `seconds` after the last of them was opened.
async fn check<T>(seconds: u32, open: impl AsyncFn(&Server) -> T) {
    let server = Server::start(Limits::default());
    let mut peers = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        peers.push(open(&server).await);
    }
    server.check_new_client().await;
    sleep(SECOND).await;
    assert!(server.counts.alive()[0] >= 1000, "they wait for each other");
    server.check_new_client().await;
    sleep(seconds * SECOND).await;
    assert_eq!(server.counts.alive(), [0; 3]);
    let served = server.stop().await;
    assert_eq!((served.accepted, served.aborted), (MANY as u64 + 2, 0));
    drop(peers);
}

#[tokio::test(start_paused = true)]
async fn silent_connections_end_within_10_seconds() {
    check(10, async |server| server.open("").await).await;
}

#[cfg(feature = "h2c")]
#[tokio::test(start_paused = true)]
async fn connections_within_the_preface_end_within_10_seconds() {
    check(10, async |server| server.open("PRI * HTTP/2.0\r\n").await).await;
}

#[tokio::test(start_paused = true)]
async fn connections_within_a_head_end_within_10_seconds() {
    check(10, async |server| server.open("GET / HTTP/1.1\r\nho").await).await;
}

/// The body fails after 30 s, and the handler responds.
#[tokio::test(start_paused = true)]
async fn connections_within_a_body_end_within_32_seconds() {
    let half = request("POST", "/", "content-length: 5\r\n") + "ab";
    check(32, async |server| server.open(&half).await).await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_end_within_120_seconds() {
    let whole = request("GET", "/", "");
    check(120, async |server| {
        let mut io = server.open(&whole).await;
        let mut response = [0; 12];
        io.read_exact(&mut response).await.expect("a response");
        assert_eq!(&response, b"HTTP/1.1 200");
        io
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn readers_that_do_not_read_end_within_30_seconds() {
    let large = request("GET", "/large", "");
    check(30, async |server| server.open(&large).await).await;
}

#[tokio::test(start_paused = true)]
async fn readers_of_a_byte_in_29_seconds_end_within_60_seconds() {
    let large = request("GET", "/large", "");
    check(60, async |server| {
        let mut io = server.open(&large).await;
        let reading = tokio::spawn(async move {
            while io.read_u8().await.is_ok() {
                sleep(29 * SECOND).await;
            }
        });
        AbortOnDrop(reading.abort_handle())
    })
    .await;
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(feature = "h2c")]
#[tokio::test(start_paused = true)]
async fn idle_http2_connections_end_within_120_seconds() {
    check(120, async |server| server.open_http2(65_535).await).await;
}

/// A stream ends after 30 s, and the idle connection 120 s later.
#[cfg(feature = "h2c")]
#[tokio::test(start_paused = true)]
async fn http2_connections_without_a_window_end_within_150_seconds() {
    check(150, async |server| call(server, 0, true).await).await;
}

#[cfg(feature = "h2c")]
#[tokio::test(start_paused = true)]
async fn http2_connections_within_a_body_end_within_150_seconds() {
    check(150, async |server| call(server, 65_535, false).await).await;
}

/// Calls `/large` with an incomplete or a whole body.
#[cfg(feature = "h2c")]
async fn call(server: &Server, window: u32, is_whole: bool) -> impl Sized + use<> {
    let mut peer = server.open_http2(window).await;
    let sent = peer.client.send_request(http2_request("/large"), false);
    let (response, mut body) = sent.expect("sent");
    body.send_data(Bytes::from_static(b"ab"), is_whole)
        .expect("sent");
    (peer, response, body)
}

/// The protocol behind the upgrade has limits of its own.
#[tokio::test(start_paused = true)]
async fn upgraded_connections_take_no_place() {
    let server = Server::start(Limits::default());
    let before = tasks();
    let mut upgraded = Vec::new();
    for _ in 0..MANY {
        let mut io = server.open(&request("GET", "/upgrade", "")).await;
        let mut response = [0; 12];
        io.read_exact(&mut response).await.expect("a response");
        assert_eq!(&response, b"HTTP/1.1 101");
        upgraded.push(io);
    }
    server.check_new_client().await;
    sleep(SECOND).await;
    assert_eq!(tasks(), before + MANY, "none was evicted");
    drop(upgraded);
    sleep(SECOND).await;
    assert_eq!((tasks(), server.counts.alive()), (before, [0; 3]));
}
