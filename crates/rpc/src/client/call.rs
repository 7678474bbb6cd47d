//! One call, from the message to the response.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use prost::{Message, Name};
use tokio::time::{Instant, timeout_at};

use super::failure::{cut_short, transport_error};
use super::{Config, Transport};
use crate::buffer::{CollectError, collect};
use crate::compression::DecompressError;
use crate::connect::client::{Outgoing, Received};
use crate::memory::Meter;
use crate::request::CallOptions;
use crate::{Body, Compression, Error, MethodSpec, Request, Response, request};

/// The longest error in bytes: as JSON values it takes many times its length in memory.
const MAX_ERROR_LEN: usize = 256 * 1024;

/// The [source](std::error::Error::source) of an error that a client made because the response exceeds
/// [`Config::max_message_size`]. A server may send the same code for reasons of its own.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("response too large")]
#[non_exhaustive]
pub struct ResponseTooLarge;

pub(super) async fn unary<S, In, Out>(
    transport: S,
    config: Arc<Config>,
    spec: &'static MethodSpec,
    request: Request<In>,
) -> Result<Response<Out>, Error>
where
    S: Transport,
    In: Message + Name,
    Out: Message + Name + Default,
{
    let deadline = request.deadline();
    let deadline = deadline.or_else(|| {
        let timeout = config.timeout?;
        Instant::now().checked_add(timeout)
    });
    let (parts, message) = request.into_parts();
    let memory = parts.options.memory.clone();
    let request = encode(&config, spec, parts, message, deadline)?;
    let meter = Meter::new(memory.as_ref());
    // Pinned once, because it is large.
    let exchange = pin!(exchange(transport, &config, spec, request, deadline, meter));
    let response = match deadline {
        None => exchange.await?,
        Some(at) if at <= Instant::now() => return Err(expired(spec)),
        Some(at) => timeout_at(at, exchange)
            .await
            .map_err(|_| expired(spec))??,
    };
    let (parts, bytes) = response.into_parts();
    let message = config.codec.decode(spec, bytes);
    let message = message.map_err(|error| Error::internal(format!("response: {error}")))?;
    Ok(Response::from_parts(parts, message))
}

/// Encodes the HTTP request.
fn encode<In: Message + Name>(
    config: &Config,
    spec: &'static MethodSpec,
    parts: request::Parts,
    message: In,
    deadline: Option<Instant>,
) -> Result<http::Request<Body>, Error> {
    let message = config.codec.encode(spec, &message);
    let message = message.map_err(|error| Error::internal(format!("request: {error}")))?;
    let outgoing = Outgoing {
        spec,
        codec: config.codec,
        origin: &config.origin,
        metadata: parts.metadata,
        remaining: deadline.map(|at| at.saturating_duration_since(Instant::now())),
        compression: compression(config, &parts.options),
        accept_compression: config.accept_compression,
    };
    let get = parts.options.get.unwrap_or(config.get) && spec.allows_get();
    let mut request = outgoing.into_request(message, get.then_some(config.max_get_url))?;
    *request.extensions_mut() = parts.extensions;
    request.extensions_mut().insert(spec);
    Ok(request)
}

fn compression(config: &Config, options: &CallOptions) -> Compression {
    match options.compress {
        None => config.compression,
        #[cfg(feature = "gzip")]
        Some(true) => Compression::Gzip { min_size: 0 },
        Some(_) => Compression::Never,
    }
}

/// Sends the request and reads the whole response.
async fn exchange<S: Transport>(
    mut transport: S,
    config: &Config,
    spec: &MethodSpec,
    request: http::Request<Body>,
    deadline: Option<Instant>,
    mut meter: Meter<'_>,
) -> Result<Response<Bytes>, Error> {
    let has_expired = || deadline.is_some_and(|at| at <= Instant::now());
    let failed = |error| transport_error(error, spec, has_expired());
    let ready = poll_fn(|cx| transport.poll_send_ready(cx)).await;
    ready.map_err(|error| failed(error.into()))?;
    let response = transport.send(request).await;
    let response = response.map_err(|error| failed(error.into()))?;
    let (parts, body) = response.into_parts();
    let received = Received::new(parts, config.codec, spec)?;
    let limit = match received.is_success() {
        true => config.max_message_size,
        false => config.max_message_size.min(MAX_ERROR_LEN),
    };
    let encoding = received.encoding();
    let sensitive = spec.is_sensitive();
    let body_limit = encoding.body_limit(limit);
    let packed = collect(pin!(body), body_limit, sensitive, &mut meter).await;
    let message = match packed {
        Ok(packed) => encoding
            .decompress(packed, limit, sensitive, &mut meter)
            .await
            .map_err(|error| match error {
                DecompressError::TooLarge => too_large(limit),
                DecompressError::Memory(error) => *error,
                DecompressError::Corrupt(cause) => {
                    Error::internal("the response is not valid gzip").with_source(cause)
                }
            }),
        Err(CollectError::TooLarge { .. }) => Err(too_large(limit)),
        Err(CollectError::Body(cause)) => Err(failed(cause)),
        Err(CollectError::CutShort) => Err(cut_short(spec)),
        Err(CollectError::Memory(error)) => Err(*error),
    };
    let response = received.finish(message)?;
    meter.settle(response.message().len() as u64);
    Ok(response)
}

fn expired(spec: &MethodSpec) -> Error {
    Error::deadline_exceeded(format!(
        "{} did not respond within the deadline",
        spec.path()
    ))
}

fn too_large(limit: usize) -> Error {
    let error = Error::resource_exhausted(format!(
        "the response is larger than the configured max {limit}"
    ));
    error.with_source(ResponseTooLarge)
}
