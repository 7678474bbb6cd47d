//! HTTP/1.1 on byte streams that are open already.
//!
//! The crate opens no sockets and has no name resolution and no TLS: a byte stream is anything that implements tokio's
//! [`AsyncRead`](tokio::io::AsyncRead) and [`AsyncWrite`](tokio::io::AsyncWrite). The client's side is [`Exchange`], a
//! transport that opens a stream for each request. The server's side is [`serve_connection`] for one byte stream and
//! [`serve`] for a stream of them. Services and transports are `tower::Service`s.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use http_body_util::{BodyExt as _, Full};
//! use keyway_http::{Exchange, RequestBody, Limits, serve_connection};
//! use tower::{ServiceExt as _, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let connect = service_fn(|_: http::Uri| async {
//!     let (near, far) = tokio::io::duplex(1024);
//!     tokio::spawn(async move {
//!         let hello = service_fn(|_: http::Request<RequestBody>| async {
//!             Ok::<_, Infallible>(http::Response::new(Full::<bytes::Bytes>::from("hello")))
//!         });
//!         serve_connection(far, hello, &Limits::default(), std::future::pending()).await
//!     });
//!     Ok::<_, Infallible>(near)
//! });
//! let request = http::Request::get("http://localhost/").body(Full::<bytes::Bytes>::default())?;
//! let response = Exchange::new(connect).oneshot(request).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Secrets
//!
//! The buffers that this crate makes are zeroed before they are freed. Those of hyper, which serves HTTP/2 (feature
//! `h2c`), are not.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(all(feature = "client", feature = "server")),
    allow(
        dead_code,
        unreachable_pub,
        unused_imports,
        reason = "each side uses its part of syntax and wire"
    )
)]

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "server")]
mod health;
#[cfg(feature = "server")]
mod server;
mod syntax;
mod wire;
mod zeroed;

#[cfg(feature = "client")]
pub use self::client::{
    Exchange, ExchangeBody, ExchangeError, KeptStream, Pool, Repeatable, UpgradeError, upgrade,
};
#[cfg(feature = "server")]
pub use self::health::Health;
#[cfg(feature = "server")]
pub use self::server::{
    Admission, HttpService, Limits, OnUpgrade, RequestBody, ServeError, Served, serve,
    serve_connection,
};
#[cfg(feature = "server")]
pub use self::syntax::has_token;
pub use self::wire::{ByteStream, Upgraded};

/// An error of any type, as services, connectors and bodies report them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The examples of the README are compiled with the documentation's.
#[cfg(all(doctest, feature = "client", feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;
