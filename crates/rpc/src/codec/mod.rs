//! Codecs: messages to bytes and back.

#[cfg(feature = "json")]
mod json;

use bytes::Bytes;
use http::HeaderValue;
use prost::{Message, Name};

use crate::MethodSpec;
use crate::buffer::freeze;

/// The encoding of messages: the part of the content type after `application/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// Binary protobuf.
    #[default]
    Proto,
    /// Canonical proto JSON. Available for methods whose code was generated with descriptors.
    #[cfg(feature = "json")]
    Json,
}

/// A message that could not be encoded or decoded. The text holds nothing of a sensitive message.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct CodecError {
    text: String,
}

impl Codec {
    /// Returns the name in content types and query strings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proto => "proto",
            #[cfg(feature = "json")]
            Self::Json => "json",
        }
    }

    /// Returns the codec with this name if `spec` can be called with it.
    pub(crate) fn from_name(name: &[u8], spec: &MethodSpec) -> Option<Self> {
        #[cfg(not(feature = "json"))]
        let _ = spec;
        match name {
            b"proto" => Some(Self::Proto),
            #[cfg(feature = "json")]
            b"json" if spec.descriptors().is_some() => Some(Self::Json),
            _ => None,
        }
    }

    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Proto => "application/proto",
            #[cfg(feature = "json")]
            Self::Json => "application/json",
        })
    }

    pub(crate) fn encode<M>(self, spec: &MethodSpec, message: &M) -> Result<Bytes, CodecError>
    where
        M: Message + Name,
    {
        let encoded = match self {
            // `encode_to_vec` reserves the exact length first, so the buffer never moves.
            Self::Proto => message.encode_to_vec(),
            #[cfg(feature = "json")]
            Self::Json => json::encode(spec, message)?,
        };
        Ok(freeze(encoded, spec.is_sensitive()))
    }

    pub(crate) fn decode<M>(self, spec: &MethodSpec, bytes: Bytes) -> Result<M, CodecError>
    where
        M: Message + Name + Default,
    {
        #[cfg(not(feature = "json"))]
        let _ = spec;
        match self {
            Self::Proto => M::decode(bytes).map_err(|error| CodecError {
                text: format!("the body is not a {}: {error}", M::full_name()),
            }),
            #[cfg(feature = "json")]
            Self::Json => json::decode(spec, &bytes),
        }
    }
}
