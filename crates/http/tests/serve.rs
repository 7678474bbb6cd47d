//! Many connections: how many are served at once, and how they end.

mod support;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use keyway_http::{ServeConfig, Served, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use support::{Alive, head, read_raw, router};

/// Connections as they are made, for the server.
struct Incoming(mpsc::UnboundedReceiver<DuplexStream>);

impl futures_core::Stream for Incoming {
    type Item = io::Result<DuplexStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.poll_recv(cx);
        next.map(|io| io.map(Ok))
    }
}

/// A server of the test service, and a way to connect to it.
struct Server {
    connect: mpsc::UnboundedSender<DuplexStream>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Served>,
}

impl Server {
    fn start(config: ServeConfig) -> Self {
        let (connect, incoming) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = router(&Alive::default()).max_timeout(Duration::from_secs(60));
        let served = tokio::spawn(serve(
            Incoming(incoming),
            move |_: &_| router.clone(),
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
        self.connect.send(far).expect("the server runs");
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

async fn answer(io: &mut DuplexStream) -> String {
    let mut start = [0; 12];
    io.read_exact(&mut start).await.expect("the server answers");
    String::from_utf8_lossy(&start).into_owned()
}

/// Whoever holds connections and does nothing keeps nobody out.
#[tokio::test(start_paused = true)]
async fn idle_connections_end_when_others_wait() {
    let server = Server::start(ServeConfig::default().max_connections(2));
    let started = Instant::now();
    let mut silent = server.open("").await;
    let mut kept = server.open(&request("Echo/Echo")).await;
    assert_eq!(answer(&mut kept).await, "HTTP/1.1 200");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut other = server.open(&request("Echo/Echo")).await;
    assert_eq!(answer(&mut other).await, "HTTP/1.1 200");
    assert_eq!(started.elapsed(), Duration::from_secs(1));
    assert_eq!(read_raw(&mut silent).await, "");
    read_raw(&mut kept).await;
    assert_eq!(started.elapsed(), Duration::from_secs(1), "both have ended");
    // Those that come later are idle as long as they may be.
    tokio::time::sleep(Duration::from_secs(100)).await;
    other
        .write_all(request("Echo/Echo").as_bytes())
        .await
        .expect("still open");
    assert!(read_raw(&mut other).await.contains("HTTP/1.1 200"));
    let served = server.stop().await;
    assert_eq!((served.accepted, served.failed, served.aborted), (3, 0, 0));
}

/// What is being answered is answered to its end, and then there is room.
#[tokio::test(start_paused = true)]
async fn busy_connections_are_waited_for() {
    let server = Server::start(ServeConfig::default().max_connections(1));
    let started = Instant::now();
    let mut busy = server.open(&request("Echo/Hang")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut other = server.open(&request("Echo/Echo")).await;
    assert_eq!(answer(&mut other).await, "HTTP/1.1 200");
    assert_eq!(started.elapsed(), Duration::from_secs(60));
    let answer = read_raw(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_is_aborted() {
    let server = Server::start(ServeConfig::default().drain_timeout(Duration::from_secs(5)));
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
async fn errors_that_pass_are_waited_out_and_the_end_of_the_source_is_an_end() {
    struct Errors(Vec<io::ErrorKind>);

    impl futures_core::Stream for Errors {
        type Item = io::Result<DuplexStream>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            match self.0.pop() {
                Some(kind) => Poll::Ready(Some(Err(kind.into()))),
                // Nothing comes any more, and nobody says so.
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
    let serving = serve(
        errors,
        |_: &_| router.clone(),
        ServeConfig::default(),
        never,
    );
    let served = tokio::time::timeout(Duration::from_secs(60), serving).await;
    assert_eq!(served.expect("it has ended").accepted, 0);
    assert!(started.elapsed() < Duration::from_secs(1));
}
