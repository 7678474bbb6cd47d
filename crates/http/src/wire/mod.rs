//! Bytes on their way: what was read and not used yet, and what is being written.

mod reader;
mod writer;

pub(crate) use self::reader::Reader;
#[cfg(feature = "client")]
pub(crate) use self::reader::poll_read;
pub(crate) use self::writer::{Framing, SendError, Writer};
