//! One request, from its head to the response.

use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http::{Method, Version};
use http_body::Body as HttpBody;
use tokio::time::{Instant, timeout};

use super::guard::{CatchPanic, Expired, until, within};
use super::route::{Handler, Route};
use super::shared::{Settings, Shared};
use crate::budget::Tally;
use crate::buffer::{CollectError, collect, drain, has_data};
use crate::compression::DecompressError;
use crate::connect::server::{Negotiated, Rejection, failure, negotiate, too_large};
use crate::{Body, BoxError, Error, MethodSpec, Request, Response};

/// Of a request that is refused, at most this much is read before it is answered. Most clients
/// have sent all of theirs by then, and none can send for ever. Reading costs nothing but the time
/// that is limited as well, and a client that sees its connection break in place of the answer
/// takes the server for unavailable and tries again.
const DRAIN_LIMIT: usize = 64 * 1024 * 1024;

/// The same where a stream can end without its connection, so that the answer arrives anyway.
const STREAM_DRAIN_LIMIT: usize = 1024 * 1024;

/// How long a refused request may take to arrive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers a request to the path of `route`.
pub(super) async fn respond<B>(
    shared: Arc<Shared>,
    route: Route,
    request: http::Request<B>,
) -> http::Response<Body>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    let mut body = pin!(body);
    let settings = &shared.settings;
    let required = settings.require_protocol_version;
    // An HTTP/2 client may end an empty body by a frame of its own, so its end is waited for.
    let has_body = parts.method == Method::GET && {
        let reading = has_data(body.as_mut());
        timeout(settings.read_timeout, reading)
            .await
            .unwrap_or(true)
    };
    let negotiated = match negotiate(&parts, has_body, route.spec, required) {
        Ok(negotiated) => negotiated,
        // A client that asks before it sends has its answer, and sends nothing then.
        Err(rejection) if parts.headers.contains_key(EXPECT) => return rejection.into_response(),
        Err(rejection) => return refuse(rejection, parts.version, body).await,
    };
    let answer = negotiated.answer();
    let deadline = deadline(negotiated.timeout, settings.max_timeout);
    let called = {
        let (parts, body) = (&mut parts, body.as_mut());
        // Pinned once, because it is large.
        let call = pin!(call(&route, settings, negotiated, parts, body, deadline));
        until(deadline, call).await
    };
    match called {
        Ok(Ok(reply)) => answer.success(reply, settings.compression, route.spec),
        Ok(Err(Failure::Handler(error))) => failure(&error),
        Ok(Err(Failure::Request(error))) => refuse(error.into(), parts.version, body).await,
        Err(Expired) => refuse(expired(route.spec).into(), parts.version, body).await,
    }
}

/// Who is to blame for a call that failed.
enum Failure {
    /// The request: the rest of its body may be on its way still.
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
    let codec = negotiated.codec;
    let message = read_message(settings, negotiated, body, route.spec);
    let message = message.await.map_err(Failure::Request)?;
    let request = Request::received(message, parts, deadline);
    let Handler::Unary(handler) = &route.handler;
    let run = CatchPanic::new(async { handler(codec, request).await });
    match run.await {
        Ok(outcome) => outcome.map_err(Failure::Handler),
        Err(_text_stays_here) => {
            tracing::error!(method = route.spec.path(), "a handler panicked");
            Err(Failure::Handler(Error::internal("the handler panicked")))
        }
    }
}

async fn read_message<B>(
    settings: &Settings,
    negotiated: Negotiated,
    body: Pin<&mut B>,
    spec: &MethodSpec,
) -> Result<Bytes, Error>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let (encoding, limit) = (negotiated.encoding, settings.max_message_size);
    let packed = match negotiated.message {
        Some(message) if message.len() > encoding.body_limit(limit) => {
            return Err(too_large(Some(message.len() as u64), limit));
        }
        Some(message) => message,
        None => {
            let sensitive = spec.is_sensitive();
            let reading = collect(
                body,
                encoding.body_limit(limit),
                sensitive,
                Tally::default(),
            );
            match within(settings.read_timeout, pin!(reading)).await {
                Ok(read) => read.map_err(|error| unread(error, limit))?,
                Err(_) => return Err(too_slow(settings.read_timeout)),
            }
        }
    };
    encoding
        .decompress(packed, limit, spec.is_sensitive())
        .map_err(|error| match error {
            DecompressError::TooLarge => too_large(None, limit),
            DecompressError::Corrupt(cause) => {
                Error::invalid_argument(format!("decompress message: {cause}")).with_source(cause)
            }
        })
}

fn unread(error: CollectError, limit: usize) -> Error {
    match error {
        CollectError::TooLarge { size } => too_large(Some(size), limit),
        CollectError::Body(cause) if is_malformed(&*cause) => {
            let text = format!("the request body is malformed: {}", innermost(&*cause));
            Error::invalid_argument(text).with_source(cause)
        }
        CollectError::Body(cause) => incomplete().with_source(cause),
        CollectError::CutShort => incomplete(),
    }
}

/// Whether the framing of a body was wrong, and it did not just end: hyper says so in the kind of
/// the I/O error at the end of the chain.
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
    Error::deadline_exceeded(format!("{} was not done within the deadline", spec.path()))
}

/// Refuses a request when all of it was read.
async fn refuse<B>(
    rejection: Rejection,
    version: Version,
    body: Pin<&mut B>,
) -> http::Response<Body>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    read_rest(version, body).await;
    rejection.into_response()
}

/// Reads what is left of a request, within bounds: a client that is still sending when the
/// connection closes misses the answer.
pub(super) async fn read_rest<B>(version: Version, body: Pin<&mut B>)
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let limit = match version {
        Version::HTTP_2 | Version::HTTP_3 => STREAM_DRAIN_LIMIT,
        _ => DRAIN_LIMIT,
    };
    if !body.is_end_stream() {
        // A client that is slower than this was told how to ask.
        let _ = timeout(DRAIN_TIMEOUT, drain(body, limit)).await;
    }
}

/// The earlier of what the client and what the server allow.
fn deadline(asked: Option<Duration>, most: Option<Duration>) -> Option<Instant> {
    let allowed = match (asked, most) {
        (Some(asked), Some(most)) => asked.min(most),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return None,
    };
    Instant::now().checked_add(allowed)
}
