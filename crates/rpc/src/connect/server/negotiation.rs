//! [`negotiate`]: reads the parameters of a call from the head of its request.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts;

use super::super::content_type::{self, ContentType};
use super::super::query::Query;
use super::super::{PROTOCOL_VERSION, TIMEOUT, timeout};
use super::response::{Format, Rejection};
use crate::compression::Encoding;
use crate::{Codec, Error, MethodSpec};

/// A call before its message was read.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) timeout: Option<Duration>,
    /// The coding of the request's message.
    pub(crate) encoding: Encoding,
    /// The message of a GET, still encoded; that of a POST is the body.
    pub(crate) message: Option<Bytes>,
    pub(crate) format: Format,
}

/// Reads everything but the message. The order of the checks is that of connect-go: verb, content
/// type, codings, version, and the timeout last. `has_body` counts for a GET alone.
pub(crate) fn negotiate(
    parts: &Parts,
    has_body: bool,
    spec: &MethodSpec,
    require_version: bool,
) -> Result<Negotiated, Rejection> {
    match parts.method {
        Method::POST => negotiate_post(parts, spec, require_version),
        Method::GET if spec.allows_get() && has_body => Err(unsupported(spec)),
        Method::GET if spec.allows_get() => negotiate_get(parts, spec),
        _ if spec.allows_get() => Err(Rejection::Method { allow: "GET, POST" }),
        _ => Err(Rejection::Method { allow: "POST" }),
    }
}

/// The fields of a request that the protocol reads, found in one pass, because each look-up in a
/// header map costs a hash. Of a field that is repeated, the first counts.
#[derive(Default)]
struct Fields<'a> {
    content_type: Option<&'a HeaderValue>,
    content_encoding: Option<&'a HeaderValue>,
    version: Option<&'a HeaderValue>,
    timeout: Option<&'a HeaderValue>,
    /// `None` without the field; `true` if it names gzip.
    accept_encoding: Option<bool>,
}

impl<'a> Fields<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let field = if name == CONTENT_TYPE {
                &mut fields.content_type
            } else if name == CONTENT_ENCODING {
                &mut fields.content_encoding
            } else if name == PROTOCOL_VERSION {
                &mut fields.version
            } else if name == TIMEOUT {
                &mut fields.timeout
            } else {
                if name == ACCEPT_ENCODING {
                    *fields.accept_encoding.get_or_insert(false) |= names_gzip(value);
                }
                continue;
            };
            field.get_or_insert(value);
        }
        fields
    }

    /// Without `accept-encoding` the client is assumed to accept the coding of its request.
    fn accepts_gzip(&self, request: Encoding) -> bool {
        self.accept_encoding
            .unwrap_or(request != Encoding::Identity)
    }
}

fn names_gzip(line: &HeaderValue) -> bool {
    let mut names = line.as_bytes().split(|byte| *byte == b',');
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"gzip"))
}

fn negotiate_post(
    parts: &Parts,
    spec: &MethodSpec,
    require_version: bool,
) -> Result<Negotiated, Rejection> {
    let fields = Fields::read(&parts.headers);
    let content_type = fields.content_type.map_or(&b""[..], HeaderValue::as_bytes);
    let ContentType::Message(codec) = content_type::parse(content_type, spec) else {
        return Err(unsupported(spec));
    };
    let encoding = encoding(fields.content_encoding.map(HeaderValue::as_bytes))?;
    check_version(fields.version, require_version)?;
    negotiated(&fields, codec, encoding, None)
}

fn negotiate_get(parts: &Parts, spec: &MethodSpec) -> Result<Negotiated, Rejection> {
    let fields = Fields::read(&parts.headers);
    if fields.content_type.is_some() {
        return Err(unsupported(spec));
    }
    let mut query = Query::parse(parts.uri.query().unwrap_or_default());
    let Some(name) = query.encoding.take() else {
        return Err(missing("encoding").into());
    };
    let Some(codec) = Codec::from_name(&name, spec) else {
        return Err(unsupported(spec));
    };
    let encoding = encoding(query.compression.as_deref())?;
    if let Some(version) = query.version.take().filter(|version| version != b"v1") {
        let version = String::from_utf8_lossy(&version).into_owned();
        return Err(
            Error::invalid_argument(format!("connect must be \"v1\": got {version:?}")).into(),
        );
    }
    if query.message.is_none() {
        return Err(missing("message").into());
    }
    let message = query.message_bytes();
    let message = message
        .ok_or_else(|| Error::invalid_argument("the query parameter `message` is not base64"))?;
    negotiated(&fields, codec, encoding, Some(message))
}

/// Returns the call, unless its timeout is invalid, which is checked last.
fn negotiated(
    fields: &Fields<'_>,
    codec: Codec,
    encoding: Encoding,
    message: Option<Bytes>,
) -> Result<Negotiated, Rejection> {
    Ok(Negotiated {
        timeout: read_timeout(fields.timeout)?,
        encoding,
        message,
        format: Format {
            codec,
            gzip_accepted: fields.accepts_gzip(encoding),
        },
    })
}

fn missing(parameter: &str) -> Error {
    Error::invalid_argument(format!("the query parameter `{parameter}` is missing"))
}

fn unsupported(spec: &MethodSpec) -> Rejection {
    #[cfg(feature = "json")]
    if spec.descriptors().is_some() {
        return Rejection::MediaType {
            accept_post: "application/json, application/proto",
        };
    }
    let _ = spec;
    Rejection::MediaType {
        accept_post: "application/proto",
    }
}

fn encoding(name: Option<&[u8]>) -> Result<Encoding, Error> {
    let name = name.unwrap_or_default();
    Encoding::from_name(name).ok_or_else(|| {
        let (name, supported) = (String::from_utf8_lossy(name), Encoding::SUPPORTED);
        Error::unimplemented(format!(
            "unknown compression {name:?}: supported encodings are {supported}"
        ))
    })
}

fn check_version(version: Option<&HeaderValue>, required: bool) -> Result<(), Error> {
    match version {
        None if required => Err(Error::invalid_argument(
            "the header Connect-Protocol-Version is missing: set it to \"1\"",
        )),
        Some(version) if version != "1" => Err(Error::invalid_argument(format!(
            "Connect-Protocol-Version must be \"1\": got {:?}",
            String::from_utf8_lossy(version.as_bytes())
        ))),
        _ => Ok(()),
    }
}

fn read_timeout(value: Option<&HeaderValue>) -> Result<Option<Duration>, Error> {
    let Some(value) = value else {
        return Ok(None);
    };
    let parsed = timeout::parse(value.as_bytes());
    parsed.map(Some).ok_or_else(|| {
        let value = String::from_utf8_lossy(value.as_bytes());
        Error::invalid_argument(format!(
            "parse timeout: {value:?} is not a number of milliseconds with at most 10 digits"
        ))
    })
}
