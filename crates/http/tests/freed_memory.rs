//! Memory that the crate frees holds no part of a body, wherever an exchange ends.
//!
//! A binary of its own, because its allocator looks for a mark in every block that is freed. The bodies of this test are in memory
//! that is never freed, so a mark that is found was left by the crate.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::stream;
use http::{Request, Response, Uri};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use keyway_http::{Exchange, Limits, RequestBody, serve_connection};
use keyway_test_support::FreedMemory;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tower_service::Service as _;

/// Eight bytes in place of a secret.
const MARK: [u8; 8] = [0xa7, 0x5e, 0xc2, 0x91, 0x3d, 0xf4, 0x68, 0x1b];

#[global_allocator]
static FREED: FreedMemory = FreedMemory::new(&[&MARK]);

/// The longest time for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// The framing of the bodies of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunks(usize),
}

/// An exchange, and where it ends.
#[derive(Clone, Copy, Debug)]
struct Case {
    framing: Framing,
    /// The lengths of the bodies.
    request_len: usize,
    response_len: usize,
    /// The number of bytes of the request that the handler reads. If it is less than all, the handler never responds, and the
    /// client cancels the request.
    n_handled: usize,
    /// The number of bytes of the response that the client reads before it closes the connection.
    n_read: usize,
}

/// A body full of marks, in memory that is never freed.
fn body(len: usize, framing: Framing) -> UnsyncBoxBody<Bytes, Infallible> {
    let bytes: Vec<u8> = MARK.iter().copied().cycle().take(len).collect();
    let bytes: &'static [u8] = bytes.leak();
    match framing {
        Framing::Length => Full::new(Bytes::from_static(bytes)).boxed_unsync(),
        Framing::Chunks(len) => {
            let frames = bytes.chunks(len).map(Bytes::from_static).map(Frame::data);
            StreamBody::new(stream::iter(frames.map(Ok))).boxed_unsync()
        }
    }
}

/// Reads a body until it has ended or `limit` bytes were read, and returns how many were.
async fn read<B: Body<Data: Buf, Error: std::fmt::Debug> + Unpin>(
    mut body: B,
    limit: usize,
) -> usize {
    let mut n_read = 0;
    while n_read < limit {
        let Some(frame) = body.frame().await else {
            break;
        };
        let data = frame.expect("a frame").into_data();
        n_read += data.map_or(0, |data| data.remaining());
    }
    n_read
}

/// Plays an exchange, and returns the number of freed blocks that held a mark.
async fn found(case: Case) -> usize {
    let (near, far) = UnixStream::pair().expect("a socket pair");
    let request = Request::post("http://x/").body(body(case.request_len, case.framing));
    let request = request.expect("a request");
    FREED.start();
    let hangs = Arc::new(Notify::new());
    let is_hanging = Arc::clone(&hangs);
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let hangs = Arc::clone(&hangs);
        async move {
            read(request.into_body(), case.n_handled).await;
            if case.n_handled < case.request_len {
                hangs.notify_one();
                pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(body(case.response_len, case.framing)))
        }
    });
    let served =
        tokio::spawn(
            async move { serve_connection(far, service, &Limits::default(), pending()).await },
        );
    let mut near = Some(near);
    let connect = tower::service_fn(move |_: Uri| {
        ready(Ok::<_, Infallible>(near.take().expect("one connection")))
    });
    let mut exchange = Exchange::new(connect);
    let call = async {
        let response = exchange.call(request).await.expect("a response");
        read(response.into_body(), case.n_read).await
    };
    let outcome = timeout(LIMIT, async {
        tokio::select! {
            n_read = call => n_read,
            () = is_hanging.notified() => 0,
        }
    });
    let n_read = outcome.await.expect("in time");
    assert!(n_read >= case.n_read.min(case.response_len), "{case:?}");
    drop(exchange);
    if case.n_handled < case.request_len {
        // A handler that reads nothing more does not notice that the client has gone.
        served.abort();
    }
    // The outcome does not matter.
    let _ = timeout(LIMIT, served).await.expect("in time");
    FREED.stop()
}

/// One test, because others of the process would free their own blocks meanwhile.
#[tokio::test]
async fn freed_memory_holds_no_part_of_a_body() {
    FREED.start();
    // The search finds a mark that was left on purpose.
    drop(std::hint::black_box(MARK.to_vec()));
    assert_eq!(FREED.stop(), 1, "the allocator finds nothing");
    let mut cases = Vec::new();
    for framing in [
        Framing::Length,
        Framing::Chunks(10),
        Framing::Chunks(100_000),
    ] {
        let whole = |request_len, response_len| Case {
            framing,
            request_len,
            response_len,
            n_handled: request_len,
            n_read: response_len,
        };
        cases.extend([whole(8, 8), whole(3000, 5000), whole(300_000, 1_000_000)]);
        // The client disconnects in the middle of its own request, and of the response.
        for n_handled in [0, 1, 20_000] {
            let goes = whole(1_000_000, 0);
            cases.push(Case { n_handled, ..goes });
        }
        for n_read in [0, 1, 20_000] {
            let goes = whole(8, 1_000_000);
            cases.push(Case { n_read, ..goes });
        }
    }
    for case in cases {
        assert_eq!(found(case).await, 0, "{case:?}");
    }
}
