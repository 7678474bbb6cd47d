//! Envelopes: conversions that move the value and do not copy it.

use keyway_secrets::{Envelope, ParseIdError, SecretValue};

use super::timestamp::{self, InvalidTimestamp};
use crate::registration::shorten;
use crate::resolver::v1::get_secrets_response::Envelope as Wire;

/// The fault of a received envelope. It names the secret and never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEnvelope {
    /// The id is missing or invalid.
    #[error("an envelope has the invalid id {id:?}")]
    Id {
        /// At most 64 characters of it.
        id: String,
        /// The fault.
        source: ParseIdError,
    },
    /// A time is invalid.
    #[error("the envelope of {id} has an invalid {field}")]
    Timestamp {
        /// The secret's id.
        id: String,
        /// The name of the field.
        field: &'static str,
        /// The fault.
        source: InvalidTimestamp,
    },
}

impl From<Envelope> for Wire {
    fn from(envelope: Envelope) -> Self {
        let mut wire = Self::default();
        wire.id = Some(envelope.id.into());
        wire.value = Some(envelope.value.into_bytes());
        wire.provider = Some(envelope.provider);
        wire.version = Some(envelope.version);
        wire.created_at = Some(timestamp::to_wire(envelope.created_at));
        wire.resolved_at = Some(timestamp::to_wire(envelope.resolved_at));
        wire.expires_at = Some(timestamp::to_wire(envelope.expires_at));
        wire.metadata = envelope.metadata;
        wire
    }
}

impl TryFrom<Wire> for Envelope {
    type Error = InvalidEnvelope;

    /// Absent scalars become empty, which is their meaning for peers.
    fn try_from(mut wire: Wire) -> Result<Self, InvalidEnvelope> {
        let value = SecretValue::new(wire.value.take().unwrap_or_default());
        let id = wire.id.take().unwrap_or_default();
        let id = match id.parse() {
            Ok(parsed) => parsed,
            Err(source) => {
                let id = shorten(&id);
                return Err(InvalidEnvelope::Id { id, source });
            }
        };
        let mut envelope = Self::new(id, value);
        let time = |field, time| {
            timestamp::from_wire(time).map_err(|source| InvalidEnvelope::Timestamp {
                id: envelope.id.to_string(),
                field,
                source,
            })
        };
        let created_at = time("created_at", wire.created_at.take())?;
        let resolved_at = time("resolved_at", wire.resolved_at.take())?;
        let expires_at = time("expires_at", wire.expires_at.take())?;
        envelope.created_at = created_at;
        envelope.resolved_at = resolved_at;
        envelope.expires_at = expires_at;
        envelope.provider = wire.provider.take().unwrap_or_default();
        envelope.version = wire.version.take().unwrap_or_default();
        envelope.metadata = std::mem::take(&mut wire.metadata);
        Ok(envelope)
    }
}

/// Zeroes the value, so that a decoded message that is dropped leaves no copy behind.
impl Drop for Wire {
    fn drop(&mut self) {
        super::zeroize_value(&mut self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::v1::GetSecretsResponse;
    use prost::Message as _;
    use std::time::{Duration, SystemTime};

    fn envelope() -> Envelope {
        let mut envelope = Envelope::new("demo/hit".parse().unwrap(), "canary-value");
        envelope.provider = "demo".to_owned();
        envelope.version = "v7".to_owned();
        envelope.created_at = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
        envelope
            .metadata
            .insert("owner".to_owned(), "nobody".to_owned());
        envelope
    }

    #[test]
    fn an_envelope_round_trips() {
        let wire = GetSecretsResponse {
            envelopes: vec![envelope().into()],
        };
        let mut read = GetSecretsResponse::decode(wire.encode_to_vec().as_slice()).unwrap();
        assert_eq!(Envelope::try_from(read.envelopes.remove(0)), Ok(envelope()));
    }

    #[test]
    fn the_value_moves_and_is_not_copied() {
        let envelope = envelope();
        let address = envelope.value.expose().as_ptr();
        let wire = Wire::from(envelope);
        assert_eq!(wire.value.as_ref().unwrap().as_ptr(), address);
        let envelope = Envelope::try_from(wire).unwrap();
        assert_eq!(envelope.value.expose().as_ptr(), address);
    }

    #[test]
    fn debug_of_every_message_with_a_value_is_redacted() {
        let response = GetSecretsResponse {
            envelopes: vec![envelope().into()],
        };
        for text in [
            format!("{response:?}"),
            format!("{response:#?}"),
            format!("{:?}", response.envelopes[0]),
        ] {
            assert!(
                text.contains("demo/hit") && text.contains("[redacted]"),
                "{text}"
            );
            let bytes = format!("{:?}", b"canary-value");
            assert!(
                !text.contains("canary") && !text.contains(bytes.trim_matches(['[', ']'])),
                "{text}"
            );
        }
    }

    #[test]
    fn absent_fields_are_empty() {
        let mut wire = Wire::default();
        wire.id = Some("a".to_owned());
        let envelope = Envelope::try_from(wire).unwrap();
        assert_eq!(envelope, Envelope::new("a".parse().unwrap(), Vec::new()));
    }

    #[test]
    fn errors_name_the_secret_and_not_its_value() {
        let mut wire = Wire::from(envelope());
        wire.id = Some("not an id".to_owned());
        let fault = Envelope::try_from(wire).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "an envelope has the invalid id \"not an id\""
        );

        let mut wire = Wire::from(envelope());
        wire.expires_at = Some(prost_types::Timestamp {
            seconds: 0,
            nanos: -1,
        });
        let fault = Envelope::try_from(wire).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the envelope of demo/hit has an invalid expires_at"
        );
    }
}
