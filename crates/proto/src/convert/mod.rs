//! Conversions between messages and the types of `keyway-secrets`.

mod envelope;
pub mod timestamp;

pub use envelope::InvalidEnvelope;
