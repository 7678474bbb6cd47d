//! Connect RPC (unary) for prost over any tower service.
//!
//! A [`Router`] serves methods and is a `tower::Service` for HTTP requests with any body; a
//! [`Client`](client::Client) calls methods and is generic over the tower service that carries its
//! requests. A call has a [`Request`], and a [`Response`] or an [`Error`] with a [`Code`]. Both sides
//! pass the official conformance suite of Connect.
//!
//! It has no streaming methods, no gRPC and no TLS. It contains no HTTP implementation: `keyway-http` has a server and a client, and hyper's, axum's and others fit as well.
//!
//! Most programs use generated code (`keyway-rpc-build`), where a service is a trait to implement
//! and a client is a type with a method for each `rpc`. Its parts can be used directly, as in this
//! program, which calls a router without a connection:
//!
//! ```
//! use keyway_rpc::client::Client;
//! use keyway_rpc::{Code, Error, MethodSpec, Request, Response, Route, Router};
//! use prost_types::Duration;
//!
//! static DOUBLE: MethodSpec = MethodSpec::unary("/demo.v1.Clock/Double");
//!
//! async fn double(request: Request<Duration>) -> Result<Response<Duration>, Error> {
//!     let seconds = request.message().seconds.checked_mul(2);
//!     let seconds = seconds.ok_or_else(|| Error::out_of_range("more seconds than a Duration holds"))?;
//!     Ok(Response::new(Duration { seconds, nanos: 0 }))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let router = Router::new().add_route(Route::unary(&DOUBLE, double));
//! let client = Client::new(router);
//!
//! let message = Duration { seconds: 21, nanos: 0 };
//! let response = client.unary::<_, Duration>(&DOUBLE, message.into()).await?;
//! assert_eq!(response.message().seconds, 42);
//!
//! let message = Duration { seconds: i64::MAX, nanos: 0 };
//! let error = client.unary::<_, Duration>(&DOUBLE, message.into()).await.unwrap_err();
//! assert_eq!(error.code(), Code::OutOfRange);
//! # Ok(())
//! # }
//! ```
//!
//! # Cancellation
//!
//! Dropping the future of a call cancels it. Dropping the future of a [`Router`]'s response, as hyper
//! does when a client disconnects, drops the handler. So does the deadline, which travels with the
//! request.
//!
//! # Extensions
//!
//! Values in the extensions of a request or a response stay in their process. Those of a [`Request`]
//! are those of the HTTP request, in both directions, where tower layers read and write them; the
//! client and the router add the `&'static` [`MethodSpec`] of the call. Those of a [`Response`] live
//! as long as the body of the HTTP response.
//!
//! # Secrets
//!
//! Methods may be marked as [sensitive](MethodSpec::sensitive). The buffers that this crate makes
//! for their messages are zeroed when they are dropped, and errors about a message name the place
//! without quoting it. No `Debug` of this crate prints the values of metadata. Not covered are the
//! buffers of the HTTP implementation and the fields of the messages themselves.
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
#[cfg(feature = "json")]
pub mod json;
mod memory;
mod metadata;
mod method;
pub mod request;
pub mod response;
#[cfg(feature = "server")]
mod server;

pub use self::body::Body;
pub use self::code::{Code, ParseCodeError};
pub use self::codec::Codec;
pub use self::compression::Compression;
pub use self::error::{
    BoxError, Error, ErrorDetail, MAX_ERROR_MESSAGE_LEN, MAX_ERROR_METADATA_LEN,
};
pub use self::memory::ReserveMemory;
pub use self::metadata::{BinaryMetadata, BinaryMetadataError};
pub use self::method::{Idempotency, MethodSpec};
pub use self::request::Request;
pub use self::response::Response;
#[cfg(feature = "server")]
pub use self::server::{
    IntoRoutes, Methods, NotFound, RecoverError, RecoverErrorLayer, RecoverFuture, ResponseFuture,
    Route, Router,
};

/// Compiles the recipes of the README with the examples of the documentation.
#[cfg(all(doctest, feature = "client", feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;
