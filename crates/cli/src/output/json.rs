//! The JSON of `--json`. The names are a contract with scripts.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway_resolver::Envelope;
use serde::Serialize;
use zeroize::Zeroizing;

use super::time::rfc3339;

pub(crate) use crate::message::json_line as line;

/// A secret with its value. `encoding` is the encoding of `value`: `utf-8` or `base64`.
#[derive(Serialize)]
struct Secret<'a> {
    id: &'a str,
    encoding: &'static str,
    value: &'a str,
    provider: &'a str,
    version: &'a str,
    created_at: Option<String>,
    resolved_at: Option<String>,
    expires_at: Option<String>,
    metadata: &'a BTreeMap<String, String>,
}

/// Serializes a secret with its value in one line.
pub(crate) fn secret(envelope: &Envelope) -> Zeroizing<Vec<u8>> {
    let bytes = envelope.value.expose();
    let mut encoded = Zeroizing::new(String::new());
    let (encoding, value) = match str::from_utf8(bytes) {
        Ok(text) => ("utf-8", text),
        Err(_) => {
            encoded.reserve_exact(bytes.len().div_ceil(3) * 4);
            STANDARD.encode_string(bytes, &mut encoded);
            ("base64", encoded.as_str())
        }
    };
    let secret = Secret {
        id: envelope.id.as_str(),
        encoding,
        value,
        provider: &envelope.provider,
        version: &envelope.version,
        created_at: envelope.created_at.map(rfc3339),
        resolved_at: envelope.resolved_at.map(rfc3339),
        expires_at: envelope.expires_at.map(rfc3339),
        metadata: &envelope.metadata,
    };
    // A character becomes at most six (`\u0000`), so the buffer with the value is never reallocated.
    let mut line = Zeroizing::new(Vec::with_capacity(6 * value.len() + 4096));
    serde_json::to_writer(&mut *line, &secret).expect("strings and maps of strings serialize");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn check(value: &[u8], expected: &str) {
        let mut envelope = Envelope::new("web/token".parse().unwrap(), value.to_vec());
        envelope.provider = "file".to_owned();
        envelope.version = "3".to_owned();
        envelope.created_at = Some(UNIX_EPOCH + Duration::from_secs(1));
        envelope
            .metadata
            .insert("owner".to_owned(), "ann".to_owned());
        let line = secret(&envelope);
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(json["value"], expected);
        assert_eq!(json["created_at"], "1970-01-01T00:00:01Z");
        assert_eq!(json["expires_at"], serde_json::Value::Null);
        assert_eq!(json["metadata"]["owner"], "ann");
        let encoding = if str::from_utf8(value).is_ok() {
            "utf-8"
        } else {
            "base64"
        };
        assert_eq!(json["encoding"], encoding);
    }

    #[test]
    fn a_value_is_utf8_if_possible_and_otherwise_base64() {
        check(b"", "");
        check(b"a\"b\n\0", "a\"b\n\0");
        check("gr\u{fc}n".as_bytes(), "gr\u{fc}n");
        check(b"\xff\x00a", "/wBh");
    }

    #[test]
    fn the_buffer_of_a_value_is_not_reallocated() {
        let envelope = Envelope::new("a".parse().unwrap(), vec![1; 100_000]);
        let line = secret(&envelope);
        assert!(line.len() > 600_000 && line.capacity() >= 6 * 100_000 + 4096);
        assert!(line.len() <= 6 * 100_000 + 4096);
    }
}
