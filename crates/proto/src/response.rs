//! [`Undecoded`]: the response of a plugin, which is [`Measured`] before it is decoded.

use std::fmt;
use std::marker::PhantomData;

use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message, Name};

use crate::keyway::v1::{ListSecretsResponse, Secret};
use crate::limits::{
    MAX_ENVELOPES, MAX_METADATA_ENTRIES, MAX_METADATA_LEN, MAX_RESPONSE_LEN, MAX_VALUE_LEN,
};
use crate::resolver::v1::GetSecretsResponse;
use crate::resolver::v1::get_secrets_response::Envelope;

/// Memory of a field beside its bytes: the allocation of a text, about.
const FIELD_LEN: u64 = 48;

/// Memory of an entry of the metadata beside its bytes: two texts, and its share of the map.
const ENTRY_LEN: u64 = 192;

/// A response with the message `M` as it arrived.
///
/// In memory a message may take many times the bytes that were sent: an empty envelope is two bytes. So a response is
/// [measured](Self::measure) first, and its items are [decoded](Measured::into_items) when there is memory for them.
pub struct Undecoded<M> {
    bytes: Bytes,
    message: PhantomData<fn() -> M>,
}

/// A response with the message `M` that was measured, and is not decoded yet.
#[derive(Debug)]
pub struct Measured<M> {
    undecoded: Undecoded<M>,
    n_items: usize,
    n_too_large: usize,
    memory_len: u64,
}

/// A message that consists of items in field 1.
pub trait Items: Name {
    /// An item.
    type Item: Message + Default;
    /// The field of an item that holds its value; 0 if it has none.
    const VALUE_TAG: u32;
    /// The field of an item that holds its metadata.
    const METADATA_TAG: u32;
}

impl Items for GetSecretsResponse {
    type Item = Envelope;
    const VALUE_TAG: u32 = 2;
    const METADATA_TAG: u32 = 8;
}

impl Items for ListSecretsResponse {
    type Item = Secret;
    const VALUE_TAG: u32 = 0;
    const METADATA_TAG: u32 = 6;
}

/// The items of a response that are within their limits.
#[derive(Debug)]
#[non_exhaustive]
pub struct Decoded<T> {
    /// The items.
    pub items: Vec<T>,
    /// The number of items whose value or metadata exceeds the limits.
    pub n_too_large: usize,
}

/// The fault of a response as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidResponse {
    /// The bytes are not the message.
    #[error("the response cannot be decoded")]
    Encoding(#[from] DecodeError),
    /// There are too many items.
    #[error("the response has more than {MAX_ENVELOPES} secrets")]
    TooMany,
    /// The response as a whole is too long.
    #[error("the response has more than {MAX_RESPONSE_LEN} bytes")]
    TooLong,
}

impl<M: Items> Undecoded<M> {
    /// Measures the message and its items.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidResponse`] if the response has too many items, or the message is malformed.
    pub fn measure(self) -> Result<Measured<M>, InvalidResponse> {
        let (mut n_items, mut n_too_large, mut memory_len) = (0, 0, 0);
        for item in items(&self.bytes) {
            n_items += 1;
            if n_items > MAX_ENVELOPES {
                return Err(InvalidResponse::TooMany);
            }
            let size = Size::of::<M>(item?)?;
            memory_len += size.decoded_len;
            n_too_large += usize::from(!size.is_within_limits());
        }
        Ok(Measured {
            undecoded: self,
            n_items,
            n_too_large,
            memory_len,
        })
    }
}

impl<M: Items> Measured<M> {
    /// Returns the number of bytes that travelled.
    #[must_use]
    pub fn wire_len(&self) -> u64 {
        self.undecoded.bytes.len() as u64
    }

    /// Returns about how many bytes the message takes in memory when it is decoded.
    #[must_use]
    pub fn memory_len(&self) -> u64 {
        self.memory_len
    }

    /// Decodes the items that are within their limits.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidResponse`] if an item is malformed.
    pub fn into_items(self) -> Result<Decoded<M::Item>, InvalidResponse> {
        let mut decoded = Vec::with_capacity(self.n_items - self.n_too_large);
        for item in items(&self.undecoded.bytes) {
            let item = item?;
            if self.n_too_large == 0 || Size::of::<M>(item)?.is_within_limits() {
                decoded.push(M::Item::decode(item)?);
            }
        }
        Ok(Decoded {
            items: decoded,
            n_too_large: self.n_too_large,
        })
    }
}

/// The sizes of one item.
struct Size {
    decoded_len: u64,
    value_len: usize,
    n_entries: usize,
    metadata_len: usize,
}

impl Size {
    fn of<M: Items>(item: &[u8]) -> Result<Self, DecodeError> {
        // An item moves once while the response is checked.
        let decoded_len = 2 * size_of::<M::Item>() + item.len();
        let mut size = Self {
            decoded_len: decoded_len as u64,
            value_len: 0,
            n_entries: 0,
            metadata_len: 0,
        };
        for field in (Fields { rest: item }) {
            let (tag, payload) = field?;
            let len = payload.map_or(0, <[u8]>::len);
            size.decoded_len += FIELD_LEN;
            if tag == M::METADATA_TAG {
                size.decoded_len += ENTRY_LEN;
                size.n_entries += 1;
                size.metadata_len += len;
            } else if tag == M::VALUE_TAG {
                size.value_len = size.value_len.max(len);
            }
        }
        Ok(size)
    }

    fn is_within_limits(&self) -> bool {
        self.value_len <= MAX_VALUE_LEN
            && self.n_entries <= MAX_METADATA_ENTRIES
            && self.metadata_len <= MAX_METADATA_LEN
    }
}

/// Returns the items of a message: the payloads of field 1.
fn items(message: &[u8]) -> impl Iterator<Item = Result<&[u8], DecodeError>> {
    let fields = Fields { rest: message };
    fields.filter_map(|field| match field {
        Ok((1, payload)) => payload.map(Ok),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The fields of a message, each with its payload if that has a length. Ends behind the first fault.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Option<&'a [u8]>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = read_field(&mut self.rest);
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn read_field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Option<&'a [u8]>), DecodeError> {
    let (tag, wire_type) = decode_key(rest)?;
    let mut field = *rest;
    skip_field(wire_type, tag, rest, DecodeContext::default())?;
    if wire_type != WireType::LengthDelimited {
        return Ok((tag, None));
    }
    field = &field[..field.len() - rest.len()];
    decode_varint(&mut field)?;
    Ok((tag, Some(field)))
}

impl<M> Default for Undecoded<M> {
    fn default() -> Self {
        Self {
            bytes: Bytes::new(),
            message: PhantomData,
        }
    }
}

/// Shows the length alone: the bytes may hold values.
impl<M> fmt::Debug for Undecoded<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undecoded")
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl<M: Name> Name for Undecoded<M> {
    const NAME: &'static str = M::NAME;
    const PACKAGE: &'static str = M::PACKAGE;

    fn full_name() -> String {
        M::full_name()
    }

    fn type_url() -> String {
        M::type_url()
    }
}

/// Decoding takes the bytes as they are.
impl<M> Message for Undecoded<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.bytes);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    fn clear(&mut self) {
        self.bytes = Bytes::new();
    }

    fn decode(mut buf: impl Buf) -> Result<Self, DecodeError> {
        Ok(Self {
            bytes: buf.copy_to_bytes(buf.remaining()),
            message: PhantomData,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undecoded(bytes: Vec<u8>) -> Undecoded<GetSecretsResponse> {
        Undecoded::decode(Bytes::from(bytes)).unwrap()
    }

    fn response(envelopes: Vec<Envelope>) -> Measured<GetSecretsResponse> {
        let response = undecoded(GetSecretsResponse { envelopes }.encode_to_vec());
        response.measure().unwrap()
    }

    fn envelope(value_len: usize, n_entries: usize, entry_len: usize) -> Envelope {
        let mut envelope = Envelope::default();
        envelope.id = Some("a".to_owned());
        envelope.value = Some(vec![7; value_len]);
        envelope.metadata = (0..n_entries)
            .map(|n| (format!("{n:07}"), "v".repeat(entry_len)))
            .collect();
        envelope
    }

    #[test]
    fn items_within_their_limits_decode_as_they_were_sent() {
        let envelopes = vec![envelope(MAX_VALUE_LEN, 0, 0), envelope(0, 64, 9)];
        let response = response(envelopes.clone());
        assert!(response.memory_len() > response.wire_len());
        let decoded = response.into_items().unwrap();
        assert_eq!(decoded.items, envelopes);
        assert_eq!(decoded.n_too_large, 0);
    }

    #[test]
    fn items_beyond_their_limits_are_counted_and_not_decoded() {
        // An entry has 7 bytes of key and 5 of framing.
        for (envelope, n_too_large) in [
            (envelope(MAX_VALUE_LEN, 0, 0), 0),
            (envelope(MAX_VALUE_LEN + 1, 0, 0), 1),
            (envelope(16 << 20, 0, 0), 1),
            (envelope(0, 64, 0), 0),
            (envelope(0, 65, 0), 1),
            (envelope(0, 100_000, 0), 1),
            (envelope(0, 1, MAX_METADATA_LEN - 12), 0),
            (envelope(0, 1, MAX_METADATA_LEN - 11), 1),
            (envelope(0, 1, 16 << 20), 1),
        ] {
            let decoded = response(vec![envelope, Envelope::default()]);
            let decoded = decoded.into_items().unwrap();
            assert_eq!(decoded.n_too_large, n_too_large);
            assert_eq!(decoded.items.len(), 2 - n_too_large);
        }
    }

    #[test]
    fn responses_of_too_many_items_are_refused_before_they_are_decoded() {
        let of_empty_items = |n: usize| undecoded([0x0a, 0x00].repeat(n));
        let most = of_empty_items(MAX_ENVELOPES).measure().unwrap();
        assert!(most.memory_len() > 16 << 20);
        let decoded = most.into_items().unwrap();
        assert_eq!(decoded.items.len(), MAX_ENVELOPES);
        for n in [MAX_ENVELOPES + 1, 8 << 20] {
            let refused = of_empty_items(n).measure().unwrap_err();
            assert_eq!(refused, InvalidResponse::TooMany);
        }
    }

    #[test]
    fn the_memory_of_small_entries_is_measured() {
        let small = response(vec![envelope(0, 64, 0); 1000]);
        let (wire_len, decoded_len) = (small.wire_len(), small.memory_len());
        assert!(decoded_len > 10 * wire_len, "{decoded_len} of {wire_len}");
    }

    #[test]
    fn malformed_messages_are_errors() {
        for bytes in [
            &[0x0a][..],
            &[0x0a, 0x05, 0x00],
            &[0x0a, 0x01, 0x12],
            &[0x0f],
        ] {
            let refused = undecoded(bytes.to_vec()).measure();
            assert!(
                matches!(refused, Err(InvalidResponse::Encoding(_))),
                "{refused:?}"
            );
        }
        // An unknown field, and one of another type.
        let skipped = undecoded(vec![0x7a, 0x01, 0x00, 0x08, 0x01]);
        assert_eq!(skipped.measure().unwrap().into_items().unwrap().items, []);
    }

    #[test]
    fn lists_are_measured_likewise() {
        let mut secret = Secret {
            id: Some("a".to_owned()),
            ..Secret::default()
        };
        let list = |secrets: Vec<Secret>| {
            let list = ListSecretsResponse {
                secrets,
                ..ListSecretsResponse::default()
            };
            let list = Undecoded::<ListSecretsResponse>::decode(list.encode_to_vec().as_slice());
            list.unwrap().measure().unwrap().into_items().unwrap()
        };
        assert_eq!(list(vec![secret.clone()]).items, [secret.clone()]);
        secret.metadata = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(list(vec![secret]).n_too_large, 1);
    }

    #[test]
    fn the_error_of_malformed_bytes_does_not_contain_the_text_of_its_cause() {
        let error = undecoded(vec![7]).measure().unwrap_err();
        assert!(matches!(error, InvalidResponse::Encoding(_)), "{error:?}");
        keyway_test_support::assert_causes_said_once(&error);
    }
}
