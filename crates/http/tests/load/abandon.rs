//! Requests that are cancelled at any moment leave no handler, no connection, no task and no response.

use std::sync::Arc;

use bytes::Bytes;
use keyway_http::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::server::{SECOND, Server, http2_request, request, tasks};

/// Callers at once.
const CALLERS: usize = 64;

/// Cancels the requests of 64 callers at a time, at each of `moments`, and checks that nothing is left.
async fn check<F: Future<Output = ()> + Send + 'static>(
    moments: usize,
    call: impl Fn(Arc<Server>, usize) -> F,
) {
    let server = Arc::new(Server::start(Limits::default()));
    let before = tasks();
    for start in (0..moments).step_by(CALLERS) {
        let mut callers = JoinSet::new();
        for moment in start..moments.min(start + CALLERS) {
            callers.spawn(call(Arc::clone(&server), moment));
        }
        while let Some(caller) = callers.join_next().await {
            caller.expect("no panic");
        }
    }
    sleep(SECOND).await;
    assert_eq!(server.counts.alive(), [0; 3]);
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn callers_that_cancel_within_a_request_leave_nothing() {
    let whole = request("POST", "/hang", "content-length: 40\r\n") + &"x".repeat(40);
    let length = whole.len();
    check(length + 1, move |server, sent| {
        let beginning = whole[..sent].to_owned();
        async move {
            let io = server.open(&beginning).await;
            sleep(SECOND / 10).await;
            drop(io);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn callers_that_cancel_within_a_response_leave_nothing() {
    check(3 * CALLERS, |server, moment| async move {
        let mut io = server.open(&request("GET", "/large", "")).await;
        let mut taken = vec![0; 1 + moment * 4000];
        io.read_exact(&mut taken).await.expect("a part of it");
    })
    .await;
}

/// The client has ended its sending half, and disconnects.
#[tokio::test(start_paused = true)]
async fn callers_that_close_their_half_first_leave_nothing() {
    check(CALLERS, |server, moment| async move {
        let mut io = server.open(&request("GET", "/hang", "")).await;
        sleep(SECOND * (moment as u32 % 3)).await;
        io.shutdown().await.expect("the server reads");
    })
    .await;
}

#[cfg(feature = "h2c")]
#[tokio::test(start_paused = true)]
async fn http2_callers_that_cancel_leave_nothing() {
    check(4 * CALLERS, |server, moment| async move {
        let mut peer = server.open_http2(65_535).await;
        let path = if moment % 2 == 0 { "/hang" } else { "/large" };
        // Before the request, within its body, while the handler runs, and within the response.
        if moment % 4 == 0 {
            return;
        }
        let sent = peer.client.send_request(http2_request(path), false);
        let (response, mut body) = sent.expect("sent");
        let is_whole = moment % 4 > 1;
        body.send_data(Bytes::from_static(b"ab"), is_whole)
            .expect("sent");
        if is_whole && path == "/large" {
            let mut response = response.await.expect("a response").into_body();
            response.data().await.expect("a part").expect("no error");
        } else {
            sleep(SECOND / 10).await;
        }
        // Half of them reset the stream first, which ends its handler.
        if moment % 8 > 3 {
            body.send_reset(h2::Reason::CANCEL);
            sleep(SECOND / 10).await;
        }
    })
    .await;
}
