//! A Go plugin with invalid responses: the daemon names each fault and continues.

use keyway_interop::{Daemon, GoPrograms, Home, Report, go_programs};

/// The outcome of `keyway get`.
enum Outcome {
    /// Exit code 0 and this line.
    Value(&'static str),
    /// Exit code 3.
    Missing,
    /// Exit code 4, and a message that contains this.
    Denied(&'static str),
    /// Exit code 5, and a message that contains this.
    Unavailable(&'static str),
}

use Outcome::{Denied, Missing, Unavailable, Value};

/// The ids of `interop/go/internal/faults`.
const FAULTS: [(&str, Outcome); 27] = [
    ("http10", Unavailable("neither a length nor chunks")),
    ("unsized", Unavailable("neither a length nor chunks")),
    ("early", Value("odd")),
    ("drip", Value("odd")),
    ("gzip", Value("odd")),
    ("unknown", Value("known")),
    ("twice", Value("first")),
    ("timeless", Value("timeless")),
    ("invalid", Value("valid")),
    ("valueless", Value("")),
    ("html", Unavailable("invalid content-type: \"text/html\"")),
    ("unavailable", Unavailable("HTTP status 503")),
    ("empty204", Unavailable("HTTP status 204")),
    (
        "json",
        Unavailable("invalid content-type: \"application/json\""),
    ),
    ("brotli", Unavailable("unknown encoding \"br\"")),
    ("notgzip", Unavailable("the response is not valid gzip")),
    ("bomb", Unavailable("has more than 67108864 bytes")),
    ("notproto", Unavailable("the response cannot be decoded")),
    ("cut", Unavailable("in the middle of its response")),
    ("cutchunk", Unavailable("in the middle of its response")),
    ("nothing", Unavailable("without a response")),
    ("nothttp", Unavailable("not HTTP/1.1")),
    ("longhead", Unavailable("the head is too long")),
    ("deadline", Unavailable("took too long: the backend slept")),
    ("forbidden", Denied("red tape")),
    ("missing", Missing),
    ("hit", Value("s3cr3t-value of demo/hit")),
];

fn faulty(go: &GoPrograms) -> Home {
    let home = Home::new();
    home.install(go.path("plugin"), "demo");
    let report = home.join("demo.jsonl");
    let report = report.to_str().expect("the path is text");
    home.configure(&format!(
        "[plugins.demo]\nenv = {{ INTEROP_REPORT = {report:?}, INTEROP_FAULTY = \"true\", INTEROP_STREAM_OPEN_TIMEOUT = \"1s\" }}\n"
    ));
    home
}

fn check(daemon: &Daemon<'_>, id: &str, outcome: &Outcome) {
    let got = daemon.run(&["get", &format!("demo/{id}")]);
    let (output, errors) = (
        String::from_utf8_lossy(&got.stdout),
        String::from_utf8_lossy(&got.stderr),
    );
    match outcome {
        Value(value) => {
            assert_eq!(got.status.code(), Some(0), "{id}: {errors}");
            assert_eq!(output, format!("{value}\n"), "{id}");
        }
        Missing => assert_eq!(got.status.code(), Some(3), "{id}: {errors}"),
        Unavailable(reason) | Denied(reason) => {
            let code = if matches!(outcome, Denied(_)) { 4 } else { 5 };
            assert_eq!(got.status.code(), Some(code), "{id}: {errors}");
            assert!(errors.contains(reason), "{id}: {errors}");
            assert_eq!(output, "", "{id}");
        }
    }
    assert!(!errors.contains("s3cr3t"), "{id}: {errors}");
}

/// No fault costs another call, the connection, or an open stream when the plugin stops.
#[test]
fn each_fault_is_named_and_fails_one_call() {
    let Some(go) = go_programs() else { return };
    let home = faulty(&go);
    let daemon = Daemon::start(&home);
    daemon.wait_for_plugin("demo");
    for (id, outcome) in &FAULTS {
        check(&daemon, id, outcome);
    }
    assert!(!daemon.log().contains("s3cr3t"), "a value is in the log");
    daemon.stop();
    let report = Report::read_to_end(&home.join("demo.jsonl"));
    let summary = report.passed();
    assert_eq!(summary["streams_left"], 0, "{report}");
    assert_eq!(summary["ended_by"], "shutdown", "{report}");
}

#[test]
fn a_crash_during_a_call_fails_that_call_and_the_plugin_is_restarted() {
    let Some(go) = go_programs() else { return };
    let home = faulty(&go);
    let mut daemon = Daemon::start(&home);
    daemon.wait_for_plugin("demo");
    check(
        &daemon,
        "crash",
        &Unavailable("demo failed: the connection failed"),
    );
    daemon.expect("exited with status 3");
    daemon.wait_for_plugin("demo");
    check(&daemon, "hit", &Value("s3cr3t-value of demo/hit"));
    daemon.stop();
}
