//! Messages as real peers wrote them (Docker's Go SDK and client, recorded in 2026): they are read with their meaning, and written
//! again byte for byte.

use std::fmt::Debug;

use keyway_proto::{accesscontrol, health, plugins, resolver};
use keyway_secrets::Envelope;
use prost::Message;

/// Decodes a message and expects it to encode to the same bytes.
fn read<M: Message + Default + Debug>(hex: &str) -> M {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
    let message = M::decode(bytes.as_slice()).unwrap();
    assert_eq!(message.encode_to_vec(), bytes, "{message:?}");
    message
}

/// The plugin SDK of 2026-08: a secret with times, and Go's "not set" for `resolved_at`.
const HIT_FROM_PLUGIN: &str = "0a580a0864656d6f2f686974120c7333637233742d76616c75651a00220276372a0c08a5ebdcca061080eba5c302320b088092b8c398feffffff013a0c08b587ddca061080eba5c302420f0a056f776e657212066e6f626f6479";

/// A daemon's response without a single time.
const WITHOUT_TIMES: &str =
    "0a250a0b64656d6f2f6e6f74696d65120c7333637233742d76616c75651a0464656d6f22027637";

#[test]
fn a_secret_from_a_go_plugin() {
    let mut response: resolver::v1::GetSecretsResponse = read(HIT_FROM_PLUGIN);
    let envelope = Envelope::try_from(response.envelopes.remove(0)).unwrap();
    assert_eq!(envelope.id.as_str(), "demo/hit");
    assert_eq!(envelope.value.expose(), b"s3cr3t-value");
    assert_eq!(
        (envelope.provider.as_str(), envelope.version.as_str()),
        ("", "v7")
    );
    assert_eq!(envelope.metadata["owner"], "nobody");
    assert_eq!(
        envelope.resolved_at, None,
        "year 1 means that no time is set"
    );
    let lifetime = envelope
        .expires_at
        .unwrap()
        .duration_since(envelope.created_at.unwrap());
    assert_eq!(lifetime.unwrap().as_secs(), 3600);
}

#[test]
fn written_messages_have_every_field_that_go_expects() {
    let mut response: resolver::v1::GetSecretsResponse = read(WITHOUT_TIMES);
    assert_eq!(response.envelopes[0].expires_at, None);
    let envelope = Envelope::try_from(response.envelopes.remove(0)).unwrap();
    assert_eq!(envelope.expires_at, None);
    // Go would read an absent time as 1970, which is long expired.
    let written = resolver::v1::get_secrets_response::Envelope::from(envelope);
    for time in [
        &written.created_at,
        &written.resolved_at,
        &written.expires_at,
    ] {
        assert_eq!(time.as_ref().unwrap().to_string(), "0001-01-01T00:00:00Z");
    }
    assert_eq!(written.metadata.len(), 0);
}

#[test]
fn registrations_of_three_generations() {
    let current: plugins::v1::RegisterPluginRequest =
        read("0a0464656d6f120676312e322e331a090a0764656d6f2f2a2a");
    assert_eq!((current.name(), current.version()), ("demo", "v1.2.3"));
    match current.metadata.unwrap() {
        plugins::v1::register_plugin_request::Metadata::SecretsProvider(provider) => {
            assert_eq!(provider.pattern(), "demo/**");
        }
        other => panic!("{other:?}"),
    }
    let module: plugins::v1::RegisterPluginRequest = read("0a0464656d6f120676312e322e332200");
    assert!(matches!(
        module.metadata,
        Some(plugins::v1::register_plugin_request::Metadata::AccessControlModule(_))
    ));
    let legacy: resolver::v1::RegisterPluginRequest =
        read("0a0464656d6f120676312e322e331a0764656d6f2f2a2a");
    assert_eq!((legacy.name(), legacy.pattern()), ("demo", "demo/**"));
}

#[test]
fn the_response_to_a_registration_is_the_same_for_all_generations() {
    let hex = "0a06676f6c64656e120676302e302e311a02080a";
    let current: plugins::v1::RegisterPluginResponse = read(hex);
    let legacy: resolver::v1::RegisterPluginResponse = read(hex);
    assert_eq!(
        (current.engine_name(), current.engine_version()),
        ("golden", "v0.0.1")
    );
    assert_eq!(current.request_timeout, legacy.request_timeout);
    assert_eq!(current.request_timeout.unwrap().seconds, 10);
}

#[test]
fn plugins_as_a_daemon_lists_them() {
    use plugins::v1::{ListPluginsResponse, RunStatus, plugin::Metadata};
    let list: ListPluginsResponse = read(concat!(
        "0a250a026163120676312e302e3018012001280130033a0d657869742073746174757320314a00",
        "0a160a036261641205312e302e3042080a066261642f2a2a",
        "0a230a0464656d6f120676312e322e3318002000280030013a0042090a0764656d6f2f2a2a",
        "0a120a086e6f737461747573120676312e322e33"
    ));
    let [access, bad, demo, bare] = &list.plugins[..] else {
        panic!("{list:?}")
    };
    assert!(access.disabled() && access.external() && access.configurable());
    assert_eq!(
        (access.run_status(), access.status_message()),
        (RunStatus::Crashed, "exit status 1")
    );
    assert!(matches!(
        access.metadata,
        Some(Metadata::AccessControlModule(_))
    ));
    assert_eq!(bad.version(), "1.0.0");
    assert_eq!(demo.disabled, Some(false), "presence is explicit");
    assert_eq!(bad.disabled, None, "presence is explicit");
    assert_eq!(demo.run_status(), RunStatus::Running);
    assert_eq!(bare.metadata, None);
}

#[test]
fn the_version_of_a_daemon() {
    let version: health::v1::GetVersionResponse = read(
        "0a0676302e302e311214323032362d30312d30325430333a30343a30355a1a1030313233343536373839616263646566",
    );
    assert_eq!(version.version(), "v0.0.1");
    assert_eq!(version.date(), "2026-01-02T03:04:05Z");
    assert_eq!(version.commit_hash(), "0123456789abcdef");
}

#[test]
fn requests_to_an_access_control_plugin() {
    use accesscontrol::v1::requester::SigningInfo;
    use accesscontrol::v1::{
        AuthorizeRequest, AuthorizeResponse, CheckAccessRequest, CheckAccessResponse, Decision,
    };
    let check: CheckAccessRequest = read(
        "0a0864656d6f2f686974123808922112046375726c1a0d2f7573722f62696e2f6375726c20003a1c0a1a0a1668747470733a2f2f6973737565722e6578616d706c654807",
    );
    let requester = check.requester.as_ref().unwrap();
    assert_eq!((requester.pid(), requester.name()), (4242, "curl"));
    assert_eq!(requester.absolute_binary_path(), "/usr/bin/curl");
    let Some(SigningInfo::Linux(info)) = &requester.signing_info else {
        panic!("{requester:?}")
    };
    assert_eq!(info.signers[0].cert_issuer(), "https://issuer.example");
    assert_eq!(info.signers[0].rekor_log_index(), 7);

    let ahead: AuthorizeRequest = read(
        "0a0864656d6f2f6869740a086f746865722f2a2a123808922112046375726c1a0d2f7573722f62696e2f6375726c20003a1c0a1a0a1668747470733a2f2f6973737565722e6578616d706c654807",
    );
    assert_eq!(ahead.patterns, ["demo/hit", "other/**"]);
    assert_eq!(
        read::<CheckAccessResponse>("0801").decision(),
        Decision::Allow
    );
    assert_eq!(
        read::<CheckAccessResponse>("0800").decision(),
        Decision::Deny
    );
    assert!(
        read::<AuthorizeResponse>("0801120608b587ddca06")
            .expires_at
            .is_some()
    );
}

#[test]
fn an_unknown_decision_is_a_refusal() {
    // Enums are open, and an unknown decision of an access-control module must not be read as "yes".
    let unknown: accesscontrol::v1::CheckAccessResponse = read("0807");
    assert_eq!(unknown.decision(), accesscontrol::v1::Decision::Deny);
    let unknown: resolver::v1::AuthorizeResponse = read("0807");
    assert_eq!(unknown.decision(), resolver::v1::Decision::Deny);
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let bytes = b"\x0a\x04demo\x9a\x06\x03new";
    let request = plugins::v1::EnablePluginRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!(request.name(), "demo");
}
