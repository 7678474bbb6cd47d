//! A yamux multiplexer for tokio: many streams on one connection.
//!
//! It speaks the protocol as HashiCorp's Go implementation does, on any byte stream, in both
//! roles. It is not a transport of its own (it does not dial, listen, encrypt or reconnect),
//! and it knows nothing of what travels on its streams.
//!
//! Three types to know:
//!
//! - [`Session`]: a handle of one end; it opens, accepts and closes. It comes with a [`Driver`],
//!   the future that runs the session and belongs to whoever spawns it.
//! - [`Stream`]: one byte stream, an I/O object for tokio and hyper.
//! - [`Connector`] and [`Listener`]: a session as what HTTP clients and servers expect.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use keyway_mux::{Config, Role, Session};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let (near, far) = tokio::net::UnixStream::pair()?;
//! let (client, driver) = Session::new(near, Role::Client, Config::default());
//! tokio::spawn(driver);
//! let (server, driver) = Session::new(far, Role::Server, Config::default());
//! tokio::spawn(driver);
//!
//! let mut question = client.open().await?;
//! question.write_all(b"ping").await?;
//! question.shutdown().await?;
//!
//! let mut asked = server.accept().await?;
//! let mut text = String::new();
//! asked.read_to_string(&mut text).await?;
//! assert_eq!(text, "ping");
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! `hyper` (on by default) makes streams I/O objects of hyper, `futures` of the futures ecosystem;
//! `hyper-util`, `axum` and `tonic` add the traits that hyper-util's pooled client, axum's and
//! tonic's servers want; `frame` makes the codec of the frames public.
#![forbid(unsafe_code)]

mod config;
mod connector;
mod copying;
mod core;
mod driver;
mod error;
#[cfg(feature = "frame")]
pub mod frame;
#[cfg(not(feature = "frame"))]
#[allow(unreachable_pub, reason = "public with the feature `frame`")]
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

pub use self::{
    config::{Config, Role},
    connector::Connector,
    driver::Driver,
    error::{AcceptError, OpenError, ProtocolError, SessionError, StreamError, StreamId},
    handle::{Accepting, Closed, Opening, PeerDraining, Session},
    info::StreamInfo,
    io::Stream,
    listener::Listener,
    stats::Stats,
};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
