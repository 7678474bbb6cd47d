//! Cuts a byte stream, given in any chunks, into frame headers and pieces of payload.

use super::{HEADER_LEN, Header, Kind};
use crate::error::ProtocolError;

/// An item of the byte stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A complete header. A data header with a length is followed by its payload.
    Header(Header),
    /// The next bytes of the current data frame; `last` ends the frame.
    Payload {
        /// The bytes, never empty.
        bytes: &'a [u8],
        /// `true` if the frame is complete with them.
        last: bool,
    },
}

/// The incremental decoder. It holds at most one partial header and never a payload, so a
/// length of 2^32-1 costs it nothing.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    header: [u8; HEADER_LEN],
    /// Filled bytes of `header`: `0 <= filled < HEADER_LEN`.
    filled: usize,
    /// Payload bytes of the current data frame that have not arrived yet.
    remaining: u32,
}

impl Decoder {
    /// Returns `true` if the last byte seen was the last one of a frame.
    pub(crate) const fn is_at_boundary(&self) -> bool {
        self.filled == 0 && self.remaining == 0
    }

    /// Takes the next item from the front of `input`, or `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// Returns [`ProtocolError`] if the header is invalid; the stream cannot be decoded any further.
    #[inline]
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Item<'a>>, ProtocolError> {
        if input.is_empty() {
            return Ok(None);
        }
        if self.remaining > 0 {
            return Ok(Some(self.payload(input)));
        }
        let Some(bytes) = self.header_bytes(input) else {
            return Ok(None);
        };
        let header = Header::decode(bytes)?;
        if header.kind == Kind::Data {
            self.remaining = header.length;
        }
        Ok(Some(Item::Header(header)))
    }

    fn payload<'a>(&mut self, input: &mut &'a [u8]) -> Item<'a> {
        let wanted = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        let (bytes, rest) = input.split_at(wanted.min(input.len()));
        *input = rest;
        // The piece is no longer than `remaining`, so it fits.
        self.remaining -= bytes.len() as u32;
        Item::Payload {
            bytes,
            last: self.remaining == 0,
        }
    }

    fn header_bytes(&mut self, input: &mut &[u8]) -> Option<[u8; HEADER_LEN]> {
        if self.filled == 0
            && let Some((bytes, rest)) = input.split_first_chunk::<HEADER_LEN>()
        {
            *input = rest;
            return Some(*bytes);
        }
        let (bytes, rest) = input.split_at((HEADER_LEN - self.filled).min(input.len()));
        *input = rest;
        self.header[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        if self.filled < HEADER_LEN {
            return None;
        }
        self.filled = 0;
        Some(self.header)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Flags;
    use super::*;
    use proptest::prelude::*;

    /// Decodes a chunked stream to headers, each with its joined payload.
    fn decode(chunks: &[&[u8]]) -> Vec<(Header, Vec<u8>)> {
        let mut decoder = Decoder::default();
        let mut frames: Vec<(Header, Vec<u8>)> = Vec::new();
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(item) = decoder.next(&mut input).unwrap() {
                match item {
                    Item::Header(header) => frames.push((header, Vec::new())),
                    Item::Payload { bytes, .. } => {
                        frames.last_mut().unwrap().1.extend_from_slice(bytes);
                    }
                }
            }
        }
        assert!(decoder.is_at_boundary());
        frames
    }

    #[test]
    fn a_length_of_four_gibibytes_is_only_a_number() {
        let mut decoder = Decoder::default();
        let bytes = Header::data(1, Flags::SYN, u32::MAX).encode();
        let mut input = &bytes[..];
        assert!(matches!(
            decoder.next(&mut input),
            Ok(Some(Item::Header(_)))
        ));
        let mut input = &[7u8; 3][..];
        let item = decoder.next(&mut input).unwrap();
        assert_eq!(
            item,
            Some(Item::Payload {
                bytes: &[7; 3],
                last: false
            })
        );
        assert!(!decoder.is_at_boundary());
    }

    proptest! {
        #[test]
        fn chunk_borders_do_not_matter(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (index, payload) in payloads.iter().enumerate() {
                let header = Header::data(index as u32, Flags::NONE, payload.len() as u32);
                bytes.extend_from_slice(&header.encode());
                bytes.extend_from_slice(payload);
                expected.push((header, payload.clone()));
            }
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(decode(&chunks), expected);
        }
    }
}
