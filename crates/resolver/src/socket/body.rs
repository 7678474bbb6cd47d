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

/// The body of a response. Read to its end it gives its connection back; dropped before, it closes it.
pub struct ResponseBody(pub(super) ExchangeBody<DaemonStream, Body>);

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = SocketError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SocketError>>> {
        let frame = Pin::new(&mut self.0).poll_frame(cx);
        frame.map(|frame| frame.map(|frame| frame.map_err(SocketError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
