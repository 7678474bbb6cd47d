//! Writes the query string of a call.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
#[cfg(feature = "json")]
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Codec;
use crate::compression::Encoding;

/// Everything but the unreserved characters of RFC 3986; a space becomes `%20`.
#[cfg(feature = "json")]
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Writes the query string of a GET call, parameters in the order that the protocol recommends.
pub(crate) fn write(codec: Codec, compression: Encoding, message: &Bytes) -> String {
    let name = codec.name();
    let text = std::str::from_utf8(message);
    let (base64, message) = match (codec, compression, text) {
        #[cfg(feature = "json")]
        (Codec::Json, Encoding::Identity, Ok(text)) => {
            ("", utf8_percent_encode(text, QUERY).to_string())
        }
        _ => ("&base64=1", URL_SAFE_NO_PAD.encode(message)),
    };
    let compression = match compression {
        Encoding::Identity => "",
        #[cfg(feature = "gzip")]
        Encoding::Gzip => "&compression=gzip",
    };
    format!("connect=v1{base64}{compression}&encoding={name}&message={message}")
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::super::Query;
    use super::*;

    fn message(query: &str) -> Option<Bytes> {
        Query::parse(query).message_bytes()
    }

    #[test]
    fn a_written_message_is_read_back() {
        let bytes = Bytes::from_static(&[0, 0xff, 0x3e]);
        let written = write(Codec::Proto, Encoding::Identity, &bytes);
        assert_eq!(written, "connect=v1&base64=1&encoding=proto&message=AP8-");
        assert_eq!(message(&written), Some(bytes));
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_is_written_as_text() {
        let json = Bytes::from_static(br#"{"a":"b c+d"}"#);
        let written = write(Codec::Json, Encoding::Identity, &json);
        assert!(
            written.ends_with("&message=%7B%22a%22%3A%22b%20c%2Bd%22%7D"),
            "{written}"
        );
        assert_eq!(message(&written), Some(json));
    }
}
