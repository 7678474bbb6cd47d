//! The JSON codec of a method.

use prost::{Message, Name};
use serde_json::error::Category;

use super::CodecError;
use crate::MethodSpec;
use crate::json::{Descriptors, JsonError};

pub(super) fn encode<M: Message + Name>(
    spec: &MethodSpec,
    message: &M,
) -> Result<Vec<u8>, CodecError> {
    descriptors(spec)?
        .write(message)
        .map_err(|error| describe(spec, &M::full_name(), &error))
}

pub(super) fn decode<M>(spec: &MethodSpec, bytes: &[u8]) -> Result<M, CodecError>
where
    M: Message + Name + Default,
{
    descriptors(spec)?
        .from_json(bytes)
        .map_err(|error| describe(spec, &M::full_name(), &error))
}

fn descriptors(spec: &MethodSpec) -> Result<&'static Descriptors, CodecError> {
    let text = || format!("{} was generated without JSON", spec.path());
    spec.descriptors()
        .ok_or_else(|| CodecError { text: text() })
}

/// The parser's own text quotes the part on which it failed, which may be the secret of a sensitive method:
/// then the text names the place alone.
fn describe(spec: &MethodSpec, name: &str, error: &JsonError) -> CodecError {
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
