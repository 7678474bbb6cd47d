//! The frames of yamux.

mod decoder;
mod header;

pub(crate) use decoder::{Decoder, Item};
pub(crate) use header::{Flags, HEADER_LEN, Header, Kind};

/// The longest payload that is put into one data frame.
///
/// Frames of streams alternate on the connection, so this is how much a bulk stream can delay a small call. What a peer may send is bounded by the receive window alone.
pub(crate) const MAX_PAYLOAD: usize = 16 * 1024;
