//! A reader of HTTP/1.1 responses with a `Content-Length`, which both daemons send for small messages.

use std::io::{Error, ErrorKind, Read, Result};

/// The largest response, in bytes. That of one small secret has about 300.
const LIMIT: usize = 16 * 1024;

/// Reads one response after the other from a kept-alive connection.
#[derive(Debug)]
pub(crate) struct ResponseReader {
    buffer: Box<[u8]>,
    /// Number of bytes of `buffer` that hold the response.
    len: usize,
    /// Range of the body, once the head is complete.
    body: Option<(usize, usize)>,
    is_complete: bool,
}

impl ResponseReader {
    /// Returns a reader at the start of a response.
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; LIMIT].into_boxed_slice(),
            len: 0,
            body: None,
            is_complete: false,
        }
    }

    /// Reads from `source` once and returns the body if the response is complete. The call after that begins the next one.
    ///
    /// # Errors
    ///
    /// Returns the errors of `source` (`WouldBlock` among them), `UnexpectedEof` if the connection was closed, and `InvalidData`
    /// if the response is not `200 OK` with a `Content-Length`, is larger than [`LIMIT`], or has bytes behind its body.
    pub(crate) fn read(&mut self, source: &mut impl Read) -> Result<Option<&[u8]>> {
        if self.is_complete {
            (self.len, self.body, self.is_complete) = (0, None, false);
        }
        let count = source.read(&mut self.buffer[self.len..])?;
        if count == 0 {
            return Err(if self.len == self.buffer.len() {
                invalid("the response is too large")
            } else {
                ErrorKind::UnexpectedEof.into()
            });
        }
        self.len += count;
        if self.body.is_none() {
            self.body = parse_head(&self.buffer[..self.len])?;
        }
        let Some((start, end)) = self.body else {
            return Ok(None);
        };
        if self.len > end {
            return Err(invalid("bytes follow the response"));
        }
        self.is_complete = self.len == end;
        Ok(self.is_complete.then(|| &self.buffer[start..end]))
    }
}

/// Returns where the body begins and ends, or `None` while the head is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = str::from_utf8(&bytes[..end]).map_err(|_| invalid("the head is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200 ") {
        let body = String::from_utf8_lossy(&bytes[end + 4..]);
        return Err(invalid(&format!("the response is {status:?} {body:?}")));
    }
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(|| invalid("the response has no Content-Length"))?;
    let start = end + 4;
    Ok(Some((start, start.saturating_add(length))))
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-length: 5\r\nx: y\r\n\r\nhello";

    fn read_error(response: &[u8]) -> Error {
        let mut reader = ResponseReader::new();
        let mut source = response;
        loop {
            match reader.read(&mut source) {
                Ok(None) => {}
                Ok(Some(body)) => panic!("{body:?} was accepted"),
                Err(error) => return error,
            }
        }
    }

    #[test]
    fn responses_follow_each_other() {
        let mut reader = ResponseReader::new();
        for body in ["hello", "", "a longer body"] {
            let text = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let read = reader.read(&mut text.as_bytes()).expect("a response");
            assert_eq!(read, Some(body.as_bytes()));
        }
    }

    #[test]
    fn a_response_may_be_split_anywhere() {
        let mut reader = ResponseReader::new();
        for split in 1..OK.len() {
            let (mut first, mut second) = OK.split_at(split);
            assert_eq!(reader.read(&mut first).expect("a part"), None);
            let body = reader.read(&mut second).expect("the rest");
            assert_eq!(body, Some(&b"hello"[..]), "split at {split}");
        }
    }

    #[test]
    fn an_error_status_is_refused() {
        let error =
            read_error(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(
            error.to_string(),
            "the response is \"HTTP/1.1 503 Service Unavailable\" \"busy\""
        );
    }

    #[test]
    fn a_response_without_a_length_is_refused() {
        let error = read_error(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
        assert_eq!(error.to_string(), "the response has no Content-Length");
    }

    #[test]
    fn bytes_behind_the_response_are_refused() {
        let error = read_error(&[OK, b"!"].concat());
        assert_eq!(error.to_string(), "bytes follow the response");
    }

    #[test]
    fn a_closed_connection_is_an_error_even_within_a_body() {
        assert_eq!(
            read_error(&OK[..OK.len() - 1]).kind(),
            ErrorKind::UnexpectedEof
        );
        assert_eq!(read_error(b"").kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_response_that_does_not_fit_is_refused() {
        let mut response = b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n".to_vec();
        response.resize(LIMIT + 1, b'x');
        assert_eq!(
            read_error(&response).to_string(),
            "the response is too large"
        );
    }
}
