//! A session as HTTP clients and servers expect it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use http::Uri;
use tower_service::Service;

use crate::{YamuxError, YamuxSession, YamuxStream};

/// Opens a stream for each call, whatever the URI.
#[derive(Clone, Debug)]
pub struct YamuxConnector {
    session: YamuxSession,
}

impl YamuxConnector {
    /// Returns a connector that opens its streams on this session.
    pub fn new(session: YamuxSession) -> Self {
        Self { session }
    }
}

impl Service<Uri> for YamuxConnector {
    type Response = YamuxStream;
    type Error = YamuxError;
    type Future = BoxFuture<'static, Result<YamuxStream, YamuxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), YamuxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let session = self.session.clone();
        Box::pin(async move { session.open().await })
    }
}

/// Accepts the streams of the peer: a stream of streams, which ends with the session.
pub struct YamuxListener {
    streams: BoxStream<'static, YamuxStream>,
}

impl YamuxListener {
    /// Returns a listener on this session.
    pub fn new(session: YamuxSession) -> Self {
        let next = |session: YamuxSession| async {
            let stream = session.accept().await?;
            Some((stream, session))
        };
        Self {
            streams: futures::stream::unfold(session, next).boxed(),
        }
    }
}

impl futures::Stream for YamuxListener {
    type Item = io::Result<YamuxStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.streams.poll_next_unpin(cx).map(|next| next.map(Ok))
    }
}

impl std::fmt::Debug for YamuxListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("YamuxListener").finish_non_exhaustive()
    }
}
