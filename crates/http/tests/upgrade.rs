//! A client that switches protocols, byte by byte.

use http::Request;
use http_body_util::BodyExt;
use keyway_http::{ExchangeError, UpgradeError, Upgraded, upgrade};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n";

/// Lets a server send these pieces, then end its half, and returns the result of the upgrade and the server's end.
async fn respond(
    pieces: &[&[u8]],
    allows_version_0: bool,
) -> (
    Result<Upgraded<DuplexStream>, UpgradeError<DuplexStream>>,
    DuplexStream,
) {
    const REQUEST: &[u8] =
        b"GET /x HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\n";
    let (near, mut far) = tokio::io::duplex(4096);
    let request = Request::get("http://h/x").header("upgrade", "tcp").body(());
    let server = async {
        let mut request = vec![0; REQUEST.len()];
        far.read_exact(&mut request).await.expect("a whole request");
        assert_eq!(
            String::from_utf8_lossy(&request),
            String::from_utf8_lossy(REQUEST)
        );
        for piece in pieces {
            far.write_all(piece).await.expect("it fits");
            tokio::task::yield_now().await;
        }
        far.shutdown().await.expect("it is open");
    };
    let request = request.expect("a valid request");
    let (upgraded, ()) = tokio::join!(upgrade(near, request, allows_version_0), server);
    (upgraded, far)
}

#[tokio::test]
async fn the_next_byte_is_the_first_behind_the_head_wherever_it_is_split() {
    let interim = b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n".as_slice();
    let whole = [interim, SWITCHING, b"\0\x01frames"].concat();
    for split in 0..whole.len() {
        let (head, tail) = whole.split_at(split);
        let (upgraded, mut far) = respond(&[head, tail], false).await;
        let mut stream = upgraded.expect("the server agrees");
        let mut early = Vec::new();
        stream.read_to_end(&mut early).await.expect("a clean end");
        assert_eq!(early, b"\0\x01frames", "split at {split}");
        stream.write_all(b"more").await.expect("it is open");
        drop(stream);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.expect("a clean end");
        assert_eq!(rest, b"more");
    }
}

#[tokio::test]
async fn the_version_0_0_is_accepted_only_if_allowed() {
    let old = b"HTTP/0.0 101 Switching Protocols\r\n\r\n".as_slice();
    assert!(respond(&[old], true).await.0.is_ok());
    let (refused, _) = respond(&[old], false).await;
    assert!(
        matches!(
            refused,
            Err(UpgradeError::Exchange(ExchangeError::Malformed { .. }))
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_refusal_can_be_read() {
    for head in [
        "HTTP/1.1 403 x\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.0 403 x\r\n\r\n",
    ] {
        let (refused, _far) = respond(&[head.as_bytes(), b"no"], false).await;
        let Err(UpgradeError::Refused(response)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(response.status(), 403);
        let body = response.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes(), "no");
    }
}

#[tokio::test]
async fn a_server_that_closes_without_a_response_is_an_error() {
    for (sent, is_begun) in [(b"".as_slice(), false), (&SWITCHING[..20], true)] {
        let error = match respond(&[sent], false).await.0 {
            Err(UpgradeError::Exchange(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            matches!(error, ExchangeError::Truncated),
            is_begun,
            "{error:?}"
        );
        assert_eq!(
            matches!(error, ExchangeError::Closed),
            !is_begun,
            "{error:?}"
        );
    }
}
