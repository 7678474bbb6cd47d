//! Canonical proto JSON, by way of message descriptors.
//!
//! Generated code embeds the [`Descriptors`] of its package when it is generated with JSON; a
//! message is turned into a dynamic one by them, and that into JSON. Unknown fields and unknown
//! names of enum values are dropped when reading, as connect-go does.
//!
//! All copies of a message's strings and bytes that are made on the way are zeroed before they are
//! freed, except those of well-known types (wrappers, `Struct`, `Any`), which `prost-reflect`
//! converts itself, and of JSON that does not fit the message.

mod dynamic;
mod reader;

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};

use self::dynamic::ZeroizedMessage;
use self::reader::Reader;
use crate::buffer::{Accumulator, freeze};

/// Bytes that are reserved for the text of a message, for each byte of its binary form.
const TEXT_PER_BYTE: usize = 2;

/// The descriptors of one package and of everything that it imports, decoded at first use.
pub struct Descriptors {
    encoded: &'static [u8],
    pool: OnceLock<DescriptorPool>,
}

impl Descriptors {
    /// Returns the descriptors of an encoded `google.protobuf.FileDescriptorSet` with all imports.
    #[must_use]
    pub const fn new(encoded: &'static [u8]) -> Self {
        Self {
            encoded,
            pool: OnceLock::new(),
        }
    }

    /// Returns the pool, in which any message type of the set is found by its full name.
    ///
    /// # Panics
    ///
    /// If the bytes are not a complete file descriptor set. The generator writes only complete ones.
    pub fn pool(&self) -> &DescriptorPool {
        self.pool.get_or_init(|| {
            DescriptorPool::decode(self.encoded)
                .expect("the embedded file descriptor set is complete")
        })
    }

    /// Writes `message` as JSON.
    ///
    /// # Errors
    ///
    /// Returns [`JsonError`] if the message has no JSON form: its type, or that of an `Any` inside,
    /// is not among these descriptors, or a timestamp or duration is out of range.
    pub fn to_json<M: Message + Name>(&self, message: &M) -> Result<String, JsonError> {
        let bytes = self.write(message)?;
        Ok(String::from_utf8(bytes).expect("serde_json writes UTF-8"))
    }

    /// Reads a message from JSON.
    ///
    /// # Errors
    ///
    /// Returns [`JsonError`] if the text is not JSON, or not the JSON of an `M`.
    pub fn from_json<M>(&self, json: &[u8]) -> Result<M, JsonError>
    where
        M: Message + Name + Default,
    {
        let encoded = self.read(&M::full_name(), json)?;
        M::decode(encoded).map_err(JsonError::Message)
    }

    pub(crate) fn write<M: Message + Name>(&self, message: &M) -> Result<Vec<u8>, JsonError> {
        self.write_encoded(&M::full_name(), freeze(message.encode_to_vec(), true))
    }

    // The code below is not generic over the message, because `prost-reflect` is large and each crate would get a copy.

    /// Reads the binary form of a message of the type `name` from JSON.
    fn read(&self, name: &str, json: &[u8]) -> Result<Bytes, JsonError> {
        let descriptor = self.descriptor(name)?;
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let mut reader = Reader::new(json).map_err(JsonError::Syntax)?;
        let dynamic = DynamicMessage::deserialize_with_options(descriptor, &mut reader, &options);
        let dynamic = ZeroizedMessage(dynamic.map_err(JsonError::Syntax)?);
        // prost copies the bytes of a field once more, unless it decodes from `Bytes`.
        Ok(freeze(dynamic.0.encode_to_vec(), true))
    }

    /// Writes the binary form of a message of the type `name` as JSON.
    fn write_encoded(&self, name: &str, encoded: Bytes) -> Result<Vec<u8>, JsonError> {
        let mut text = Accumulator::new(TEXT_PER_BYTE * encoded.len(), true);
        let mut dynamic = ZeroizedMessage(DynamicMessage::new(self.descriptor(name)?));
        dynamic.0.merge(encoded).map_err(JsonError::Message)?;
        serde_json::to_writer(&mut text, &dynamic.0).map_err(JsonError::Syntax)?;
        Ok(text.into_vec())
    }

    fn descriptor(&self, name: &str) -> Result<MessageDescriptor, JsonError> {
        let found = self.pool().get_message_by_name(name);
        found.ok_or_else(|| JsonError::UnknownType {
            name: name.to_owned(),
        })
    }
}

impl fmt::Debug for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptors")
            .field("len", &self.encoded.len())
            .finish_non_exhaustive()
    }
}

/// A message that could not be written as JSON, or read from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The type is not among the descriptors.
    #[error("no descriptor of the message type `{name}` is embedded")]
    UnknownType {
        /// The full name of the type.
        name: String,
    },
    /// The text is not JSON, or not of the message's shape. The source may quote the text.
    #[error("the text is not the JSON of the message")]
    Syntax(#[source] serde_json::Error),
    /// The fields cannot be those of the message.
    #[error("the fields do not fit the message")]
    Message(#[source] prost::DecodeError),
}
