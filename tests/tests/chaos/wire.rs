//! A caller that speaks HTTP/1.1 with its own bytes.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use keyway_local::Address;
use keyway_proto::FAILED_PROVIDERS_HEADER;
use keyway_proto::resolver::v1::GetSecretsResponse;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::callers::message;
use crate::model::{Call, Outcome};

/// The speed at which a caller reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Fast,
    /// 32 KiB each 5 ms.
    Slow,
}

/// The method of a query.
pub(crate) const PATH: &str = "/resolver.v1.ResolverService/GetSecrets";

/// Connects. A full queue of connections is waited for.
pub(crate) async fn connect(address: &Address) -> io::Result<UnixStream> {
    let path = address.as_path().expect("tests listen at paths");
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(Duration::from_millis(5)).await;
            }
            connected => return connected,
        }
    }
}

/// The bytes of a query.
pub(crate) fn request(call: &Call) -> Vec<u8> {
    let message = message(&call.id);
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/proto\r\n\
         connect-protocol-version: 1\r\nconnect-timeout-ms: {}\r\ncontent-length: {}\r\n\r\n",
        call.timeout.as_millis(),
        message.len()
    );
    [head.as_bytes(), &message].concat()
}

/// Sends a query and reads the response.
pub(crate) async fn query(address: &Address, call: &Call, pace: Pace) -> Outcome {
    let exchange = async {
        let mut stream = connect(address).await?;
        stream.write_all(&request(call)).await?;
        read(&mut stream, pace).await
    };
    // The judge sees that it is late.
    match timeout(2 * call.timeout, exchange).await {
        Ok(Ok(bytes)) => of_response(&call.id, &bytes),
        Ok(Err(error)) => Outcome::Error(error.to_string()),
        Err(_) => Outcome::TimedOut,
    }
}

async fn read(stream: &mut UnixStream, pace: Pace) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if pace == Pace::Fast {
        stream.read_to_end(&mut bytes).await?;
        return Ok(bytes);
    }
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(bytes),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the meaning of the bytes of a response.
fn of_response(id: &str, bytes: &[u8]) -> Outcome {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else {
        return Outcome::Error(format!(
            "a response of {} bytes without a head",
            bytes.len()
        ));
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let body = &bytes[end + 4..];
    let field = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| {
            Some(
                line.strip_prefix(name)?
                    .strip_prefix(':')?
                    .trim()
                    .to_owned(),
            )
        })
    };
    let length = field("content-length").and_then(|length| length.parse().ok());
    if length != Some(body.len()) {
        return Outcome::Error(format!("{} bytes of {length:?}", body.len()));
    }
    let status = head.split_ascii_whitespace().nth(1).unwrap_or_default();
    of_parts(id, status, field(FAILED_PROVIDERS_HEADER).as_deref(), body)
}

/// Returns the meaning of the parts of a response.
pub(crate) fn of_parts(id: &str, status: &str, failed: Option<&str>, body: &[u8]) -> Outcome {
    let text = || String::from_utf8_lossy(body).into_owned();
    let failed: BTreeMap<String, String> = failed
        .into_iter()
        .flat_map(|names| names.split(','))
        .map(|name| (name.trim().to_owned(), text()))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    if !failed.is_empty() {
        return Outcome::Failed(failed);
    }
    if status == "200" {
        let response = GetSecretsResponse::decode(body).unwrap_or_default();
        return match response.envelopes.as_slice() {
            [envelope] if envelope.id() == id => Outcome::Value(envelope.value().to_vec()),
            envelopes => Outcome::Error(format!("{} envelopes", envelopes.len())),
        };
    }
    let error: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    match error["code"].as_str() {
        Some("not_found") => Outcome::NotFound,
        Some("deadline_exceeded") => Outcome::TimedOut,
        _ => Outcome::Error(format!("{status} {}", text())),
    }
}
