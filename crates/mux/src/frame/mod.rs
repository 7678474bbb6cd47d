//! The frames of yamux as values, for programs that speak the protocol frame by frame: scripted peers of tests,
//! conformance checks, analysers.
//!
//! A [`Session`](crate::Session) does not need it. The codec has no state of a session: it accepts each sequence of
//! well-formed frames, whether or not the protocol allows it.
//!
//! ```
//! # #[cfg(feature = "frame")] {
//! use keyway_mux::frame::{Flags, Frame, FrameDecoder};
//!
//! let request = Frame::data(1, Flags::SYN, b"ping");
//! let mut decoder = FrameDecoder::new();
//! decoder.push(&request.encode());
//! assert_eq!(decoder.next_frame()?, Some(request));
//! assert_eq!(decoder.next_frame()?, None);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decoder;
mod header;
#[cfg(feature = "frame")]
mod whole;

pub(crate) use decoder::{Decoder, Item};
pub use header::{Flags, HEADER_LEN, Header, Kind};
#[cfg(feature = "frame")]
pub use whole::{Frame, FrameDecoder, FrameError};

/// The longest payload that is put into one data frame.
///
/// Frames of streams alternate on the connection, so this is how much a bulk stream can delay a small call. What a peer may send is bounded by the receive window alone.
pub(crate) const MAX_PAYLOAD: usize = 16 * 1024;
