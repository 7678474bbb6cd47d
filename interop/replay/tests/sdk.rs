//! Keyway's plugins against the recorded runtime: launched, and external behind the reference's own acceptor.

mod common;

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::{cuts, decode, error_of};
use keyway_interop::rust_program;
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_replay::{Cut, Player, Recording, Side, Transcript};
use keyway_test_support::{Home, Process, process};

fn program(name: &str) -> PathBuf {
    static DEMO: OnceLock<PathBuf> = OnceLock::new();
    static GUARD: OnceLock<PathBuf> = OnceLock::new();
    let built = if name == "guard" { &GUARD } else { &DEMO };
    built
        .get_or_init(|| rust_program("keyway-interop", name))
        .clone()
}

/// Starts a plugin as a runtime does.
fn launch(executable: &Path) -> (Process, UnixStream) {
    let config = r#"{"name":"demo","timeout":5000000000,"fd":3}"#;
    process::launch_plugin(executable, config, |command| {
        command.env_clear();
    })
}

/// Starts a plugin that connects to a socket of this test by itself.
fn start_external(executable: &Path) -> (Process, UnixStream) {
    let home = Home::new();
    let listener = UnixListener::bind(home.socket()).unwrap();
    let plugin = Process::spawn(&mut home.command(executable));
    let (ours, _) = listener.accept().unwrap();
    (plugin, ours)
}

fn player(name: &str, cut: Cut) -> Player {
    Player::new(&Recording::load(name).unwrap(), Side::Runtime)
        .unwrap()
        .cut(cut)
}

/// Replays to a plugin, which must exit with `code` afterwards.
fn play((mut plugin, socket): (Process, UnixStream), player: Player, code: i32) -> Transcript {
    let transcript = player
        .play(socket)
        .unwrap_or_else(|deviation| panic!("{deviation}"));
    assert_eq!(plugin.wait().code(), Some(code));
    assert!(transcript.sent_go_away, "the plugin did not say GoAway");
    transcript
}

fn check_registration(transcript: &Transcript) {
    let request_message = &transcript.exchanges[0].live;
    let request: plugins::RegisterPluginRequest = decode(request_message);
    assert_eq!(request.name.as_deref(), Some("demo"));
    assert_eq!(request.version.as_deref(), Some("v1.2.3"));
    assert_eq!(
        request_message.header("connect-protocol-version"),
        Some("1")
    );
    assert_eq!(
        request_message.header("content-type"),
        Some("application/proto")
    );
    let timeout: u64 = request_message
        .header("connect-timeout-ms")
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        (1..=5000).contains(&timeout),
        "the registration has {timeout} ms"
    );
}

fn check_responses(transcript: &Transcript) {
    check_registration(transcript);
    let path = "/resolver.v1.ResolverService/GetSecrets";
    let hit: resolver::GetSecretsResponse = decode(&transcript.at(path, 0).unwrap().live);
    assert_eq!(hit.envelopes.len(), 1);
    assert_eq!(hit.envelopes[0].id.as_deref(), Some("demo/hit"));
    assert_eq!(
        hit.envelopes[0].value,
        Some(keyway_interop::demo_value("demo/hit"))
    );
    // A Go reader takes an absent time for 1970; the SDK sets the time of the lookup.
    assert!(common::proto_seconds(hit.envelopes[0].resolved_at) > Some(0));
    let missing = &transcript.at(path, 1).unwrap().live;
    assert_eq!(
        (missing.status(), error_of(missing).0),
        (Some(404), "not_found".into())
    );
    let broken = transcript.at(path, 2).unwrap();
    assert_eq!(broken.live.status(), Some(500));
    assert_eq!(error_of(&broken.live), error_of(&broken.recorded.response));
    let stopped = transcript
        .at("/plugins.v1.PluginService/Shutdown", 0)
        .unwrap();
    assert_eq!(stopped.live.status(), Some(200));
}

#[test]
fn a_launched_plugin_follows_the_recording() {
    for cut in cuts() {
        let transcript = play(
            launch(&program("demo")),
            player("plugin-v0.3.2-launched", cut),
            0,
        );
        check_responses(&transcript);
    }
}

#[test]
fn an_external_plugin_accepts_both_status_lines() {
    for name in [
        "plugin-v0.3.2-hijack",
        "plugin-v0.3.2-hijack-reference-acceptor",
    ] {
        for cut in cuts() {
            let transcript = play(start_external(&program("demo")), player(name, cut), 0);
            check_responses(&transcript);
            let request_message = transcript.upgrade.unwrap();
            assert_eq!(request_message.start, "GET /hijack HTTP/1.1");
            assert_eq!(request_message.header("upgrade"), Some("tcp"));
            assert!(request_message.header("host").is_some());
            assert!(
                request_message
                    .header("connection")
                    .unwrap()
                    .eq_ignore_ascii_case("upgrade")
            );
        }
    }
}

/// The first call is in the same write as the 101, before the registration: it waits for that, and no byte is lost.
#[test]
fn frames_behind_the_101_are_not_lost() {
    for name in [
        "plugin-v0.3.2-hijack",
        "plugin-v0.3.2-hijack-reference-acceptor",
    ] {
        for cut in cuts() {
            let player = player(name, cut).eager();
            check_responses(&play(start_external(&program("demo")), player, 0));
        }
    }
}

#[test]
fn a_ping_is_acknowledged() {
    for cut in cuts() {
        let player = player("plugin-v0.3.2-keepalive", cut);
        check_registration(&play(launch(&program("demo")), player, 0));
    }
}

#[test]
fn a_call_in_flight_at_shutdown_completes() {
    for cut in cuts() {
        let player = player("plugin-v0.3.2-shutdown-in-flight", cut);
        let transcript = play(launch(&program("demo")), player, 0);
        let slow = transcript
            .at("/resolver.v1.ResolverService/GetSecrets", 0)
            .unwrap();
        let found: resolver::GetSecretsResponse = decode(&slow.live);
        assert_eq!(found.envelopes[0].id.as_deref(), Some("demo/slow"));
        let order: Vec<_> = transcript
            .exchanges
            .iter()
            .map(|e| e.recorded.request.path())
            .collect();
        assert_eq!(
            order.last(),
            Some(&"/resolver.v1.ResolverService/GetSecrets")
        );
    }
}

#[test]
fn a_refused_plugin_exits() {
    for cut in cuts() {
        let player = player("plugin-v0.3.2-registration-refused", cut);
        check_registration(&play(launch(&program("demo")), player, 1));
    }
}

#[test]
fn an_access_control_module_follows_the_recording() {
    for cut in cuts() {
        let player = player("plugin-v0.3.2-accesscontrol", cut);
        let transcript = play(launch(&program("guard")), player, 0);
        check_registration(&transcript);
        let service = "/accesscontrol.v1.AccessControlService";
        for nth in 0..2 {
            let checked = transcript
                .at(&format!("{service}/CheckAccess"), nth)
                .unwrap();
            let response: access::CheckAccessResponse = decode(&checked.live);
            assert_eq!(response.decision(), access::Decision::Allow);
        }
        let ahead = transcript.at(&format!("{service}/Authorize"), 0).unwrap();
        let response: access::AuthorizeResponse = decode(&ahead.live);
        assert_eq!(response.decision(), access::Decision::Allow);
        assert!(response.expires_at.is_some());
        let empty = transcript.at(&format!("{service}/Authorize"), 1).unwrap();
        assert_eq!(error_of(&empty.live).0, "invalid_argument");
    }
}
