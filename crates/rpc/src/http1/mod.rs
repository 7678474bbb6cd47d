//! Transports over HTTP/1.1 on any byte stream.
//!
//! The client's is [`Exchange`]: a connection for each request. The server's are
//! [`serve_connection`] for one byte stream and [`serve`] for a stream of them; below them is
//! hyper, but for the first request of a connection where that arrives in one piece. Both take I/O
//! objects that implement hyper's traits; [`TokioIo`] makes one of any tokio I/O object.

#[cfg(feature = "client")]
mod exchange;
#[cfg(any(feature = "client", feature = "server"))]
mod outgoing;
#[cfg(any(feature = "client", feature = "server"))]
mod reader;
#[cfg(feature = "server")]
mod serve;

pub use hyper_util::rt::TokioIo;

#[cfg(feature = "client")]
pub use self::exchange::{Exchange, ExchangeBody, ExchangeError};
#[cfg(feature = "server")]
pub use self::serve::{ServeConfig, ServeError, Served, serve, serve_connection};
