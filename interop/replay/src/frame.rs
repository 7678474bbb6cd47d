//! A yamux frame decoder for the test's view of a connection.

use std::fmt;

/// The bits of a header's flags.
pub mod flags {
    /// Opens a stream, or asks with a ping.
    pub const SYN: u16 = 1;
    /// Accepts a stream, or answers a ping.
    pub const ACK: u16 = 2;
    /// Ends one direction of a stream.
    pub const FIN: u16 = 4;
    /// Ends a stream at once.
    pub const RST: u16 = 8;
}

const HEADER: usize = 12;

/// The four types of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Bytes of a stream.
    Data,
    /// "No new streams", with a code.
    GoAway,
    /// A sign of life, with an opaque value.
    Ping,
    /// Credit for a stream.
    WindowUpdate,
}

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: FrameKind,
    /// Its flags, see [`flags`].
    pub flags: u16,
    /// The stream it belongs to, 0 for the session.
    pub stream: u32,
    /// The header's length field: bytes, credit, code or opaque value.
    pub value: u32,
    /// The bytes of a data frame.
    pub payload: Vec<u8>,
}

/// What cannot be a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A flag bit that does not exist.
    #[error("a frame has the flags {0:#06x}")]
    Flags(u16),
    /// A type that does not exist.
    #[error("a frame has the type {0}")]
    Type(u8),
    /// Another version than 0.
    #[error("a frame has the version {0}")]
    Version(u8),
}

impl Frame {
    /// True when all bits of `flag` are set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag == flag
    }

    /// The frame as it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            FrameKind::Data => 0,
            FrameKind::WindowUpdate => 1,
            FrameKind::Ping => 2,
            FrameKind::GoAway => 3,
        };
        let mut bytes = vec![0, kind];
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(self.value.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// Takes one frame off the front of `bytes`, when a whole one is there.
    fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, FrameError> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let number = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if header[0] != 0 {
            return Err(FrameError::Version(header[0]));
        }
        let kind = match header[1] {
            0 => FrameKind::Data,
            1 => FrameKind::WindowUpdate,
            2 => FrameKind::Ping,
            3 => FrameKind::GoAway,
            other => return Err(FrameError::Type(other)),
        };
        let (flags, stream, value) = (number(0) as u16, number(4), number(8));
        if flags > 0xf {
            return Err(FrameError::Flags(flags));
        }
        let length = if kind == FrameKind::Data {
            value as usize
        } else {
            0
        };
        if bytes.len() < HEADER + length {
            return Ok(None);
        }
        let payload = bytes[HEADER..HEADER + length].to_vec();
        bytes.drain(..HEADER + length);
        Ok(Some(Self {
            kind,
            flags,
            stream,
            value,
            payload,
        }))
    }
}

/// As the tables of the protocol write it: `Data stream 1, 25 bytes`.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)?;
        for (flag, name) in [
            (flags::SYN, "SYN"),
            (flags::ACK, "ACK"),
            (flags::FIN, "FIN"),
            (flags::RST, "RST"),
        ] {
            if self.has(flag) {
                write!(f, "+{name}")?;
            }
        }
        match self.kind {
            FrameKind::Data => write!(f, " stream {}, {} bytes", self.stream, self.value),
            FrameKind::WindowUpdate => write!(f, " stream {}, delta {}", self.stream, self.value),
            FrameKind::Ping => write!(f, " {}", self.value),
            FrameKind::GoAway => write!(f, " code {}", self.value),
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Frames out of bytes that come in any pieces.
#[derive(Debug, Default)]
pub struct Frames {
    pending: Vec<u8>,
}

impl Frames {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    ///
    /// When the bytes cannot be a frame.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        Frame::take(&mut self.pending)
    }

    /// How many bytes belong to no whole frame.
    pub fn left_over(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Frame {
        Frame {
            kind: FrameKind::Data,
            flags: flags::SYN,
            stream: 0x0102_0304,
            value: 3,
            payload: b"abc".to_vec(),
        }
    }

    #[test]
    fn a_frame_survives_the_wire_in_single_bytes() {
        let mut frames = Frames::default();
        let bytes = data().encode();
        for byte in &bytes[..bytes.len() - 1] {
            frames.push(&[*byte]);
            assert_eq!(frames.next_frame(), Ok(None));
        }
        frames.push(&bytes[bytes.len() - 1..]);
        assert_eq!(frames.next_frame(), Ok(Some(data())));
        assert_eq!(frames.left_over(), 0);
    }

    #[test]
    fn nonsense_is_an_error() {
        for (bytes, error) in [
            ([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], FrameError::Version(1)),
            ([0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], FrameError::Type(4)),
            ([0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0], FrameError::Flags(16)),
        ] {
            let mut frames = Frames::default();
            frames.push(&bytes);
            assert_eq!(frames.next_frame(), Err(error));
        }
    }

    #[test]
    fn a_frame_says_what_it_is() {
        assert_eq!(data().to_string(), "Data+SYN stream 16909060, 3 bytes");
    }
}
