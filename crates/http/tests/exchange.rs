//! The client's HTTP/1.1, byte by byte.

mod support;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use keyway_http::{Exchange, ExchangeError};
use keyway_test_support::body::Chunks;
use keyway_test_support::echo::rpc::client::Client;
use keyway_test_support::echo::rpc::{Body, Code};
use keyway_test_support::echo::{ECHO, Text};
use tower_service::Service;

use support::{Scripted, Step};

async fn get(script: Vec<Step>) -> Result<(StatusCode, Bytes), ExchangeError> {
    let mut exchange = Exchange::new(Scripted::new(script)).accept_close_delimited(true);
    let request = Request::get("http://x/")
        .body(Body::empty())
        .expect("a valid request");
    let response = exchange.call(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

#[tokio::test]
async fn responses_are_read_alike_in_pieces_of_any_size() {
    let text = "0123456789".repeat(300);
    let (first, second) = text.split_at(1000);
    let responses = [
        format!("HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n{text}"),
        format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n{text}"
        ),
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
             3e8;x=y\r\n{first}\r\n7D0\r\n{second}\r\n0\r\nx-after: 1\r\n\r\n"
        ),
        format!("HTTP/1.0 200 OK\r\n\r\n{text}"),
    ];
    for response in responses {
        for size in [1, 2, 3, 7, 100, 1023, 1024, 1025, 2048, 5000] {
            let send = Step::SendInPieces(response.clone().into_bytes(), size);
            let (status, body) = get(vec![Step::Request, send, Step::Close])
                .await
                .expect("the response is complete");
            assert_eq!(status, StatusCode::OK);
            assert_eq!(body, text, "{size}: {}", &response[..60]);
        }
    }
}

#[tokio::test]
async fn a_large_body_with_a_length_is_read_in_blocks() {
    let body = vec![b'x'; 3 * 1024 * 1024 + 17];
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let response = [head.as_bytes(), &body].concat();
    let (_, read) = get(vec![Step::Request, Step::Send(response), Step::Closed])
        .await
        .expect("the response is complete");
    assert!(read == body, "{} bytes", read.len());
}

/// Otherwise a server that crashes within a response truncates it unnoticed.
#[tokio::test]
async fn a_body_that_ends_with_its_stream_is_refused_unless_accepted() {
    for version in ["1.0", "1.1"] {
        let response = format!("HTTP/{version} 203 x\r\nx-one: 1\r\n\r\nabc").into_bytes();
        let script = vec![Step::Request, Step::Send(response), Step::Close];
        let (status, body) = get(script.clone()).await.expect("it is accepted");
        assert_eq!((status.as_u16(), body.as_ref()), (203, b"abc".as_slice()));
        let mut exchange = Exchange::new(Scripted::new(script));
        let request = Request::get("http://x/").body(Body::empty());
        let response = exchange.call(request.expect("a valid request")).await;
        let response = response.expect("the head is read in either case");
        assert_eq!(response.headers()["x-one"], "1");
        let refused = response.into_body().collect().await;
        assert!(
            matches!(refused, Err(ExchangeError::Unframed)),
            "{refused:?}"
        );
    }
}

/// Its end is an error of the stream, not a clean end.
#[tokio::test]
async fn a_body_that_ends_with_a_broken_stream_is_never_complete() {
    struct Reset(&'static [u8]);

    impl tokio::io::AsyncRead for Reset {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            if self.0.is_empty() {
                return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
            }
            buffer.put_slice(self.0);
            self.0 = b"";
            Poll::Ready(Ok(()))
        }
    }

    let response = b"HTTP/1.1 200 OK\r\n\r\nabc".as_slice();
    let connect = tower::service_fn(move |_: http::Uri| async move {
        Ok::<_, Infallible>(tokio::io::join(Reset(response), tokio::io::sink()))
    });
    let mut exchange = Exchange::new(connect).accept_close_delimited(true);
    let request = Request::get("http://x/").body(Body::empty());
    let response = exchange.call(request.expect("a valid request")).await;
    let body = response.expect("a head").into_body().collect().await;
    assert!(matches!(body, Err(ExchangeError::Io(_))), "{body:?}");
}

/// HTTP/1.0 has no transfer codings, so two parties have framed such a message.
#[tokio::test]
async fn a_response_of_http_1_0_has_no_transfer_coding() {
    let response = b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec();
    let refused = get(vec![Step::Request, Step::Send(response), Step::Close]).await;
    assert!(
        matches!(refused, Err(ExchangeError::Malformed { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn switching_protocols_is_refused() {
    let response = b"HTTP/1.1 101 x\r\nupgrade: websocket\r\n\r\n".to_vec();
    let refused = get(vec![Step::Request, Step::Send(response), Step::Hang]).await;
    assert!(
        matches!(refused, Err(ExchangeError::Malformed { .. })),
        "{refused:?}"
    );
}

/// The number of interim responses is limited.
#[tokio::test]
async fn interim_responses_are_skipped_up_to_a_limit() {
    let last = "HTTP/1.1 204 No Content\r\n\r\n";
    for (interim, is_final) in [(100, true), (101, false)] {
        let response = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(interim) + last;
        for size in [7, response.len()] {
            let send = Step::SendInPieces(response.clone().into_bytes(), size);
            let read = match is_final {
                true => get(vec![Step::Request, send, Step::Closed]).await,
                false => {
                    let send = Step::Send(response.clone().into_bytes());
                    get(vec![Step::Request, send, Step::Hang]).await
                }
            };
            assert_eq!(read.is_ok(), is_final, "{interim}: {read:?}");
        }
    }
}

#[tokio::test]
async fn the_request_head_has_the_fields_of_http_and_connect() {
    // With the feature `gzip`, an absent field would mean an offer.
    let offer = "accept-encoding: identity\r\n";
    let expected = format!(
        "POST /test.Echo/Echo HTTP/1.1\r\nhost: h:1\r\nconnection: close\r\nx-mine: 1\r\n{offer}\
         content-type: application/proto\r\nconnect-protocol-version: 1\r\n\
         content-length: 4\r\n\r\n\x0a\x02hi"
    );
    let response = b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n".to_vec();
    let script = vec![
        Step::Expect(expected.into_bytes()),
        Step::StillOpen,
        Step::Send(response),
        Step::Closed,
    ];
    let scripted = Scripted::new(script);
    let config = keyway_test_support::echo::rpc::client::Config::default();
    let origin = "http://user:password@h:1".parse().expect("a URI");
    let client = Client::with_config(Exchange::new(scripted.clone()), config.origin(origin));
    let mut request = keyway_test_support::echo::rpc::Request::new(Text::from("hi"));
    // Fields that would break the framing are not accepted from the application.
    for (name, value) in [
        ("x-mine", "1"),
        ("content-length", "99"),
        ("connection", "keep-alive"),
    ] {
        request
            .metadata_mut()
            .insert(name, value.parse().expect("a value"));
    }
    let error = client.unary::<Text, Text>(&ECHO, request).await;
    assert_eq!(error.expect_err("a 404").code(), Code::Unimplemented);
    scripted.finished().await;
}

#[tokio::test]
async fn a_body_without_a_length_is_sent_in_chunks() {
    const EXPECTED: &[u8] =
        b"PUT / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
    const PARTS: [&str; 3] = ["abc", "", "0123456789abcdef"];
    // A body may report its end together with its last part, or only after it.
    let reporting = || Body::new(Chunks::new(PARTS));
    let unreporting = || {
        let frames = PARTS.map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from(part))));
        Body::new(StreamBody::new(futures::stream::iter(frames)))
    };
    let bodies: [&dyn Fn() -> Body; 2] = [&reporting, &unreporting];
    for (capacity, body) in [1, 2, 3, 5, 16, 4096]
        .into_iter()
        .flat_map(|capacity| bodies.map(|body| (capacity, body())))
    {
        let response = b"HTTP/1.1 204 x\r\n\r\n".to_vec();
        let script = vec![
            Step::Expect(EXPECTED.to_vec()),
            Step::Send(response),
            Step::Closed,
        ];
        let scripted = Scripted::new(script).with_capacity(capacity);
        let mut exchange = Exchange::new(scripted.clone());
        let request = Request::put("http://x/")
            .body(body)
            .expect("a valid request");
        let response = exchange.call(request).await.expect("the server responds");
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        scripted.finished().await;
    }
}

#[tokio::test]
async fn a_large_request_passes_a_narrow_pipe() {
    for capacity in [64, 1000, 64 * 1024] {
        let response = b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n".to_vec();
        let script = vec![Step::Request, Step::Send(response), Step::Closed];
        let scripted = Scripted::new(script).with_capacity(capacity);
        let client = Client::new(Exchange::new(scripted.clone()));
        let text = "x".repeat(100_000);
        let sent = client
            .unary::<Text, Text>(&ECHO, Text::from(text.as_str()).into())
            .await;
        assert_eq!(sent.expect_err("a 404").code(), Code::Unimplemented);
        scripted.finished().await;
    }
}

/// A body that fails in the middle.
struct Failing;

impl http_body::Body for Failing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Err(std::io::Error::other("no more"))))
    }
}

#[tokio::test]
async fn a_body_that_fails_fails_the_exchange_at_once() {
    let mut exchange = Exchange::new(Scripted::new(vec![Step::Hang]));
    let request = Request::put("http://x/")
        .body(Body::new(Failing))
        .expect("a valid request");
    let failed = exchange.call(request).await;
    assert!(matches!(failed, Err(ExchangeError::Body(_))), "{failed:?}");
}
