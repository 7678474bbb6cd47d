//! [`ToHyper`]: a tower service as hyper calls it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::super::{HttpService, RequestBody};
use super::request::Http2Body;
use super::streams::{Stream, Streams};
use crate::BoxError;
use crate::zeroed::Zeroed;

/// The size of the pieces in which hyper gets a response. It polls for the next piece when the peer has a window for it, which
/// shows the peer's progress, and it buffers no more than two.
pub(super) const PIECE: usize = 16 * 1024;

type ErasedBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;
type ErasedFuture =
    Pin<Box<dyn Future<Output = Result<http::Response<ErasedBody>, Infallible>> + Send>>;

/// A tower service as hyper calls it: cloned for each request. Its types are erased, because a copy of HTTP/2 for each
/// service would have 150 KB.
pub(super) struct ToHyper {
    call: Box<dyn Fn(http::Request<Incoming>) -> ErasedFuture + Send>,
}

impl ToHyper {
    pub(super) fn new<S: HttpService>(service: S, streams: Arc<Streams>) -> Self {
        let call = move |request: http::Request<Incoming>| {
            let mut service = service.clone();
            let stream = streams.open();
            Box::pin(async move {
                let Some(stream) = stream else {
                    return Ok(unavailable());
                };
                poll_fn(|cx| service.poll_ready(cx)).await?;
                let stream = Arc::new(stream);
                let request = request.map(|body| {
                    let body = Http2Body::new(body, Arc::clone(&stream));
                    RequestBody::from(body)
                });
                let response = service.call(request).await?;
                stream.wait_for_reader(0);
                Ok(response.map(|body| {
                    Box::pin(Pieces {
                        inner: Box::pin(body),
                        rest: Bytes::new(),
                        stream,
                    }) as ErasedBody
                }))
            }) as ErasedFuture
        };
        Self {
            call: Box::new(call),
        }
    }
}

/// Returns the response to a request beyond the limit of all connections.
fn unavailable() -> http::Response<ErasedBody> {
    let mut response = http::Response::new(Box::pin(RequestBody::default()) as ErasedBody);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

impl hyper::service::Service<http::Request<Incoming>> for ToHyper {
    type Response = http::Response<ErasedBody>;
    type Error = Infallible;
    type Future = ErasedFuture;

    fn call(&self, request: http::Request<Incoming>) -> ErasedFuture {
        (self.call)(request)
    }
}

/// The body of a response in pieces.
struct Pieces<B> {
    inner: Pin<Box<B>>,
    /// The rest of the last chunk of the body.
    rest: Bytes,
    stream: Arc<Stream>,
}

impl<B: Body<Error: Into<BoxError>>> Body for Pieces<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.rest.is_empty() {
            let next = self.inner.as_mut().poll_frame(cx);
            if next.is_pending() {
                self.stream.wait_for_handler();
            }
            let frame = match ready!(next) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(mut data) => self.rest = data.copy_to_bytes(data.remaining()),
                Err(frame) => {
                    let trailers = frame.map_data(|_| Bytes::new());
                    return Poll::Ready(Some(Ok(trailers)));
                }
            }
        }
        let size = self.rest.len().min(PIECE);
        self.stream.wait_for_reader(size);
        let piece = Piece {
            // A copy, so that the chunk is freed before the peer has taken the last of it.
            bytes: Zeroed(self.rest.split_to(size).to_vec()),
            _stream: Arc::clone(&self.stream),
        };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// A piece of a response; its stream is in progress until the peer has taken it.
struct Piece {
    bytes: Zeroed,
    _stream: Arc<Stream>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}
