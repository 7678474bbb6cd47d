//! [`Response`]: a message with the metadata around it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use crate::metadata::Names;

/// A successful answer: the message, its headers, and its trailing metadata.
///
/// ```
/// use keyway_rpc::Response;
///
/// let mut response = Response::new("message");
/// response.headers_mut().insert("x-cache", "hit".parse()?);
/// assert_eq!(response.into_message(), "message");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Response<M> {
    message: M,
    headers: HeaderMap,
    trailers: HeaderMap,
    kept: Option<Kept>,
}

/// What lives until a message has left.
pub(crate) type Kept = Arc<dyn Any + Send + Sync>;

impl<M> Response<M> {
    /// A response without metadata.
    #[must_use]
    pub fn new(message: M) -> Self {
        Self {
            message,
            headers: HeaderMap::new(),
            trailers: HeaderMap::new(),
            kept: None,
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

    /// The metadata that comes before the message. On a client: all headers of the HTTP response,
    /// without the trailing metadata.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The metadata before the message, to change it. A server does not send names that belong to
    /// HTTP or to the protocol (`content-type`, `connect-*` and their like).
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// The metadata that comes after the message. In unary Connect calls it travels in the headers
    /// under prefixed names, which are hidden here.
    #[must_use]
    pub fn trailers(&self) -> &HeaderMap {
        &self.trailers
    }

    /// The trailing metadata, to change it.
    pub fn trailers_mut(&mut self) -> &mut HeaderMap {
        &mut self.trailers
    }

    /// Keeps `guard` until the encoded message was handed to the connection, or was given up; a
    /// second guard replaces the first. A [`Claim`](crate::Claim) kept so says how long the message
    /// is in memory. A client does nothing with it.
    pub fn keep_until_sent(&mut self, guard: impl Send + Sync + 'static) {
        self.kept = Some(Arc::new(guard));
    }

    /// The same response with another message.
    pub fn map<N>(self, change: impl FnOnce(M) -> N) -> Response<N> {
        let Self {
            message,
            headers,
            trailers,
            kept,
        } = self;
        Response {
            message: change(message),
            headers,
            trailers,
            kept,
        }
    }

    pub(crate) fn from_parts(message: M, headers: HeaderMap, trailers: HeaderMap) -> Self {
        Self {
            message,
            headers,
            trailers,
            kept: None,
        }
    }

    pub(crate) fn into_parts(self) -> (M, HeaderMap, HeaderMap) {
        (self.message, self.headers, self.trailers)
    }

    /// The guard of [`keep_until_sent`](Self::keep_until_sent).
    #[cfg(feature = "server")]
    pub(crate) fn take_kept(&mut self) -> Option<Kept> {
        self.kept.take()
    }
}

impl<M> From<M> for Response<M> {
    fn from(message: M) -> Self {
        Self::new(message)
    }
}

impl<M: fmt::Debug> fmt::Debug for Response<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("message", &self.message)
            .field("headers", &Names(&self.headers))
            .field("trailers", &Names(&self.trailers))
            .finish()
    }
}
