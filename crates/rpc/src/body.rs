//! [`Body`]: the HTTP body that this crate produces.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Extensions;
use http_body::{Frame, SizeHint};

use crate::BoxError;

/// An HTTP body made by this crate: the request that a client sends, or the response of a
/// [`Router`](crate::Router).
///
/// A unary message is one chunk. Any other body fits in as well ([`Body::new`]), at the price of
/// one allocation.
#[derive(Default)]
pub struct Body {
    inner: Inner,
    /// Lives as long as the body.
    kept: Option<Arc<Extensions>>,
}

#[derive(Default)]
enum Inner {
    #[default]
    Empty,
    Full(Bytes),
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>),
}

impl Body {
    /// Returns an empty body.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            inner: Inner::Empty,
            kept: None,
        }
    }

    /// Returns a body of these bytes, in one chunk.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let inner = if bytes.is_empty() {
            Inner::Empty
        } else {
            Inner::Full(bytes)
        };
        Self { inner, kept: None }
    }

    /// Keeps `extensions` until the body is dropped, and the chunk of [`Body::full`] too.
    #[cfg(feature = "server")]
    pub(crate) fn keep(mut self, extensions: Extensions) -> Self {
        let kept = Arc::new(extensions);
        if let Inner::Full(bytes) = self.inner {
            let kept = Arc::clone(&kept);
            self.inner = Inner::Full(Bytes::from_owner(Keeping { bytes, _kept: kept }));
        }
        self.kept = Some(kept);
        self
    }

    /// Returns any other body, boxed; a [`Body`] as it is.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        let same: Option<&mut Option<Self>> = (&mut body as &mut dyn Any).downcast_mut();
        if let Some(body) = same.and_then(Option::take) {
            return body;
        }
        let body = body.expect("it is of another type, and was not taken");
        Self {
            inner: Inner::Boxed(Box::pin(Uniform { body })),
            kept: None,
        }
    }
}

/// Bytes, and extensions that live as long as they do: a connection may hold them longer than the body.
#[cfg(feature = "server")]
struct Keeping {
    bytes: Bytes,
    _kept: Arc<Extensions>,
}

#[cfg(feature = "server")]
impl AsRef<[u8]> for Keeping {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::full(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = http_body::Body::size_hint(self);
        f.debug_struct("Body")
            .field("exact_size", &size.exact())
            .finish_non_exhaustive()
    }
}

impl http_body::Body for Body {
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
            Inner::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Full(_) => false,
            Inner::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Boxed(body) => body.size_hint(),
        }
    }
}

pin_project_lite::pin_project! {
    /// A body with its data and its errors turned into the types of [`Body`].
    struct Uniform<B> {
        #[pin]
        body: B,
    }
}

impl<B> http_body::Body for Uniform<B>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.project().body.poll_frame(cx));
        let to_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) => Ok(frame.map_data(to_bytes)),
            Err(error) => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
