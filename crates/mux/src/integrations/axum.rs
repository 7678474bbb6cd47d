//! Serving an axum router on the streams of a session.

use std::io;

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener as AxumListener},
};

use crate::{info::StreamInfo, io::Stream, listener::Listener};

/// `axum::serve(listener, router)` serves each stream as a connection.
///
/// Its `accept` cannot fail, so after the end of the session it waits for ever: pass
/// [`Session::peer_draining`](crate::Session::peer_draining) to `with_graceful_shutdown`. It comes early enough to end
/// idle connections, for which the peer's `close` would wait otherwise.
impl AxumListener for Listener {
    type Io = Stream;
    type Addr = StreamInfo;

    async fn accept(&mut self) -> (Stream, StreamInfo) {
        match Self::accept(self).await {
            Ok(stream) => {
                let info = stream.info();
                (stream, info)
            }
            Err(error) => {
                tracing::debug!(%error, "no more streams to serve");
                std::future::pending().await
            }
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
