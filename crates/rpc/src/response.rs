//! [`Response`]: a message with its metadata and extensions.

use std::fmt;

use http::{Extensions, HeaderMap};

use crate::metadata::Names;

/// A successful response: the message, its headers, its trailing metadata, and local extensions.
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
    parts: Parts,
    message: M,
}

/// A [`Response`] without its message.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Parts {
    /// The metadata before the message. On a client: all headers of the HTTP response, without the
    /// trailing metadata.
    pub headers: HeaderMap,
    /// The metadata after the message.
    pub trailers: HeaderMap,
    /// Values that stay in this process, found by their type.
    pub extensions: Extensions,
}

impl<M> Response<M> {
    /// Returns a response without metadata.
    #[must_use]
    pub fn new(message: M) -> Self {
        Self::from_parts(Parts::default(), message)
    }

    /// Joins what [`into_parts`](Self::into_parts) separated.
    #[must_use]
    pub fn from_parts(parts: Parts, message: M) -> Self {
        Self { parts, message }
    }

    /// Separates the message from everything else.
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

    /// Returns the metadata before the message. On a client: all headers of the HTTP response,
    /// without the trailing metadata.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Returns the metadata before the message for changes. A server does not send names that
    /// belong to HTTP or to the protocol (`content-type`, `connect-*` and similar ones), and fails
    /// a call with `internal` whose headers and trailers take more than 64 fields or 16 KiB.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.parts.headers
    }

    /// Returns the metadata after the message. In unary Connect calls it travels in the headers
    /// under prefixed names, which are hidden here.
    #[must_use]
    pub fn trailers(&self) -> &HeaderMap {
        &self.parts.trailers
    }

    /// Returns the trailing metadata for changes.
    pub fn trailers_mut(&mut self) -> &mut HeaderMap {
        &mut self.parts.trailers
    }

    /// Returns values that stay in this process, found by their type. On a client: those of the
    /// HTTP response.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.parts.extensions
    }

    /// Returns the extensions for changes. A server passes them on with the HTTP response, whose
    /// body keeps clones of them until it is dropped, and the encoded message too: a reservation of
    /// memory among them lasts as long as the message is in memory.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.parts.extensions
    }

    /// Returns the same response with another message.
    pub fn map<N>(self, change: impl FnOnce(M) -> N) -> Response<N> {
        Response::from_parts(self.parts, change(self.message))
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
            .field("parts", &self.parts)
            .finish()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("headers", &Names(&self.headers))
            .field("trailers", &Names(&self.trailers))
            .finish_non_exhaustive()
    }
}
