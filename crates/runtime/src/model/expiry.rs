//! The expiry of values.

use std::time::{SystemTime, UNIX_EPOCH};

use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_proto::timestamp;

/// Returns when the value of an envelope expires; year 1, 1970-01-01T00:00:00Z and an absent time
/// mean never.
///
/// Of a time that cannot exist the nearest one that does counts.
pub(crate) fn expires_at(envelope: &Envelope) -> Option<SystemTime> {
    match timestamp::from_wire(envelope.expires_at) {
        Ok(at) => at.filter(|at| *at != UNIX_EPOCH),
        Err(_) => {
            let near = envelope.expires_at.as_ref().and_then(timestamp::repaired);
            let near = timestamp::from_wire(near).ok().flatten();
            Some(near.unwrap_or(UNIX_EPOCH))
        }
    }
}
