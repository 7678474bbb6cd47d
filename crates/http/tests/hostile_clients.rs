//! A server against clients that are slow, huge, broken, or malicious.

mod support;

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use keyway_test_support::echo::{Alive, Memory, router};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use support::{head, raw, read_raw};

fn memory() -> Memory {
    Memory::new(router(&Alive::default()).max_message_size(1000))
}

fn status(response: &str) -> &str {
    response.split("\r\n").next().unwrap_or_default()
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out_with_a_response() {
    let router = router(&Alive::default()).read_timeout(Duration::from_secs(3));
    let started = Instant::now();
    let response = raw(
        &Memory::new(router),
        &[head("content-length: 10\r\n").as_bytes(), b"ab"],
    )
    .await;
    assert_eq!(
        status(&response),
        "HTTP/1.1 504 Gateway Timeout",
        "{response}"
    );
    assert!(response.contains("deadline_exceeded"), "{response}");
    assert!(
        started.elapsed() < Duration::from_secs(7),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_of_single_slow_bytes_times_out_as_well() {
    let router = router(&Alive::default()).read_timeout(Duration::from_secs(3));
    let mut io = Memory::new(router).open();
    let started = Instant::now();
    io.write_all(head("content-length: 1000\r\n").as_bytes())
        .await
        .expect("the server reads");
    while io.write_all(b"a").await.is_ok() && started.elapsed() < Duration::from_secs(100) {
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_is_refused_in_any_framing() {
    let long = vec![b'a'; 2000];
    let chunked = [b"7d0\r\n".as_slice(), &long, b"\r\n0\r\n\r\n"].concat();
    let cases: [(&str, &[u8]); 3] = [
        ("content-length: 2000\r\n", &long),
        ("transfer-encoding: chunked\r\n", &chunked),
        // The length alone is refused: the server reads no terabyte.
        ("content-length: 1000000000000\r\n", b"a"),
    ];
    for (lines, sent) in cases {
        let response = raw(&memory(), &[head(lines).as_bytes(), sent]).await;
        assert_eq!(
            status(&response),
            "HTTP/1.1 429 Too Many Requests",
            "{lines}"
        );
        assert!(
            body(&response).contains("larger than configured max 1000"),
            "{response}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_content_length_above_the_limit_is_refused_before_the_body_arrives() {
    let mut io = memory().open();
    let started = Instant::now();
    let head = head("content-length: 1001\r\n");
    io.write_all(head.as_bytes())
        .await
        .expect("the server reads");
    let response = read_raw(&mut io).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(status(&response), "HTTP/1.1 429 Too Many Requests");
    // The server discards the body for a limited time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    io.write_all(&[b'a'; 64 * 1024])
        .await
        .expect("the server reads");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let closed = io.write_all(b"a").await;
    closed.expect_err("the server dropped the byte stream");
}

/// Otherwise its connection would break, and it would try again.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_far_too_much_receives_the_reason() {
    let long = vec![b'a'; 20 * 1024 * 1024];
    let mut io = memory().open();
    let head = head(&format!("content-length: {}\r\n", long.len()));
    for part in [head.as_bytes(), &long] {
        io.write_all(part).await.expect("the server reads");
    }
    let response = read_raw(&mut io).await;
    assert_eq!(status(&response), "HTTP/1.1 429 Too Many Requests");
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_is_cut() {
    let mut io = memory().open();
    io.write_all(head("transfer-encoding: chunked\r\n").as_bytes())
        .await
        .expect("the server reads");
    let chunk = [b"10000\r\n".as_slice(), &[b'a'; 0x10000], b"\r\n"].concat();
    let mut sent = 0_usize;
    while sent < 256 * 1024 * 1024 {
        match tokio::time::timeout(Duration::from_secs(30), io.write_all(&chunk)).await {
            Ok(Ok(())) => sent += chunk.len(),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    assert!(sent < 66 * 1024 * 1024, "{sent} bytes were taken");
}

#[tokio::test]
async fn a_zip_bomb_is_refused() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(&vec![0_u8; 700_000])
        .expect("into a vector");
    let bomb = encoder.finish().expect("into a vector");
    assert!(
        bomb.len() < 1000,
        "small enough to pass as a body: {}",
        bomb.len()
    );
    let lines = format!(
        "content-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n",
        bomb.len()
    );
    let response = raw(&memory(), &[head(&lines).as_bytes(), &bomb]).await;
    assert_eq!(status(&response), "HTTP/1.1 429 Too Many Requests");
}

#[tokio::test]
async fn damaged_gzip_is_an_invalid_argument() {
    let lines = "content-encoding: gzip\r\ncontent-length: 3\r\nconnection: close\r\n";
    let response = raw(&memory(), &[head(lines).as_bytes(), b"\x1f\x8b\x08"]).await;
    assert_eq!(status(&response), "HTTP/1.1 400 Bad Request");
    assert!(body(&response).contains("invalid_argument"), "{response}");
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let field = format!("x-a: {}\r\n", "a".repeat(100_000));
    let many = "x-a: a\r\n".repeat(101);
    for lines in [field, many] {
        let response = raw(&memory(), &[head(&lines).as_bytes()]).await;
        assert_eq!(
            status(&response),
            "HTTP/1.1 431 Request Header Fields Too Large"
        );
    }
}

/// A message that two HTTP implementations could frame differently is refused.
#[tokio::test(start_paused = true)]
async fn ambiguous_lengths_are_refused() {
    let cases = [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: +5\r\n",
        "content-length: -5\r\n",
        "content-length: 0x5\r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "x: a\n b\r\n",
    ];
    for lines in cases {
        let smuggled = "0\r\n\r\nPOST /test.Echo/Panic HTTP/1.1\r\nhost: x\r\n\r\n";
        let response = raw(&memory(), &[head(lines).as_bytes(), smuggled.as_bytes()]).await;
        assert_eq!(
            status(&response),
            "HTTP/1.1 400 Bad Request",
            "{lines:?}: {response}"
        );
        assert_eq!(
            response.matches("HTTP/1.1").count(),
            1,
            "{lines:?}: {response}"
        );
    }
}

/// Chunked wins over a length (RFC 9112, 6.3), and then nothing more may be read.
#[tokio::test(start_paused = true)]
async fn two_kinds_of_length_end_the_connection() {
    let lines = "content-length: 5\r\ntransfer-encoding: chunked\r\n";
    let smuggled = "0\r\n\r\nPOST /test.Echo/Panic HTTP/1.1\r\nhost: x\r\n\r\n";
    let response = raw(&memory(), &[head(lines).as_bytes(), smuggled.as_bytes()]).await;
    assert!(response.contains("connection: close"), "{response}");
    assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
}

/// Some implementations ignore a coding before `chunked`, others apply it alone.
#[tokio::test(start_paused = true)]
async fn a_second_transfer_coding_is_refused() {
    let smuggled = "0\r\n\r\nPOST /test.Echo/Panic HTTP/1.1\r\nhost: x\r\n\r\n";
    let cases = [
        "transfer-encoding: identity, chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: ,chunked\r\n",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
    ];
    for lines in cases {
        let response = raw(&memory(), &[head(lines).as_bytes(), smuggled.as_bytes()]).await;
        assert_eq!(status(&response), "HTTP/1.1 400 Bad Request", "{lines:?}");
        assert!(response.contains("connection: close"), "{response}");
        assert_eq!(
            response.matches("HTTP/1.1").count(),
            1,
            "{lines:?}: {response}"
        );
    }
    let end = b"0\r\n\r\n".as_slice();
    for lines in [
        "transfer-encoding: chunked\r\n",
        "Transfer-Encoding: \tCHUNKED \r\n",
    ] {
        let response = raw(&memory(), &[head(lines).as_bytes(), end]).await;
        assert_eq!(status(&response), "HTTP/1.1 200 OK", "{lines:?}");
    }
}

/// A client that is still sending might receive the end of its connection instead of the response.
#[tokio::test(start_paused = true)]
async fn a_large_request_to_an_unknown_path_is_drained_and_refused() {
    let long = vec![b'a'; 200_000];
    let first = head(&format!("content-length: {}\r\n", long.len()));
    let first = first.replace("Echo/Echo", "Echo/Nowhere");
    let next = head("content-length: 0\r\nconnection: close\r\n");
    let mut io = memory().open();
    for part in [first.as_bytes(), &long, next.as_bytes()] {
        io.write_all(part).await.expect("the server reads");
    }
    let response = read_raw(&mut io).await;
    assert_eq!(status(&response), "HTTP/1.1 404 Not Found", "{response}");
    assert!(response.contains("HTTP/1.1 200 OK"), "{response}");
}

/// The client waits for `100 Continue`, which is not sent.
#[tokio::test(start_paused = true)]
async fn a_client_that_expects_100_continue_is_refused_without_its_body() {
    for (path, expected) in [
        ("Echo/Nowhere", "404 Not Found"),
        ("Echo/Echo", "400 Bad Request"),
    ] {
        let lines = "expect: 100-continue\r\ncontent-length: 9\r\nconnect-timeout-ms: x\r\n";
        let started = Instant::now();
        let response = raw(
            &memory(),
            &[head(lines).replace("Echo/Echo", path).as_bytes()],
        )
        .await;
        assert_eq!(
            status(&response),
            format!("HTTP/1.1 {expected}"),
            "{response}"
        );
        assert_eq!(started.elapsed().as_secs(), 0, "the connection is closed");
    }
}

#[tokio::test]
async fn broken_chunks_reach_no_handler() {
    let cases = [
        ("zz\r\n", "400"),
        ("5\r\nab", "499"),
        ("5\r\nhello!", "400"),
        ("ffffffffffffffffff\r\n", "400"),
        ("-1\r\n", "400"),
    ];
    for (chunk, expected) in cases {
        let mut io = memory().open();
        let head = head("transfer-encoding: chunked\r\n");
        io.write_all(head.as_bytes())
            .await
            .expect("the server reads");
        io.write_all(chunk.as_bytes())
            .await
            .expect("the server reads");
        io.shutdown().await.expect("the server reads");
        let response = read_raw(&mut io).await;
        let expected = format!("HTTP/1.1 {expected} ");
        assert!(response.starts_with(&expected), "{chunk:?}: {response}");
    }
}

/// Some implementations accept a lone LF as the end of a line, also within an extension: the framing of
/// chunks may not depend on it. Extensions are ignored, so their length is limited.
#[tokio::test(start_paused = true)]
async fn chunks_with_ambiguous_framing_reach_no_handler() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000));
    let cases = [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5;x\ny\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        long.as_str(),
    ];
    for chunks in cases {
        let head = head("transfer-encoding: chunked\r\n");
        let smuggled = "POST /test.Echo/Panic HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
        let response = raw(
            &memory(),
            &[head.as_bytes(), chunks.as_bytes(), smuggled.as_bytes()],
        )
        .await;
        let shown = &chunks[..chunks.len().min(40)];
        assert!(!response.contains("HTTP/1.1 200"), "{shown:?}: {response}");
        assert!(
            response.matches("HTTP/1.1").count() <= 1,
            "{shown:?}: {response}"
        );
    }
    // Valid chunks are read, and another request follows.
    let extended = "7;name=\"value\"\r\n\n\x05hello\r\n0\r\nx-after: 1\r\n\r\n";
    let next = head("content-length: 0\r\n");
    let head = head("transfer-encoding: chunked\r\n");
    let pieces = [head.as_bytes(), extended.as_bytes(), next.as_bytes()];
    let response = raw(&memory(), &pieces).await;
    assert_eq!(response.matches("HTTP/1.1 200 OK").count(), 2, "{response}");
}

/// Lines may end in a lone LF (RFC 9112, 2.2), so both ends of a request must be seen where the
/// lengths say, and nothing of its body may become a request.
#[tokio::test(start_paused = true)]
async fn lone_line_feeds_smuggle_nothing() {
    let inner = "POST /test.Echo/Panic HTTP/1.1\nhost: x\ncontent-length: 0\n\n";
    let length = inner.len();
    for head in [
        format!(
            "POST /test.Echo/Echo HTTP/1.1\nhost: x\ncontent-type: application/proto\ncontent-length: {length}\n\n"
        ),
        format!(
            "POST /test.Echo/Echo HTTP/1.1\r\nhost: x\ncontent-type: application/proto\r\ncontent-length: {length}\r\n\n"
        ),
    ] {
        let response = raw(&memory(), &[format!("{head}{inner}").as_bytes()]).await;
        assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
        // The inner request is only an invalid message.
        assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    }
}

#[tokio::test]
async fn a_truncated_body_reaches_no_handler() {
    let mut io = memory().open();
    io.write_all(head("content-length: 10\r\n").as_bytes())
        .await
        .expect("the server reads");
    io.write_all(b"\x0a\x03ab").await.expect("the server reads");
    io.shutdown().await.expect("the server reads");
    let response = read_raw(&mut io).await;
    assert!(!response.starts_with("HTTP/1.1 200"), "{response}");
}

#[tokio::test(start_paused = true)]
async fn invalid_bytes_end_the_connection_and_not_the_server() {
    let memory = memory();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    for garbage in [
        http2,
        b"\x16\x03\x01\x00\xff\xff",
        b"GET /\r\n\r\n",
        &[0; 4096],
    ] {
        let response = raw(&memory, &[garbage]).await;
        assert!(
            !response.starts_with("HTTP/1.1 200"),
            "{garbage:?}: {response}"
        );
    }
    let response = raw(
        &memory,
        &[head("content-length: 0\r\nconnection: close\r\n").as_bytes()],
    )
    .await;
    assert_eq!(status(&response), "HTTP/1.1 200 OK");
}
