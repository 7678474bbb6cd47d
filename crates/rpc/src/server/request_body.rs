//! [`RequestBody`]: the unread rest of a refused request.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::EXPECT;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use crate::BoxError;
use crate::buffer::drain;

/// At most this much of a refused request is read before it is responded to. Most clients have sent
/// all of theirs by then, and no client can send for ever. A client that sees its connection break
/// instead of a response takes the server for unavailable and tries again.
const DRAIN_LIMIT: usize = 1024 * 1024;

/// Limit for the arrival of a refused request.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

pin_project_lite::pin_project! {
    /// The body of a request, which can be read to its end before the request is refused.
    pub(super) struct RequestBody<B> {
        #[pin]
        body: B,
        awaits_continue: bool,
    }
}

impl<B> RequestBody<B> {
    pub(super) fn new(head: &Parts, body: B) -> Self {
        Self {
            body,
            awaits_continue: head.headers.contains_key(EXPECT),
        }
    }

    /// Returns `true` if the client waits for `100 Continue`, which a server sends when the body is
    /// polled for the first time.
    pub(super) fn awaits_continue(&self) -> bool {
        self.awaits_continue
    }
}

impl<B> RequestBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// Reads the rest of the request, within bounds, because a client that is still sending when
    /// the connection closes misses the response. A client that waits for `100 Continue` sends
    /// nothing after a final response, and its body is not polled (RFC 9110 section 10.1.1).
    pub(super) async fn read_rest(self: Pin<&mut Self>) {
        if !self.awaits_continue && !self.is_end_stream() {
            // A slower client may miss the response.
            let _ = timeout(DRAIN_TIMEOUT, drain(self, DRAIN_LIMIT)).await;
        }
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        *this.awaits_continue = false;
        this.body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
