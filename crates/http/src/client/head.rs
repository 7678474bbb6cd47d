//! The head of a response.

use std::mem::MaybeUninit;

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{StatusCode, Version};

use super::error::ExchangeError;
use crate::wire::Reader;

/// The most bytes that the head of a response may have.
const MAX_SIZE: usize = 64 * 1024;

/// The most fields that the head of a response may have.
const MAX_FIELDS: usize = 100;

/// The most interim responses before the final one: each is forgotten when it was read, but they
/// must not go on without end.
const MAX_INTERIM: usize = 100;

/// A head, and how the body behind it is framed.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// Takes the head of the final response out of the reader; `None` if it has not all arrived.
/// `interim` counts those before it.
pub(super) fn parse(
    reader: &mut Reader,
    expects_body: bool,
    interim: &mut usize,
) -> Result<Option<Head>, ExchangeError> {
    loop {
        let Some((head, size)) = parse_one(reader.unread(), expects_body)? else {
            return Ok(None);
        };
        reader.consume(size);
        match head.status {
            StatusCode::SWITCHING_PROTOCOLS => {
                return Err(ExchangeError::malformed("it switches protocols"));
            }
            status if status.is_informational() => *interim += 1,
            _ => return Ok(Some(head)),
        }
        if *interim > MAX_INTERIM {
            return Err(ExchangeError::malformed("it only ever announces itself"));
        }
    }
}

fn parse_one(unread: &[u8], expects_body: bool) -> Result<Option<(Head, usize)>, ExchangeError> {
    if unread.is_empty() {
        return Ok(None);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, unread, &mut fields)
        .map_err(|error| ExchangeError::malformed(describe(error)))?;
    let size = match parsed {
        httparse::Status::Complete(size) if size <= MAX_SIZE => size,
        httparse::Status::Partial if unread.len() < MAX_SIZE => return Ok(None),
        _ => return Err(ExchangeError::malformed("its head is too long")),
    };
    let status = StatusCode::from_u16(response.code.unwrap_or_default())
        .map_err(|_| ExchangeError::malformed("its status is not a status"))?;
    let version = match response.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let headers = headers(response.headers)?;
    let framing = match expects_body && may_have_body(status) {
        true => framing(&headers)?,
        false => Framing::Length(0),
    };
    Ok(Some((
        Head {
            status,
            version,
            headers,
            framing,
        },
        size,
    )))
}

fn describe(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::TooManyHeaders => "its head has too many fields",
        httparse::Error::Status | httparse::Error::Version => "its first line is no status line",
        httparse::Error::HeaderName => "the name of a field is wrong",
        httparse::Error::HeaderValue => "the value of a field is wrong",
        httparse::Error::NewLine | httparse::Error::Token => "its head is wrong",
    }
}

fn headers(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, ExchangeError> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| ExchangeError::malformed("the name of a field is wrong"))?;
        let value = HeaderValue::from_bytes(field.value);
        let value = value.map_err(|_| ExchangeError::malformed("the value of a field is wrong"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn may_have_body(status: StatusCode) -> bool {
    !(status.is_informational() || matches!(status.as_u16(), 204 | 304))
}

/// RFC 9112, section 6.3. What two implementations could read in two ways is refused.
fn framing(headers: &HeaderMap) -> Result<Framing, ExchangeError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Framing::UntilClose),
        (Some(_), Some(_)) => Err(ExchangeError::malformed("its length is told in two ways")),
        (Some(coding), None) => {
            let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            match is_chunked && codings.next().is_none() {
                true => Ok(Framing::Chunked),
                false => Err(ExchangeError::malformed("its transfer coding is unknown")),
            }
        }
        (None, Some(length)) => {
            let is_agreed = lengths.all(|other| other == length);
            let length = decimal(length.as_bytes()).filter(|_| is_agreed);
            let length = length.ok_or_else(|| ExchangeError::malformed("its length is wrong"))?;
            Ok(Framing::Length(length))
        }
    }
}

/// Digits and nothing else, unlike what Rust parses as a number.
fn decimal(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| std::str::from_utf8(text).ok()?.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing_of(fields: &str) -> Result<Framing, ExchangeError> {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let parsed = parse_one(head.as_bytes(), true)?;
        let (head, size) = parsed.expect("the head is complete");
        assert_eq!(size, format!("HTTP/1.1 200 OK\r\n{fields}\r\n").len());
        Ok(head.framing)
    }

    #[test]
    fn lengths_are_read_in_one_way_only() {
        let is = |fields, framing| assert_eq!(framing_of(fields).expect("one length"), framing);
        is("", Framing::UntilClose);
        is("content-length: 5\r\n", Framing::Length(5));
        is(
            "Content-Length: 5\r\ncontent-length: 5\r\n",
            Framing::Length(5),
        );
        is("transfer-encoding: Chunked\r\n", Framing::Chunked);
        for fields in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 5\r\n",
            "content-length: +5\r\n",
            "content-length: 0x5\r\n",
            "content-length: \r\n",
            "content-length: 18446744073709551616\r\n",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        ] {
            assert!(framing_of(fields).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn some_responses_have_no_body_whatever_they_say() {
        for status in [204, 304] {
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 5\r\n\r\n");
            let (head, _) = parse_one(head.as_bytes(), true)
                .expect("valid")
                .expect("complete");
            assert_eq!(head.framing, Framing::Length(0));
        }
        let head = b"HTTP/1.1 200 x\r\ncontent-length: 5\r\n\r\n";
        let (head, _) = parse_one(head, false).expect("valid").expect("complete");
        assert_eq!(head.framing, Framing::Length(0));
    }
}
