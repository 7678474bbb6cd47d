//! [`Request`]: a message with what travels around it.

use std::fmt;
use std::time::Duration;

use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use crate::Claim;
use crate::metadata::Names;

/// A request: the message, its metadata, its deadline, and local extensions.
///
/// On a client it is made from a message (every generated method takes `impl Into<Request<M>>`)
/// and may carry options of this one call. On a server it is what a handler receives: the metadata
/// holds all headers of the request, the extensions are those of the HTTP request (peer
/// credentials, for example, if the server put them there).
///
/// ```
/// use std::time::Duration;
/// use keyway_rpc::Request;
///
/// let mut request = Request::new("message").with_timeout(Duration::from_secs(2));
/// request.metadata_mut().insert("x-tenant", "blue".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Request<M> {
    message: M,
    metadata: HeaderMap,
    extensions: Extensions,
    deadline: Option<Instant>,
    options: CallOptions,
    claim: Option<Claim>,
}

/// What one call may ask of the client, against the client's own settings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallOptions {
    pub(crate) get: Option<bool>,
    pub(crate) compress: Option<bool>,
}

impl<M> Request<M> {
    /// A request without metadata and without a deadline of its own.
    #[must_use]
    pub fn new(message: M) -> Self {
        Self {
            message,
            metadata: HeaderMap::new(),
            extensions: Extensions::new(),
            deadline: None,
            options: CallOptions::default(),
            claim: None,
        }
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &M {
        &self.message
    }

    /// The message, to change it.
    pub fn message_mut(&mut self) -> &mut M {
        &mut self.message
    }

    /// The message alone.
    #[must_use]
    pub fn into_message(self) -> M {
        self.message
    }

    /// The metadata. On a server: all headers of the request.
    #[must_use]
    pub fn metadata(&self) -> &HeaderMap {
        &self.metadata
    }

    /// The metadata, to change it. A client does not send names that belong to HTTP or to the
    /// protocol (`content-type`, `connect-*` and their like).
    pub fn metadata_mut(&mut self) -> &mut HeaderMap {
        &mut self.metadata
    }

    /// Values that stay in this process, found by their type.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The extensions, to change them. A client hands them on with the HTTP request, so that a
    /// tower service below can read them.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// When the call must be over. On a server: arrival of the request plus the time-out that the
    /// client sent; handing it to an outgoing request makes both calls end together.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The time that is left, zero when the deadline has passed, `None` without a deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Sets when the call must be over.
    pub fn set_deadline(&mut self, deadline: impl Into<Option<Instant>>) {
        self.deadline = deadline.into();
    }

    /// Limits the call to `timeout`, counted from now. A time-out too long for the clock to
    /// express is no time-out.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Instant::now().checked_add(timeout);
        self
    }

    /// Asks for HTTP GET (or with `false` for POST), whatever the client's default is. It is used
    /// only where the method declares `NO_SIDE_EFFECTS` and the URL stays within the client's
    /// limit; otherwise the call is a POST all the same.
    #[must_use]
    pub fn with_get(mut self, get: bool) -> Self {
        self.options.get = Some(get);
        self
    }

    /// Compresses this request with gzip (or with `false` does not), whatever the client's default
    /// is, and however small it is. Without the feature `gzip` nothing is compressed.
    #[must_use]
    pub fn with_compression(mut self, compress: bool) -> Self {
        self.options.compress = Some(compress);
        self
    }

    /// Counts the response against this claim: one that is large is read when there is room for it,
    /// within the deadline of the call. What it took is held until the claim is dropped. A
    /// compressed response is counted as it travels.
    #[must_use]
    pub fn with_claim(mut self, claim: Claim) -> Self {
        self.claim = Some(claim);
        self
    }

    #[cfg(feature = "client")]
    pub(crate) fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// The same request with another message.
    pub fn map<N>(self, change: impl FnOnce(M) -> N) -> Request<N> {
        let Self {
            message,
            metadata,
            extensions,
            deadline,
            options,
            claim,
        } = self;
        Request {
            message: change(message),
            metadata,
            extensions,
            deadline,
            options,
            claim,
        }
    }

    #[cfg(feature = "server")]
    pub(crate) fn try_map<N, E>(
        self,
        change: impl FnOnce(M) -> Result<N, E>,
    ) -> Result<Request<N>, E> {
        let Self {
            message,
            metadata,
            extensions,
            deadline,
            options,
            claim,
        } = self;
        let message = change(message)?;
        Ok(Request {
            message,
            metadata,
            extensions,
            deadline,
            options,
            claim,
        })
    }

    #[cfg(feature = "server")]
    pub(crate) fn received(
        message: M,
        parts: &mut http::request::Parts,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            message,
            metadata: std::mem::take(&mut parts.headers),
            extensions: std::mem::take(&mut parts.extensions),
            deadline,
            options: CallOptions::default(),
            claim: None,
        }
    }

    #[cfg(feature = "client")]
    pub(crate) fn into_parts(self) -> (M, HeaderMap, Extensions, CallOptions) {
        (self.message, self.metadata, self.extensions, self.options)
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
            .field("metadata", &Names(&self.metadata))
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_timeout_is_none() {
        let request = Request::new(()).with_timeout(Duration::MAX);
        assert_eq!(request.deadline(), None);
        assert_eq!(request.remaining(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_remains_shrinks_to_zero() {
        let request = Request::new(()).with_timeout(Duration::from_secs(2));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(request.remaining(), Some(Duration::from_millis(1500)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(request.remaining(), Some(Duration::ZERO));
    }
}
