//! Reads everything that a core sends, as a strict peer would.

use std::collections::HashMap;

use crate::{
    config::Role,
    frame::{Decoder, Flags, Header, Item, Kind, MAX_PAYLOAD},
};

/// What a core has said about one of its own streams, whose ids are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Syn,
    Fin,
    Rst,
}

/// Checks that a core's output is well-formed whatever its input was.
pub(crate) struct Witness {
    role: Role,
    decoder: Decoder,
    own: HashMap<u32, Said>,
}

impl Witness {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            decoder: Decoder::default(),
            own: HashMap::new(),
        }
    }

    /// Checks bytes that the core has sent, in any chunks, and returns the headers in them.
    ///
    /// # Panics
    ///
    /// They are no frames, or not ones that a core may send.
    pub(crate) fn check(&mut self, bytes: &[u8]) -> Vec<Header> {
        let mut headers = Vec::new();
        let mut input = bytes;
        while let Some(item) = self.decoder.next(&mut input).unwrap() {
            if let Item::Header(header) = item {
                self.header(header);
                headers.push(header);
            }
        }
        headers
    }

    fn header(&mut self, header: Header) {
        match header.kind {
            Kind::Ping | Kind::GoAway => assert_eq!(header.stream_id, 0, "{header:?}"),
            Kind::Data | Kind::WindowUpdate => {
                assert_ne!(header.stream_id, 0, "{header:?}");
                if header.kind == Kind::Data {
                    assert!(header.payload_len() <= MAX_PAYLOAD, "{header:?}");
                    assert!(header.length > 0, "an empty data frame: {header:?}");
                    assert!(!header.flags.contains(Flags::FIN), "{header:?}");
                }
                if self.role.owns(header.stream_id) {
                    self.own_stream(header);
                } else {
                    assert!(!header.flags.contains(Flags::SYN), "{header:?}");
                }
            }
        }
    }

    fn own_stream(&mut self, header: Header) {
        let before = self.own.get(&header.stream_id).copied();
        assert!(!header.flags.contains(Flags::ACK), "{header:?}");
        let is_syn = header.flags.contains(Flags::SYN);
        assert_eq!(is_syn, before.is_none(), "{header:?} after {before:?}");
        assert_ne!(before, Some(Said::Rst), "{header:?} after a reset");
        if before == Some(Said::Fin) {
            let is_fine = header.kind != Kind::Data && !header.flags.contains(Flags::FIN);
            assert!(is_fine, "{header:?} after FIN");
        }
        let said = if header.flags.contains(Flags::RST) {
            Said::Rst
        } else if header.flags.contains(Flags::FIN) || before == Some(Said::Fin) {
            Said::Fin
        } else {
            Said::Syn
        };
        self.own.insert(header.stream_id, said);
    }
}
