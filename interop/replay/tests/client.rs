//! `keyway serve` against the recorded client.

mod common;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{decode, error_of};
use keyway_interop::{Daemon, Home, rust_program};
use keyway_proto::health::v1 as health;
use keyway_proto::plugins::v1 as plugins;
use keyway_proto::resolver::v1 as resolver;
use keyway_replay::{Call, Cutter, Message, Recording};

fn home() -> Home {
    let home = Home::new();
    home.install(rust_program("keyway-interop", "demo"), "demo");
    home.install(rust_program("keyway-interop", "guard"), "guard");
    home.configure("[access]\nmodules = [\"guard\"]\n");
    home
}

fn connect(daemon: &Daemon<'_>) -> UnixStream {
    let socket = UnixStream::connect(daemon.socket()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket
}

fn request_bytes(call: &Call) -> Vec<u8> {
    let mut bytes = format!("{}\r\n", call.request.start).into_bytes();
    for (name, value) in &call.request.headers {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(&call.request.raw);
    bytes
}

fn read_message(socket: &mut UnixStream, pending: &mut Vec<u8>) -> Message {
    loop {
        if let Some(message) = Message::take(pending, false).unwrap() {
            return message;
        }
        let mut buffer = [0; 16 * 1024];
        let length = socket.read(&mut buffer).unwrap();
        assert!(length > 0, "the daemon closed the connection");
        pending.extend(&buffer[..length]);
    }
}

/// Checks the responses as the recorded client would.
fn check(calls: &[Call], responses: &[Message]) {
    assert_eq!(responses.len(), calls.len());
    let status: Vec<_> = responses
        .iter()
        .map(|response| response.status().unwrap())
        .collect();
    let recorded: Vec<_> = calls
        .iter()
        .map(|call| call.response.status().unwrap())
        .collect();
    assert_eq!(status, recorded);
    for (call, response) in calls.iter().zip(responses) {
        if response.status() == Some(200) {
            assert_eq!(response.header("content-type"), Some("application/proto"));
        } else {
            assert_eq!(error_of(response).0, error_of(&call.response).0);
            assert!(!error_of(response).1.is_empty());
        }
    }
    let hit: resolver::GetSecretsResponse = decode(&responses[0]);
    let envelope = &hit.envelopes[0];
    assert_eq!(envelope.id.as_deref(), Some("demo/hit"));
    assert_eq!(envelope.value, Some(keyway_interop::demo_value("demo/hit")));
    assert_eq!(envelope.provider.as_deref(), Some("demo"));
    assert!(common::proto_seconds(envelope.resolved_at).is_some_and(|seconds| seconds > 0));
    let listed: plugins::ListPluginsResponse = decode(&responses[2]);
    let demo = listed
        .plugins
        .iter()
        .find(|plugin| plugin.name.as_deref() == Some("demo"));
    assert_eq!(demo.unwrap().run_status(), plugins::RunStatus::Running);
    let version: health::GetVersionResponse = decode(&responses[6]);
    assert!(version.version.unwrap().starts_with('v'));
    let allowed: resolver::AuthorizeResponse = decode(&responses[7]);
    assert_eq!(allowed.decision(), resolver::Decision::Allow);
    assert!(
        allowed.expires_at.is_some(),
        "a Go client reads an absent expiry as 1970"
    );
    let untimed: resolver::GetSecretsResponse = decode(&responses[10]);
    let untimed = &untimed.envelopes[0];
    let year_1 = Some(-62_135_596_800);
    assert_eq!(common::proto_seconds(untimed.created_at), year_1);
    assert_eq!(common::proto_seconds(untimed.expires_at), year_1);
}

/// Each request is sent after the response to the one before it was read.
#[test]
fn calls_one_by_one_in_every_cut_have_the_recorded_outcomes() {
    let calls = Recording::load("client-2026-08-21")
        .unwrap()
        .client_calls()
        .unwrap();
    let home = home();
    let daemon = Daemon::start(&home);
    daemon.wait_for_plugin("guard");
    daemon.wait_for_plugin("demo");
    for cut in common::cuts() {
        let mut cutter = Cutter::new(cut);
        let mut socket = connect(&daemon);
        let (mut responses, mut pending) = (Vec::new(), Vec::new());
        for call in &calls {
            let written = cutter.write(&socket, &request_bytes(call));
            written.unwrap_or_else(|e| panic!("{cut}: {e}"));
            responses.push(read_message(&mut socket, &mut pending));
        }
        assert!(pending.is_empty(), "{cut}");
        check(&calls, &responses);
    }
    daemon.stop();
}

/// All requests in one write: the responses come in their order.
#[test]
fn pipelined_calls_have_the_recorded_outcomes() {
    let recording = Recording::load("client-2026-08-21").unwrap();
    let calls = recording.client_calls().unwrap();
    let home = home();
    let daemon = Daemon::start(&home);
    daemon.wait_for_plugin("guard");
    daemon.wait_for_plugin("demo");
    let mut socket = connect(&daemon);
    socket
        .write_all(&recording.bytes(keyway_replay::Side::Client))
        .unwrap();
    let mut pending = Vec::new();
    let responses: Vec<_> = calls
        .iter()
        .map(|_| read_message(&mut socket, &mut pending))
        .collect();
    check(&calls, &responses);
    daemon.stop();
}
