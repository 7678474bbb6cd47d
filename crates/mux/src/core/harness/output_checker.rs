//! Reads everything that a core sends, as a strict peer would.

use std::collections::HashMap;

use crate::{
    config::Role,
    frame::{Decoder, Flags, Header, Item, Kind, MAX_PAYLOAD},
};

/// The last state change of a stream that a core has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Opened,
    Fin,
    Rst,
}

/// Checks that a core's output is well-formed for every input.
pub(crate) struct OutputChecker {
    role: Role,
    decoder: Decoder,
    /// Streams of the core, whose ids are never used again.
    own: HashMap<u32, Sent>,
    /// Streams of the peer, while that never uses an id again.
    foreign: Option<HashMap<u32, Sent>>,
}

impl OutputChecker {
    /// Reads for a peer that may send anything, for instance the same id repeatedly.
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            decoder: Decoder::default(),
            own: HashMap::new(),
            foreign: None,
        }
    }

    /// Reads for a peer that is a core as well.
    pub(crate) fn of_core(role: Role) -> Self {
        Self {
            foreign: Some(HashMap::new()),
            ..Self::new(role)
        }
    }

    /// Checks bytes that the core has sent, in any chunks.
    ///
    /// # Panics
    ///
    /// Panics if they are not frames that a core may send.
    pub(crate) fn check(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        while let Some(item) = self.decoder.next(&mut input).unwrap() {
            if let Item::Header(header) = item {
                self.header(header);
            }
        }
    }

    fn header(&mut self, header: Header) {
        if matches!(header.kind, Kind::Ping | Kind::GoAway) {
            assert_eq!(header.stream_id, 0, "{header:?}");
            return;
        }
        assert_ne!(header.stream_id, 0, "{header:?}");
        if header.kind == Kind::Data {
            assert!(header.length as usize <= MAX_PAYLOAD, "{header:?}");
            assert!(header.length > 0, "an empty data frame: {header:?}");
            assert!(!header.flags.contains(Flags::FIN), "{header:?}");
        }
        let (opening, never) = if self.role.owns(header.stream_id) {
            (Flags::SYN, Flags::ACK)
        } else {
            (Flags::ACK, Flags::SYN)
        };
        assert!(!header.flags.contains(never), "{header:?}");
        let streams = if opening == Flags::SYN {
            &mut self.own
        } else if let Some(foreign) = &mut self.foreign {
            foreign
        } else {
            return;
        };
        let before = streams.get(&header.stream_id).copied();
        // A stream that was not accepted is reset without ACK.
        let is_refusal = opening == Flags::ACK && header.flags == Flags::RST;
        let is_opening = header.flags.contains(opening);
        assert!(
            is_opening == before.is_none() || (is_refusal && before.is_none()),
            "{header:?} after {before:?}"
        );
        streams.insert(header.stream_id, sent(header, before));
    }
}

/// Returns the state of a stream after this frame, and checks that the frame may follow.
fn sent(header: Header, before: Option<Sent>) -> Sent {
    assert_ne!(before, Some(Sent::Rst), "{header:?} after a reset");
    if before == Some(Sent::Fin) {
        let is_valid = header.kind != Kind::Data && !header.flags.contains(Flags::FIN);
        assert!(is_valid, "{header:?} after FIN");
    }
    if header.flags.contains(Flags::RST) {
        Sent::Rst
    } else if header.flags.contains(Flags::FIN) || before == Some(Sent::Fin) {
        Sent::Fin
    } else {
        Sent::Opened
    }
}
