//! Typed details of an error.

use std::fmt;

use bytes::Bytes;
use prost::{DecodeError, Message, Name};
use prost_types::Any;

/// A message that an error carries beside its text, with the name of its type.
///
/// The receiver decodes it if it knows the type; the bytes are always binary protobuf, whatever
/// the codec of the call.
#[derive(Clone, PartialEq, Eq)]
pub struct ErrorDetail {
    type_name: String,
    value: Bytes,
}

impl ErrorDetail {
    /// Returns a detail that carries `message`.
    #[must_use]
    pub fn new<M: Message + Name>(message: &M) -> Self {
        Self::from_parts(M::full_name(), message.encode_to_vec())
    }

    /// Returns a detail of a type without a Rust type. `type_name` is the full name
    /// (`google.rpc.RetryInfo`), without a URL in front.
    #[must_use]
    pub fn from_parts(type_name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self {
            type_name: type_name.into(),
            value: value.into(),
        }
    }

    /// Returns the full name of the message type.
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Returns the message in binary form.
    #[must_use]
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// Decodes the detail if it is an `M`; `None` if it is of another type.
    ///
    /// # Errors
    ///
    /// Returns [`DecodeError`] if the type is `M` and the value is not an encoded `M`.
    pub fn decode<M: Message + Name + Default>(&self) -> Result<Option<M>, DecodeError> {
        match self.type_name == M::full_name() {
            true => M::decode(self.value.clone()).map(Some),
            false => Ok(None),
        }
    }
}

impl fmt::Debug for ErrorDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorDetail")
            .field("type_name", &self.type_name)
            .field("len", &self.value.len())
            .finish_non_exhaustive()
    }
}

impl From<Any> for ErrorDetail {
    fn from(any: Any) -> Self {
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        Self::from_parts(name, any.value)
    }
}

impl From<ErrorDetail> for Any {
    fn from(detail: ErrorDetail) -> Self {
        Self {
            type_url: format!("type.googleapis.com/{}", detail.type_name),
            value: detail.value.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, Timestamp};

    use super::*;

    #[test]
    fn a_detail_decodes_as_its_own_type_only() {
        let duration = Duration {
            seconds: 3,
            nanos: 4,
        };
        let detail = ErrorDetail::new(&duration);
        assert_eq!(detail.type_name(), "google.protobuf.Duration");
        assert_eq!(detail.decode::<Duration>(), Ok(Some(duration)));
        assert_eq!(detail.decode::<Timestamp>(), Ok(None));
        let broken = ErrorDetail::from_parts("google.protobuf.Duration", vec![0xff]);
        assert!(broken.decode::<Duration>().is_err());
    }

    #[test]
    fn a_detail_converts_to_any_and_back() {
        let detail = ErrorDetail::from_parts("a.b.C", vec![1, 2]);
        let any = Any::from(detail.clone());
        assert_eq!(any.type_url, "type.googleapis.com/a.b.C");
        assert_eq!(ErrorDetail::from(any), detail);
    }
}
