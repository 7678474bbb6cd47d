//! The fields of a head whose values decide how the message is handled.

use http::header::{CONNECTION, HeaderMap};
use http::{HeaderName, Version};

/// Returns `true` if one of the comma-separated members of the fields called `name` is `token`, whatever its case
/// (RFC 9110, section 5.6.1).
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut members = headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Returns `true` if the connection stays open behind this message (RFC 9112, section 9.3).
pub(super) fn is_persistent(version: Version, headers: &HeaderMap) -> bool {
    let has = |token| has_token(headers, &CONNECTION, token);
    match version {
        Version::HTTP_10 => has("keep-alive") && !has("close"),
        _ => !has("close"),
    }
}

/// Returns `true` if a value of `host` is valid: nothing, or a host with or without a port (RFC 9110, section
/// 7.2).
pub(super) fn is_host(value: &[u8]) -> bool {
    if value.is_empty() {
        return true;
    }
    let end = match value[0] {
        b'[' => value
            .iter()
            .position(|byte| *byte == b']')
            .map(|end| end + 1),
        _ => Some(
            value
                .iter()
                .position(|byte| *byte == b':')
                .unwrap_or(value.len()),
        ),
    };
    let Some((host, port)) = end.map(|end| value.split_at(end)) else {
        return false;
    };
    let is_port = match port.split_first() {
        None => true,
        Some((colon, digits)) => *colon == b':' && digits.iter().all(u8::is_ascii_digit),
    };
    let is_host = match host.strip_prefix(b"[") {
        Some(address) => is_ip_literal(address),
        None => is_registered_name(host),
    };
    is_host && is_port
}

/// Returns `true` if this is an IP literal without its first bracket (RFC 3986, section 3.2.2).
fn is_ip_literal(address: &[u8]) -> bool {
    address.len() > 1
        && address[..address.len() - 1]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b":.-_~!$&'()*+,;=".contains(byte))
}

/// Returns `true` if this is a name or an IPv4 address of at least one character (RFC 3986, section 3.2.2).
fn is_registered_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        rest = match byte {
            b'%' if after.len() >= 2 && after[..2].iter().all(u8::is_ascii_hexdigit) => &after[2..],
            byte if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => after,
            _ => return false,
        };
    }
    !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        for valid in [
            "",
            "x",
            "secrets-engine.localhost",
            "127.0.0.1:80",
            "x:",
            "[::1]",
            "[::1]:8080",
            "[v1.a]",
            "a_b",
            "a%20b",
        ] {
            assert!(is_host(valid.as_bytes()), "{valid:?}");
        }
        for invalid in [
            ":80", "x:y", "x:1:2", "user@x", "x/y", "x y", "x,y z", "[::1", "[]", "[::1]x", "%2",
            "%zz", "x\t", "\u{e4}", "a?b", "a#b", "http://x",
        ] {
            assert!(!is_host(invalid.as_bytes()), "{invalid:?}");
        }
    }

    #[test]
    fn connections_persist_by_version_and_options() {
        let cases = [
            (Version::HTTP_11, None, true),
            (Version::HTTP_11, Some("close"), false),
            (Version::HTTP_11, Some("x, Close"), false),
            (Version::HTTP_11, Some("closed"), true),
            (Version::HTTP_10, None, false),
            (Version::HTTP_10, Some("Keep-Alive"), true),
            (Version::HTTP_10, Some("keep-alive, close"), false),
        ];
        for (version, option, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(option) = option {
                headers.insert(CONNECTION, option.parse().expect("a value"));
            }
            assert_eq!(
                is_persistent(version, &headers),
                expected,
                "{version:?} {option:?}"
            );
        }
    }
}
