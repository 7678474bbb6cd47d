//! Canonical proto JSON, by way of message descriptors.
//!
//! Generated code embeds the [`Descriptors`] of its package when it is generated with JSON; a
//! message is turned into a dynamic one by them, and that into JSON. Unknown fields and unknown
//! names of enum values are dropped when reading, as connect-go does.

use std::fmt;
use std::sync::OnceLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use serde_json::error::Category;

use super::CodecError;
use crate::MethodSpec;

/// The descriptors of one package and of everything that it imports, decoded at first use.
pub struct Descriptors {
    encoded: &'static [u8],
    pool: OnceLock<DescriptorPool>,
}

impl Descriptors {
    /// Descriptors from an encoded `google.protobuf.FileDescriptorSet`, with all imports in it.
    #[must_use]
    pub const fn new(encoded: &'static [u8]) -> Self {
        Self {
            encoded,
            pool: OnceLock::new(),
        }
    }

    /// The pool, in which any message type of the set is found by its full name.
    ///
    /// # Panics
    ///
    /// The bytes are not a complete file descriptor set. The generator writes only complete ones.
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
    /// The message has no JSON form: its type, or that of an `Any` inside, is not among these
    /// descriptors, or a timestamp or duration is out of range.
    pub fn to_json<M: Message + Name>(&self, message: &M) -> Result<String, JsonError> {
        let bytes = self.write(message)?;
        Ok(String::from_utf8(bytes).expect("serde_json writes UTF-8"))
    }

    /// Reads a message from JSON.
    ///
    /// # Errors
    ///
    /// The text is not JSON, or not the JSON of an `M`.
    pub fn from_json<M>(&self, json: &[u8]) -> Result<M, JsonError>
    where
        M: Message + Name + Default,
    {
        let descriptor = self.descriptor::<M>()?;
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let mut reader = serde_json::Deserializer::from_slice(json);
        let message = DynamicMessage::deserialize_with_options(descriptor, &mut reader, &options)
            .and_then(|message| reader.end().map(|()| message))
            .map_err(JsonError::Syntax)?;
        message.transcode_to().map_err(JsonError::Message)
    }

    fn write<M: Message + Name>(&self, message: &M) -> Result<Vec<u8>, JsonError> {
        let mut dynamic = DynamicMessage::new(self.descriptor::<M>()?);
        dynamic
            .transcode_from(message)
            .map_err(JsonError::Message)?;
        serde_json::to_vec(&dynamic).map_err(JsonError::Syntax)
    }

    fn descriptor<M: Name>(&self) -> Result<MessageDescriptor, JsonError> {
        let name = M::full_name();
        let found = self.pool().get_message_by_name(&name);
        found.ok_or(JsonError::UnknownType { name })
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

pub(super) fn encode<M: Message + Name>(
    spec: &MethodSpec,
    message: &M,
) -> Result<Vec<u8>, CodecError> {
    descriptors(spec)?
        .write(message)
        .map_err(|error| describe::<M>(spec, &error))
}

pub(super) fn decode<M>(spec: &MethodSpec, bytes: &[u8]) -> Result<M, CodecError>
where
    M: Message + Name + Default,
{
    descriptors(spec)?
        .from_json(bytes)
        .map_err(|error| describe::<M>(spec, &error))
}

fn descriptors(spec: &MethodSpec) -> Result<&'static Descriptors, CodecError> {
    let text = || format!("{} was generated without JSON", spec.path());
    spec.descriptors()
        .ok_or_else(|| CodecError { text: text() })
}

/// The parser's own text quotes what it stumbled over, which for a sensitive method may be the
/// secret: then only the place is told.
fn describe<M: Name>(spec: &MethodSpec, error: &JsonError) -> CodecError {
    let name = M::full_name();
    let text = match error {
        JsonError::UnknownType { .. } => error.to_string(),
        JsonError::Message(cause) => format!("the JSON does not fit a {name}: {cause}"),
        JsonError::Syntax(cause) if spec.is_sensitive() => {
            let (line, column) = (cause.line(), cause.column());
            format!(
                "the JSON of a {name} {} at line {line}, column {column}",
                kind(cause)
            )
        }
        JsonError::Syntax(cause) => format!("the JSON of a {name} {}: {cause}", kind(cause)),
    };
    CodecError { text }
}

fn kind(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        Category::Data => "has a wrong value",
        Category::Eof => "ends too early",
        Category::Io | Category::Syntax => "is malformed",
    }
}
