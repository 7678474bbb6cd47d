//! Serving an axum router on the streams of a session.

use std::{
    future::{pending, poll_fn},
    io,
    pin::Pin,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener as AxumListener},
};
use futures_core::Stream as _;

use crate::{info::StreamInfo, io::Stream, listener::Listener};

/// `axum::serve(listener, router)` serves each stream as a connection.
///
/// Its `accept` cannot fail, so after the end of the session it never resolves: pass
/// [`Session::peer_draining`](crate::Session::peer_draining) to `with_graceful_shutdown`. It resolves early enough to
/// end idle connections, for which the peer's `close` would wait otherwise.
impl AxumListener for Listener {
    type Io = Stream;
    type Addr = StreamInfo;

    async fn accept(&mut self) -> (Stream, StreamInfo) {
        match poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await {
            Some(Ok(stream)) => {
                let info = stream.info();
                (stream, info)
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "no more streams to serve: the session failed");
                pending().await
            }
            None => pending().await,
        }
    }

    /// A session has no address of its own.
    fn local_addr(&self) -> io::Result<StreamInfo> {
        Err(io::ErrorKind::AddrNotAvailable.into())
    }
}

impl Connected<IncomingStream<'_, Listener>> for StreamInfo {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.remote_addr().clone()
    }
}
