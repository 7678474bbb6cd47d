//! Turning a connection to the daemon into a plugin connection: `GET /hijack`, answered by 101.

use std::io;
use std::time::Duration;

use keyway_local::escape_untrusted;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

/// How long the daemon may take to answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer head that is read.
const MAX_HEAD: usize = 8 * 1024;
/// How much of a refusal's body is shown.
const MAX_REASON: usize = 512;

const REQUEST: &[u8] = b"GET /hijack HTTP/1.1\r\n\
    Host: secrets-engine.localhost\r\n\
    Connection: upgrade\r\n\
    Upgrade: tcp\r\n\
    \r\n";

/// Why the daemon did not hand the connection over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HijackError {
    /// The daemon closed the connection instead of answering.
    #[error("the daemon closed the connection instead of answering GET /hijack")]
    Closed,
    /// Reading or writing failed.
    #[error("the connection to the daemon failed: {0}")]
    Io(#[from] io::Error),
    /// What answered does not speak HTTP.
    #[error("what listens there does not answer like a Keyway daemon: {0}")]
    NotHttp(&'static str),
    /// The daemon said no.
    #[error("the daemon refused the connection with status {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the daemon says about it, without control characters.
        reason: String,
    },
    /// The daemon took too long.
    #[error("the daemon did not answer GET /hijack within {:.0} s", TIMEOUT.as_secs_f64())]
    TimedOut,
}

/// Asks for the connection. After success the next byte that the daemon sends belongs to the multiplexer, and none of
/// those was read.
pub(crate) async fn hijack(stream: &mut UnixStream) -> Result<(), HijackError> {
    let deadline = Instant::now() + TIMEOUT;
    match timeout_at(deadline, exchange(stream)).await {
        Ok(Ok(Head::Switching)) => Ok(()),
        Ok(Ok(Head::Refused { status, length })) => {
            let body = timeout_at(deadline, read_body(stream, length))
                .await
                .unwrap_or_default();
            Err(HijackError::Refused {
                status,
                reason: reason(&body),
            })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(HijackError::TimedOut),
    }
}

async fn exchange(stream: &mut UnixStream) -> Result<Head, HijackError> {
    stream.write_all(REQUEST).await?;
    let mut head = Vec::with_capacity(256);
    loop {
        let start = head.len();
        if peek(stream, &mut head).await? == 0 {
            return Err(HijackError::Closed);
        }
        let complete = end_of_head(&head);
        let taken = complete.unwrap_or(head.len()) - start;
        head.truncate(start + taken);
        consume(stream, taken).await?;
        if complete.is_some() {
            return Head::parse(&head);
        }
        if head.len() >= MAX_HEAD {
            return Err(HijackError::NotHttp("its answer has no end"));
        }
    }
}

/// Appends what has arrived, without taking it from the socket.
async fn peek(stream: &UnixStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 1024];
    let receive = || Ok(recv(stream, &mut chunk, RecvFlags::PEEK)?.0);
    let count = stream.async_io(Interest::READABLE, receive).await?;
    buffer.extend_from_slice(&chunk[..count]);
    Ok(count)
}

/// Takes bytes from the socket that were seen before.
async fn consume(stream: &mut UnixStream, count: usize) -> io::Result<()> {
    use tokio::io::AsyncReadExt;

    let mut seen = [0; 1024];
    stream.read_exact(&mut seen[..count]).await.map(|_| ())
}

/// The first line of an answer, and where it ends.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    Switching,
    Refused { status: u16, length: Option<usize> },
}

impl Head {
    /// Reads an answer's head. The version is not looked at: the reference says `HTTP/0.0`.
    fn parse(head: &[u8]) -> Result<Self, HijackError> {
        let text = std::str::from_utf8(head)
            .map_err(|_| HijackError::NotHttp("its answer is not text"))?;
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        if !status_line.starts_with("HTTP/") {
            return Err(HijackError::NotHttp("its answer is not HTTP"));
        }
        let status = status_line.split(' ').nth(1).filter(|code| code.len() == 3);
        let status: u16 = status
            .and_then(|code| code.parse().ok())
            .ok_or(HijackError::NotHttp("its answer has no status"))?;
        if status == 101 {
            return Ok(Self::Switching);
        }
        let headers = lines.filter_map(|line| line.split_once(':'));
        let mut lengths = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = lengths
            .next()
            .and_then(|(_, value)| value.trim().parse().ok());
        Ok(Self::Refused { status, length })
    }
}

/// Where the head ends, after its empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|position| position + 4)
}

/// What the daemon says about a refusal, as much as is worth showing.
async fn read_body(stream: &mut UnixStream, length: Option<usize>) -> Vec<u8> {
    use tokio::io::AsyncReadExt;

    let mut body = Vec::new();
    let limit = length.unwrap_or(MAX_REASON).min(MAX_REASON);
    // A body that is cut short is still the best reason that we have.
    let _ = stream.take(limit as u64).read_to_end(&mut body).await;
    body
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
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    const SWITCHING: &[u8] =
        b"HTTP/0.0 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";

    /// Lets a daemon answer with these pieces, and returns what `hijack` says and what is left on the socket.
    async fn answered(pieces: &[&[u8]], close: bool) -> (Result<(), HijackError>, Vec<u8>) {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
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
        let (result, ()) = tokio::join!(hijack(&mut ours), daemon);
        drop(theirs);
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        (result, rest)
    }

    #[tokio::test]
    async fn m28_bytes_behind_the_answer_are_kept_wherever_it_is_split() {
        let whole = [SWITCHING, b"\0\x01yamux"].concat();
        for split in 1..whole.len() {
            let (head, tail) = whole.split_at(split);
            let (result, rest) = answered(&[head, tail], true).await;
            result.unwrap();
            assert_eq!(rest, b"\0\x01yamux", "split at {split}");
        }
        let (result, rest) = answered(&[&whole], true).await;
        result.unwrap();
        assert_eq!(rest, b"\0\x01yamux");
    }

    #[tokio::test]
    async fn both_status_lines_are_accepted() {
        for version in ["HTTP/0.0", "HTTP/1.1"] {
            let answer = format!("{version} 101 Switching Protocols\r\n\r\n");
            answered(&[answer.as_bytes()], false).await.0.unwrap();
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_reason() {
        let answer =
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 27\r\n\r\nmanual plugins are disabled";
        let (result, _) = answered(&[answer], false).await;
        assert_eq!(
            result.unwrap_err().to_string(),
            "the daemon refused the connection with status 403: manual plugins are disabled"
        );
        let (result, _) = answered(&[b"HTTP/1.1 404 Not Found\r\n\r\n\x1b[2Jgone\x07"], true).await;
        assert_eq!(
            result.unwrap_err().to_string(),
            "the daemon refused the connection with status 404: gone\\u{7}"
        );
        let (result, _) =
            answered(&[b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"], false).await;
        assert!(result.unwrap_err().to_string().ends_with("no reason given"));
    }

    #[tokio::test]
    async fn other_answers_are_explained() {
        let (result, _) = answered(&[b"220 mail.example ESMTP\r\n\r\n"], false).await;
        assert!(matches!(
            result,
            Err(HijackError::NotHttp("its answer is not HTTP"))
        ));
        let (result, _) = answered(&[b"HTTP/1.1 1o1 x\r\n\r\n"], false).await;
        assert!(matches!(
            result,
            Err(HijackError::NotHttp("its answer has no status"))
        ));
        let (result, _) = answered(&[b"HTTP/1.1 10"], true).await;
        assert!(matches!(result, Err(HijackError::Closed)));
        let endless = vec![b'x'; MAX_HEAD + 1];
        let (result, _) = answered(&[&endless], false).await;
        assert!(matches!(
            result,
            Err(HijackError::NotHttp("its answer has no end"))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_daemon_is_not_waited_for() {
        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        let started = Instant::now();
        let error = hijack(&mut ours).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the daemon did not answer GET /hijack within 2 s"
        );
        assert_eq!(started.elapsed(), TIMEOUT);
    }

    proptest! {
        #[test]
        fn any_head_is_borne(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Head::parse(&head);
        }

        #[test]
        fn any_status_line_is_borne(head in "HTTP/[0-9.]{0,3} ?[0-9]{0,4}.{0,20}\r\n([a-z-]{0,14}: ?.{0,9}\r\n){0,3}\r\n") {
            let _ = Head::parse(head.as_bytes());
        }
    }
}
