//! Conversions between messages and the types of `keyway-secrets`.

mod envelope;
mod store;
pub mod timestamp;

pub use envelope::InvalidEnvelope;

use zeroize::Zeroize;

/// Zeroes the value of a message that is dropped, its spare capacity included.
fn zeroize_value(value: &mut Option<Vec<u8>>) {
    if let Some(value) = value {
        // The elements of a `Vec` are zeroed one by one, its spare capacity at once.
        value.clear();
        value.zeroize();
    }
}
