//! The client's side: a service that answers every call with a fresh stream.

use std::task::{Context, Poll};

use http::Uri;
use tower_service::Service;

use crate::{
    error::OpenError,
    handle::{Opening, Session},
    io::Stream,
};

/// Opens a stream for each call, whatever the URI: there is only one peer.
///
/// It is a [`tower_service::Service`] of [`Uri`], as hyper-util's pooled client and tonic's
/// channel take it for a connector.
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
    type Future = Opening;

    /// Always ready: a session that cannot open says so in the call, where it can say why.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Opening {
        self.session.open()
    }
}
