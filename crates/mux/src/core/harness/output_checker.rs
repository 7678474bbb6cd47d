//! Reads everything that a core sends, as a strict peer would.

use std::collections::HashMap;

use crate::{
    config::Role,
    frame::{Decoder, Flags, Header, Item, Kind, MAX_PAYLOAD},
};

/// The last thing that a core has said about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Greeting,
    Fin,
    Rst,
}

/// Checks that a core's output is well-formed whatever its input was.
pub(crate) struct OutputChecker {
    role: Role,
    decoder: Decoder,
    /// Streams of the core, whose ids are never used again.
    own: HashMap<u32, Said>,
    /// Streams of the peer, while that never uses an id again.
    foreign: Option<HashMap<u32, Said>>,
}

impl OutputChecker {
    /// Reads for a peer that may say anything, the same ids again and again too.
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            decoder: Decoder::default(),
            own: HashMap::new(),
            foreign: None,
        }
    }

    /// Reads for a peer that is a core too.
    pub(crate) fn of_honest(role: Role) -> Self {
        Self {
            foreign: Some(HashMap::new()),
            ..Self::new(role)
        }
    }

    /// Checks bytes that the core has sent, in any chunks.
    ///
    /// # Panics
    ///
    /// They are no frames, or not ones that a core may send.
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
        let (greeting, never) = if self.role.owns(header.stream_id) {
            (Flags::SYN, Flags::ACK)
        } else {
            (Flags::ACK, Flags::SYN)
        };
        assert!(!header.flags.contains(never), "{header:?}");
        let streams = if greeting == Flags::SYN {
            &mut self.own
        } else if let Some(foreign) = &mut self.foreign {
            foreign
        } else {
            return;
        };
        let before = streams.get(&header.stream_id).copied();
        // A stream that was not accepted is reset without ACK.
        let is_refusal = greeting == Flags::ACK && header.flags == Flags::RST;
        let is_greeting = header.flags.contains(greeting);
        assert!(
            is_greeting == before.is_none() || (is_refusal && before.is_none()),
            "{header:?} after {before:?}"
        );
        streams.insert(header.stream_id, said(header, before));
    }
}

/// What a stream has come to with this frame, which must be one that may follow.
fn said(header: Header, before: Option<Said>) -> Said {
    assert_ne!(before, Some(Said::Rst), "{header:?} after a reset");
    if before == Some(Said::Fin) {
        let is_fine = header.kind != Kind::Data && !header.flags.contains(Flags::FIN);
        assert!(is_fine, "{header:?} after FIN");
    }
    if header.flags.contains(Flags::RST) {
        Said::Rst
    } else if header.flags.contains(Flags::FIN) || before == Some(Said::Fin) {
        Said::Fin
    } else {
        Said::Greeting
    }
}
