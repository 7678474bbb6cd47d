//! Bytes in transit: a reader of bytes that are not used yet, a body as it arrives, and a message that is being written.

mod body;
mod reader;
mod upgraded;
mod writer;

pub(crate) use self::body::{BodyReader, ReadError};
pub(crate) use self::reader::Reader;
pub use self::upgraded::{ByteStream, Upgraded};
pub(crate) use self::writer::{Framing, SendError, Writer};
