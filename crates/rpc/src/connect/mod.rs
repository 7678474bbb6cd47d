//! The Connect protocol, unary: HTTP messages to calls and back.
//!
//! Only this folder knows the protocol; the rest of the crate handles codecs, messages, metadata and
//! deadlines.

#[cfg(feature = "client")]
pub(crate) mod client;
mod content_type;
mod query;
#[cfg(feature = "server")]
pub(crate) mod server;
mod timeout;

use http::HeaderName;

/// The version of the protocol; there is only `1`.
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");

/// The timeout of the client in milliseconds.
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
