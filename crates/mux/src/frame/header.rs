//! The 12 bytes in front of every frame: version, type, flags, stream id, length.

use crate::error::ProtocolError;

/// The length of every frame header in bytes.
pub(crate) const HEADER_LEN: usize = 12;

/// The only protocol version there is.
const VERSION: u8 = 0;

/// What a frame is for, the second byte of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bytes of a stream; the length field counts them.
    Data,
    /// Credit for the receiver of a stream's bytes; the length field is the credit.
    WindowUpdate,
    /// A question (SYN) or an answer (ACK) about liveness; the length field is opaque.
    Ping,
    /// No new streams, or the end of the session; the length field is the code.
    GoAway,
}

/// The flags of a frame header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const SYN: Self = Self(1);
    pub(crate) const ACK: Self = Self(2);
    pub(crate) const FIN: Self = Self(4);
    pub(crate) const RST: Self = Self(8);

    /// Whether all flags of `other` are set.
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of both.
    #[must_use]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One frame header.
///
/// Unknown flags of a peer are kept and ignored, as HashiCorp's implementation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    pub(crate) stream_id: u32,
    pub(crate) length: u32,
}

impl Header {
    pub(crate) const fn data(stream_id: u32, flags: Flags, length: u32) -> Self {
        Self {
            kind: Kind::Data,
            flags,
            stream_id,
            length,
        }
    }

    pub(crate) const fn window_update(stream_id: u32, flags: Flags, credit: u32) -> Self {
        Self {
            kind: Kind::WindowUpdate,
            flags,
            stream_id,
            length: credit,
        }
    }

    pub(crate) const fn ping(flags: Flags, opaque: u32) -> Self {
        Self {
            kind: Kind::Ping,
            flags,
            stream_id: 0,
            length: opaque,
        }
    }

    pub(crate) const fn go_away(code: u32) -> Self {
        Self {
            kind: Kind::GoAway,
            flags: Flags::NONE,
            stream_id: 0,
            length: code,
        }
    }

    /// The header as it travels, big-endian.
    pub(crate) fn encode(self) -> [u8; HEADER_LEN] {
        let [f0, f1] = self.flags.0.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream_id.to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        let kind = match self.kind {
            Kind::Data => 0,
            Kind::WindowUpdate => 1,
            Kind::Ping => 2,
            Kind::GoAway => 3,
        };
        [VERSION, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3]
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// A version or a type that the protocol does not have.
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
        Ok(Self {
            kind,
            flags: Flags(u16::from_be_bytes([f0, f1])),
            stream_id: u32::from_be_bytes([s0, s1, s2, s3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
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
