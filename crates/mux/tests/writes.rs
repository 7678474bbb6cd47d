//! The number of writes to the connection, each of which is a system call.

mod support;

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use keyway_mux::{Config, Role, Session, Stream};
use support::{Flags, Frame, bounded, controlled, end};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

const CALLS: usize = 50;

/// A connection that counts its writes.
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.io).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Client and server, each with the number of its writes.
struct Pair {
    client: support::End,
    server: support::End,
    writes: [Arc<AtomicUsize>; 2],
}

impl Pair {
    fn new() -> Self {
        let (near, far) = tokio::io::duplex(1 << 20);
        let writes = [Arc::default(), Arc::default()];
        let on = |io, index: usize| Counted {
            io,
            writes: Arc::clone(&writes[index]),
        };
        let config = || Config::new().keep_alive(None);
        Self {
            client: end(on(near, 0), Role::Client, config()),
            server: end(on(far, 1), Role::Server, config()),
            writes: writes.clone(),
        }
    }

    fn serve<F>(&self, handle: impl Fn(Stream) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let server: Session = self.server.session.clone();
        tokio::spawn(async move {
            while let Ok(Some(stream)) = server.accept().await {
                tokio::spawn(handle(stream));
            }
        });
    }

    /// Checks for one write for each request and each response. Now and then one more: the scheduler looks at
    /// its timers before all tasks have run, and the last FIN leaves alone.
    fn assert_one_for_each_call(&self) {
        for (end, count) in ["client", "server"].iter().zip(&self.writes) {
            let count = count.load(Ordering::Relaxed);
            assert!(
                count <= CALLS * 6 / 5,
                "{end}: {count} writes for {CALLS} calls"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_on_a_fresh_stream_costs_one_write_an_end() {
    let pair = Pair::new();
    pair.serve(|mut stream| async move {
        let mut request = [0; 64];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(&request).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let client = pair.client.session.clone();
    let calls = tokio::spawn(async move {
        for _ in 0..CALLS {
            let mut stream = client.open().await.unwrap();
            stream.write_all(&[7; 64]).await.unwrap();
            let mut response = Vec::new();
            stream.read_to_end(&mut response).await.unwrap();
            assert_eq!(response, [7; 64]);
        }
    });
    bounded("the calls", calls).await.unwrap();
    pair.assert_one_for_each_call();
}

#[tokio::test(start_paused = true)]
async fn half_of_the_tasks_that_one_read_wakes_flush_before_the_others_write() {
    const TASKS: usize = 16;
    let (connection, control) = controlled();
    control.allow(usize::MAX);
    let client = end(connection, Role::Client, Config::new().keep_alive(None));
    let mut streams = Vec::new();
    for _ in 0..TASKS {
        let mut stream = client.session.open().await.unwrap();
        stream.flush().await.unwrap();
        streams.push(stream);
    }
    // The SYNs.
    assert_eq!(control.frames().len(), TASKS);
    let tasks: Vec<_> = streams
        .drain(..)
        .map(|mut stream| {
            let control = control.clone();
            tokio::spawn(async move {
                stream.read_u8().await.unwrap();
                stream.write_all(&[7; 10]).await.unwrap();
                (control.frames().len(), stream)
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let responses: Vec<_> = (0..TASKS as u32)
        .map(|index| Frame::data(1 + 2 * index, Flags::ACK, b"!"))
        .collect();
    control.send(&responses);
    for (index, task) in tasks.into_iter().enumerate() {
        let (sent, stream) = bounded("a task", task).await.unwrap();
        let expected = if index == TASKS / 2 - 1 { TASKS / 2 } else { 0 };
        assert_eq!(sent, expected, "after task {index}");
        streams.push(stream);
    }
    tokio::task::yield_now().await;
    assert_eq!(control.frames().len(), TASKS - TASKS / 2);
}

/// Hyper's connection reads before it has a request to write, and the server's before it has read
/// one; neither may send a SYN, an ACK or the last stream's FIN alone.
#[tokio::test]
async fn tasks_that_one_flush_wakes_send_their_next_requests_in_one_write() {
    const CALLERS: usize = 20;
    let pair = Pair::new();
    pair.serve(|mut stream| async move {
        let mut request = [0; 16];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(&request).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let session = pair.client.session.clone();
            tokio::spawn(async move {
                for _ in 0..CALLS {
                    let mut stream = session.open().await.unwrap();
                    stream.write_all(&[7; 16]).await.unwrap();
                    stream.read_exact(&mut [0; 16]).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        bounded("a caller", caller).await.unwrap();
    }
    // A few for all callers together: two for their requests, and one for the FINs that they wait for.
    let writes = pair.writes[0].load(Ordering::Relaxed);
    assert!(writes <= CALLERS / 4 * CALLS, "{writes} writes");
}

#[tokio::test(start_paused = true)]
async fn an_http_exchange_on_a_fresh_stream_costs_one_write_an_end() {
    async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok(Response::new(Full::new(body)))
    }
    let pair = Pair::new();
    pair.serve(|stream| async move {
        let http = hyper::server::conn::http1::Builder::new();
        http.serve_connection(stream, service_fn(echo))
            .await
            .unwrap();
    });
    let client = pair.client.session.clone();
    let calls = tokio::spawn(async move {
        for _ in 0..CALLS {
            let stream = client.open().await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let request = Request::post("/").header("host", "x");
            let request = request
                .body(Full::new(Bytes::from_static(&[7; 64])))
                .unwrap();
            sender.ready().await.unwrap();
            let response = sender.send_request(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body[..], [7; 64]);
        }
    });
    bounded("the calls", calls).await.unwrap();
    pair.assert_one_for_each_call();
}

/// The connection takes one buffer at a time, so that a header of its own would be a write; and pieces that are
/// smaller than a frame are not worth one each.
#[tokio::test(start_paused = true)]
async fn a_large_transfer_costs_a_write_for_two_frames() {
    for piece in [4_096, 64 * 1024] {
        let pair = Pair::new();
        let (mut near, mut far) = support::stream(&pair.client.session, &pair.server.session).await;
        let before = pair.writes[0].load(Ordering::Relaxed);
        let sent = vec![7; piece];
        let pieces = (1 << 20) / piece;
        let writing = async {
            for _ in 0..pieces {
                near.write_all(&sent).await.unwrap();
            }
        };
        let mut received = vec![0; 1 << 20];
        let transfer = async { tokio::join!(writing, far.read_exact(&mut received)) };
        bounded("the transfer", transfer).await.1.unwrap();
        let writes = pair.writes[0].load(Ordering::Relaxed) - before;
        assert!(writes <= 40, "{writes} writes in pieces of {piece}");
    }
}
