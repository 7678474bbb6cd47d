//! The client's half: calls to requests, and responses to results.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{Extensions, Method, StatusCode, Uri};

use super::content_type::{self, ContentType};
use super::{PROTOCOL_VERSION, TIMEOUT, query, timeout};
use crate::compression::{Compression, Encoding};
use crate::error::wire;
use crate::response;
use crate::{Body, Code, Codec, Error, MethodSpec, Response, metadata};

/// The most fields that the protocol adds to a request.
const FIELDS: usize = 5;

/// A call that is about to be sent.
pub(crate) struct Outgoing<'a> {
    pub(crate) spec: &'a MethodSpec,
    pub(crate) codec: Codec,
    pub(crate) origin: &'a Uri,
    pub(crate) metadata: HeaderMap,
    pub(crate) remaining: Option<Duration>,
    pub(crate) compression: Compression,
    pub(crate) accept_compression: bool,
}

impl Outgoing<'_> {
    /// Writes the request. With `max_get_url` it is a GET, if its URL is not longer than that.
    pub(crate) fn into_request(
        mut self,
        message: Bytes,
        max_get_url: Option<usize>,
    ) -> Result<http::Request<Body>, Error> {
        let encoding = self.compression.encoding_for(message.len());
        let message = encoding.compress(message, self.spec.is_sensitive());
        let mut headers = std::mem::take(&mut self.metadata);
        remove_reserved(&mut headers);
        headers.reserve(FIELDS);
        self.write_common_headers(&mut headers);
        if let Some(limit) = max_get_url {
            let query = query::write(self.codec, encoding, &message);
            let uri = self.uri(Some(&query))?;
            if length(&uri) <= limit {
                return Ok(assemble(Method::GET, uri, headers, Body::empty()));
            }
        }
        headers.insert(CONTENT_TYPE, self.codec.content_type());
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static("1"));
        if let Some(name) = encoding.header() {
            headers.insert(CONTENT_ENCODING, name);
        }
        Ok(assemble(
            Method::POST,
            self.uri(None)?,
            headers,
            Body::full(message),
        ))
    }

    fn write_common_headers(&self, headers: &mut HeaderMap) {
        if let Some(milliseconds) = self.remaining.and_then(timeout::format) {
            headers.insert(TIMEOUT, HeaderValue::from(milliseconds));
        }
        if cfg!(feature = "gzip") {
            // A request without the field accepts its own coding, and some HTTP stacks add one.
            let offer = if self.accept_compression {
                "gzip"
            } else {
                "identity"
            };
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(offer));
        }
    }

    fn uri(&self, query: Option<&str>) -> Result<Uri, Error> {
        let path = self.spec.path();
        let prefix = self.origin.path().trim_end_matches('/');
        let path_and_query = match (prefix, query) {
            ("", None) => PathAndQuery::from_static(path),
            (prefix, None) => parse(format!("{prefix}{path}"))?,
            (prefix, Some(query)) => parse(format!("{prefix}{path}?{query}"))?,
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = self.origin.scheme().cloned();
        parts.authority = self.origin.authority().cloned();
        parts.path_and_query = Some(path_and_query);
        Uri::from_parts(parts).map_err(|error| bad_origin(self.origin, error))
    }
}

fn parse(text: String) -> Result<PathAndQuery, Error> {
    let length = text.len();
    PathAndQuery::from_maybe_shared(Bytes::from(text)).map_err(|error| {
        Error::internal(format!("a URL of {length} bytes is not valid")).with_source(error)
    })
}

fn bad_origin(origin: &Uri, error: http::uri::InvalidUriParts) -> Error {
    Error::internal(format!("`{origin}` cannot be the origin of a request")).with_source(error)
}

fn length(uri: &Uri) -> usize {
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let scheme = uri
        .scheme_str()
        .map_or(0, |scheme| scheme.len() + "://".len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    scheme + authority + path
}

/// Removes the fields that the protocol alone writes.
fn remove_reserved(headers: &mut HeaderMap) {
    if headers.keys().any(metadata::is_reserved) {
        let reserved = |name: &&HeaderName| metadata::is_reserved(name);
        let names: Vec<HeaderName> = headers.keys().filter(reserved).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

fn assemble(method: Method, uri: Uri, headers: HeaderMap, body: Body) -> http::Request<Body> {
    let mut request = http::Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

/// A response whose head was read.
pub(crate) struct Received {
    headers: HeaderMap,
    extensions: Extensions,
    encoding: Encoding,
    outcome: Outcome,
}

#[derive(Clone, Copy)]
enum Outcome {
    Success,
    /// The body is an error object according to its content type.
    ErrorObject(StatusCode),
    /// The body is ignored.
    StatusAlone(StatusCode),
}

impl Received {
    /// Reads the head of a response.
    pub(crate) fn new(parts: Parts, codec: Codec, spec: &MethodSpec) -> Result<Self, Error> {
        let headers = parts.headers;
        let content_type = headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let outcome = match parts.status {
            StatusCode::OK => {
                check_content_type(content_type, codec, spec)?;
                Outcome::Success
            }
            status if content_type::is_json(content_type) => Outcome::ErrorObject(status),
            status => Outcome::StatusAlone(status),
        };
        let encoding = headers
            .get(CONTENT_ENCODING)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let encoding = match (Encoding::from_name(encoding), outcome) {
            (Some(encoding), _) => encoding,
            (None, Outcome::StatusAlone(_)) => Encoding::Identity,
            (None, _) => {
                let (name, known) = (String::from_utf8_lossy(encoding), Encoding::SUPPORTED);
                return Err(Error::internal(format!(
                    "unknown encoding {name:?}: accepted encodings are {known}"
                )));
            }
        };
        Ok(Self {
            headers,
            extensions: parts.extensions,
            encoding,
            outcome,
        })
    }

    /// Returns `true` if the call has succeeded, if its message can be read.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self.outcome, Outcome::Success)
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the result of the call. A failed call whose body cannot be read is the failure of its
    /// status.
    pub(crate) fn finish(self, body: Result<Bytes, Error>) -> Result<Response<Bytes>, Error> {
        let mut headers = self.headers;
        let trailers = metadata::split_trailers(&mut headers);
        let mut error = match self.outcome {
            Outcome::Success => {
                let parts = response::Parts {
                    headers,
                    trailers,
                    extensions: self.extensions,
                };
                return Ok(Response::from_parts(parts, body?));
            }
            Outcome::ErrorObject(status) => match body {
                Ok(body) => wire::from_json(&body, Code::from_http_status(status))
                    .unwrap_or_else(|| inferred(status)),
                Err(cause) => inferred(status).with_source(cause),
            },
            Outcome::StatusAlone(status) => inferred(status),
        };
        for (name, value) in &trailers {
            headers.append(name.clone(), value.clone());
        }
        error.set_metadata(headers);
        Err(error)
    }
}

fn inferred(status: StatusCode) -> Error {
    Error::new(
        Code::from_http_status(status),
        format!("HTTP status {status}"),
    )
}

/// The content type of a success must be that of the call.
fn check_content_type(value: &[u8], codec: Codec, spec: &MethodSpec) -> Result<(), Error> {
    let code = match content_type::parse(value, spec) {
        ContentType::Message(found) if found == codec => return Ok(()),
        ContentType::Message(_) | ContentType::OtherApplication => Code::Internal,
        ContentType::Foreign => Code::Unknown,
    };
    let (found, expected) = (String::from_utf8_lossy(value), codec.name());
    let text = format!("invalid content-type: {found:?}; expecting \"application/{expected}\"");
    Err(Error::new(code, text))
}
