//! The frames of yamux as values, for scripted peers and for recordings.
//!
//! The codec shares no code with `keyway-mux`, which is tested with it, and has no state of a session: it accepts each
//! sequence of well-formed frames, whether or not the protocol allows it.
//!
//! ```
//! use keyway_test_support::frame::{Flags, Frame, FrameDecoder};
//!
//! let request = Frame::data(1, Flags::SYN, b"ping");
//! let mut decoder = FrameDecoder::default();
//! decoder.push(&request.encode());
//! assert_eq!(decoder.next_frame(), Ok(Some(request)));
//! assert_eq!(decoder.next_frame(), Ok(None));
//! ```

use std::fmt;

/// The length of a frame header in bytes.
const HEADER_LEN: usize = 12;

/// The type of a frame, the second byte of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Payload of a stream; the length field counts its bytes.
    Data = 0,
    /// Credit for the receiver of a stream's bytes; the length field is the credit.
    WindowUpdate = 1,
    /// A ping (SYN) or its response (ACK); the length field is an opaque value, which the response repeats.
    Ping = 2,
    /// The sender accepts no new streams (code 0) or ends the session (1: protocol error, 2: internal error); the
    /// length field is the code.
    GoAway = 3,
}

/// The flags of a frame header, unknown ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Opens a stream, or marks a ping.
    pub const SYN: Self = Self(1);
    /// Acknowledges a stream, or marks the response to a ping.
    pub const ACK: Self = Self(2);
    /// Ends one direction of a stream.
    pub const FIN: Self = Self(4);
    /// Resets a stream: ends both directions at once.
    pub const RST: Self = Self(8);

    /// Returns the flags of the bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Returns the bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Returns whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the flags of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
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
        let mut unknown = self.0;
        for (flag, name) in names {
            if self.contains(flag) {
                write!(f, "+{name}")?;
                unknown &= !flag.0;
            }
        }
        if unknown != 0 {
            write!(f, "+{unknown:#x}")?;
        }
        Ok(())
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type.
    pub kind: Kind,
    /// The flags.
    pub flags: Flags,
    /// The stream; 0 for the session itself (pings and GoAway).
    pub stream_id: u32,
    /// The length field: bytes of payload, credit in bytes, value of a ping or code, by type.
    pub length: u32,
}

impl Header {
    fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[1] = self.kind as u8;
        bytes[2..4].copy_from_slice(&self.flags.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream_id.to_be_bytes());
        bytes[8..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    fn decode(bytes: [u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        let kind = match (version, kind) {
            (0, 0) => Kind::Data,
            (0, 1) => Kind::WindowUpdate,
            (0, 2) => Kind::Ping,
            (0, 3) => Kind::GoAway,
            _ => return Err(FrameError { version, kind }),
        };
        Ok(Self {
            kind,
            flags: Flags(u16::from_be_bytes([f0, f1])),
            stream_id: u32::from_be_bytes([s0, s1, s2, s3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }
}

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
        let frame = Self::control(Kind::Data, flags, stream_id, length);
        Self {
            payload: payload.to_vec(),
            ..frame
        }
    }

    /// Returns a window update, which grants `credit` bytes.
    pub const fn window_update(stream_id: u32, flags: Flags, credit: u32) -> Self {
        Self::control(Kind::WindowUpdate, flags, stream_id, credit)
    }

    /// Returns a ping: a request with [`Flags::SYN`], a response with [`Flags::ACK`].
    pub const fn ping(flags: Flags, opaque: u32) -> Self {
        Self::control(Kind::Ping, flags, 0, opaque)
    }

    /// Returns a GoAway.
    pub const fn go_away(code: u32) -> Self {
        Self::control(Kind::GoAway, Flags::NONE, 0, code)
    }

    const fn control(kind: Kind, flags: Flags, stream_id: u32, length: u32) -> Self {
        Self {
            header: Header {
                kind,
                flags,
                stream_id,
                length,
            },
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

/// Bytes that are not a frame: the version or the type does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError {
    version: u8,
    kind: u8,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, kind } = self;
        write!(f, "no frame has version {version} and type {kind}")
    }
}

impl std::error::Error for FrameError {}

/// Decodes whole frames from bytes that arrive in any pieces.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    pending: Vec<u8>,
}

impl FrameDecoder {
    /// Appends bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Returns the next frame, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// Returns [`FrameError`] if the bytes are not a frame; the same error again if called again.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((header, rest)) = self.pending.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = Header::decode(*header)?;
        let length = match header.kind {
            Kind::Data => header.length as usize,
            Kind::WindowUpdate | Kind::Ping | Kind::GoAway => 0,
        };
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.pending.drain(..HEADER_LEN + length);
        Ok(Some(Frame { header, payload }))
    }

    /// Returns the bytes that were pushed and are not part of a returned frame. At the end of a connection they are a
    /// frame that was cut off, if there are any.
    pub fn pending(&self) -> &[u8] {
        &self.pending
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
    fn frames_have_the_bytes_of_the_specification() {
        let mut encoded: Vec<Vec<u8>> = frames().iter().map(Frame::encode).collect();
        encoded[3].truncate(HEADER_LEN);
        let expected: [&[u8]; 5] = [
            &[0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0],
            &[0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 3, b'a', b'b', b'c'],
            &[0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 0, 0, 5, 0, 0, 0, 3, 0, 1, 0x11, 0x70],
            &[0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        ];
        assert_eq!(encoded, expected);
    }

    #[test]
    fn frames_are_decoded_from_pieces_of_any_size() {
        let bytes: Vec<u8> = frames().iter().flat_map(Frame::encode).collect();
        for size in [1, 5, 12, 13, 4096, bytes.len()] {
            let mut decoder = FrameDecoder::default();
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
        let mut decoder = FrameDecoder::default();
        decoder.push(&Frame::data(1, Flags::NONE, b"abc").encode()[..14]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.pending().len(), 14);
    }

    #[test]
    fn malformed_bytes_are_an_error_each_time() {
        for (version, kind) in [(1, 3), (0, 4)] {
            let mut bytes = Frame::go_away(0).encode();
            bytes[..2].copy_from_slice(&[version, kind]);
            let mut decoder = FrameDecoder::default();
            decoder.push(&bytes);
            for _ in 0..2 {
                assert_eq!(decoder.next_frame(), Err(FrameError { version, kind }));
            }
        }
    }

    #[test]
    fn unknown_flags_are_kept_and_shown() {
        let frame = Frame::window_update(1, Flags::from_bits(0x21), 5);
        let mut decoder = FrameDecoder::default();
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
