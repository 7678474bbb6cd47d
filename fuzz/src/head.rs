//! HTTP messages as text, so that inputs are readable and editable.

use http::{HeaderMap, HeaderName, HeaderValue};

/// A parsed input: a first line, headers, a body.
pub struct Head<'a> {
    /// The words of the first line.
    pub words: Vec<&'a str>,
    /// The valid header lines up to an empty line.
    pub headers: HeaderMap,
    /// The bytes behind the empty line.
    pub body: &'a [u8],
}

/// Parses an input. Lines end with a line feed; invalid headers are skipped.
pub fn parse(input: &[u8]) -> Option<Head<'_>> {
    let (first, mut rest) = line(input)?;
    let words = std::str::from_utf8(first).ok()?.split(' ').collect();
    let mut headers = HeaderMap::new();
    while let Some((header, after)) = line(rest) {
        rest = after;
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = pair(header) {
            headers.append(name, value);
        }
    }
    Some(Head {
        words,
        headers,
        body: rest,
    })
}

fn line(input: &[u8]) -> Option<(&[u8], &[u8])> {
    if input.is_empty() {
        return None;
    }
    let end = input.iter().position(|byte| *byte == b'\n');
    let (line, rest) = input.split_at(end.unwrap_or(input.len()));
    Some((line, rest.get(1..).unwrap_or_default()))
}

fn pair(header: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = header.iter().position(|byte| *byte == b':')?;
    let (name, value) = header.split_at(colon);
    let value = value[1..].strip_prefix(b" ").unwrap_or(&value[1..]);
    let name = HeaderName::from_bytes(name).ok()?;
    Some((name, HeaderValue::from_bytes(value).ok()?))
}
