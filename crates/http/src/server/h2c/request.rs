//! [`Http2Body`]: the body of a request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::streams::Stream;

/// The body of a request, which reports when its handler waits for the peer.
pub(in crate::server) struct Http2Body {
    inner: Incoming,
    stream: Arc<Stream>,
}

impl Http2Body {
    pub(super) fn new(inner: Incoming, stream: Arc<Stream>) -> Self {
        Self { inner, stream }
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        match frame {
            Poll::Ready(_) => self.stream.wait_for_handler(),
            Poll::Pending => self.stream.wait_for_body(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
