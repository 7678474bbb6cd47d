//! [`RequestBody`]: the body of a request that a server received.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::arriving::Receiver;
#[cfg(feature = "h2c")]
use super::h2c::Http2Body;
use crate::BoxError;

/// The body of a request that a server received.
#[derive(Default)]
pub struct RequestBody {
    inner: Inner,
}

#[derive(Default)]
enum Inner {
    #[default]
    Empty,
    Full(Bytes),
    /// It arrives while the handler runs.
    Arriving(Receiver),
    #[cfg(feature = "h2c")]
    Http2(Http2Body),
}

impl RequestBody {
    /// Creates a body of these bytes, which is one chunk.
    pub(super) fn full(bytes: Bytes) -> Self {
        let inner = if bytes.is_empty() {
            Inner::Empty
        } else {
            Inner::Full(bytes)
        };
        Self { inner }
    }

    /// Creates a body that arrives while the handler runs.
    pub(super) fn arriving(receiver: Receiver) -> Self {
        Self {
            inner: Inner::Arriving(receiver),
        }
    }
}

#[cfg(feature = "h2c")]
impl From<Http2Body> for RequestBody {
    fn from(body: Http2Body) -> Self {
        Self {
            inner: Inner::Http2(body),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("exact_size", &self.size_hint().exact())
            .finish_non_exhaustive()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.inner {
            Inner::Empty => Poll::Ready(None),
            Inner::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.inner = Inner::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Inner::Arriving(body) => body.poll_piece(cx).map_ok(Frame::data),
            #[cfg(feature = "h2c")]
            Inner::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Full(_) => false,
            Inner::Arriving(body) => body.is_complete(),
            #[cfg(feature = "h2c")]
            Inner::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Arriving(body) => body
                .remaining()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            #[cfg(feature = "h2c")]
            Inner::Http2(body) => body.size_hint(),
        }
    }
}
