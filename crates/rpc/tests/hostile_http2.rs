//! A server over HTTP/2 without TLS against clients that are slow, huge, broken, or malicious, and
//! a client against such servers. The other end is bare `h2`.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use h2::client::SendRequest;
use h2::{Reason, SendStream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use keyway_rpc::client::{Client, Config};
use keyway_rpc::{Body, Code, Router};
use keyway_test_support::echo::{Alive, ECHO, Text, router};
use tokio::time::{Instant, timeout};
use tower_service::Service;

/// More than a server may read of a request that it refuses: the drained bytes and the windows.
const BOUND: usize = 4 * 1024 * 1024;

/// A connection to `hyper_util`'s server, which detects HTTP/2 by itself.
async fn connect(router: Router) -> SendRequest<Bytes> {
    let (near, far) = tokio::io::duplex(16 * 1024);
    tokio::spawn(async move {
        let service = TowerToHyperService::new(router);
        let server = auto::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(far), service).await;
    });
    let (sender, connection) = h2::client::handshake(near).await.expect("a server of h2");
    tokio::spawn(async move {
        // The requests report the error of the connection.
        let _ = connection.await;
    });
    sender
}

fn small() -> Router {
    router(&Alive::default()).max_message_size(1000)
}

fn post(method: &str, fields: &[(&str, &str)]) -> http::Request<()> {
    let mut request = http::Request::post(format!("http://x/test.Echo/{method}"))
        .header("content-type", "application/proto");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a valid head")
}

/// Reads a response: its status and body.
async fn read(response: h2::client::ResponseFuture) -> Result<(u16, String), h2::Error> {
    let response = response.await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        text.extend_from_slice(&data);
    }
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// Sends zeros until the peer accepts no more, and returns their number.
async fn flood(mut body: SendStream<Bytes>, most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        body.reserve_capacity(4096);
        let capacity = std::future::poll_fn(|cx| body.poll_capacity(cx));
        match timeout(Duration::from_secs(60), capacity).await {
            Ok(Some(Ok(capacity))) if capacity > 0 => {
                let zeros = Bytes::from(vec![0; capacity.min(4096)]);
                sent += zeros.len();
                if body.send_data(zeros, false).is_err() {
                    break;
                }
            }
            _ => break,
        }
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_is_refused_in_any_framing() {
    for fields in [&[][..], &[("content-length", "2000")]] {
        let mut sender = connect(small()).await;
        let (response, mut body) = sender
            .send_request(post("Echo", fields), false)
            .expect("open");
        for _ in 0..4 {
            body.send_data(vec![b'a'; 500].into(), false).expect("open");
        }
        body.send_data(Bytes::new(), true).expect("open");
        let (status, text) = read(response).await.expect("a response");
        assert_eq!(status, 429, "{text}");
        assert!(text.contains("larger than configured max 1000"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_is_cut() {
    for fields in [&[][..], &[("content-length", "1000000000000")]] {
        let mut sender = connect(small()).await;
        let (response, body) = sender
            .send_request(post("Echo", fields), false)
            .expect("open");
        let (taken, result) = tokio::join!(flood(body, 64 * 1024 * 1024), read(response));
        assert!(taken < BOUND, "{taken} bytes were taken");
        // The response, or the reset that follows it if the client keeps sending.
        if let Ok((status, text)) = result {
            assert_eq!(status, 429, "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out() {
    let mut sender = connect(small().read_timeout(Duration::from_secs(3))).await;
    let started = Instant::now();
    let (response, mut body) = sender.send_request(post("Echo", &[]), false).expect("open");
    let drops = async {
        loop {
            tokio::time::sleep(Duration::from_millis(900)).await;
            if body.send_data(Bytes::from_static(b"a"), false).is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let (status, text) = tokio::select! {
        () = drops => unreachable!("it has no end"),
        result = read(response) => result.expect("a response"),
    };
    assert_eq!(status, 504, "{text}");
    assert!(started.elapsed() < Duration::from_secs(7));
}

#[tokio::test]
async fn a_zip_bomb_is_refused() {
    let mut sender = connect(small()).await;
    let head = post("Echo", &[("content-encoding", "gzip")]);
    let (response, mut body) = sender.send_request(head, false).expect("open");
    body.send_data(bomb(), true).expect("open");
    let (status, text) = read(response).await.expect("a response");
    assert_eq!(status, 429, "{text}");
}

/// 700,000 zeros in less than 1000 bytes.
fn bomb() -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; 700_000]).expect("into a vector");
    let bomb = encoder.finish().expect("into a vector");
    assert!(bomb.len() < 1000, "{}", bomb.len());
    bomb.into()
}

#[tokio::test]
async fn a_body_that_differs_from_its_content_length_reaches_no_handler() {
    for length in ["3", "14"] {
        let alive = Alive::default();
        let mut sender = connect(router(&alive)).await;
        // This handler never responds, so a response would come from elsewhere.
        let head = post("Hang", &[("content-length", length)]);
        let (response, mut body) = sender.send_request(head, false).expect("open");
        body.send_data(Bytes::from_static(b"\n\x05hello"), true)
            .expect("open");
        let result = timeout(Duration::from_secs(20), read(response))
            .await
            .expect("an end");
        let reason = result.as_ref().err().and_then(h2::Error::reason);
        assert_eq!(reason, Some(Reason::PROTOCOL_ERROR), "{result:?}");
        assert_eq!(alive.count(), 0);
    }
}

/// Requests that are reset as soon as they were made (the "rapid reset") leave no handler behind.
#[tokio::test(start_paused = true)]
async fn reset_requests_drop_their_handlers() {
    let alive = Alive::default();
    let mut sender = connect(router(&alive)).await;
    for round in 0..50 {
        let Ok(mut ready) = sender.ready().await else {
            // The server has closed the connection of this client.
            break;
        };
        let head = post("Hang", &[("content-length", "0")]);
        let (_response, mut body) = ready.send_request(head, true).expect("open");
        if round % 2 == 0 {
            // Some handlers start before they are cancelled.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        body.send_reset(Reason::CANCEL);
        sender = ready;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(alive.count(), 0);
}

/// One HTTP/2 connection as a transport.
#[derive(Clone)]
struct Http2(hyper::client::conn::http2::SendRequest<Body>);

impl Service<http::Request<Body>> for Http2 {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Calls a server that responds with these fields, and then with the body that `send` sends.
async fn call<F>(
    fields: &'static [(&'static str, &'static str)],
    send: impl FnOnce(SendStream<Bytes>) -> F + Send + 'static,
) -> keyway_rpc::Error
where
    F: Future<Output = ()> + Send,
{
    let (near, far) = tokio::io::duplex(16 * 1024);
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(far).await.expect("a client of h2");
        let (_, mut respond) = connection
            .accept()
            .await
            .expect("one request")
            .expect("a whole one");
        let mut head = http::Response::builder().header("content-type", "application/proto");
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        let head = head.body(()).expect("a valid head");
        let body = respond.send_response(head, false).expect("open");
        tokio::join!(send(body), async {
            while connection.accept().await.is_some() {}
        });
    });
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near))
            .await
            .expect("a server of h2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let config = Config::default().max_message_size(1000);
    let client = Client::with_config(Http2(sender), config);
    let call = client.unary::<Text, Text>(&ECHO, Text::default().into());
    let result = timeout(Duration::from_secs(20), call).await;
    result.expect("an end").expect_err("not a message")
}

#[tokio::test]
async fn responses_over_the_limit_are_refused() {
    let endless = call(&[], |body| async {
        let taken = flood(body, 64 * 1024 * 1024).await;
        assert!(taken < BOUND, "{taken} bytes were taken");
    });
    let too_long = call(&[("content-length", "1000000000000")], |_| {
        std::future::pending()
    });
    let zipped = call(&[("content-encoding", "gzip")], |mut body| async move {
        body.send_data(bomb(), true).expect("open");
    });
    for error in [endless.await, too_long.await, zipped.await] {
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    }
}

#[tokio::test]
async fn a_response_that_differs_from_its_content_length_is_refused() {
    for length in [
        &[("content-length", "3")] as &[_],
        &[("content-length", "14")],
    ] {
        let error = call(length, |mut body| async move {
            // The client may have reset the stream before all of it is sent.
            let _ = body.send_data(Bytes::from_static(b"\n\x05hello"), true);
        })
        .await;
        assert_eq!(error.code(), Code::Internal, "{error}");
    }
}
