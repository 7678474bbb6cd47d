//! Responses: of a success, of a failure, and of a request that is not a call.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::head::Head;
use crate::compression::{Compression, Encoding};
use crate::error::wire::{self, Written};
use crate::{Body, Codec, Error, MethodSpec, Response, metadata};

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// The form of a response, as its request determines it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) codec: Codec,
    pub(super) gzip_accepted: bool,
}

/// The refusal of a request before a handler runs.
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

/// Returns the response of a call that succeeded; that of an `internal` error if its metadata does
/// not fit.
pub(crate) fn success(
    response: Response<Bytes>,
    format: Format,
    method: &Method,
    compression: Compression,
    spec: &MethodSpec,
) -> http::Response<Body> {
    let (parts, message) = response.into_parts();
    let encoding = match format.gzip_accepted {
        true => compression.encoding_for(message.len()),
        false => Encoding::Identity,
    };
    let message = encoding.compress(message, spec.is_sensitive());
    let mut response = http::Response::new(Body::full(message));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, format.codec.content_type());
    if let Some(name) = encoding.header() {
        headers.insert(CONTENT_ENCODING, name);
    }
    if varies(method) {
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    let mut head = Head::of_success(headers);
    metadata::each_application(&parts.headers, |name, value| head.append(name, value));
    metadata::each_trailer(&parts.trailers, |name, value| head.append(name, value));
    if head.left_out() > 0 {
        let fields = head.left_out();
        tracing::warn!(
            method = spec.path(),
            fields,
            "response headers above 16 KiB or 64 fields"
        );
        return failure(
            &Error::internal("the headers of the response exceed 16 KiB or 64 fields"),
            method,
        );
    }
    if !parts.extensions.is_empty() {
        response = response.map(|body| body.keep(parts.extensions.clone()));
        *response.extensions_mut() = parts.extensions;
    }
    response
}

/// Returns the response of a call that failed: JSON whatever the codec of the call, never
/// compressed. Details and metadata beyond the limits of an error are left out.
pub(crate) fn failure(error: &Error, method: &Method) -> http::Response<Body> {
    let Written {
        json: body,
        metadata_len,
        is_cut,
        details_left_out,
    } = wire::to_json(error);
    let mut response = http::Response::new(Body::empty());
    *response.status_mut() = error.code().http_status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if varies(method) {
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if *method == Method::HEAD {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let mut head = Head::of_error(headers, metadata_len);
    metadata::each_application(error.own_metadata(), |name, value| head.append(name, value));
    let fields = head.left_out();
    if is_cut || details_left_out + fields > 0 {
        let code = error.code();
        tracing::warn!(
            %code,
            is_cut,
            details_left_out,
            fields,
            "error cut to its limits: a message of 16 KiB, 8 KiB of details and metadata, 64 fields"
        );
    }
    match *method {
        Method::HEAD => response,
        _ => response.map(|_| Body::full(body)),
    }
}

/// Returns `true` if a cache may keep the response, so that it has to know on which fields the response depends.
fn varies(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

impl Error {
    /// Returns the error as the response to `request`, for tower layers that end a call themselves:
    /// the HTTP status of its [code](crate::Code::http_status) and a JSON object, whatever the codec of
    /// the call is. The response to HEAD has no body, and that to GET or HEAD says that it
    /// varies with `accept-encoding`.
    ///
    /// A layer that responds before the body of a request was read closes an HTTP/1.1 connection
    /// under a client that is still sending. [`RecoverError`](crate::RecoverError) reads it first.
    ///
    /// ```
    /// use keyway_rpc::Error;
    ///
    /// let (request, _body) = http::Request::post("/demo.Clock/Echo").body(())?.into_parts();
    /// let response = Error::unauthenticated("no token").into_response(&request);
    /// assert_eq!(response.status(), 401);
    /// # Ok::<(), http::Error>(())
    /// ```
    #[must_use]
    pub fn into_response(self, request: &Parts) -> http::Response<Body> {
        failure(&self, &request.method)
    }
}

impl Rejection {
    /// Wrong verbs and content types have an empty body: the status alone makes clients infer the
    /// right code.
    pub(crate) fn into_response(self, method: &Method) -> http::Response<Body> {
        let (status, name, value) = match self {
            Self::Method { allow } => (StatusCode::METHOD_NOT_ALLOWED, ALLOW, allow),
            Self::MediaType { accept_post } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, ACCEPT_POST, accept_post)
            }
            Self::Failed(error) => return failure(&error, method),
        };
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
        response
    }
}

/// Returns the error of a message that is longer than the limit.
pub(crate) fn too_large(size: Option<u64>, limit: usize) -> Error {
    let size: Cow<'_, str> = size.map_or("".into(), |size| format!(" {size}").into());
    Error::resource_exhausted(format!(
        "message size{size} is larger than configured max {limit}"
    ))
}
