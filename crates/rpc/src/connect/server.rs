//! The server's half: what a request asks for, and how answers are written.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, VARY,
};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};

use super::content_type::{self, ContentType};
use super::query::Query;
use super::{PROTOCOL_VERSION, TIMEOUT, timeout};
use crate::compression::{Compression, Encoding};
use crate::response::Kept;
use crate::{Body, Codec, Error, MethodSpec, Response, metadata};

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// What a request asks for, before its message was read.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) codec: Codec,
    pub(crate) timeout: Option<Duration>,
    /// The coding of the message that came.
    pub(crate) encoding: Encoding,
    /// For a GET the message, still encoded; for a POST it is the body.
    pub(crate) message: Option<Bytes>,
    answer: Answer,
}

/// What the answer must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    codec: Codec,
    gzip_accepted: bool,
    varies: bool,
}

/// A request that is answered without a handler, or even without an error object.
#[derive(Debug)]
pub(crate) enum Rejection {
    Method { allow: &'static str },
    MediaType { accept_post: &'static str },
    Failed(Error),
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads everything but the message. The order of the checks is that of connect-go: verb, content
/// type, codings, version; a wrong time-out is told only when the rest is right. `has_body` is asked
/// of a GET alone.
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

/// The fields of a request that the protocol reads, found in one pass: each look-up in a header
/// map costs a hash. Of a field that is repeated, the first counts.
#[derive(Default)]
struct Fields<'a> {
    content_type: Option<&'a HeaderValue>,
    content_encoding: Option<&'a HeaderValue>,
    version: Option<&'a HeaderValue>,
    timeout: Option<&'a HeaderValue>,
    /// Whether any coding was named, and whether gzip was.
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

    /// Without `accept-encoding` the client is assumed to read what it wrote.
    fn accepts_gzip(&self, request: Encoding) -> bool {
        self.accept_encoding
            .unwrap_or(request != Encoding::Identity)
    }
}

fn names_gzip(line: &HeaderValue) -> bool {
    let mut names = line.as_bytes().split(|byte| *byte == b',');
    names.any(|name| name.trim_ascii() == b"gzip")
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
    let answer = Answer {
        codec,
        gzip_accepted: fields.accepts_gzip(encoding),
        varies: false,
    };
    let timeout = read_timeout(fields.timeout)?;
    Ok(Negotiated {
        codec,
        timeout,
        encoding,
        message: None,
        answer,
    })
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
    let answer = Answer {
        codec,
        gzip_accepted: fields.accepts_gzip(encoding),
        varies: true,
    };
    let timeout = read_timeout(fields.timeout)?;
    Ok(Negotiated {
        codec,
        timeout,
        encoding,
        message: Some(message),
        answer,
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

impl Negotiated {
    pub(crate) fn answer(&self) -> Answer {
        self.answer
    }
}

impl Answer {
    /// The response of a call that succeeded.
    pub(crate) fn success(
        self,
        mut reply: Response<Bytes>,
        compression: Compression,
        spec: &MethodSpec,
    ) -> http::Response<Body> {
        let kept = reply.take_kept();
        let (message, headers, trailers) = reply.into_parts();
        let encoding = match self.gzip_accepted {
            true => compression.encoding_for(message.len()),
            false => Encoding::Identity,
        };
        let message = encoding.compress(message, spec.is_sensitive());
        let message = match kept {
            Some(kept) => Bytes::from_owner(Keeping {
                message,
                _kept: kept,
            }),
            None => message,
        };
        let mut response = http::Response::new(Body::full(message));
        let to = response.headers_mut();
        to.insert(CONTENT_TYPE, self.codec.content_type());
        if let Some(name) = encoding.header() {
            to.insert(CONTENT_ENCODING, name);
        }
        if self.varies {
            to.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        metadata::append_application(to, &headers);
        metadata::append_trailers(to, &trailers);
        response
    }
}

/// A message, and what lives as long as its bytes.
struct Keeping {
    message: Bytes,
    _kept: Kept,
}

impl AsRef<[u8]> for Keeping {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

/// The response of a call that failed: JSON whatever the codec of the call, never compressed.
pub(crate) fn failure(error: &Error) -> http::Response<Body> {
    let mut response = http::Response::new(Body::full(crate::error::wire::to_json(error)));
    *response.status_mut() = error.code().http_status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(metadata) = error.own_metadata() {
        metadata::append_application(headers, metadata);
    }
    response
}

impl Rejection {
    /// Wrong verbs and content types are answered without a body: the status alone makes clients
    /// infer the right code.
    pub(crate) fn into_response(self) -> http::Response<Body> {
        let (status, name, value) = match self {
            Self::Method { allow } => (StatusCode::METHOD_NOT_ALLOWED, ALLOW, allow),
            Self::MediaType { accept_post } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, ACCEPT_POST, accept_post)
            }
            Self::Failed(error) => return failure(&error),
        };
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
        response
    }
}

/// The error of a message that is longer than the limit.
pub(crate) fn too_large(size: Option<u64>, limit: usize) -> Error {
    let size: Cow<'_, str> = size.map_or("".into(), |size| format!(" {size}").into());
    Error::resource_exhausted(format!(
        "message size{size} is larger than configured max {limit}"
    ))
}
