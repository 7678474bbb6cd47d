//! `POST /internal/secrets`, with which programs of Docker's ecosystem store secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keyway_test_support::{Daemon, text};

use crate::support::{Home, KEYWAY};

/// Starts a daemon with this configuration.
fn serve(home: &Home, config: &str) -> Daemon {
    let path = home.join("config.toml");
    fs::write(&path, config).unwrap();
    home.serve(&["--config", path.to_str().unwrap()])
}

/// Posts JSON to the path with this query, and returns the status and the body.
fn post(home: &Home, query: &str, json: &str) -> (u16, String) {
    let response = home.post(&format!("/internal/secrets{query}"), json);
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

const ON: &str = "store.docker_writes = true\n";

#[test]
fn the_path_does_not_exist_unless_the_configuration_turns_it_on() {
    let home = Home::new();
    let _daemon = serve(&home, "");
    let (status, body) = post(&home, "", r#"{"id":"web/token","value":"dummy"}"#);
    assert_eq!((status, body.as_str()), (404, ""));
    let direct = "/keyway.store.v1.DockerService/Store";
    fs::write(home.join("config.toml"), ON).unwrap();
    assert!(home.run("plugins reload", b"").status.success());
    let (status, _) = post(&home, "", r#"{"id":"web/token","value":"dummy"}"#);
    assert_eq!(status, 201);
    // The method that the path becomes is no second way in.
    let response = home.post(direct, r#"{"id":"web/other","value":"dummy"}"#);
    assert!(response.contains("unimplemented"), "{response}");
}

#[test]
fn a_secret_is_stored_once_and_replaced_only_if_the_request_says_so() {
    let home = Home::new();
    let _daemon = serve(&home, ON);
    let secret = r#"{"id":"web/token","value":"dum\"my\u00fc\n1","metadata":{"owner":"ann"}}"#;
    let (status, body) = post(&home, "", secret);
    assert_eq!(status, 201, "{body}");
    assert!(body.contains(r#""version":"1""#), "{body}");
    let value = home.run("get web/token --value", b"").stdout;
    assert_eq!(text(&value), "dum\"my\u{fc}\n1");
    let shown = text(&home.run("get web/token --json", b"").stdout);
    assert!(shown.contains(r#""owner":"ann""#), "{shown}");

    let again = r#"{"id":"web/token","value":"dummy-2"}"#;
    let (status, body) = post(&home, "", again);
    assert_eq!(
        (status, body.as_str()),
        (409, r#"{"error":"file has web/token already"}"#)
    );
    assert_eq!(post(&home, "?overwrite=false", again).0, 409);
    assert_eq!(post(&home, "?overwrite=true", again).0, 201);
    let value = home.run("get web/token", b"").stdout;
    assert_eq!(text(&value), "dummy-2\n");
}

#[test]
fn an_invalid_request_stores_nothing_and_is_not_repeated() {
    let home = Home::new();
    let _daemon = serve(&home, ON);
    let too_long = format!(r#"{{"id":"a","value":"{}"}}"#, "x".repeat(9 << 20));
    for (json, expected) in [
        (r#"{"id":"canary=x","value":"canary"}"#, 400),
        (r#"{"value":"canary"}"#, 400),
        (r#"{"id":"web/token"}"#, 400),
        (r#"{"id":"web/token","value":""}"#, 400),
        (r#"{"id":"web/token","value":7}"#, 400),
        (r#"{"id":"web/*","value":"canary"}"#, 400),
        ("canary", 400),
        ("", 400),
        (&too_long, 400),
    ] {
        let (status, body) = post(&home, "", json);
        let shown = &json[..json.len().min(40)];
        assert_eq!(status, expected, "{shown}: {body}");
        assert!(body.starts_with(r#"{"error":""#), "{shown}: {body}");
        assert!(!body.contains("canary"), "{shown}: {body}");
    }
    let (status, body) = post(&home, "", r#"{"id":"keyway/write/a","value":"canary"}"#);
    assert!((400..500).contains(&status), "{status} {body}");
    let listed = text(&home.run("ls --json", b"").stdout);
    assert!(listed.contains(r#""secrets":[]"#), "{listed}");
    let socket = home.socket();
    let get = "GET /internal/secrets HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let response = keyway_test_support::http::exchange(&socket, get);
    assert!(response.starts_with("HTTP/1.1 405 "), "{response}");
    assert!(response.contains("allow: POST\r\n"), "{response}");
}

/// `vault` is a second file store, whose rank is higher than that of `file`.
#[test]
fn a_value_that_another_provider_outranks_is_refused_as_by_set() {
    let home = Home::new();
    let plugins = home.join("plugins");
    fs::create_dir(&plugins).unwrap();
    let script = plugins.join("vault");
    // The program is the plugin under this name only.
    fs::write(
        &script,
        format!("#!/bin/bash\nexec -a keyway-plugin-file '{KEYWAY}'\n"),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let vault = home.join("vault");
    let stored = home.run("set web/token --store vault", b"dummy-of-vault");
    assert!(stored.status.success(), "{}", home.show(&stored));
    let config = format!(
        "{ON}plugin_dirs = ['{}']\n[plugins.vault]\nenv = {{ KEYWAY_FILE_STORE = '{}' }}\n",
        plugins.display(),
        vault.display()
    );
    let _daemon = serve(&home, &config);
    let (status, body) = post(
        &home,
        "?overwrite=true",
        r#"{"id":"web/token","value":"dummy"}"#,
    );
    assert_eq!(status, 409, "{body}");
    assert!(body.contains("because vault provides it"), "{body}");
    let refused = home.run("set web/token", b"dummy");
    assert_eq!(refused.status.code(), Some(1), "{}", home.show(&refused));
    assert_eq!(
        post(&home, "", r#"{"id":"web/other","value":"dummy"}"#).0,
        201
    );
    let value = home.run("get web/token", b"").stdout;
    assert_eq!(text(&value), "dummy-of-vault\n");
    let forced = home.run("set web/token --force", b"dummy");
    assert!(forced.status.success(), "{}", home.show(&forced));
    let removed = home.run("rm web/token --from file", b"");
    assert!(removed.status.success(), "{}", home.show(&removed));
    let versions = home.run("versions web/token --from vault", b"");
    assert!(
        text(&versions.stdout).contains("current"),
        "{}",
        home.show(&versions)
    );
}

#[test]
fn each_request_has_a_line_in_the_audit_log_and_no_value() {
    let home = Home::new();
    let audit = home.join("audit.jsonl");
    // A record is then written before its response.
    let config = format!(
        "{ON}audit.path = '{}'\naudit.on_failure = 'refuse'\n",
        audit.display()
    );
    let daemon = serve(&home, &config);
    for expected in [201, 409] {
        let secret = r#"{"id":"web/token","value":"canary-value"}"#;
        assert_eq!(post(&home, "", secret).0, expected);
    }
    drop(daemon);
    let log = fs::read_to_string(&audit).unwrap();
    assert!(!log.contains("canary"), "{log}");
    let writes = log
        .lines()
        .filter(|line| line.contains(r#""action":"set""#));
    let outcomes: Vec<_> = writes
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["ok", "already_exists"]);
}
