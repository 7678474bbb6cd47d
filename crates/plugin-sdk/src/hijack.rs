//! The upgrade of a connection to the daemon to a plugin connection: `GET /hijack` and its response 101.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use http::Request;
use http::header::UPGRADE;
use http_body::Body;
use keyway_http::{ExchangeError, UpgradeError, Upgraded, upgrade};
use keyway_local::escape_untrusted;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

/// Limit for the daemon's response.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// Limit for the part of a refusal's body that is shown, in bytes.
const MAX_REASON: usize = 512;

/// Error of the upgrade of a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HijackError {
    /// The daemon closed the connection without a response.
    #[error("the daemon closed the connection without a response to GET /hijack")]
    Closed,
    /// Reading or writing failed.
    #[error("the connection to the daemon failed")]
    Io(#[from] io::Error),
    /// The response is not HTTP.
    #[error("the listening process does not respond like a Keyway daemon: {0}")]
    NotHttp(&'static str),
    /// The daemon refused the upgrade.
    #[error("the daemon refused the connection with status {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The reason that the daemon sent, without control characters.
        reason: String,
    },
    /// The daemon took too long.
    #[error("the daemon did not respond to GET /hijack within {:.0} s", TIMEOUT.as_secs_f64())]
    TimedOut,
}

impl From<ExchangeError> for HijackError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Closed | ExchangeError::Truncated => Self::Closed,
            ExchangeError::Malformed { reason } => Self::NotHttp(reason),
            ExchangeError::Io(error) => Self::Io(error),
            error => Self::Io(io::Error::other(error)),
        }
    }
}

/// Upgrades the connection. The next byte that is read from the returned stream belongs to the multiplexer.
pub(crate) async fn hijack(stream: UnixStream) -> Result<Upgraded<UnixStream>, HijackError> {
    let deadline = Instant::now() + TIMEOUT;
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static("http://secrets-engine.localhost/hijack");
    request
        .headers_mut()
        .insert(UPGRADE, http::HeaderValue::from_static("tcp"));
    // The reference's acceptor writes the version 0.0.
    match timeout_at(deadline, upgrade(stream, request, true)).await {
        Ok(Ok(upgraded)) => Ok(upgraded),
        Ok(Err(UpgradeError::Refused(response))) => {
            let status = response.status().as_u16();
            let mut body = Vec::new();
            // A body that is cut short is still the best reason there is.
            let _ = timeout_at(deadline, read_start(response.into_body(), &mut body)).await;
            Err(HijackError::Refused {
                status,
                reason: reason(&body),
            })
        }
        Ok(Err(UpgradeError::Exchange(error))) => Err(error.into()),
        Ok(Err(error)) => Err(HijackError::Io(io::Error::other(error.to_string()))),
        Err(_) => Err(HijackError::TimedOut),
    }
}

/// Appends as much of a body as is shown.
async fn read_start(mut body: impl Body<Data = bytes::Bytes> + Unpin, start: &mut Vec<u8>) {
    while start.len() < MAX_REASON {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else {
            return;
        };
        if let Ok(data) = frame.into_data() {
            let size = data.len().min(MAX_REASON - start.len());
            start.extend_from_slice(&data[..size]);
        }
    }
}

fn reason(body: &[u8]) -> String {
    let text = escape_untrusted(&String::from_utf8_lossy(body));
    match text.trim() {
        "" => "no reason given".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET /hijack HTTP/1.1\r\n\
        host: secrets-engine.localhost\r\n\
        connection: upgrade\r\n\
        upgrade: tcp\r\n\
        \r\n";

    const SWITCHING: &[u8] =
        b"HTTP/0.0 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";

    /// Makes a daemon respond with these pieces, and returns the result of `hijack` and the bytes that are read from the stream then.
    async fn respond(pieces: &[&[u8]], close: bool) -> (Result<(), HijackError>, Vec<u8>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let daemon = async {
            let mut request = vec![0; REQUEST.len()];
            theirs.read_exact(&mut request).await.unwrap();
            assert_eq!(request, REQUEST);
            for piece in pieces {
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            if close {
                theirs.shutdown().await.unwrap();
            }
        };
        let (result, ()) = tokio::join!(hijack(ours), daemon);
        drop(theirs);
        let mut rest = Vec::new();
        match result {
            Ok(mut stream) => {
                stream.read_to_end(&mut rest).await.unwrap();
                (Ok(()), rest)
            }
            Err(error) => (Err(error), rest),
        }
    }

    #[tokio::test]
    async fn m28_bytes_behind_the_response_are_kept_wherever_it_is_split() {
        let whole = [SWITCHING, b"\0\x01yamux"].concat();
        for split in 1..whole.len() {
            let (head, tail) = whole.split_at(split);
            let (result, rest) = respond(&[head, tail], true).await;
            result.unwrap();
            assert_eq!(rest, b"\0\x01yamux", "split at {split}");
        }
        let (result, rest) = respond(&[&whole], true).await;
        result.unwrap();
        assert_eq!(rest, b"\0\x01yamux");
    }

    #[tokio::test]
    async fn both_status_lines_are_accepted() {
        for version in ["HTTP/0.0", "HTTP/1.1"] {
            let response = format!("{version} 101 Switching Protocols\r\n\r\n");
            respond(&[response.as_bytes()], false).await.0.unwrap();
        }
    }

    #[tokio::test]
    async fn a_refusal_is_reported_with_its_reason() {
        let response =
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 27\r\n\r\nmanual plugins are disabled";
        let (result, _) = respond(&[response], false).await;
        assert_eq!(
            result.unwrap_err().to_string(),
            "the daemon refused the connection with status 403: manual plugins are disabled"
        );
        let (result, _) = respond(&[b"HTTP/1.1 404 Not Found\r\n\r\n\x1b[2Jgone\x07"], true).await;
        assert_eq!(
            result.unwrap_err().to_string(),
            "the daemon refused the connection with status 404: gone\\u{7}"
        );
        let (result, _) =
            respond(&[b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"], false).await;
        assert!(result.unwrap_err().to_string().ends_with("no reason given"));
    }

    #[tokio::test]
    async fn other_responses_are_described() {
        let (result, _) = respond(&[b"220 mail.example ESMTP\r\n\r\n"], false).await;
        assert!(matches!(
            result,
            Err(HijackError::NotHttp("the version is neither 1.0 nor 1.1"))
        ));
        let (result, _) = respond(&[b"HTTP/1.1 1o1 x\r\n\r\n"], false).await;
        assert!(matches!(
            result,
            Err(HijackError::NotHttp("the status is invalid"))
        ));
        let (result, _) = respond(&[b"HTTP/1.1 10"], true).await;
        assert!(matches!(result, Err(HijackError::Closed)));
        let endless = [b"HTTP/1.1 101 x\r\nx: ".as_slice(), &vec![b'x'; 64 * 1024]].concat();
        let (result, _) = respond(&[&endless], false).await;
        assert!(matches!(
            result,
            Err(HijackError::NotHttp("the head is too long"))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_daemon_is_not_waited_for() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let started = Instant::now();
        let error = hijack(ours).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the daemon did not respond to GET /hijack within 2 s"
        );
        assert_eq!(started.elapsed(), TIMEOUT);
    }
}
