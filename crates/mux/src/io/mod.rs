//! The byte streams of both ends: the connection below, and the streams above.

#[cfg(feature = "futures")]
mod futures;
#[cfg(feature = "hyper")]
mod hyper;
mod stream;
mod tokio;

use std::fmt;

use ::tokio::io::{AsyncRead, AsyncWrite};

pub use self::stream::Stream;

/// What a session runs on: any reliable byte stream.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

impl fmt::Debug for dyn Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}
