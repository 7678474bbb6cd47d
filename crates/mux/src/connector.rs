//! A connector: a service whose calls return new streams.

use std::task::{Context, Poll};

use http::Uri;
use tower_service::Service;

use crate::{
    error::OpenError,
    handle::{Open, Session},
    io::Stream,
};

/// Opens a stream for each call. The URI is ignored, because a session has one peer.
///
/// It is a [`tower_service::Service`] of [`Uri`], which hyper-util's pooled client and tonic's
/// channel take as their connector.
#[derive(Clone, Debug)]
pub struct Connector {
    session: Session,
}

impl Connector {
    /// Returns a connector that opens its streams on this session.
    pub fn new(session: Session) -> Self {
        Self { session }
    }

    /// Returns the session.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = OpenError;
    type Future = Open;

    /// Always ready: the call returns the error of a session that cannot open a stream.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Open {
        self.session.open()
    }
}
