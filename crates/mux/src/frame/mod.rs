//! The frames of yamux.

mod decoder;
mod header;

pub(crate) use decoder::{Decoder, Item};
pub(crate) use header::{Flags, HEADER_LEN, Header, Kind};

/// The longest payload that is sent in one data frame.
///
/// Frames of streams alternate on the connection, so a bulk stream delays a small call by one frame. The frames of the
/// peer are bounded by the receive window alone.
pub(crate) const MAX_PAYLOAD: usize = 16 * 1024;
