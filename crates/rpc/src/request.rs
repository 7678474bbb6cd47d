//! [`Request`]: a message with its metadata, deadline and extensions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use crate::memory::{ReserveMemory, SharedBudget};
use crate::metadata::Names;

/// A request: the message, its metadata, its deadline, and local extensions.
///
/// On a client it is made from a message (every generated method takes `impl Into<Request<M>>`)
/// and may carry options of this one call. On a server it is the argument of a handler: the
/// metadata holds all headers of the request, the extensions are those of the HTTP request (peer
/// credentials, for example, if the server put them there) and the `&'static`
/// [`MethodSpec`](crate::MethodSpec) of the method.
///
/// ```
/// use std::time::Duration;
/// use keyway_rpc::Request;
///
/// let mut request = Request::new("message").timeout(Duration::from_secs(2));
/// request.metadata_mut().insert("x-tenant", "blue".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Request<M> {
    parts: Parts,
    message: M,
}

/// A [`Request`] without its message.
///
/// ```
/// use keyway_rpc::Request;
///
/// let (parts, message) = Request::new("message").into_parts();
/// assert!(parts.metadata.is_empty() && parts.deadline.is_none());
/// let request = Request::from_parts(parts, message.len());
/// assert_eq!(request.into_message(), 7);
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Parts {
    /// The metadata. On a server: all headers of the request.
    pub metadata: HeaderMap,
    /// Values that stay in this process, found by their type.
    pub extensions: Extensions,
    /// The time when the call must have ended; `None` for never.
    pub deadline: Option<Instant>,
    pub(crate) options: CallOptions,
}

/// The options of one call, which take precedence over the client's settings.
#[derive(Clone, Default)]
pub(crate) struct CallOptions {
    pub(crate) get: Option<bool>,
    pub(crate) compress: Option<bool>,
    pub(crate) memory: Option<SharedBudget>,
}

impl<M> Request<M> {
    /// Returns a request without metadata and without a deadline of its own.
    #[must_use]
    pub fn new(message: M) -> Self {
        Self::from_parts(Parts::default(), message)
    }

    /// Joins what [`into_parts`](Self::into_parts) separated.
    #[must_use]
    pub fn from_parts(parts: Parts, message: M) -> Self {
        Self { parts, message }
    }

    /// Separates the message from everything else. The parts keep the options of the call.
    #[must_use]
    pub fn into_parts(self) -> (Parts, M) {
        (self.parts, self.message)
    }

    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &M {
        &self.message
    }

    /// Returns the message for changes.
    pub fn message_mut(&mut self) -> &mut M {
        &mut self.message
    }

    /// Returns the message alone.
    #[must_use]
    pub fn into_message(self) -> M {
        self.message
    }

    /// Returns the metadata. On a server: all headers of the request.
    #[must_use]
    pub fn metadata(&self) -> &HeaderMap {
        &self.parts.metadata
    }

    /// Returns the metadata for changes. A client does not send names that belong to HTTP or to the
    /// protocol (`content-type`, `connect-*` and similar ones).
    pub fn metadata_mut(&mut self) -> &mut HeaderMap {
        &mut self.parts.metadata
    }

    /// Returns values that stay in this process, found by their type.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.parts.extensions
    }

    /// Returns the extensions for changes. A client passes them on with the HTTP request, so that a
    /// tower service below can read them.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.parts.extensions
    }

    /// Returns when the call must have ended. On a server: arrival of the request plus the timeout
    /// that the client sent; [passing it on](Self::deadline_at) to another request makes both calls
    /// end together.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.parts.deadline
    }

    /// Returns the time until the deadline: zero if it has passed, `None` without a deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Sets when the call must have ended; `None` removes the deadline.
    #[must_use]
    pub fn deadline_at(mut self, deadline: impl Into<Option<Instant>>) -> Self {
        self.parts.deadline = deadline.into();
        self
    }

    /// Limits the call to `timeout`, counted from now. A timeout that the clock cannot express is
    /// no timeout.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.deadline_at(Instant::now().checked_add(timeout))
    }

    /// Selects HTTP GET (or with `false` POST) instead of the client's
    /// [setting](crate::client::Config::get). GET is used only if the method declares
    /// `NO_SIDE_EFFECTS` and the URL stays within the client's limit.
    #[must_use]
    pub fn get(mut self, get: bool) -> Self {
        self.parts.options.get = Some(get);
        self
    }

    /// Compresses this request with gzip (or with `false` does not), however small it is, instead of
    /// the client's [setting](crate::client::Config::compression). Without the feature `gzip`
    /// nothing is compressed.
    #[must_use]
    pub fn compress(mut self, compress: bool) -> Self {
        self.parts.options.compress = Some(compress);
        self
    }

    /// Counts the response against `budget`: a large one is read once the budget has reserved its
    /// length, within the deadline of the call.
    #[must_use]
    pub fn memory(mut self, budget: impl ReserveMemory) -> Self {
        self.parts.options.memory = Some(Arc::new(budget));
        self
    }

    /// Returns the same request with another message.
    pub fn map<N>(self, change: impl FnOnce(M) -> N) -> Request<N> {
        Request::from_parts(self.parts, change(self.message))
    }

    #[cfg(feature = "server")]
    pub(crate) fn try_map<N, E>(
        self,
        change: impl FnOnce(M) -> Result<N, E>,
    ) -> Result<Request<N>, E> {
        Ok(Request::from_parts(self.parts, change(self.message)?))
    }
}

impl<M> From<M> for Request<M> {
    fn from(message: M) -> Self {
        Self::new(message)
    }
}

impl<M: fmt::Debug> fmt::Debug for Request<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("message", &self.message)
            .field("parts", &self.parts)
            .finish()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("metadata", &Names(&self.metadata))
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_beyond_the_clock_sets_no_deadline() {
        let request = Request::new(()).timeout(Duration::MAX);
        assert_eq!(request.deadline(), None);
        assert_eq!(request.remaining(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_remaining_time_shrinks_to_zero() {
        let request = Request::new(()).timeout(Duration::from_secs(2));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(request.remaining(), Some(Duration::from_millis(1500)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(request.remaining(), Some(Duration::ZERO));
    }

    #[test]
    fn parts_keep_everything_but_the_message() {
        let mut request = Request::new(1).get(true).compress(false);
        request.extensions_mut().insert("extension");
        let value = "hunter2".parse().expect("a valid header value");
        request.metadata_mut().insert("authorization", value);
        let deadline = Instant::now();
        let (parts, message) = request.deadline_at(deadline).into_parts();
        assert!(!format!("{parts:?}").contains("hunter2"), "{parts:?}");
        let request = Request::from_parts(parts, message + 1);
        assert_eq!(request.message(), &2);
        assert_eq!(request.deadline(), Some(deadline));
        assert_eq!(request.extensions().get(), Some(&"extension"));
        assert_eq!(request.metadata()["authorization"], "hunter2");
        let options = request.into_parts().0.options;
        assert_eq!((options.get, options.compress), (Some(true), Some(false)));
    }
}
