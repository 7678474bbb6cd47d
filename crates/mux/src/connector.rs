//! The client's side: a service whose every call returns a new stream.

use std::task::{Context, Poll};

use http::Uri;
use tower_service::Service;

use crate::{
    error::OpenError,
    handle::{Open, Session},
    io::Stream,
};

/// Opens a stream for each call, whatever the URI: a session has one peer.
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

    /// Always ready: why a session cannot open a stream is the result of the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Open {
        self.session.open()
    }
}
