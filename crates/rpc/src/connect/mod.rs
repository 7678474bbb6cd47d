//! The Connect protocol, unary: HTTP messages to calls and back.
//!
//! Everything that only this protocol knows is in this folder; the rest of the crate deals in
//! codecs, messages, metadata and deadlines.

#[cfg(feature = "client")]
pub(crate) mod client;
mod content_type;
mod query;
#[cfg(feature = "server")]
pub(crate) mod server;
mod timeout;

use http::HeaderName;

/// Which version of the protocol the client speaks; there is only `1`.
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");

/// How long the client waits, in milliseconds.
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
