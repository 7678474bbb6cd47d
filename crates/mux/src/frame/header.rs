//! The header of every frame: version, type, flags, stream id, length.

use crate::error::ProtocolError;

/// The length of every frame header in bytes.
pub(crate) const HEADER_LEN: usize = 12;

/// The only protocol version there is.
const VERSION: u8 = 0;

/// The type of a frame, the second byte of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Payload of a stream; the length field counts its bytes.
    Data = 0,
    /// Credit for the receiver of a stream's bytes; the length field is the credit.
    WindowUpdate = 1,
    /// A ping (SYN) or its response (ACK); the length field is an opaque value, which the response repeats.
    Ping = 2,
    /// The sender accepts no new streams (code 0) or ends the session (1: protocol error, 2: internal
    /// error); the length field is the code.
    GoAway = 3,
}

/// The flags of a frame header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// No flag.
    pub(crate) const NONE: Self = Self(0);
    /// Opens a stream, or marks a ping.
    pub(crate) const SYN: Self = Self(1);
    /// Acknowledges a stream, or marks the response to a ping.
    pub(crate) const ACK: Self = Self(2);
    /// Ends one direction of a stream.
    pub(crate) const FIN: Self = Self(4);
    /// Resets a stream: ends both directions at once.
    pub(crate) const RST: Self = Self(8);

    /// Returns whether all flags of `other` are set.
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the flags of both.
    #[must_use]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The header of one frame.
///
/// Unknown flags are kept. A session ignores them, as HashiCorp's implementation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The type.
    pub(crate) kind: Kind,
    /// The flags.
    pub(crate) flags: Flags,
    /// The stream; 0 for the session itself (pings and GoAway).
    pub(crate) stream_id: u32,
    /// The length field: bytes of payload, credit in bytes, value of a ping or code, by type.
    pub(crate) length: u32,
}

impl Header {
    /// Returns the header of a data frame with `length` bytes of payload.
    pub(crate) const fn data(stream_id: u32, flags: Flags, length: u32) -> Self {
        Self::new(Kind::Data, flags, stream_id, length)
    }

    /// Returns the header of a window update, which grants `credit` bytes.
    pub(crate) const fn window_update(stream_id: u32, flags: Flags, credit: u32) -> Self {
        Self::new(Kind::WindowUpdate, flags, stream_id, credit)
    }

    /// Returns the header of a ping: a request with [`Flags::SYN`], a response with [`Flags::ACK`].
    pub(crate) const fn ping(flags: Flags, opaque: u32) -> Self {
        Self::new(Kind::Ping, flags, 0, opaque)
    }

    /// Returns the header of a GoAway.
    pub(crate) const fn go_away(code: u32) -> Self {
        Self::new(Kind::GoAway, Flags::NONE, 0, code)
    }

    const fn new(kind: Kind, flags: Flags, stream_id: u32, length: u32) -> Self {
        Self {
            kind,
            flags,
            stream_id,
            length,
        }
    }

    /// Encodes the header, in network byte order.
    pub(crate) fn encode(self) -> [u8; HEADER_LEN] {
        let [f0, f1] = self.flags.0.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream_id.to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        let kind = self.kind as u8;
        [VERSION, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3]
    }

    /// Decodes a header.
    ///
    /// # Errors
    ///
    /// Returns [`ProtocolError::UnknownVersion`] or [`ProtocolError::UnknownType`] if the protocol does not
    /// have the version or the type.
    pub(crate) fn decode(bytes: [u8; HEADER_LEN]) -> Result<Self, ProtocolError> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        if version != VERSION {
            return Err(ProtocolError::UnknownVersion { version });
        }
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::WindowUpdate,
            2 => Kind::Ping,
            3 => Kind::GoAway,
            kind => return Err(ProtocolError::UnknownType { kind }),
        };
        let flags = Flags(u16::from_be_bytes([f0, f1]));
        let stream_id = u32::from_be_bytes([s0, s1, s2, s3]);
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        Ok(Self::new(kind, flags, stream_id, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodes_the_bytes_of_a_recorded_session() {
        let open = Header::window_update(1, Flags::SYN, 0);
        assert_eq!(open.encode(), [0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
        let data = Header::data(1, Flags::NONE, 0x108);
        assert_eq!(data.encode(), [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 8]);
        let bye = Header::go_away(0);
        assert_eq!(bye.encode(), [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let pong = Header::ping(Flags::ACK, 0x0102_0304);
        assert_eq!(pong.encode(), [0, 2, 0, 2, 0, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn flags_are_a_set() {
        let both = Flags::SYN.with(Flags::FIN);
        assert_eq!(both.with(Flags::SYN), both);
        assert!(both.contains(Flags::SYN) && both.contains(Flags::FIN) && both.contains(both));
        assert!(!both.contains(Flags::ACK) && !both.contains(Flags::SYN.with(Flags::ACK)));
        assert!(Flags::NONE.contains(Flags::NONE) && !Flags::NONE.contains(Flags::RST));
    }

    #[test]
    fn refuses_what_the_protocol_does_not_have() {
        let mut bytes = Header::go_away(0).encode();
        bytes[0] = 1;
        assert_eq!(
            Header::decode(bytes),
            Err(ProtocolError::UnknownVersion { version: 1 })
        );
        let mut bytes = Header::go_away(0).encode();
        bytes[1] = 4;
        assert_eq!(
            Header::decode(bytes),
            Err(ProtocolError::UnknownType { kind: 4 })
        );
    }

    proptest! {
        #[test]
        fn headers_survive_the_round_trip(kind in 0u8..4, rest in any::<[u8; 10]>()) {
            let mut bytes = [0; HEADER_LEN];
            bytes[1] = kind;
            bytes[2..].copy_from_slice(&rest);
            let header = Header::decode(bytes).unwrap();
            prop_assert_eq!(header.encode(), bytes);
        }
    }
}
