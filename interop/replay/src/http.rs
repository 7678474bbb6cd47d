//! HTTP/1.1 messages, as far as the recorded peers use them.

use std::io::Read as _;

/// A request or a response with its whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The request line or status line.
    pub start: String,
    /// Names in lower case, in the order of the wire.
    pub headers: Vec<(String, String)>,
    /// The body as it was sent, chunks joined, still compressed.
    pub raw: Vec<u8>,
}

/// The bytes are not an HTTP message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed HTTP: {0}")]
pub struct MessageError(String);

impl Message {
    /// Removes one message from the front of `bytes`; `None` if it is not complete. `ended`: no more bytes can follow, which
    /// completes a response without a length.
    ///
    /// # Errors
    ///
    /// Returns [`MessageError`] if the bytes are not a message.
    pub fn take(bytes: &mut Vec<u8>, ended: bool) -> Result<Option<Self>, MessageError> {
        let Some(head_end) = find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let mut message = Self::head(&bytes[..head_end])?;
        let body = &bytes[head_end + 4..];
        let Some((raw, used)) = message.body_of(body, ended)? else {
            return Ok(None);
        };
        message.raw = raw;
        bytes.drain(..head_end + 4 + used);
        Ok(Some(message))
    }

    fn head(bytes: &[u8]) -> Result<Self, MessageError> {
        let text =
            str::from_utf8(bytes).map_err(|_| MessageError("the head is not text".into()))?;
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| MessageError(format!("a header line is {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Self {
            start,
            headers,
            raw: Vec::new(),
        })
    }

    /// The body and how many bytes it took.
    fn body_of(&self, bytes: &[u8], ended: bool) -> Result<Option<(Vec<u8>, usize)>, MessageError> {
        if self.header("transfer-encoding") == Some("chunked") {
            return chunked(bytes);
        }
        if let Some(length) = self.header("content-length") {
            let length: usize = length
                .parse()
                .map_err(|_| MessageError(format!("the length is {length:?}")))?;
            return Ok((bytes.len() >= length).then(|| (bytes[..length].to_vec(), length)));
        }
        if !self.start.starts_with("HTTP/") || self.status() == Some(101) {
            return Ok(Some((Vec::new(), 0)));
        }
        Ok(ended.then(|| (bytes.to_vec(), bytes.len())))
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The path of a request; empty for a response.
    pub fn path(&self) -> &str {
        if self.start.starts_with("HTTP/") {
            return "";
        }
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        let rest = self.start.strip_prefix("HTTP/")?;
        rest.split(' ').nth(1)?.parse().ok()
    }

    /// The body without its gzip.
    ///
    /// # Errors
    ///
    /// Returns [`MessageError`] if the encoding is unknown or the body is not valid gzip.
    pub fn body(&self) -> Result<Vec<u8>, MessageError> {
        match self.header("content-encoding") {
            None | Some("identity") => Ok(self.raw.clone()),
            Some("gzip") => {
                let mut body = Vec::new();
                let mut decoder = flate2::read::MultiGzDecoder::new(self.raw.as_slice());
                match decoder.read_to_end(&mut body) {
                    Ok(_) => Ok(body),
                    Err(cause) => Err(MessageError(format!("the gzip body: {cause}"))),
                }
            }
            Some(other) => Err(MessageError(format!("the encoding is {other:?}"))),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The joined chunks and how many bytes they took.
fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, MessageError> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line_end) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let line = &bytes[at..at + line_end];
        let length = str::from_utf8(line)
            .ok()
            .and_then(|text| usize::from_str_radix(text, 16).ok())
            .ok_or_else(|| MessageError("a chunk has no length".into()))?;
        at += line_end + 2;
        if bytes.len() < at + length + 2 {
            return Ok(None);
        }
        if &bytes[at + length..at + length + 2] != b"\r\n" {
            return Err(MessageError("a chunk is longer than its length".into()));
        }
        body.extend_from_slice(&bytes[at..at + length]);
        at += length + 2;
        if length == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str, ended: bool) -> Option<Message> {
        let mut bytes = text.as_bytes().to_vec();
        let message = Message::take(&mut bytes, ended).unwrap();
        assert!(message.is_none() || bytes.is_empty(), "something was left");
        message
    }

    #[test]
    fn a_body_has_the_length_of_content_length() {
        let text = "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(whole(text, true), None);
        let message = whole(&format!("{text}xy"), false).unwrap();
        assert_eq!((message.path(), message.raw.as_slice()), ("/a", &b"xy"[..]));
    }

    #[test]
    fn chunks_are_joined() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n";
        assert_eq!(whole(text, true), None);
        let message = whole(&format!("{text}0\r\n\r\n"), false).unwrap();
        assert_eq!(
            (message.status(), message.raw),
            (Some(200), b"abc".to_vec())
        );
    }

    #[test]
    fn a_response_without_a_length_ends_with_the_stream() {
        let text = "HTTP/1.1 200 OK\r\n\r\nrest";
        assert_eq!(whole(text, false), None);
        assert_eq!(whole(text, true).unwrap().raw, b"rest".to_vec());
    }
}
