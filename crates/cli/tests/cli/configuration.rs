//! The configuration of `keyway serve`: its path, refusals and reloads.

use std::fs;
use std::process::Output;

use keyway_test_support::{Daemon, text, wait_until};
use rustix::process::Signal;

use crate::support::Home;

/// Runs a command line that has to end with 2, and returns its standard error.
#[track_caller]
fn refused(home: &Home, line: &str) -> String {
    let output: Output = home.run(line, b"");
    assert_eq!(
        output.status.code(),
        Some(2),
        "{line}: {}",
        home.show(&output)
    );
    text(&output.stderr)
}

#[test]
fn an_invalid_value_is_refused_with_file_line_and_key() {
    let home = Home::new();
    let file = home.configure("\n[plugins.pass]\ntimeout = \"soon\"\n");
    let message = refused(&home, "serve");
    let expected = format!(
        "keyway: {}:3: plugins.pass.timeout: \"soon\" is not a duration",
        file.display()
    );
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn an_address_in_use_is_refused_with_its_holder() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    let message = refused(&home, "serve --state-dir other");
    let expected = format!(
        "keyway: {} is in use by process {} of uid",
        home.socket().display(),
        daemon.id()
    );
    assert!(message.starts_with(&expected), "{message}");
    daemon.stop();
}

#[test]
fn a_second_daemon_of_one_state_directory_is_refused_with_the_pid_of_the_first() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    let message = refused(&home, "serve --listen other.sock");
    let expected = format!("another daemon (pid {})", daemon.id());
    assert!(message.contains(&expected), "{message}");
    assert!(message.contains("--state-dir"), "{message}");
    assert!(!home.join("other.sock").exists());

    home.serve(&["--listen", "other.sock", "--state-dir", "state"])
        .stop();
    assert!(home.join("state/lock").exists());
    daemon.stop();
}

#[test]
fn a_start_without_the_former_configuration_is_refused_until_no_config_confirms_it() {
    let home = Home::new();
    let file = home.configure("[plugins.file]\npriority = 1\n");
    home.serve(&[]).stop();
    fs::remove_file(&file).unwrap();
    let message = refused(&home, "serve");
    for part in [file.to_str().unwrap(), "--no-config"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!home.socket().exists());
    home.serve(&["--no-config"]).stop();
    home.serve(&[]).stop();
}

#[test]
fn a_configuration_that_vanishes_stays_in_force() {
    let home = Home::new();
    let file = home.configure("[plugins.file]\nenabled = false\n");
    let mut daemon = home.serve(&[]);
    fs::remove_file(&file).unwrap();
    daemon.signal(Signal::HUP);
    let line = daemon.expect("the old configuration stays in force");
    assert!(
        line.contains("ERROR") && line.contains("config.toml"),
        "{line}"
    );
    let response = home.query("web/token");
    assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
    daemon.stop();
}

#[test]
fn a_configuration_that_cannot_be_read_ends_the_start_with_2() {
    let home = Home::new();
    let file = home.configure("");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let message = refused(&home, "serve");
    assert!(message.contains("is a directory"), "{message}");
    fs::remove_dir(&file).unwrap();
    std::os::unix::fs::symlink("/nonexistent/config.toml", &file).unwrap();
    refused(&home, "serve");
    refused(&home, "serve --config absent.toml --no-config");
    // A path that leads nowhere may be a secret in the wrong place.
    for line in ["serve --config absent.toml", "config check absent.toml"] {
        let message = refused(&home, line);
        assert!(!message.contains("absent.toml"), "{message}");
    }
}

#[test]
fn a_configuration_of_an_option_is_named_if_it_was_in_force_before() {
    let home = Home::new();
    let file = home.write("own.toml", "");
    home.serve(&["--config", "own.toml"]).stop();
    let is_named = || {
        let message = refused(&home, "serve --config own.toml");
        assert!(message.contains(file.to_str().unwrap()), "{message}");
    };
    fs::remove_file(&file).unwrap();
    is_named();
    fs::create_dir(&file).unwrap();
    is_named();
}

#[test]
fn config_shows_each_setting_with_its_line_and_never_a_value_of_env() {
    let home = Home::new();
    let file =
        home.configure("[plugins.pass]\npriority = 10\nenv = { TOKEN = \"not-a-real-token\" }\n");
    let shown = home.run("config", b"");
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let stdout = text(&shown.stdout);
    for line in [
        "\npriority = 10   # config.toml:2\n",
        "\nrequired = false   # default\n",
        "\n# No daemon is running.\n",
    ] {
        assert!(stdout.contains(line), "{line:?} is missing in {stdout}");
    }
    let json = text(&home.run("config --json", b"").stdout);
    for part in [
        r#"{"table":"plugins.pass","key":"priority","value":"10","line":2}"#,
        r#""daemon":"not_running""#,
    ] {
        assert!(json.contains(part), "{part:?} is missing in {json}");
    }
    assert!(!json.contains("not-a-real-token"));
    assert!(!format!("{shown:?}").contains("not-a-real-token"));

    let path = file.to_str().unwrap();
    let check = format!("config check {path}");
    let valid = home.run(&check, b"");
    assert_eq!(valid.status.code(), Some(0), "{valid:?}");
    home.configure("[plugins.pass]\nprioriti = 10\n");
    for line in [check.as_str(), "config"] {
        let message = refused(&home, line);
        let expected = format!(
            "keyway: {path}:2: plugins.pass.prioriti: unknown key; the nearest known key is `priority`"
        );
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn sighup_reloads_and_an_invalid_configuration_changes_nothing() {
    let home = Home::new();
    home.write("config.toml", "");
    let mut daemon: Daemon = home.serve(&["--config", "config.toml"]);
    home.set("web/token", b"not-a-real-token");
    let has_status = |status: &str| home.query("web/token").starts_with(status);
    assert!(has_status("HTTP/1.1 200 "));
    home.write("config.toml", "unknown = 1");
    daemon.signal(Signal::HUP);
    let line = daemon.expect("the old configuration stays in force");
    assert!(line.contains("unknown"), "{line}");
    assert!(has_status("HTTP/1.1 200 "));
    home.write("config.toml", "[plugins.file]\nenabled = false");
    daemon.signal(Signal::HUP);
    wait_until("file to be disabled", || has_status("HTTP/1.1 404 "));
    daemon.stop();
}
