//! [`ZeroizedMessage`]: a dynamic message that leaves no copy behind.

use prost_reflect::{DynamicMessage, MapKey, Value};
use zeroize::Zeroize;

/// A message whose strings and bytes are zeroed when it is dropped.
pub(super) struct ZeroizedMessage(pub(super) DynamicMessage);

impl Drop for ZeroizedMessage {
    fn drop(&mut self) {
        zero(&mut self.0);
    }
}

fn zero(message: &mut DynamicMessage) {
    for (_, value) in message.take_fields() {
        zero_value(value);
    }
}

fn zero_value(value: Value) {
    match value {
        Value::String(mut text) => text.zeroize(),
        Value::Bytes(bytes) => {
            // Bytes that came from JSON have one reference; others belong to an encoded message,
            // which zeroes itself.
            if let Ok(mut bytes) = bytes.try_into_mut() {
                bytes.zeroize();
            }
        }
        Value::Message(mut message) => zero(&mut message),
        Value::List(values) => values.into_iter().for_each(zero_value),
        Value::Map(entries) => {
            for (key, value) in entries {
                if let MapKey::String(mut key) = key {
                    key.zeroize();
                }
                zero_value(value);
            }
        }
        Value::Bool(_)
        | Value::I32(_)
        | Value::I64(_)
        | Value::U32(_)
        | Value::U64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::EnumNumber(_) => {}
    }
}
