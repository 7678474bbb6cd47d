//! Any bytes as each message that peers send: decoding ends, decoded messages are encoded to the same bytes, and
//! no value can be seen in `Debug`.
#![no_main]

use keyway_proto::{accesscontrol, health, keyway, plugins, resolver};
use keyway_secrets::Envelope;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|input: &[u8]| {
    survives::<plugins::v1::RegisterPluginRequest>(input);
    survives::<plugins::v1::ListPluginsResponse>(input);
    survives::<resolver::v1::GetSecretsRequest>(input);
    survives::<resolver::v1::RegisterPluginRequest>(input);
    survives::<accesscontrol::v1::CheckAccessRequest>(input);
    survives::<health::v1::GetVersionResponse>(input);
    survives::<keyway::v1::ListSecretsResponse>(input);
    if let Some(response) = survives::<resolver::v1::GetSecretsResponse>(input) {
        secrets(response);
    }
});

fn survives<M: Message + Default + PartialEq>(input: &[u8]) -> Option<M> {
    let message = M::decode(input).ok()?;
    let again = M::decode(message.encode_to_vec().as_slice()).expect("what was written");
    assert!(again == message, "the wire changed a message");
    Some(message)
}

fn secrets(response: resolver::v1::GetSecretsResponse) {
    let shown = format!("{response:?}");
    let mut blank = response.clone();
    for wire in &mut blank.envelopes {
        if let Some(value) = &mut wire.value {
            value.fill(0);
        }
    }
    assert_eq!(format!("{blank:?}"), shown, "a value can be seen");
    for wire in response.envelopes {
        let value = wire.value.clone().unwrap_or_default();
        let Ok(envelope) = Envelope::try_from(wire) else {
            continue;
        };
        assert_eq!(envelope.value.expose(), value);
        let back = resolver::v1::get_secrets_response::Envelope::from(envelope.clone());
        let again = Envelope::try_from(back).expect("what was written");
        assert!(again == envelope, "the wire changed an envelope");
    }
}
