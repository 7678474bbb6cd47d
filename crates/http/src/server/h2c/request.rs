//! [`Http2Body`]: the body of a request.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::super::clock::LINGER_TIMEOUT;
use super::streams::Stream;

/// The most that is read of a request that was responded to. The other streams of the connection continue.
const LINGER_LIMIT: usize = 1024 * 1024;

/// The body of a request, which reports when its handler waits for the peer.
///
/// The rest that its handler leaves is read for a moment: a reset tells the peer to stop, but some clients
/// (curl) then drop the response.
pub(in crate::server) struct Http2Body {
    /// `None` if it ended with an error.
    inner: Option<Incoming>,
    stream: Arc<Stream>,
}

impl Http2Body {
    pub(super) fn new(inner: Incoming, stream: Arc<Stream>) -> Self {
        let inner = Some(inner);
        Self { inner, stream }
    }
}

impl Drop for Http2Body {
    fn drop(&mut self) {
        if let Some(rest) = self.inner.take().filter(|body| !body.is_end_stream()) {
            // It ends with the connection, too.
            let discarding = async { drop(timeout(LINGER_TIMEOUT, discard(rest)).await) };
            self.stream.spawn(discarding);
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut discarded = 0;
    while discarded < LINGER_LIMIT {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { return };
        discarded += frame.data_ref().map_or(0, Bytes::len);
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(inner).poll_frame(cx);
        match &frame {
            Poll::Ready(_) => self.stream.wait_for_handler(),
            Poll::Pending => self.stream.wait_for_body(),
        }
        if matches!(frame, Poll::Ready(Some(Err(_)))) {
            self.inner = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}
