//! The message of all calls.

use prost::{Message, Name};

/// 62 bytes of data, which with tag and length make a message of 64 bytes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Payload {
    /// The data.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
}

impl Name for Payload {
    const NAME: &'static str = "Payload";
    const PACKAGE: &'static str = "bench";

    fn full_name() -> String {
        "bench.Payload".to_owned()
    }
}

impl Payload {
    /// Returns the message that every call sends and expects in the response.
    #[must_use]
    pub fn sample() -> Self {
        Self { data: vec![7; 62] }
    }
}
