//! The fields of messages that several tests check.
#![allow(dead_code, reason = "each test file uses its own part")]

use keyway_proto::resolver::v1::{GetSecretsResponse, get_secrets_response::Envelope};
use keyway_replay::{Cut, Message};
use prost_types::Timestamp;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::SystemTime;

/// The times of the recorded secret, an hour apart, in seconds since 1970.
pub(crate) const CREATED: i64 = 1_767_323_045;
pub(crate) const EXPIRES: i64 = 1_767_326_645;

/// The response of the SDK of July 2025, which later ones do not send.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GetSecretResponse {
    #[prost(string, optional, tag = "1")]
    pub(crate) id: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) value: Option<Vec<u8>>,
    #[prost(string, optional, tag = "3")]
    pub(crate) provider: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(crate) version: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub(crate) error: Option<String>,
    #[prost(message, optional, tag = "6")]
    pub(crate) created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub(crate) resolved_at: Option<Timestamp>,
    #[prost(message, optional, tag = "8")]
    pub(crate) expires_at: Option<Timestamp>,
}

/// The response to its registration.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OldestRegisterResponse {
    #[prost(string, optional, tag = "1")]
    pub(crate) engine_name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) engine_version: Option<String>,
    #[prost(int64, optional, tag = "3")]
    pub(crate) request_timeout: Option<i64>,
}

/// Decodes a body without unknown fields.
pub(crate) fn decode<M: prost::Message + Default>(message: &Message) -> M {
    let body = message.body().unwrap();
    let decoded = M::decode(body.as_slice()).unwrap();
    assert_eq!(decoded.encoded_len(), body.len(), "some fields are unknown");
    decoded
}

/// The code and message of an error body.
pub(crate) fn error_of(message: &Message) -> (String, String) {
    assert_eq!(message.header("content-type"), Some("application/json"));
    assert_eq!(
        message.header("content-encoding"),
        None,
        "an error is never compressed"
    );
    let json: serde_json::Value = serde_json::from_slice(&message.body().unwrap()).unwrap();
    let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    (field("code"), field("message"))
}

/// The one envelope of `demo/hit`, whose id, value and version are checked.
pub(crate) fn hit(response: &Message) -> Envelope {
    let message: GetSecretsResponse = decode(response);
    assert_eq!(message.envelopes.len(), 1);
    let envelope = message.envelopes.into_iter().next().unwrap();
    assert_eq!(envelope.id.as_deref(), Some("demo/hit"));
    assert_eq!(envelope.value.as_deref(), Some(&b"s3cr3t-value"[..]));
    assert_eq!(envelope.version.as_deref(), Some("v7"));
    envelope
}

pub(crate) fn proto_seconds(timestamp: Option<Timestamp>) -> Option<i64> {
    timestamp.map(|timestamp| timestamp.seconds)
}

/// The seed of random cuts: `KEYWAY_REPLAY_SEED`, or the clock.
fn seed() -> u64 {
    let given = std::env::var("KEYWAY_REPLAY_SEED").ok();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(now.subsec_nanos()))
}

/// The ways in which every recording is cut: those that `KEYWAY_REPLAY_CUTS` names, separated by commas, or a choice in
/// which pieces end before, at and behind each part of a frame. A failure names its cut.
pub(crate) fn cuts() -> Vec<Cut> {
    if let Ok(names) = std::env::var("KEYWAY_REPLAY_CUTS") {
        let cuts = names.split(',').map(|name| name.parse().unwrap());
        return cuts.collect();
    }
    let seed = seed();
    let every = |length| Cut::Every(NonZeroUsize::new(length).unwrap());
    vec![
        Cut::Whole,
        Cut::Bytes,
        every(11),
        every(13),
        Cut::Random(seed),
        Cut::Random(seed + 1),
    ]
}

/// One JSON call on a connection of its own.
pub(crate) fn http(socket: &Path, path: &str, body: &str) -> Message {
    let mut bytes = keyway_test_support::http::post(socket, path, body).into_bytes();
    Message::take(&mut bytes, true).unwrap().unwrap()
}
