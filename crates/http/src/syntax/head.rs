//! Heads of requests and responses, by httparse, under one set of rules (RFC 9112, sections 2, 3 and 5).
//!
//! | rule | request | response |
//! | --- | --- | --- |
//! | each line ends in CRLF; a lone LF or CR is refused | yes | yes |
//! | no white space before a colon, no folded line | yes | yes |
//! | at most [`Limits::bytes`] and [`Limits::fields`] | yes | yes |
//! | version 1.0 or 1.1 | yes | yes, and 0.0 where an old upgrade is expected |
//! | empty lines before the start line | skipped | refused |
//! | target: path, absolute URI, `*` of `OPTIONS`, authority of `CONNECT` | yes | |
//! | `host`: one in HTTP/1.1, at most one in HTTP/1.0, a valid value | yes | |
//! | framing of the body: [`Framing`] | yes | yes |

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{EXPECT, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};
use httparse::Status;

use super::{Framing, Limits, MAX_FIELDS, SyntaxError, fields};

/// The head of a request.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) target: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// `true` if the client may send another request on the connection.
    pub(crate) is_persistent: bool,
    /// `true` if the client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// `true` if the server accepts another request on the connection.
    #[allow(dead_code, reason = "for clients that keep connections")]
    pub(crate) is_persistent: bool,
}

/// A head that arrived whole, and how many bytes it has.
pub(crate) type Parsed<H> = Option<(H, usize)>;

/// Parses the head of a request. Returns `None` if it has not arrived whole.
pub(crate) fn parse_request(
    unread: &[u8],
    limits: Limits,
) -> Result<Parsed<RequestHead>, SyntaxError> {
    let empty = leading_empty_lines(unread);
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let Some(size) = end_of_head(&unread[empty..], limits)? else {
        let parsed = parsed.parse_with_uninit_headers(&unread[empty..], &mut slots);
        return incomplete(parsed, unread, limits);
    };
    let head = Bytes::copy_from_slice(&unread[empty..empty + size]);
    complete(parsed.parse_with_uninit_headers(&head, &mut slots), size)?;
    let method = parsed.method.unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| SyntaxError::Malformed("the method is invalid"))?;
    let target = target(&method, parsed.path.unwrap_or_default(), &head)?;
    let version = version(parsed.version);
    let headers = headers(parsed.headers, &head, limits)?;
    check_host(version, &headers)?;
    Ok(Some((
        RequestHead {
            framing: Framing::of_request(version, &headers)?,
            is_persistent: fields::is_persistent(version, &headers),
            expects_continue: version == Version::HTTP_11
                && fields::has_token(&headers, &EXPECT, "100-continue"),
            method,
            target,
            version,
            headers,
        },
        empty + size,
    )))
}

/// Parses the head of the response to a request with this method. Returns `None` if it has not arrived whole.
/// `allows_version_0` accepts the version 0.0, which some acceptors of upgrades write.
pub(crate) fn parse_response(
    unread: &[u8],
    limits: Limits,
    method: &Method,
    allows_version_0: bool,
) -> Result<Parsed<ResponseHead>, SyntaxError> {
    if leading_empty_lines(unread) > 0 {
        return Err(SyntaxError::Malformed(
            "an empty line before the status line",
        ));
    }
    let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let Some(size) = end_of_head(unread, limits)? else {
        let unread = with_known_version(unread, allows_version_0);
        let parsed = config.parse_response_with_uninit_headers(&mut parsed, &unread, &mut slots);
        return incomplete(parsed, &unread, limits);
    };
    let head = with_known_version(&unread[..size], allows_version_0);
    complete(
        config.parse_response_with_uninit_headers(&mut parsed, &head, &mut slots),
        size,
    )?;
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default())
        .map_err(|_| SyntaxError::Malformed("the status is invalid"))?;
    let version = version(parsed.version);
    let headers = headers(parsed.headers, &head, limits)?;
    Ok(Some((
        ResponseHead {
            framing: Framing::of_response(method, status, version, &headers)?,
            is_persistent: fields::is_persistent(version, &headers),
            status,
            version,
            headers,
        },
        size,
    )))
}

/// Returns the number of bytes in the CRLFs, and in the beginning of one, before the first other byte.
fn leading_empty_lines(unread: &[u8]) -> usize {
    let lines = unread
        .chunks(2)
        .take_while(|pair| b"\r\n".starts_with(pair));
    lines.map(<[u8]>::len).sum()
}

/// Returns the length of the head that begins here, with its empty line; `None` if the end has not arrived. Only CRLF ends
/// a line.
fn end_of_head(unread: &[u8], limits: Limits) -> Result<Option<usize>, SyntaxError> {
    let mut line = 0;
    let within = &unread[..unread.len().min(limits.bytes)];
    while let Some(end) = within[line..].iter().position(|byte| *byte == b'\n') {
        if end == 0 || within[line + end - 1] != b'\r' {
            return Err(SyntaxError::Malformed(
                "a line of the head does not end in CRLF",
            ));
        }
        line += end + 1;
        if end == 1 {
            return Ok(Some(line));
        }
    }
    if unread.len() >= limits.bytes {
        return Err(SyntaxError::TooLarge("the head is too long"));
    }
    Ok(None)
}

/// Finds the faults of a head that has not arrived whole, so that garbage does not have to end before it is refused.
fn incomplete<H>(
    parsed: httparse::Result<usize>,
    unread: &[u8],
    limits: Limits,
) -> Result<Parsed<H>, SyntaxError> {
    parsed.map_err(describe)?;
    if unread.len() >= limits.bytes {
        return Err(SyntaxError::TooLarge("the head is too long"));
    }
    Ok(None)
}

/// Checks that the parser and [`end_of_head`] agree about the end.
fn complete(parsed: httparse::Result<usize>, size: usize) -> Result<(), SyntaxError> {
    match parsed.map_err(describe)? {
        Status::Complete(end) if end == size => Ok(()),
        Status::Complete(_) | Status::Partial => {
            Err(SyntaxError::Malformed("the head has an empty line"))
        }
    }
}

fn describe(error: httparse::Error) -> SyntaxError {
    SyntaxError::Malformed(match error {
        httparse::Error::TooManyHeaders => {
            return SyntaxError::TooLarge("the head has too many fields");
        }
        httparse::Error::Version => return SyntaxError::Version,
        httparse::Error::Status => "the status is invalid",
        httparse::Error::HeaderName => "the name of a field is invalid",
        httparse::Error::HeaderValue => "the value of a field is invalid",
        httparse::Error::NewLine => "a line of the head does not end in CRLF",
        httparse::Error::Token => "the first line is invalid",
    })
}

fn version(minor: Option<u8>) -> Version {
    match minor {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    }
}

/// Returns a copy of the head of a response, or of its beginning, in which 1.1 replaces the version 0.0 if that is
/// allowed.
fn with_known_version(head: &[u8], allows_version_0: bool) -> Bytes {
    const VERSION_0: &[u8] = b"HTTP/0.0 ";
    let mut copy = BytesMut::from(head);
    if allows_version_0 && (head.starts_with(VERSION_0) || VERSION_0.starts_with(head)) {
        for (byte, known) in copy.iter_mut().zip(b"HTTP/1.1") {
            *byte = *known;
        }
    }
    copy.freeze()
}

/// Returns the fields, whose values share `head`.
fn headers(
    parsed: &[httparse::Header<'_>],
    head: &Bytes,
    limits: Limits,
) -> Result<HeaderMap, SyntaxError> {
    if parsed.len() > limits.fields {
        return Err(SyntaxError::TooLarge("the head has too many fields"));
    }
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| SyntaxError::Malformed("the name of a field is invalid"))?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
            .map_err(|_| SyntaxError::Malformed("the value of a field is invalid"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Returns the target of a request in one of its four forms (RFC 9112, section 3.2).
fn target(method: &Method, target: &str, head: &Bytes) -> Result<Uri, SyntaxError> {
    let uri = Uri::from_maybe_shared(head.slice_ref(target.as_bytes()));
    let uri = uri.map_err(|_| SyntaxError::Malformed("the target is invalid"))?;
    let has_authority = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    let is_valid = match (method, target) {
        (&Method::CONNECT, _) => has_authority && uri.scheme().is_none() && uri.path().is_empty(),
        (&Method::OPTIONS, "*") => true,
        (_, path) if path.starts_with('/') => true,
        _ => has_authority && uri.scheme().is_some(),
    };
    if is_valid {
        return Ok(uri);
    }
    Err(SyntaxError::Malformed("the target is invalid"))
}

/// RFC 9112, section 3.2.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), SyntaxError> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_10 => Ok(()),
        (None, _) => Err(SyntaxError::Malformed("the field `host` is missing")),
        (Some(host), None) if fields::is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(SyntaxError::Malformed("the host is invalid")),
        (Some(_), Some(_)) => Err(SyntaxError::Malformed("more than one field `host`")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 1000,
        fields: 10,
    };

    fn request(head: &str) -> Result<Parsed<RequestHead>, SyntaxError> {
        parse_request(head.as_bytes(), LIMITS)
    }

    fn response(head: &str) -> Result<Parsed<ResponseHead>, SyntaxError> {
        parse_response(head.as_bytes(), LIMITS, &Method::GET, false)
    }

    /// Returns the start line and the fields of a request that is valid without them.
    fn with(start: &str, fields: &str) -> Result<Parsed<RequestHead>, SyntaxError> {
        request(&format!("{start}\r\n{fields}\r\n"))
    }

    #[test]
    fn a_request_is_parsed_when_it_is_whole() {
        let head =
            "POST /a?b HTTP/1.1\r\nHost: x\r\nX-One: \t1 \r\nx-one:2\r\ncontent-length: 3\r\n\r\n";
        for end in 0..head.len() {
            assert!(matches!(request(&head[..end]), Ok(None)), "{end}");
        }
        let behind = format!("{head}abcGET");
        let (parsed, size) = request(&behind).expect("valid").expect("whole");
        assert_eq!(size, head.len());
        assert_eq!(
            (parsed.method, parsed.version),
            (Method::POST, Version::HTTP_11)
        );
        assert_eq!(parsed.target, "/a?b");
        let values: Vec<_> = parsed.headers.get_all("x-one").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(parsed.framing, Framing::Length(3));
        assert!(parsed.is_persistent && !parsed.expects_continue);
    }

    #[test]
    fn empty_lines_before_a_request_are_skipped() {
        let head = "\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let (_, size) = request(head).expect("valid").expect("whole");
        assert_eq!(size, head.len());
        assert!(matches!(request("\r"), Ok(None)));
        assert!(request("\r\n".repeat(600).as_str()).is_err());
        assert!(request("\nGET / HTTP/1.1\r\nhost: x\r\n\r\n").is_err());
        assert!(request("\rGET / HTTP/1.1\r\nhost: x\r\n\r\n").is_err());
        assert!(response("\r\nHTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_of_http_1_1_names_one_valid_host() {
        for fields in ["host: x\r\n", "host:\r\n", "Host: [::1]:80\r\n"] {
            assert!(with("GET / HTTP/1.1", fields).is_ok(), "{fields:?}");
        }
        assert!(with("GET / HTTP/1.0", "").is_ok());
        for fields in [
            "",
            "host: x\r\nhost: x\r\n",
            "host: x\r\nHost: y\r\n",
            "host: x y\r\n",
            "host: u@x\r\n",
        ] {
            assert!(with("GET / HTTP/1.1", fields).is_err(), "{fields:?}");
        }
        assert!(with("GET / HTTP/1.0", "host: x\r\nhost: x\r\n").is_err());
    }

    #[test]
    fn targets_have_one_of_four_forms() {
        for start in [
            "GET / HTTP/1.1",
            "GET http://x/health HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "CONNECT x:1 HTTP/1.1",
        ] {
            assert!(with(start, "host: x\r\n").is_ok(), "{start}");
        }
        for start in [
            "GET health HTTP/1.1",
            "GET * HTTP/1.1",
            "GET x:1 HTTP/1.1",
            "CONNECT /x HTTP/1.1",
            "GET http://u@x/ HTTP/1.1",
            "GET  / HTTP/1.1",
            "GET /\tx HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET /",
            "GET",
            " GET / HTTP/1.1",
            "G\u{e4}T / HTTP/1.1",
        ] {
            assert!(with(start, "host: x\r\n").is_err(), "{start}");
        }
    }

    #[test]
    fn other_versions_are_refused() {
        for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/0.0", "http/1.1"] {
            let start = format!("GET / {version}");
            assert_eq!(
                with(&start, "host: x\r\n").err(),
                Some(SyntaxError::Version),
                "{version}"
            );
            let start = format!("{version} 200 OK\r\n\r\n");
            assert_eq!(
                response(&start).err(),
                Some(SyntaxError::Version),
                "{version}"
            );
        }
    }

    #[test]
    fn lines_end_in_crlf_and_fields_have_one_form() {
        for head in [
            "GET / HTTP/1.1\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\n\n",
            "GET / HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\nx: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\nx : a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\nx y: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\n: a\r\n\r\n",
            "GET / HTTP/1.1\r\n host: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\nx\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\nx: \0\r\n\r\n",
        ] {
            assert!(request(head).is_err(), "{head:?}");
            let head = head.replace("GET / HTTP/1.1", "HTTP/1.1 200 OK");
            assert!(response(&head).is_err(), "{head:?}");
        }
        for garbage in ["\0\0", "\x16\x03\x01", "GET \0"] {
            assert!(request(garbage).is_err(), "{garbage:?}, before it ends");
        }
        assert!(response("220 smtp").is_err());
    }

    #[test]
    fn heads_beyond_the_limits_are_too_large() {
        let is_too_large = |error| matches!(error, Some(SyntaxError::TooLarge(_)));
        let fields = |count| "x: a\r\n".repeat(count);
        let start = "GET / HTTP/1.1\r\nhost: x\r\n";
        assert!(request(&format!("{start}{}\r\n", fields(9))).is_ok());
        for count in [10, 101] {
            assert!(is_too_large(
                request(&format!("{start}{}\r\n", fields(count))).err()
            ));
        }
        let padded = |size: usize| {
            let end = "\r\n\r\n";
            let value = "a".repeat(size - start.len() - "x: ".len() - end.len());
            format!("{start}x: {value}{end}")
        };
        assert!(request(&padded(1000)).is_ok_and(|head| head.is_some()));
        assert!(is_too_large(request(&padded(1001)).err()));
        assert!(is_too_large(request(&padded(2000)[..1000]).err()));
        assert!(matches!(request(&padded(2000)[..999]), Ok(None)));
    }

    #[test]
    fn a_response_is_parsed_when_it_is_whole() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        for end in 0..head.len() {
            assert!(matches!(response(&head[..end]), Ok(None)), "{end}");
        }
        let (parsed, size) = response(head).expect("valid").expect("whole");
        assert_eq!((size, parsed.status), (head.len(), StatusCode::OK));
        assert_eq!(parsed.framing, Framing::Chunked);
        assert!(!parsed.is_persistent);
        for status in [
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/1.1 200 \r\n\r\n",
            "HTTP/1.0 299 a b\r\n\r\n",
        ] {
            assert!(
                response(status).is_ok_and(|head| head.is_some()),
                "{status:?}"
            );
        }
        for status in [
            "HTTP/1.1 2000 x\r\n\r\n",
            "HTTP/1.1 20 x\r\n\r\n",
            "HTTP/1.1 099 x\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
        ] {
            assert!(response(status).is_err(), "{status:?}");
        }
    }

    #[test]
    fn version_0_0_is_accepted_only_if_allowed() {
        let head = b"HTTP/0.0 101 Switching Protocols\r\nupgrade: tcp\r\n\r\n";
        let parse =
            |end: usize, allowed| parse_response(&head[..end], LIMITS, &Method::GET, allowed);
        assert!(parse(head.len(), false).is_err());
        let (parsed, size) = parse(head.len(), true).expect("valid").expect("whole");
        assert_eq!(
            (parsed.status, size),
            (StatusCode::SWITCHING_PROTOCOLS, head.len())
        );
        for end in [9, 12, 20, head.len() - 1] {
            assert!(matches!(parse(end, true), Ok(None)), "{end}");
        }
        assert!(parse_response(b"HTTP/0.1 101 x\r\n\r\n", LIMITS, &Method::GET, true).is_err());
    }

    proptest! {
        /// Heads near the grammar, cut anywhere: a fault is found in the same place, and a head has one end.
        #[test]
        fn any_head_is_parsed_or_refused(
            start in "(GET|POST|HTTP/[01].[01]|[ -~]{0,6}) ?[0-9/*a-z:.]{0,9} ?(HTTP/1.[01]|[ -~]{0,9})",
            fields in "((host|content-length|transfer-encoding|[!-~]{0,9}): ?[ -~\\r\\n\\x00]{0,9}\\r?\\n){0,4}",
            cut in 0..200_usize,
        ) {
            let head = format!("{start}\r\n{fields}\r\n");
            let cut = &head.as_bytes()[..cut.min(head.len())];
            for allowed in [false, true] {
                let parse = |head: &[u8]| parse_response(head, LIMITS, &Method::GET, allowed);
                if let Ok(Some((_, size))) = parse(cut) {
                    prop_assert_eq!(parse(head.as_bytes()).expect("valid").expect("whole").1, size);
                }
            }
            if let Ok(Some((_, size))) = parse_request(cut, LIMITS) {
                prop_assert_eq!(request(&head).expect("valid").expect("whole").1, size);
            }
        }
    }
}
