//! Connect RPC (unary) for prost over any tower service.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(all(feature = "client", feature = "server")),
    allow(dead_code, reason = "some helpers serve one side only")
)]

mod body;
mod buffer;
#[cfg(feature = "client")]
pub mod client;
mod code;
mod codec;
mod compression;
#[cfg(any(feature = "client", feature = "server"))]
mod connect;
mod error;
#[cfg(feature = "http1")]
pub mod http1;
mod metadata;
mod method;
mod request;
mod response;
#[cfg(feature = "server")]
mod server;

pub use self::body::Body;
pub use self::code::{Code, ParseCodeError};
pub use self::codec::Codec;
#[cfg(feature = "json")]
pub use self::codec::json;
pub use self::compression::Compression;
pub use self::error::{BoxError, Error, ErrorDetail};
pub use self::metadata::{BinaryMetadata, BinaryMetadataError};
pub use self::method::{Idempotency, MethodSpec};
pub use self::request::Request;
pub use self::response::Response;
#[cfg(feature = "server")]
pub use self::server::{IntoRoutes, NotFound, ResponseFuture, Route, Router};
