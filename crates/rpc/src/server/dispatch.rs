//! One request, from its head to the response.

use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use http_body::Body as HttpBody;
use tokio::time::{Instant, timeout};

use super::catch_panic::CatchPanic;
use super::request_body::RequestBody;
use super::route::{Handler, Route};
use super::settings::Settings;
use super::timeout::{Expired, until, within};
use crate::buffer::{CollectError, collect, has_data};
use crate::compression::DecompressError;
use crate::connect::server::{Negotiated, failure, negotiate, success, too_large};
use crate::memory::Meter;
use crate::{Body, BoxError, Error, MethodSpec, Request, Response, request};

/// Responds to a request to the path of `route`.
pub(super) async fn respond<B>(
    settings: &Settings,
    route: &Route,
    request: http::Request<B>,
) -> http::Response<Body>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    let mut body = pin!(RequestBody::new(&parts, body));
    let method = parts.method.clone();
    let has_body = method == Method::GET && has_body(settings, body.as_mut()).await;
    let required = settings.require_protocol_version;
    let negotiated = match negotiate(&parts, has_body, route.spec, required) {
        Ok(negotiated) => negotiated,
        Err(rejection) => {
            body.read_rest().await;
            return rejection.into_response(&method);
        }
    };
    let declared = body.size_hint().lower();
    let limit = settings.max_request_size(route.spec);
    if declared > negotiated.encoding.body_limit(limit) as u64 {
        return failure(&too_large(Some(declared), limit), &method);
    }
    let format = negotiated.format;
    let deadline = deadline(negotiated.timeout, settings.max_timeout);
    let called = {
        let (parts, body) = (&mut parts, body.as_mut());
        // Pinned once, because it is large.
        let call = pin!(call(route, settings, negotiated, parts, body, deadline));
        until(deadline, call).await
    };
    let called = called.unwrap_or_else(|Expired| Err(Failure::Request(expired(route.spec))));
    match called {
        Ok(response) => success(response, format, &method, settings.compression, route.spec),
        Err(Failure::Handler(error)) => failure(&error, &method),
        Err(Failure::Request(error)) => {
            body.read_rest().await;
            failure(&error, &method)
        }
    }
}

/// Returns `true` if a GET has a body. An HTTP/2 client may end an empty body by a frame of its own,
/// so its end is waited for.
async fn has_body<B>(settings: &Settings, body: Pin<&mut RequestBody<B>>) -> bool
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    if body.awaits_continue() {
        return !body.is_end_stream();
    }
    let reading = has_data(body);
    timeout(settings.read_timeout, reading)
        .await
        .unwrap_or(true)
}

/// The side that caused a call to fail.
enum Failure {
    /// The request: the rest of its body may still be arriving.
    Request(Error),
    Handler(Error),
}

async fn call<B>(
    route: &Route,
    settings: &Settings,
    negotiated: Negotiated,
    parts: &mut Parts,
    body: Pin<&mut B>,
    deadline: Option<Instant>,
) -> Result<Response<Bytes>, Failure>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let codec = negotiated.format.codec;
    // Holds the reservation of the request until the handler has ended.
    let mut meter = Meter::new(settings.request_memory.as_ref());
    let message = read_message(settings, negotiated, body, route.spec, &mut meter);
    let message = message.await.map_err(Failure::Request)?;
    let request = Request::from_parts(received(parts, deadline), message);
    let Handler::Unary(handler) = &route.handler;
    let run = CatchPanic::new(async { handler(codec, request).await });
    match run.await {
        Ok(outcome) => outcome.map_err(Failure::Handler),
        // The text of a panic stays in this process.
        Err(_) => {
            tracing::error!(method = route.spec.path(), "handler panicked");
            Err(Failure::Handler(Error::internal("the handler panicked")))
        }
    }
}

fn received(head: &mut Parts, deadline: Option<Instant>) -> request::Parts {
    request::Parts {
        metadata: std::mem::take(&mut head.headers),
        extensions: std::mem::take(&mut head.extensions),
        deadline,
        options: request::CallOptions::default(),
    }
}

async fn read_message<B>(
    settings: &Settings,
    negotiated: Negotiated,
    body: Pin<&mut B>,
    spec: &MethodSpec,
    meter: &mut Meter<'_>,
) -> Result<Bytes, Error>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let (encoding, limit) = (negotiated.encoding, settings.max_request_size(spec));
    let packed = match negotiated.message {
        Some(message) if message.len() > encoding.body_limit(limit) => {
            return Err(too_large(Some(message.len() as u64), limit));
        }
        Some(message) => message,
        None => {
            let body_limit = encoding.body_limit(limit);
            let reading = collect(body, body_limit, spec.is_sensitive(), meter);
            match within(settings.read_timeout, pin!(reading)).await {
                Ok(read) => read.map_err(|error| unread(error, limit))?,
                Err(_) => return Err(too_slow(settings.read_timeout)),
            }
        }
    };
    encoding
        .decompress(packed, limit, spec.is_sensitive(), meter)
        .await
        .map_err(|error| match error {
            DecompressError::TooLarge => too_large(None, limit),
            DecompressError::Memory(error) => *error,
            DecompressError::Corrupt(cause) => {
                Error::invalid_argument(format!("the message is not valid gzip: {cause}"))
            }
        })
}

fn unread(error: CollectError, limit: usize) -> Error {
    match error {
        CollectError::TooLarge { size } => too_large(Some(size), limit),
        CollectError::Body(cause) if is_malformed(&*cause) => {
            let cause = innermost(&*cause);
            Error::invalid_argument(format!("the request body is malformed: {cause}"))
        }
        CollectError::Body(cause) => incomplete().with_source(cause),
        CollectError::CutShort => incomplete(),
        CollectError::Memory(error) => *error,
    }
}

/// Returns `true` if the framing of a body was wrong, as opposed to its early end. HTTP
/// implementations express it in the kind of the I/O error at the end of the chain.
fn is_malformed(cause: &(dyn std::error::Error + 'static)) -> bool {
    let error = innermost(cause).downcast_ref::<io::Error>();
    error.is_some_and(|error| {
        matches!(
            error.kind(),
            ErrorKind::InvalidData | ErrorKind::InvalidInput
        )
    })
}

fn innermost<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    error.source().map_or(error, innermost)
}

fn incomplete() -> Error {
    Error::canceled("the request body ended before it was complete")
}

fn too_slow(limit: Duration) -> Error {
    Error::deadline_exceeded(format!("the request body did not arrive within {limit:?}"))
}

fn expired(spec: &MethodSpec) -> Error {
    Error::deadline_exceeded(format!("{} did not end within the deadline", spec.path()))
}

/// Returns the earlier of the deadlines of client and server.
fn deadline(client: Option<Duration>, server: Option<Duration>) -> Option<Instant> {
    let allowed = match (client, server) {
        (Some(client), Some(server)) => client.min(server),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return None,
    };
    Instant::now().checked_add(allowed)
}
