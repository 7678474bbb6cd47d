//! The client's side: a service that answers every call with a fresh stream.

use std::task::{Context, Poll};

use http::Uri;
use tower_service::Service;

use crate::{engine::Engine, handle::Session};

/// Opens a stream for each call, whatever the URI: there is only one peer.
///
/// It is a [`tower_service::Service`] of [`Uri`], as hyper-util's pooled client and tonic's
/// channel take it for a connector.
#[derive(Clone, Debug)]
pub struct Connector<E = Session> {
    engine: E,
}

impl<E: Engine> Connector<E> {
    /// A connector that opens its streams on this session.
    pub fn new(engine: E) -> Self {
        Self { engine }
    }

    /// The session.
    pub fn engine(&self) -> &E {
        &self.engine
    }
}

impl<E: Engine> Service<Uri> for Connector<E> {
    type Response = E::Stream;
    type Error = E::OpenError;
    type Future = E::Opening;

    /// Always ready: a session that cannot open says so in the call, where it can say why.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        self.engine.open()
    }
}
