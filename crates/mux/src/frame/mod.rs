//! The wire: frame headers as values, and a decoder that takes bytes in any chunks.

mod decoder;
mod header;

pub(crate) use decoder::{Decoder, Item};
pub(crate) use header::{Flags, HEADER_LEN, Header, Kind};

/// The longest payload that is put into one data frame.
///
/// Frames of streams take turns on the socket, so this is how long a large transfer can
/// delay a small call. What a peer may send is bounded by the receive window alone.
pub(crate) const MAX_PAYLOAD: usize = 16 * 1024;
