//! Content types of requests and responses.

use crate::{Codec, MethodSpec};

/// The meaning of a content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentType {
    /// A unary message in a codec that the method can be called with.
    Message(Codec),
    /// `application/` and something else.
    OtherApplication,
    /// No header, or a type outside of `application/`.
    Foreign,
}

/// Reads a content type. Names are compared without regard to case; the only parameter that is
/// understood is `charset=utf-8`, and that only for JSON.
pub(super) fn parse(value: &[u8], spec: &MethodSpec) -> ContentType {
    // The usual case.
    if value == b"application/proto" {
        return ContentType::Message(Codec::Proto);
    }
    let value = value.to_ascii_lowercase();
    let (media_type, parameter) = split(&value);
    let Some(name) = media_type.strip_prefix(b"application/") else {
        return ContentType::Foreign;
    };
    match Codec::from_name(name, spec) {
        Some(codec) if parameter_fits(name, parameter) => ContentType::Message(codec),
        _ => ContentType::OtherApplication,
    }
}

/// Returns `true` if the body is JSON, which errors are even if the codec is not built in.
#[cfg(feature = "client")]
pub(super) fn is_json(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let (media_type, parameter) = split(&value);
    media_type == b"application/json" && parameter_fits(b"json", parameter)
}

fn split(value: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = value
        .splitn(2, |byte| *byte == b';')
        .map(<[u8]>::trim_ascii);
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

fn parameter_fits(name: &[u8], parameter: &[u8]) -> bool {
    match parameter {
        b"" => true,
        b"charset=utf-8" | b"charset=\"utf-8\"" => name == b"json",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SPEC: MethodSpec = MethodSpec::unary("/a.B/C");

    #[test]
    fn proto_is_understood_in_any_case() {
        for text in [
            "application/proto",
            "Application/PROTO",
            "application/proto ;",
        ] {
            assert_eq!(
                parse(text.as_bytes(), &SPEC),
                ContentType::Message(Codec::Proto),
                "{text}"
            );
        }
    }

    #[test]
    fn types_with_a_known_prefix_are_not_understood() {
        for text in [
            "application/protobuf",
            "application/proto; charset=utf-8",
            "application/",
        ] {
            assert_eq!(
                parse(text.as_bytes(), &SPEC),
                ContentType::OtherApplication,
                "{text}"
            );
        }
        for text in ["", "text/plain", "proto"] {
            assert_eq!(
                parse(text.as_bytes(), &SPEC),
                ContentType::Foreign,
                "{text}"
            );
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn errors_are_json_with_or_without_a_charset() {
        assert!(is_json(b"application/json"));
        assert!(is_json(b"application/json; charset=UTF-8"));
        assert!(!is_json(b"application/json; charset=latin1"));
        assert!(!is_json(b"text/json"));
    }
}
