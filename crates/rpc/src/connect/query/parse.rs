//! Reads the query string of a call.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};
use bytes::Bytes;
use percent_encoding::percent_decode;

/// The parameters of a GET call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// `connect=v1`.
    pub(crate) version: Option<Vec<u8>>,
    pub(crate) encoding: Option<Vec<u8>>,
    pub(crate) compression: Option<Vec<u8>>,
    pub(crate) message: Option<Vec<u8>>,
    base64: bool,
}

impl Query {
    /// Reads a query string in any order of parameters. Unknown ones are ignored; of repeated ones
    /// the first counts. A plus sign means a space, as in forms, because Go clients write it.
    pub(crate) fn parse(query: &str) -> Self {
        let mut parsed = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match decode(name).as_slice() {
                b"connect" => &mut parsed.version,
                b"encoding" => &mut parsed.encoding,
                b"compression" => &mut parsed.compression,
                b"message" => &mut parsed.message,
                b"base64" => {
                    parsed.base64 |= value == "1";
                    continue;
                }
                _ => continue,
            };
            slot.get_or_insert_with(|| decode(value));
        }
        parsed
    }

    /// Returns the bytes of the message; `None` if they are declared as base64 and are not.
    pub(crate) fn message_bytes(self) -> Option<Bytes> {
        let message = self.message.unwrap_or_default();
        if !self.base64 {
            return Some(message.into());
        }
        let decoded = URL_SAFE_PAD_INDIFFERENT
            .decode(&message)
            .or_else(|_| STANDARD_PAD_INDIFFERENT.decode(&message));
        decoded.ok().map(Bytes::from)
    }
}

fn decode(text: &str) -> Vec<u8> {
    if text.contains('+') {
        return percent_decode(text.replace('+', " ").as_bytes()).collect();
    }
    percent_decode(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(query: &str) -> Option<Bytes> {
        Query::parse(query).message_bytes()
    }

    #[test]
    fn parameters_come_in_any_order_and_form() {
        let query = Query::parse("message=%7B%7D&x=1&encoding=json&connect=v1&compression=gzip");
        assert_eq!(query.version.as_deref(), Some(b"v1".as_slice()));
        assert_eq!(query.encoding.as_deref(), Some(b"json".as_slice()));
        assert_eq!(query.compression.as_deref(), Some(b"gzip".as_slice()));
        assert_eq!(query.message_bytes().as_deref(), Some(b"{}".as_slice()));
    }

    #[test]
    fn base64_is_url_safe_with_or_without_padding() {
        for text in ["-_8", "-_8=", "-_8%3D", "+/8", "%2B/8"] {
            let read = message(&format!("base64=1&message={text}"));
            let expected = (!text.starts_with('+')).then_some(Bytes::from_static(&[0xfb, 0xff]));
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!(message("base64=1&message=!"), None);
        assert_eq!(
            message("base64=2&message=a+b%20c").as_deref(),
            Some(b"a b c".as_slice())
        );
    }

    #[test]
    fn a_parameter_without_a_value_is_empty_and_not_absent() {
        assert_eq!(Query::parse("message").message, Some(Vec::new()));
        assert_eq!(Query::parse("").message, None);
    }
}
