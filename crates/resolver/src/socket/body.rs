//! [`ResponseBody`]: the body of a response of the daemon.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use keyway_http::ExchangeBody;
use keyway_rpc::Body;

use super::SocketError;
use super::stream::DaemonStream;
use super::watch::Watch;

/// The body of a response as it comes from the connection.
pub(super) type Exchanged = ExchangeBody<DaemonStream, Body>;

/// The body of a response. Read to its end it gives its connection back; dropped before, it closes it.
pub struct ResponseBody {
    pub(super) body: Exchanged,
    /// `None` if the request has a timeout.
    pub(super) watch: Option<Watch>,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = SocketError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SocketError>>> {
        let this = &mut *self;
        match (Pin::new(&mut this.body).poll_frame(cx), &mut this.watch) {
            (Poll::Pending, Some(watch)) => watch.poll(cx).map(|error| Some(Err(error))),
            (frame, watch) => {
                if let (Poll::Ready(_), Some(watch)) = (&frame, watch) {
                    watch.heard();
                }
                frame.map(|frame| frame.map(|frame| frame.map_err(SocketError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
