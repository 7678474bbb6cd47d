//! A client against servers that are slow, huge, broken, or malicious.

mod support;

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use keyway_http::{Exchange, ExchangeError};
use keyway_test_support::echo::rpc::client::{Client, Config};
use keyway_test_support::echo::rpc::{Code, Error, Request};
use keyway_test_support::echo::{ECHO, SECRET, Text};

use support::{Scripted, Step};

async fn call(script: Vec<Step>) -> Result<Text, Error> {
    let config = Config::default().max_message_size(1000);
    let client = Client::with_config(Exchange::new(Scripted::new(script)), config);
    let request = Request::new(Text::from("request")).timeout(Duration::from_secs(60));
    Ok(client
        .unary::<Text, Text>(&ECHO, request)
        .await?
        .into_message())
}

async fn failure(response: impl Into<Vec<u8>>) -> Error {
    call(vec![
        Step::Request,
        Step::Send(response.into()),
        Step::Close,
    ])
    .await
    .expect_err("an error response")
}

fn ok(lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\n{lines}\r\n");
    [head.as_bytes(), body].concat()
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_a_deadline_error() {
    for script in [
        vec![Step::Hang],
        vec![
            Step::Request,
            Step::Send(ok("content-length: 5\r\n", b"ab")),
            Step::Hang,
        ],
    ] {
        let error = call(script).await.expect_err("no response");
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_is_unavailable_with_the_cause() {
    for script in [vec![Step::Close], vec![Step::Request, Step::Close]] {
        let error = call(script).await.expect_err("no response");
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        assert!(error.cause::<ExchangeError>().is_some(), "{error:?}");
    }
}

#[tokio::test]
async fn responses_that_are_not_http_are_unavailable() {
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "a".repeat(200_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: a\r\n".repeat(101));
    for response in [
        "\0\0\0\0",
        "HTTP/1.1 abc\r\n\r\n",
        "220 smtp\r\n",
        &long_head,
        &many,
    ] {
        assert_eq!(failure(response).await.code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn truncated_responses_are_unavailable() {
    let responses = [
        // A final response could follow.
        ok("", b"\x0a\x02hi"),
        ok("content-length: 10\r\n", b"abc"),
        ok("transfer-encoding: chunked\r\n", b"5\r\nab"),
        ok("transfer-encoding: chunked\r\n", b"2\r\nab\r\n"),
        b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec(),
    ];
    for response in responses {
        let error = failure(response.clone()).await;
        assert_eq!(
            error.code(),
            Code::Unavailable,
            "{}",
            String::from_utf8_lossy(&response)
        );
    }
}

#[tokio::test]
async fn responses_over_the_limit_are_refused() {
    let long = [b'a'; 2000];
    let chunked = [b"7d0\r\n".as_slice(), &long, b"\r\n0\r\n\r\n"].concat();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(&vec![0_u8; 500_000])
        .expect("into a vector");
    let bomb = encoder.finish().expect("into a vector");
    let bomb_lines = format!(
        "content-encoding: gzip\r\ncontent-length: {}\r\n",
        bomb.len()
    );
    let responses = [
        ok("content-length: 2000\r\n", &long),
        ok("content-length: 99999999999\r\n", b"a"),
        ok("transfer-encoding: chunked\r\n", &chunked),
        ok(&bomb_lines, &bomb),
    ];
    for response in responses {
        assert_eq!(failure(response).await.code(), Code::ResourceExhausted);
    }
}

#[tokio::test]
async fn an_error_over_the_limit_is_still_the_error_of_its_status() {
    let body = format!(r#"{{"code":"internal","message":"{}"}}"#, "a".repeat(2000));
    let length = body.len();
    let head = "HTTP/1.1 503 x\r\ncontent-type: application/json\r\n";
    let error = failure(format!("{head}content-length: {length}\r\n\r\n{body}")).await;
    assert_eq!(error.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_message_that_does_not_decode_is_internal_and_does_not_quote_it() {
    let error = failure(ok("content-length: 3\r\n", b"\xff\xff\xff")).await;
    assert_eq!(error.code(), Code::Internal, "{error}");
    // A string that is not UTF-8.
    let script = vec![
        Step::Request,
        Step::Send(ok("content-length: 9\r\n", b"\x0a\x07secret\xff")),
    ];
    let client = Client::new(Exchange::new(Scripted::new(script)));
    let error = client
        .unary::<Text, Text>(&SECRET, Text::default().into())
        .await;
    let error = error.expect_err("not UTF-8");
    assert!(
        !format!("{error} {error:?}").contains("secret"),
        "{error:?}"
    );
}

#[tokio::test]
async fn statuses_outside_the_tables_are_unknown() {
    for status in [102, 204, 299, 302, 599, 800, 999] {
        // 102 is followed by the real response, which never comes.
        let error = failure(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n")).await;
        let expected = if status == 102 {
            Code::Unavailable
        } else {
            Code::Unknown
        };
        assert_eq!(error.code(), expected, "{status}");
    }
}

#[tokio::test]
async fn an_early_refusal_of_a_large_request_is_read() {
    let refusal = "HTTP/1.1 413 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let script = vec![Step::Send(refusal.into()), Step::Hang];
    let client = Client::new(Exchange::new(Scripted::new(script)));
    let text = "x".repeat(1024 * 1024);
    let error = client
        .unary::<Text, Text>(&ECHO, Text::from(text.as_str()).into())
        .await;
    assert_eq!(
        error.expect_err("refused").message(),
        "HTTP status 413 Payload Too Large"
    );
}

/// A Go server cancels the request after an early close, and waits two seconds for one that never
/// comes.
#[tokio::test]
async fn the_write_side_closes_after_the_response_and_not_before() {
    let bodies: [(&str, &[u8]); 4] = [
        ("content-length: 0\r\n", b""),
        ("content-length: 4\r\n", b"\x0a\x02ab"),
        (
            "transfer-encoding: chunked\r\n",
            b"4\r\n\x0a\x02ab\r\n0\r\n\r\n",
        ),
        ("content-length: 0\r\nconnection: close\r\n", b""),
    ];
    for (lines, body) in bodies {
        let scripted = Scripted::new(vec![
            Step::Request,
            Step::StillOpen,
            Step::Send(ok(lines, body)),
            Step::Closed,
        ]);
        let client = Client::new(Exchange::new(scripted.clone()));
        let response = client
            .unary::<Text, Text>(&ECHO, Text::default().into())
            .await;
        assert!(response.is_ok(), "{response:?}");
        scripted.finished().await;
    }
    let error = "HTTP/1.1 500 x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let scripted = Scripted::new(vec![Step::Request, Step::Send(error.into()), Step::Closed]);
    let client = Client::new(Exchange::new(scripted.clone()));
    assert!(
        client
            .unary::<Text, Text>(&ECHO, Text::default().into())
            .await
            .is_err()
    );
    scripted.finished().await;
}
