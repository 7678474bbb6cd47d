//! [`Executor`]: the tasks of hyper's streams, owned by their connection.

use std::future::Future;
use std::sync::Arc;

use hyper::rt;

use super::streams::Streams;

/// Owns the tasks of a connection: dropping it aborts them.
pub(super) struct Executor(Handle);

/// Spawns the tasks of a connection.
#[derive(Clone)]
pub(super) struct Handle(Arc<Streams>);

impl Executor {
    pub(super) fn new(streams: &Arc<Streams>) -> Self {
        Self(Handle(Arc::clone(streams)))
    }

    pub(super) fn handle(&self) -> Handle {
        self.0.clone()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.0.0.abort();
    }
}

impl<F: Future<Output = ()> + Send + 'static> rt::Executor<F> for Handle {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
