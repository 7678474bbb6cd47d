//! Whole frames, header and payload.

use std::fmt;

use super::{Flags, HEADER_LEN, Header, Kind};
use crate::{error::ProtocolError, zeroize::zeroize};

/// The longest payload that a [`FrameDecoder`] accepts unless told otherwise: 16 MiB.
const MAX_FRAME: u32 = 16 * 1024 * 1024;

/// One frame: a header and, for a data frame, its payload.
///
/// `Display` and `Debug` show the header and never the payload, as in `Data+SYN stream 1, 25 bytes`.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The header. Its length field is not derived from `payload`, so that a test can send a wrong one.
    pub header: Header,
    /// The payload of a data frame; empty for the other types.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Returns a data frame.
    ///
    /// # Panics
    ///
    /// Panics if the payload is longer than 2^32-1 bytes.
    pub fn data(stream_id: u32, flags: Flags, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).expect("a payload of less than 4 GiB");
        Self {
            header: Header::data(stream_id, flags, length),
            payload: payload.to_vec(),
        }
    }

    /// Returns a window update, which grants `credit` bytes.
    pub const fn window_update(stream_id: u32, flags: Flags, credit: u32) -> Self {
        Self::without_payload(Header::window_update(stream_id, flags, credit))
    }

    /// Returns a ping: a request with [`Flags::SYN`], a response with [`Flags::ACK`].
    pub const fn ping(flags: Flags, opaque: u32) -> Self {
        Self::without_payload(Header::ping(flags, opaque))
    }

    /// Returns a GoAway.
    pub const fn go_away(code: u32) -> Self {
        Self::without_payload(Header::go_away(code))
    }

    const fn without_payload(header: Header) -> Self {
        Self {
            header,
            payload: Vec::new(),
        }
    }

    /// Returns whether all of `flags` are set.
    pub const fn has(&self, flags: Flags) -> bool {
        self.header.flags.contains(flags)
    }

    /// Encodes header and payload.
    pub fn encode(&self) -> Vec<u8> {
        [&self.header.encode()[..], &self.payload].concat()
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header {
            kind,
            flags,
            stream_id,
            length,
        } = self.header;
        write!(f, "{kind:?}{flags}")?;
        match kind {
            Kind::Data => write!(f, " stream {stream_id}, {length} bytes"),
            Kind::WindowUpdate => write!(f, " stream {stream_id}, delta {length}"),
            Kind::Ping => write!(f, " {length}"),
            Kind::GoAway => write!(f, " code {length}"),
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shows each flag as `+SYN`, and unknown ones as a number.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::SYN, "SYN"),
            (Self::ACK, "ACK"),
            (Self::FIN, "FIN"),
            (Self::RST, "RST"),
        ];
        let mut unknown = self.bits();
        for (flag, name) in names {
            if self.contains(flag) {
                write!(f, "+{name}")?;
                unknown &= !flag.bits();
            }
        }
        if unknown != 0 {
            write!(f, "+{unknown:#x}")?;
        }
        Ok(())
    }
}

/// Why bytes are not a frame. The decoder cannot continue after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The version or the type does not exist.
    #[error(transparent)]
    Header(#[from] ProtocolError),
    /// The payload is longer than the decoder accepts.
    #[error("the payload of a frame has {length} bytes, more than {limit}")]
    PayloadTooLong {
        /// The length field of the frame.
        length: u32,
        /// The limit, see [`FrameDecoder::with_max_payload`].
        limit: u32,
    },
}

/// Decodes whole frames from bytes that arrive in any pieces.
///
/// It holds the bytes that were pushed and not yet returned in a frame, and overwrites them when they are done with.
pub struct FrameDecoder {
    bytes: Vec<u8>,
    /// How many of `bytes` belong to frames that were returned.
    taken: usize,
    max_payload: u32,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameDecoder {
    /// Returns a decoder that accepts payloads of at most 16 MiB.
    pub const fn new() -> Self {
        Self::with_max_payload(MAX_FRAME)
    }

    /// Returns a decoder that accepts payloads of at most `bytes` bytes.
    pub const fn with_max_payload(bytes: u32) -> Self {
        Self {
            bytes: Vec::new(),
            taken: 0,
            max_payload: bytes,
        }
    }

    /// Appends bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > self.bytes.capacity() {
            // A vector that grows would free memory with payload in it.
            let needed = self.pending().len() + bytes.len();
            let mut grown = Vec::with_capacity(2 * needed);
            grown.extend_from_slice(self.pending());
            zeroize(&mut self.bytes);
            self.bytes = grown;
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next frame, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// Returns [`FrameError`] if the bytes are not a frame; the same error again if called again.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((header, rest)) = self.pending().split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = Header::decode(*header)?;
        let length = header.payload_len();
        if length > self.max_payload {
            let limit = self.max_payload;
            return Err(FrameError::PayloadTooLong { length, limit });
        }
        let Some(payload) = rest.get(..length as usize) else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.taken += HEADER_LEN + payload.len();
        Ok(Some(Frame { header, payload }))
    }

    /// Returns the bytes that were pushed and are not part of a returned frame. At the end of a connection they are
    /// a frame that was cut off, if there are any.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }
}

/// Shows how much is pending, never what.
impl fmt::Debug for FrameDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameDecoder")
            .field("pending", &self.pending().len())
            .field("max_payload", &self.max_payload)
            .finish()
    }
}

impl Drop for FrameDecoder {
    fn drop(&mut self) {
        zeroize(&mut self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::window_update(1, Flags::SYN, 0),
            Frame::data(0x0102_0304, Flags::NONE, b"abc"),
            Frame::ping(Flags::ACK, 7),
            Frame::data(3, Flags::SYN.with(Flags::FIN), &[9; 70_000]),
            Frame::go_away(2),
        ]
    }

    #[test]
    fn frames_are_decoded_from_pieces_of_any_size() {
        let bytes: Vec<u8> = frames().iter().flat_map(Frame::encode).collect();
        for size in [1, 5, 12, 13, 4096, bytes.len()] {
            let mut decoder = FrameDecoder::new();
            let mut decoded = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    decoded.push(frame);
                }
            }
            assert_eq!(decoded, frames(), "pieces of {size}");
            assert!(decoder.pending().is_empty());
        }
    }

    #[test]
    fn a_frame_that_was_cut_off_stays_pending() {
        let mut decoder = FrameDecoder::new();
        decoder.push(&Frame::data(1, Flags::NONE, b"abc").encode()[..14]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.pending().len(), 14);
    }

    #[test]
    fn malformed_bytes_are_an_error_each_time() {
        let too_long = Header::data(1, Flags::NONE, 101).encode();
        let unknown = |at: usize, value| {
            let mut bytes = Header::go_away(0).encode();
            bytes[at] = value;
            bytes
        };
        let (length, limit) = (101, 100);
        for (bytes, error) in [
            (
                unknown(0, 1),
                ProtocolError::UnknownVersion { version: 1 }.into(),
            ),
            (unknown(1, 4), ProtocolError::UnknownType { kind: 4 }.into()),
            (too_long, FrameError::PayloadTooLong { length, limit }),
        ] {
            let mut decoder = FrameDecoder::with_max_payload(100);
            decoder.push(&bytes);
            for _ in 0..2 {
                assert_eq!(decoder.next_frame(), Err(error));
            }
        }
    }

    #[test]
    fn unknown_flags_are_kept_and_shown() {
        let frame = Frame::window_update(1, Flags::from_bits(0x21), 5);
        let mut decoder = FrameDecoder::new();
        decoder.push(&frame.encode());
        let decoded = decoder.next_frame().unwrap().unwrap();
        assert_eq!(decoded.header.flags.bits(), 0x21);
        assert_eq!(
            decoded.to_string(),
            "WindowUpdate+SYN+0x20 stream 1, delta 5"
        );
    }

    #[test]
    fn a_frame_shows_its_header_and_never_its_payload() {
        let shown: Vec<String> = frames().iter().map(|frame| format!("{frame:?}")).collect();
        assert_eq!(
            shown,
            [
                "WindowUpdate+SYN stream 1, delta 0",
                "Data stream 16909060, 3 bytes",
                "Ping+ACK 7",
                "Data+SYN+FIN stream 3, 70000 bytes",
                "GoAway code 2",
            ]
        );
    }
}
