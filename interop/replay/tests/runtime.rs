//! `keyway serve` against the recorded plugins, launched and external.

mod common;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use common::{cuts, error_of, http};
use keyway_interop::{Daemon, Home};
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::plugins::v1 as plugins;
use keyway_replay::launched::{self, Outcome, plugin_player};
use keyway_replay::{Cut, Deviation, Player, Recording, Transcript};
use keyway_test_support::{WAIT_LIMIT, eventually, text};
use prost::Message as _;

/// The recordings with a hit, a missing and a broken secret.
const LAUNCHED: [&str; 3] = [
    "plugin-v0.3.2-launched",
    "plugin-v0.0.22-launched",
    "plugin-v0.0.19-launched",
];
const EXTERNAL: [&str; 3] = [
    "plugin-v0.3.2-hijack",
    "plugin-v0.3.2-hijack-reference-acceptor",
    "plugin-v0.0.22-hijack",
];

fn cut_text(cut: Cut) -> String {
    match cut {
        Cut::Whole => "whole".to_owned(),
        Cut::Bytes => "bytes".to_owned(),
        Cut::Every(length) => format!("every:{length}"),
        Cut::Random(seed) => format!("random:{seed}"),
    }
}

/// A home whose plugin directory holds one recorded plugin.
fn home_with(recording: &str, cut: Cut, more: &str) -> (Home, PathBuf) {
    let home = Home::new();
    home.install(env!("CARGO_BIN_EXE_replay-plugin"), "demo");
    let outcome = home.join("outcome.json");
    let env = [
        (launched::RECORDING, recording.to_owned()),
        (launched::CUT, cut_text(cut)),
        (launched::OUTCOME, outcome.display().to_string()),
    ];
    let env: Vec<String> = env
        .iter()
        .map(|(key, value)| format!("{key} = {value:?}"))
        .collect();
    home.configure(&format!(
        "{more}[plugins.demo]\nenv = {{ {} }}\n",
        env.join(", ")
    ));
    (home, outcome)
}

/// The outcome that the launched plugin wrote at its end.
fn outcome(path: &Path) -> Outcome {
    let outcome = eventually("the end of the play", || std::fs::read(path));
    let outcome: Outcome = serde_json::from_slice(&outcome).unwrap();
    assert_eq!(outcome.deviation, None);
    outcome
}

/// Queries one secret without the command line, and returns the HTTP status of the response.
fn status_of_query(daemon: &Daemon<'_>, id: &str) -> Option<u16> {
    let query = "/resolver.v1.ResolverService/GetSecrets";
    let body = format!(r#"{{"pattern":"{id}"}}"#);
    http(&daemon.socket(), query, &body).status()
}

/// Queries the three secrets of the recordings, in their order.
fn query_the_recorded(daemon: &Daemon<'_>) {
    // The recorded value expired in January 2026, so it has failed; its time shows that it was read.
    let hit = daemon.run(&["get", "demo/hit", "--json"]);
    let message = text(&hit.stderr);
    assert_eq!(hit.status.code(), Some(5), "{message}");
    assert!(
        message.contains("the value of demo/hit expired at 2026-01-02T04:04:05.678Z"),
        "{message}"
    );
    assert_eq!(hit.stdout, b"");
    // The command line would list ids to name the nearest, which no recorded peer expects.
    assert_eq!(status_of_query(daemon, "demo/missing"), Some(404));
    let broken = daemon.run(&["get", "demo/broken"]);
    assert_eq!(broken.status.code(), Some(5), "{}", text(&broken.stderr));
}

#[test]
fn a_launched_plugin_of_each_generation_is_served() {
    for name in LAUNCHED {
        for cut in cuts() {
            let (home, path) = home_with(name, cut, "");
            let daemon = Daemon::start(&home);
            daemon.wait_for_plugin("demo");
            query_the_recorded(&daemon);
            daemon.stop();
            let outcome = outcome(&path);
            assert_eq!(outcome.exchanges.len(), 5, "{name} ({cut})");
            check_accepted(&outcome.exchanges[0].body);
            for exchange in &outcome.exchanges[1..] {
                let header = |wanted: &str| {
                    let found = exchange.headers.iter().find(|(have, _)| have == wanted);
                    found.map(|(_, value)| value.as_str())
                };
                assert_eq!(header("content-type"), Some("application/proto"));
                assert_eq!(header("connect-protocol-version"), Some("1"));
            }
        }
    }
}

/// The response to a registration, which is the same in every generation.
fn check_accepted(body: &[u8]) {
    let accepted = plugins::RegisterPluginResponse::decode(body).unwrap();
    assert_eq!(accepted.engine_name.as_deref(), Some("keyway"));
    assert!(
        accepted
            .engine_version
            .is_some_and(|version| version.starts_with('v'))
    );
    assert!(
        accepted
            .request_timeout
            .is_some_and(|timeout| timeout.seconds > 0)
    );
}

#[test]
fn a_silent_plugin_is_pinged_and_stopped() {
    for cut in cuts() {
        let (home, path) = home_with("plugin-v0.3.2-keepalive", cut, "");
        let daemon = Daemon::start(&home);
        daemon.wait_for_plugin("demo");
        daemon.stop();
        outcome(&path);
    }
}

#[test]
fn an_access_control_module_is_consulted() {
    for cut in cuts() {
        let modules = "[access]\nmodules = [\"demo\"]\n";
        let (home, path) = home_with("plugin-v0.3.2-accesscontrol", cut, modules);
        let daemon = Daemon::start(&home);
        daemon.wait_for_plugin("demo");
        assert_eq!(status_of_query(&daemon, "demo/hit"), Some(404));
        assert_eq!(daemon.run(&["get", "demo/other"]).status.code(), Some(4));
        let authorize = "/resolver.v1.AuthorizerService/Authorize";
        let allowed = http(
            &daemon.socket(),
            authorize,
            r#"{"patterns":["demo/hit","other/**"]}"#,
        );
        assert_eq!(allowed.status(), Some(200));
        let empty = http(&daemon.socket(), authorize, "{}");
        assert_eq!(error_of(&empty).0, "invalid_argument");
        daemon.stop();
        let outcome = outcome(&path);
        let check = access::CheckAccessRequest::decode(outcome.exchanges[2].body.as_slice());
        let requester = check.unwrap().requester.unwrap();
        assert!(requester.pid.is_some_and(|pid| pid > 0));
        assert_eq!(requester.name.as_deref(), Some("keyway"));
        assert!(
            requester
                .absolute_binary_path
                .is_some_and(|path| path.ends_with("/keyway"))
        );
    }
}

/// An external plugin, played in a thread of this process.
struct External {
    playing: JoinHandle<Result<Transcript, Deviation>>,
    paths: mpsc::Receiver<String>,
}

impl External {
    /// Recordings of launched plugins get the upgrade of another one.
    fn start(daemon: &Daemon<'_>, name: &str, cut: Cut) -> Self {
        let mut player: Player = plugin_player(name, cut).unwrap();
        if !name.contains("-hijack") {
            let other = Recording::load("plugin-v0.3.2-hijack").unwrap();
            let (upgrade, _) = other.conversation().unwrap().upgrade.unwrap();
            player = player.with_upgrade(upgrade);
        }
        let (sender, paths) = mpsc::channel();
        // The receiver may be dropped once the test has its event.
        let player = player.watch(move |exchange| {
            let _ = sender.send(exchange.recorded.request.path().to_owned());
        });
        let socket = UnixStream::connect(daemon.socket()).unwrap();
        let playing = thread::spawn(move || player.play(socket));
        Self { playing, paths }
    }

    fn wait_for(&self, path: &str) {
        while self.paths.recv_timeout(WAIT_LIMIT).unwrap() != path {}
    }

    fn finish(self) -> Transcript {
        let played = self.playing.join().unwrap();
        played.unwrap_or_else(|deviation| panic!("{deviation}"))
    }
}

const REGISTER: &str = "/plugins.v1.RegisterService/RegisterPlugin";

#[test]
fn an_external_plugin_is_served() {
    for name in EXTERNAL {
        for cut in cuts() {
            let home = Home::new();
            let daemon = Daemon::start(&home);
            let plugin = External::start(&daemon, name, cut);
            daemon.wait_for_plugin("demo");
            query_the_recorded(&daemon);
            daemon.stop();
            let transcript = plugin.finish();
            let response = transcript.upgrade.unwrap();
            assert_eq!(response.start, "HTTP/1.1 101 Switching Protocols");
            assert!(
                response
                    .header("upgrade")
                    .is_some_and(|to| to.eq_ignore_ascii_case("tcp"))
            );
            check_accepted(&transcript.exchanges[0].live.body().unwrap());
        }
    }
}

#[test]
fn a_second_plugin_of_a_name_is_refused() {
    for cut in cuts() {
        let home = Home::new();
        let daemon = Daemon::start(&home);
        let first = External::start(&daemon, "plugin-v0.3.2-keepalive", Cut::Whole);
        daemon.wait_for_plugin("demo");
        let second = External::start(&daemon, "plugin-v0.3.2-registration-refused", cut);
        let refused = second.finish();
        let response = &refused.at(REGISTER, 0).unwrap().live;
        assert_eq!(response.status(), Some(409));
        assert_eq!(error_of(response).0, "already_exists");
        daemon.stop();
        first.finish();
    }
}

/// The plugin sends GoAway at once and responds to the call in flight afterwards.
#[test]
fn a_call_in_flight_at_shutdown_completes() {
    for cut in cuts() {
        let home = Home::new();
        let daemon = Daemon::start(&home);
        let plugin = External::start(&daemon, "plugin-v0.3.2-shutdown-in-flight", cut);
        daemon.wait_for_plugin("demo");
        let mut get = daemon.command(&["get", "demo/slow", "--value"]);
        let get = get.stdout(Stdio::piped()).spawn().unwrap();
        plugin.wait_for("/resolver.v1.ResolverService/GetSecrets");
        let disabled = daemon.run(&["plugins", "disable", "demo"]);
        assert!(disabled.status.success(), "{}", text(&disabled.stderr));
        let got = get.wait_with_output().unwrap();
        assert_eq!(got.status.code(), Some(0));
        assert_eq!(got.stdout, b"s3cr3t-value");
        plugin.finish();
        daemon.stop();
    }
}
