//! Many connections: the limit of those served at once, eviction and shutdown.

mod support;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use keyway_http::{Limits, Served, serve};
use keyway_test_support::echo::{Alive, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use support::{head, read_raw};

/// Connections as they are made, for the server.
struct Incoming(mpsc::Receiver<DuplexStream>);

impl futures_core::Stream for Incoming {
    type Item = io::Result<DuplexStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.poll_recv(cx);
        next.map(|io| io.map(Ok))
    }
}

/// A server of the test service, and a way to connect to it.
struct Server {
    connect: mpsc::Sender<DuplexStream>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Served>,
}

impl Server {
    fn start(config: Limits) -> Self {
        let (connect, incoming) = mpsc::channel(16);
        let (stop, stopped) = oneshot::channel::<()>();
        let router = router(&Alive::default()).max_timeout(Duration::from_secs(60));
        let served = tokio::spawn(serve(
            Incoming(incoming),
            move |_: &_, _| router.clone(),
            config,
            async {
                let _ = stopped.await;
            },
        ));
        Self {
            connect,
            stop: Some(stop),
            served,
        }
    }

    async fn open(&self, request: &str) -> DuplexStream {
        let (mut near, far) = tokio::io::duplex(16 * 1024);
        self.connect.send(far).await.expect("the server runs");
        near.write_all(request.as_bytes()).await.expect("it fits");
        near
    }

    async fn stop(mut self) -> Served {
        drop(self.stop.take());
        self.served.await.expect("no panic")
    }
}

fn request(method: &str) -> String {
    head("content-length: 0\r\n").replace("Echo/Echo", method)
}

async fn response(io: &mut DuplexStream) -> String {
    let mut start = [0; 12];
    io.read_exact(&mut start)
        .await
        .expect("the server responds");
    String::from_utf8_lossy(&start).into_owned()
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_a_connection_takes_the_place_of_a_silent_one() {
    let server = Server::start(Limits::default().max_connections(2));
    let started = Instant::now();
    let mut kept = server.open(&request("Echo/Echo")).await;
    assert_eq!(response(&mut kept).await, "HTTP/1.1 200");
    let mut silent = server.open("").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut other = server.open(&request("Echo/Echo")).await;
    assert_eq!(response(&mut other).await, "HTTP/1.1 200");
    assert_eq!(read_raw(&mut silent).await, "");
    assert_eq!(started.elapsed(), Duration::from_secs(1));
    for io in [&mut kept, &mut other] {
        io.write_all(request("Echo/Echo").as_bytes())
            .await
            .expect("still open");
    }
    assert!(read_raw(&mut kept).await.contains("HTTP/1.1 200"));
    assert!(read_raw(&mut other).await.contains("HTTP/1.1 200"));
    let served = server.stop().await;
    assert_eq!((served.accepted, served.failed), (3, 0));
    assert_eq!((served.evicted, served.aborted), (1, 0));
}

/// The beginnings of requests, in the order in which their connections are evicted. The
/// connections are made in another order.
#[tokio::test(start_paused = true)]
async fn connections_that_wait_for_their_peer_are_evicted_in_the_order_of_their_states() {
    let after_response = request("Echo/Echo");
    let half_body = head("content-length: 5\r\n") + "ab";
    let beginnings = [
        "",
        #[cfg(feature = "h2c")]
        "PRI * HT",
        after_response.as_str(),
        "POST /test",
        half_body.as_str(),
    ];
    let server = Server::start(Limits::default().max_connections(beginnings.len()));
    let mut waiting = Vec::new();
    for beginning in beginnings.iter().rev() {
        let mut io = server.open(beginning).await;
        if *beginning == after_response {
            assert_eq!(response(&mut io).await, "HTTP/1.1 200");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        waiting.push(io);
    }
    let mut busy = Vec::new();
    for io in waiting.iter_mut().rev() {
        busy.push(server.open(&request("Echo/Hang")).await);
        let closed = tokio::time::timeout(Duration::from_millis(10), read_raw(io));
        closed.await.expect("evicted at once");
    }
    // No connection in a handler is evicted.
    let mut reserved = server.open(&request("Echo/Echo")).await;
    assert_eq!(response(&mut reserved).await, "HTTP/1.1 200");
    let served = server.stop().await;
    assert_eq!(served.evicted, beginnings.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_has_waited_longest_is_evicted_first() {
    let server = Server::start(Limits::default().max_connections(2));
    let mut first = server.open("").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut second = server.open("").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _third = server.open("").await;
    let closed = tokio::time::timeout(Duration::from_millis(10), read_raw(&mut first));
    assert_eq!(closed.await.expect("evicted"), "");
    second
        .write_all(request("Echo/Echo").as_bytes())
        .await
        .expect("still open");
    assert_eq!(response(&mut second).await, "HTTP/1.1 200");
}

#[tokio::test(start_paused = true)]
async fn connections_that_have_just_connected_do_not_close_each_other() {
    let server = Server::start(Limits::default().max_connections(3));
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut io = server.open(&request("Echo/Echo")).await;
        assert_eq!(response(&mut io).await, "HTTP/1.1 200");
        idle.push(io);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // None has sent its request when the next one takes a place.
    let mut connected = [server.open("").await, server.open("").await];
    tokio::time::sleep(Duration::from_millis(10)).await;
    for io in &mut connected {
        let sent = io.write_all(request("Echo/Echo").as_bytes()).await;
        sent.expect("still open");
        assert_eq!(response(io).await, "HTTP/1.1 200");
    }
    assert_eq!(server.stop().await.evicted, 2);
}

#[tokio::test(start_paused = true)]
async fn a_reserved_connection_serves_one_request() {
    let server = Server::start(Limits::default().max_connections(1));
    let _busy = server.open(&request("Echo/Hang")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut reserved = server.open(&request("Echo/Echo").repeat(2)).await;
    let responses = read_raw(&mut reserved).await;
    assert_eq!(responses.matches("HTTP/1.1 200").count(), 1, "{responses}");
    assert!(responses.contains("connection: close"), "{responses}");
}

#[tokio::test(start_paused = true)]
async fn without_a_place_a_connection_waits_for_a_handler() {
    let limits = Limits::default().max_connections(1).reserved_connections(0);
    let server = Server::start(limits);
    let started = Instant::now();
    let mut busy = server.open(&request("Echo/Hang")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut other = server.open(&request("Echo/Echo")).await;
    assert_eq!(response(&mut other).await, "HTTP/1.1 200");
    assert_eq!(started.elapsed(), Duration::from_secs(60));
    let response = read_raw(&mut busy).await;
    assert!(response.starts_with("HTTP/1.1 504"), "{response}");
}

/// An incomplete head is evicted when another connection needs its place.
#[tokio::test(start_paused = true)]
async fn incomplete_heads_do_not_delay_a_request() {
    let server = Server::start(Limits::default());
    let mut stuck = Vec::new();
    for _ in 0..1024 {
        stuck.push(
            server
                .open("POST /test.Echo/Echo HTTP/1.1\r\nhost: x")
                .await,
        );
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    let mut io = server.open(&request("Echo/Echo")).await;
    assert_eq!(response(&mut io).await, "HTTP/1.1 200");
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn connections_that_do_not_end_in_time_are_aborted() {
    let server = Server::start(Limits::default().drain_timeout(Duration::from_secs(5)));
    let mut busy = server.open(&request("Echo/Hang")).await;
    let mut idle = server.open("").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    let served = server.stop().await;
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert_eq!((served.accepted, served.failed, served.aborted), (2, 0, 1));
    assert_eq!(read_raw(&mut busy).await, "");
    assert_eq!(read_raw(&mut idle).await, "");
}

#[tokio::test(start_paused = true)]
async fn temporary_errors_are_retried_and_the_end_of_the_source_ends_the_server() {
    struct Errors(Vec<io::ErrorKind>);

    impl futures_core::Stream for Errors {
        type Item = io::Result<DuplexStream>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            match self.0.pop() {
                Some(kind) => Poll::Ready(Some(Err(kind.into()))),
                // The source is pending without an end.
                None => Poll::Pending,
            }
        }
    }

    let started = Instant::now();
    let errors = Errors(vec![
        io::ErrorKind::NotConnected,
        io::ErrorKind::ConnectionAborted,
    ]);
    let router = router(&Alive::default());
    let never = std::future::pending();
    let serving = serve(errors, |_: &_, _| router.clone(), Limits::default(), never);
    let served = tokio::time::timeout(Duration::from_secs(60), serving).await;
    assert_eq!(served.expect("it has ended").accepted, 0);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_listener_is_dropped_before_requests_in_progress_finish() {
    let server = Server::start(Limits::default());
    let mut busy = server.open(&request("Echo/Hang")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let connect = server.connect.clone();
    let started = Instant::now();
    let (served, ()) = tokio::join!(server.stop(), async {
        connect.closed().await;
        assert_eq!(started.elapsed(), Duration::ZERO, "at the shutdown");
    });
    assert_eq!(served.aborted, 1);
    assert_eq!(read_raw(&mut busy).await, "");
}
