//! Every recording decodes: its frames, its HTTP, its gzip and its messages,
//! each checked field by field.

mod common;

use std::time::{Duration, SystemTime};

use common::{CREATED, EXPIRES, decode, error_of, hit, proto_seconds};
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_replay::{Call, Recording, Side};

fn calls(name: &str) -> Vec<Call> {
    Recording::load(name)
        .unwrap()
        .conversation()
        .unwrap()
        .calls()
        .unwrap()
}

fn paths(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|call| call.request.path()).collect()
}

#[test]
fn every_plugin_recording_is_complete() {
    let names = Recording::names().unwrap();
    assert_eq!(names.len(), 12);
    for name in names.iter().filter(|name| name.starts_with("plugin-")) {
        let recording = Recording::load(name).unwrap();
        assert_eq!(&recording.name, name);
        let conversation = recording.conversation().unwrap();
        assert_eq!(
            conversation.upgrade.is_some(),
            name.contains("-hijack"),
            "{name}"
        );
        let calls = conversation.calls().unwrap();
        assert_eq!(calls[0].opener, Side::Plugin, "{name}");
        assert!(
            calls[1..].iter().all(|call| call.opener == Side::Runtime),
            "{name}"
        );
        for call in &calls {
            assert!(call.request.start.starts_with("POST /"), "{name}");
            assert_eq!(
                call.request.header("content-type"),
                Some("application/proto")
            );
            assert_eq!(call.request.header("connect-protocol-version"), Some("1"));
            assert_eq!(call.request.header("accept-encoding"), Some("gzip"));
            let gzip = call.response.header("content-encoding") == Some("gzip");
            assert_eq!(gzip, call.response.status() == Some(200), "{name}");
        }
    }
}

/// The codec reads and writes the frames of real peers byte for byte.
#[test]
fn every_recorded_frame_is_encoded_to_the_recorded_bytes() {
    for name in Recording::names().unwrap() {
        if !name.starts_with("plugin-") {
            continue;
        }
        let recording = Recording::load(&name).unwrap();
        let conversation = recording.conversation().unwrap();
        let (upgrade, response) = conversation.upgrade.unwrap_or_default();
        for (side, head) in [(Side::Plugin, upgrade), (Side::Runtime, response)] {
            let frames = conversation.frames.iter().filter(|(from, _)| *from == side);
            let encoded: Vec<u8> = frames.flat_map(|(_, frame)| frame.encode()).collect();
            assert_eq!([head, encoded].concat(), recording.bytes(side), "{name}");
        }
    }
}

fn registration(call: &Call) -> plugins::RegisterPluginRequest {
    decode(&call.request)
}

#[test]
fn the_current_registration_is_decoded() {
    for name in [
        "launched",
        "hijack",
        "hijack-reference-acceptor",
        "keepalive",
        "shutdown-in-flight",
    ] {
        let calls = calls(&format!("plugin-v0.3.2-{name}"));
        let request = registration(&calls[0]);
        assert_eq!(request.name.as_deref(), Some("demo"));
        assert_eq!(request.version.as_deref(), Some("v1.2.3"));
        let Some(plugins::register_plugin_request::Metadata::SecretsProvider(provider)) =
            request.metadata
        else {
            panic!("{name} registers no provider");
        };
        assert_eq!(provider.pattern.as_deref(), Some("demo/**"));
        let response: plugins::RegisterPluginResponse = decode(&calls[0].response);
        assert_eq!(response.engine_name.as_deref(), Some("golden"));
        assert_eq!(response.engine_version.as_deref(), Some("v0.0.1"));
        assert_eq!(
            response.request_timeout.map(|d| (d.seconds, d.nanos)),
            Some((10, 0))
        );
    }
}

#[test]
fn earlier_registrations_are_decoded() {
    for (name, service) in [
        ("v0.0.22-launched", "RegisterService"),
        ("v0.0.22-hijack", "RegisterService"),
        ("v0.0.19-launched", "EngineService"),
        ("2025-07-10-launched", "EngineService"),
    ] {
        let calls = calls(&format!("plugin-{name}"));
        let path = format!("/resolver.v1.{service}/RegisterPlugin");
        assert_eq!(calls[0].request.path(), path, "{name}");
        let request: resolver::RegisterPluginRequest = decode(&calls[0].request);
        assert_eq!(request.name.as_deref(), Some("demo"));
        assert_eq!(request.version.as_deref(), Some("v1.2.3"));
        assert_eq!(request.pattern.as_deref(), Some("demo/**"));
        let last = calls.last().unwrap();
        assert_eq!(last.request.path(), "/resolver.v1.PluginService/Shutdown");
    }
}

#[test]
fn the_responses_of_a_provider_are_decoded() {
    for name in [
        "v0.3.2-launched",
        "v0.3.2-hijack",
        "v0.3.2-hijack-reference-acceptor",
        "v0.0.22-launched",
        "v0.0.22-hijack",
        "v0.0.19-launched",
    ] {
        let calls = calls(&format!("plugin-{name}"));
        assert_eq!(calls.len(), 5, "{name}");
        let patterns: Vec<_> = calls[1..4]
            .iter()
            .map(|call| {
                decode::<resolver::GetSecretsRequest>(&call.request)
                    .pattern
                    .unwrap()
            })
            .collect();
        assert_eq!(patterns, ["demo/hit", "demo/missing", "demo/broken"]);
        let envelope = hit(&calls[1].response);
        let owner = envelope.metadata.get("owner").map(String::as_str);
        assert_eq!(
            owner,
            name.starts_with("v0.3").then_some("nobody"),
            "{name}"
        );
        assert_eq!(proto_seconds(envelope.created_at), Some(CREATED));
        assert_eq!(proto_seconds(envelope.expires_at), Some(EXPIRES));
        // Go's "not set" is the year 1.
        assert_eq!(proto_seconds(envelope.resolved_at), Some(-62_135_596_800));
        assert_eq!(envelope.provider.as_deref(), Some(""));
        let secret = keyway_secrets::Envelope::try_from(envelope).unwrap();
        let since_1970 = |time: Option<SystemTime>| {
            time.unwrap()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
        };
        assert_eq!(
            since_1970(secret.created_at),
            Duration::new(CREATED as u64, 678_000_000)
        );
        assert_eq!(
            since_1970(secret.expires_at),
            Duration::new(EXPIRES as u64, 678_000_000)
        );
        assert_eq!(secret.resolved_at, None);
        assert_eq!(calls[2].response.status(), Some(404));
        assert_eq!(
            error_of(&calls[2].response),
            ("not_found".into(), "secret not found".into())
        );
        assert_eq!(calls[3].response.status(), Some(500));
        assert_eq!(
            error_of(&calls[3].response),
            (
                "internal".into(),
                r#"failed to get secret "demo/broken": backend exploded"#.into()
            )
        );
        assert!(calls[4].request.path().ends_with(".PluginService/Shutdown"));
        assert!(calls[4].request.raw.is_empty());
        assert_eq!(
            decode::<plugins::ShutdownResponse>(&calls[4].response),
            plugins::ShutdownResponse {}
        );
    }
}

#[test]
fn the_oldest_plugin_returns_one_secret_at_a_time() {
    let calls = calls("plugin-2025-07-10-launched");
    let get = "/resolver.v1.ResolverService/GetSecret";
    assert_eq!(paths(&calls)[1..4], [get; 3]);
    let response: common::GetSecretResponse = decode(&calls[1].response);
    assert_eq!(response.id.as_deref(), Some("demo/hit"));
    assert_eq!(response.value.as_deref(), Some(&b"s3cr3t-value"[..]));
    assert_eq!(response.version.as_deref(), Some("v7"));
    assert_eq!(proto_seconds(response.created_at), Some(CREATED));
    assert_eq!(proto_seconds(response.expires_at), Some(EXPIRES));
    let accepted: common::OldestRegisterResponse = decode(&calls[0].response);
    assert_eq!(accepted.engine_name.as_deref(), Some("golden"));
    assert!(accepted.request_timeout.is_some());
}

#[test]
fn the_calls_to_an_access_control_module_are_decoded() {
    let calls = calls("plugin-v0.3.2-accesscontrol");
    let service = "/accesscontrol.v1.AccessControlService";
    assert_eq!(
        paths(&calls)[1..5],
        [
            format!("{service}/CheckAccess"),
            format!("{service}/CheckAccess"),
            format!("{service}/Authorize"),
            format!("{service}/Authorize"),
        ]
    );
    let registered = registration(&calls[0]);
    assert!(matches!(
        registered.metadata,
        Some(plugins::register_plugin_request::Metadata::AccessControlModule(_))
    ));
    let check: access::CheckAccessRequest = decode(&calls[1].request);
    assert_eq!(check.pattern.as_deref(), Some("demo/hit"));
    let requester = check.requester.unwrap();
    assert_eq!(requester.pid, Some(4242));
    assert_eq!(requester.name.as_deref(), Some("curl"));
    assert_eq!(
        requester.absolute_binary_path.as_deref(),
        Some("/usr/bin/curl")
    );
    assert_eq!(requester.signed_by_docker, Some(false));
    let Some(access::requester::SigningInfo::Linux(signing)) = requester.signing_info else {
        panic!("the signing information is lost");
    };
    assert_eq!(
        signing.signers[0].cert_issuer.as_deref(),
        Some("https://issuer.example")
    );
    assert_eq!(signing.signers[0].rekor_log_index, Some(7));

    let decision = |call: &Call| decode::<access::CheckAccessResponse>(&call.response).decision();
    assert_eq!(decision(&calls[1]), access::Decision::Allow);
    assert_eq!(decision(&calls[2]), access::Decision::Deny);
    let ahead: access::AuthorizeRequest = decode(&calls[3].request);
    assert_eq!(ahead.patterns, ["demo/hit", "other/**"]);
    let response: access::AuthorizeResponse = decode(&calls[3].response);
    assert_eq!(response.decision(), access::Decision::Allow);
    assert_eq!(proto_seconds(response.expires_at), Some(EXPIRES));
    assert_eq!(
        error_of(&calls[4].response),
        (
            "invalid_argument".into(),
            "at least one pattern is required".into()
        )
    );
}

#[test]
fn a_refused_registration() {
    let calls = calls("plugin-v0.3.2-registration-refused");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].response.status(), Some(409));
    assert_eq!(
        error_of(&calls[0].response),
        ("already_exists".into(), "plugin demo already exists".into())
    );
}

#[test]
fn a_call_in_flight_at_shutdown_completes() {
    let calls = calls("plugin-v0.3.2-shutdown-in-flight");
    let found: resolver::GetSecretsResponse = decode(&calls[1].response);
    assert_eq!(found.envelopes[0].id.as_deref(), Some("demo/slow"));
    assert_eq!(
        calls[2].request.path(),
        "/plugins.v1.PluginService/Shutdown"
    );
}

fn client_calls() -> Vec<Call> {
    Recording::load("client-2026-08-21")
        .unwrap()
        .client_calls()
        .unwrap()
}

#[test]
fn the_requests_of_a_client_are_decoded() {
    let calls = client_calls();
    let resolver = "/resolver.v1.ResolverService/GetSecrets";
    let authorizer = "/resolver.v1.AuthorizerService/Authorize";
    let management = "/plugins.v1.PluginManagementService";
    assert_eq!(
        paths(&calls),
        [
            resolver,
            resolver,
            &format!("{management}/ListPlugins"),
            &format!("{management}/DisablePlugin"),
            &format!("{management}/EnablePlugin"),
            &format!("{management}/EnablePlugin"),
            "/health.v1.VersionService/GetVersion",
            authorizer,
            authorizer,
            resolver,
            resolver,
            resolver,
        ]
    );
    // The connection is kept alive, and no call has a deadline.
    assert!(
        calls
            .iter()
            .all(|call| call.request.header("connection").is_none())
    );
    assert!(
        calls
            .iter()
            .all(|call| call.request.header("connect-timeout-ms").is_none())
    );
    let pattern = |at: usize| {
        decode::<resolver::GetSecretsRequest>(&calls[at].request)
            .pattern
            .unwrap()
    };
    let patterns: Vec<_> = [0, 1, 9, 10, 11].map(pattern).into();
    assert_eq!(
        patterns,
        [
            "demo/hit",
            "demo/missing",
            "denied/x",
            "demo/notime",
            "demo/down"
        ]
    );
    let disabled: plugins::DisablePluginRequest = decode(&calls[3].request);
    assert_eq!(disabled.name.as_deref(), Some("demo"));
    let enabled = |at: usize| {
        decode::<plugins::EnablePluginRequest>(&calls[at].request)
            .name
            .unwrap()
    };
    assert_eq!([enabled(4), enabled(5)], ["demo", "nosuch"]);
    let ahead = |at: usize| decode::<resolver::AuthorizeRequest>(&calls[at].request).patterns;
    assert_eq!(ahead(7), ["demo/hit", "other/**"]);
    assert_eq!(ahead(8), ["denied/x"]);
}

#[test]
fn the_responses_to_a_client_are_decoded() {
    let calls = client_calls();
    let envelope = hit(&calls[0].response);
    assert_eq!(envelope.provider.as_deref(), Some("demo"));
    assert_eq!(proto_seconds(envelope.resolved_at), Some(CREATED + 1));
    let errors = [1, 5, 8, 9, 11].map(|at: usize| {
        (
            calls[at].response.status().unwrap(),
            error_of(&calls[at].response).0,
        )
    });
    let expected = [
        (404, "not_found"),
        (404, "not_found"),
        (403, "permission_denied"),
        (403, "permission_denied"),
        (503, "unavailable"),
    ];
    assert_eq!(
        errors,
        expected.map(|(status, code)| (status, code.to_owned()))
    );
    let without_times: resolver::GetSecretsResponse = decode(&calls[10].response);
    assert_eq!(without_times.envelopes[0].created_at, None);
    let version: keyway_proto::health::v1::GetVersionResponse = decode(&calls[6].response);
    assert_eq!(version.version.as_deref(), Some("v0.0.1"));
    assert_eq!(version.date.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(version.commit_hash.as_deref(), Some("0123456789abcdef"));
    let allowed: resolver::AuthorizeResponse = decode(&calls[7].response);
    assert_eq!(allowed.decision(), resolver::Decision::Allow);
    assert_eq!(proto_seconds(allowed.expires_at), Some(EXPIRES));
}

#[test]
fn the_list_of_plugins_is_decoded() {
    let listed: plugins::ListPluginsResponse = decode(&client_calls()[2].response);
    let names: Vec<_> = listed
        .plugins
        .iter()
        .map(|plugin| plugin.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["ac", "bad", "demo", "nostatus"]);
    let [module, _, demo, plain] = listed.plugins.as_slice() else {
        panic!("four plugins are listed");
    };
    assert_eq!(module.disabled, Some(true));
    assert_eq!(module.external, Some(true));
    assert_eq!(module.configurable, Some(true));
    assert_eq!(module.run_status(), plugins::RunStatus::Crashed);
    assert_eq!(module.status_message.as_deref(), Some("exit status 1"));
    assert!(matches!(
        module.metadata,
        Some(plugins::plugin::Metadata::AccessControlModule(_))
    ));
    assert_eq!(demo.disabled, Some(false));
    assert_eq!(demo.run_status(), plugins::RunStatus::Running);
    let Some(plugins::plugin::Metadata::SecretsProvider(provider)) = &demo.metadata else {
        panic!("demo is a provider");
    };
    assert_eq!(provider.pattern.as_deref(), Some("demo/**"));
    assert_eq!((plain.disabled, plain.run_status), (None, None));
}
