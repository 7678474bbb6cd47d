//! Connections that come and go leave nothing behind.

use keyway_http::Limits;
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use super::allocations::allocated;
use super::server::{SECOND, Server, request, tasks};

const CYCLES: usize = 10_000;

/// Runs cycles, and checks that tasks, connections and memory are the same afterwards as after the first tenth of them.
async fn check(cycle: impl AsyncFn(&Server)) {
    let server = Server::start(Limits::default());
    let mut before = (0, 0);
    for number in 0..CYCLES {
        cycle(&server).await;
        if number == CYCLES / 10 {
            sleep(SECOND).await;
            before = (tasks(), allocated());
        }
    }
    sleep(SECOND).await;
    assert_eq!(server.counts.alive(), [0; 3]);
    assert_eq!(tasks(), before.0);
    let grown = allocated() - before.1;
    assert!(grown < 16 * 1024, "{grown} bytes more are allocated");
    let served = server.stop().await;
    assert_eq!(served.aborted, 0);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_connections_that_close_leave_nothing() {
    check(async |server| drop(server.open("").await)).await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_connections_with_a_request_leave_nothing() {
    let whole = request("GET", "/", "");
    check(async |server| {
        let mut io = server.open(&whole).await;
        let mut response = [0; 12];
        io.read_exact(&mut response).await.expect("a response");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_upgrades_leave_nothing() {
    let upgrade = request("GET", "/upgrade", "");
    check(async |server| {
        let mut io = server.open(&upgrade).await;
        let mut response = [0; 12];
        io.read_exact(&mut response).await.expect("a response");
        assert_eq!(&response, b"HTTP/1.1 101");
    })
    .await;
}
