//! A yamux multiplexer for tokio: many streams on one connection.
//!
//! It speaks the protocol as HashiCorp's Go implementation does, on any byte stream, in both
//! roles. It does not dial, listen, encrypt or reconnect, and it is independent of the protocols on its streams.
//!
//! - [`Session`] is a handle of one end: it opens, accepts, pings and closes. It comes with a [`Driver`],
//!   the future that runs the session, which the caller spawns.
//! - [`Stream`] is one byte stream, an I/O object of tokio; [`Stream::into_split`] makes a [`ReadHalf`] and a
//!   [`WriteHalf`] of it.
//! - [`Listener`] is a stream of the streams that the peer opens, and `Connector` (feature `connector`) a service that opens
//!   streams: a session as HTTP servers and clients expect it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use keyway_mux::{Config, Session};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let (near, far) = tokio::net::UnixStream::pair()?;
//! let (client, driver) = Session::client(near, Config::default());
//! tokio::spawn(driver);
//! let (server, driver) = Session::server(far, Config::default());
//! tokio::spawn(driver);
//!
//! let mut near = client.open().await?;
//! near.write_all(b"ping").await?;
//! near.shutdown().await?;
//!
//! let mut far = server.accept().await?.ok_or("the session was closed")?;
//! let mut text = String::new();
//! far.read_to_string(&mut text).await?;
//! assert_eq!(text, "ping");
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! None is on by default. `connector` adds `Connector`, a `tower::Service<Uri>`. `hyper` and `futures` make streams
//! I/O objects of hyper and of the futures ecosystem. `hyper-util`, `axum` and `tonic` implement the traits that hyper-util's
//! pooled client and the servers of axum and tonic need.
//!
//! # Logging
//!
//! Events are logged with [`tracing`] at debug level and below. Those of a session are emitted under its lock: a subscriber
//! that writes to a stream of the same session deadlocks.
#![forbid(unsafe_code)]

mod config;
#[cfg(feature = "connector")]
mod connector;
mod copying;
mod core;
mod driver;
mod error;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod info;
mod integrations;
mod io;
mod listener;
mod stats;
mod streams;
mod zeroize;

#[cfg(feature = "connector")]
pub use self::connector::Connector;
pub use self::{
    config::{Config, PeerSuspension, Role},
    driver::Driver,
    error::{OpenError, ProtocolError, SessionError, StreamError, StreamId},
    handle::{Open, Session},
    info::StreamInfo,
    io::{ReadHalf, ReuniteError, Stream, WriteHalf},
    listener::Listener,
    stats::Stats,
};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
