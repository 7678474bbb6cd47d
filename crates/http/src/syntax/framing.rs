//! The end of a body (RFC 9112, section 6.3).

use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};

use super::SyntaxError;

/// The end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    /// The body of a response ends with its connection.
    UntilClose,
}

impl Framing {
    /// Returns the framing of a request: without a field that describes one there is no body.
    pub(crate) fn of_request(version: Version, headers: &HeaderMap) -> Result<Self, SyntaxError> {
        Ok(described(version, headers)?.unwrap_or(Self::Length(0)))
    }

    /// Returns the framing of the response to a request with this method: some have no body whatever their fields are,
    /// and one without a field that describes its framing ends with the connection.
    pub(crate) fn of_response(
        method: &Method,
        status: StatusCode,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Self, SyntaxError> {
        let has_no_body = *method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if has_no_body {
            return Ok(Self::Length(0));
        }
        Ok(described(version, headers)?.unwrap_or(Self::UntilClose))
    }
}

/// Returns the framing that the fields describe.
fn described(version: Version, headers: &HeaderMap) -> Result<Option<Framing>, SyntaxError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(SyntaxError::Malformed("the length is given in two ways")),
        (Some(_), None) if version == Version::HTTP_10 => {
            Err(SyntaxError::Malformed("a transfer coding in HTTP/1.0"))
        }
        (Some(coding), None) => {
            let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            if !is_chunked || codings.next().is_some() {
                return Err(SyntaxError::Malformed("the transfer coding is unknown"));
            }
            Ok(Some(Framing::Chunked))
        }
        (None, Some(length)) => {
            let is_unambiguous = lengths.all(|other| other == length);
            let length = decimal(length.as_bytes()).filter(|_| is_unambiguous);
            let length = length.ok_or(SyntaxError::Malformed("the length is invalid"))?;
            Ok(Some(Framing::Length(length)))
        }
    }
}

/// Parses digits and nothing else, unlike Rust's own parser, which accepts a sign.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn each_description_has_one_meaning() {
        let length = |value| ("content-length", value);
        let coding = |value| ("transfer-encoding", value);
        let valid = [
            (vec![length("5")], Framing::Length(5)),
            (vec![length("5"), length("5")], Framing::Length(5)),
            (
                vec![length("18446744073709551615")],
                Framing::Length(u64::MAX),
            ),
            (vec![coding("Chunked")], Framing::Chunked),
        ];
        for (fields, framing) in valid {
            let found = Framing::of_request(Version::HTTP_11, &headers(&fields));
            assert_eq!(found, Ok(framing), "{fields:?}");
        }
        let invalid = [
            vec![length("5"), length("6")],
            vec![length("5"), length("05")],
            vec![length("5, 5")],
            vec![length("+5")],
            vec![length("-5")],
            vec![length("0x5")],
            vec![length("5 5")],
            vec![length("")],
            vec![length("18446744073709551616")],
            vec![length("5"), coding("chunked")],
            vec![coding("gzip, chunked")],
            vec![coding("chunked, gzip")],
            vec![coding("identity")],
            vec![coding("xchunked")],
            vec![coding(",chunked")],
            vec![coding("chunked"), coding("chunked")],
            vec![coding("gzip"), coding("chunked")],
        ];
        for fields in invalid {
            let headers = headers(&fields);
            let version = Version::HTTP_11;
            assert!(
                Framing::of_request(version, &headers).is_err(),
                "{fields:?}"
            );
            let response = Framing::of_response(&Method::POST, StatusCode::OK, version, &headers);
            assert!(response.is_err(), "{fields:?}");
        }
    }

    #[test]
    fn a_transfer_coding_needs_http_1_1() {
        let headers = headers(&[("transfer-encoding", "chunked")]);
        let version = Version::HTTP_10;
        assert!(Framing::of_request(version, &headers).is_err());
        assert!(Framing::of_response(&Method::GET, StatusCode::OK, version, &headers).is_err());
    }

    #[test]
    fn a_message_without_a_description_ends_at_once_or_with_its_connection() {
        let (version, none) = (Version::HTTP_11, HeaderMap::new());
        let response = |method, status| Framing::of_response(&method, status, version, &none);
        assert_eq!(Framing::of_request(version, &none), Ok(Framing::Length(0)));
        assert_eq!(
            response(Method::GET, StatusCode::OK),
            Ok(Framing::UntilClose)
        );
    }

    #[test]
    fn some_responses_have_no_body_whatever_their_fields_are() {
        let headers = headers(&[("content-length", "5")]);
        let framing =
            |method, status| Framing::of_response(&method, status, Version::HTTP_11, &headers);
        assert_eq!(
            framing(Method::HEAD, StatusCode::OK),
            Ok(Framing::Length(0))
        );
        for status in [100, 103, 204, 304] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(framing(Method::GET, status), Ok(Framing::Length(0)));
        }
        assert_eq!(framing(Method::GET, StatusCode::OK), Ok(Framing::Length(5)));
    }
}
