//! Plugin directories, plugins that fail, pins and access-control modules, as commands show them.

use std::fs;

use keyway_test_support::{Daemon, eventually, feed};

use crate::support::Home;

/// An entry of `keyway plugins --json`.
fn plugin(home: &Home, name: &str) -> serde_json::Value {
    let output = home.run("plugins --json", b"");
    let plugins: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let found = plugins.into_iter().find(|plugin| plugin["name"] == name);
    found.unwrap_or_default()
}

/// Waits until a plugin has this status with a message that contains `text`, and returns the message. The exit status of the
/// process is added to the message when it is known; until then an older message remains.
#[track_caller]
fn wait_for(home: &Home, name: &str, status: &str, text: &str) -> String {
    eventually(&format!("{name} to be {status}"), || {
        let plugin = plugin(home, name);
        let message = plugin["message"].as_str().unwrap_or_default();
        if plugin["status"] == status && message.contains(text) {
            return Ok(message.to_owned());
        }
        Err(plugin)
    })
}

/// Waits until a plugin has crashed with a message that contains `text`, and returns the message.
#[track_caller]
fn wait_for_crash(home: &Home, name: &str, text: &str) -> String {
    wait_for(home, name, "crashed", text)
}

fn serve_with_plugins(home: &Home) -> Daemon {
    home.serve(&["--plugin-dir", "plugins"])
}

/// The executable `file` of the plugin directory replaces the built-in provider. It ends with status 1 instead of registering, so
/// a query has no candidate.
#[test]
fn a_plugin_directory_replaces_the_built_in_provider() {
    for is_relative in [true, false] {
        let home = Home::new();
        let file = home.install("/bin/false", "file");
        let absolute = file.parent().unwrap().to_str().unwrap();
        let directory = if is_relative { "plugins" } else { absolute };
        let daemon = home.serve(&["--plugin-dir", directory]);
        let response = home.query("web/token");
        assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
        let plugins = home.post("/plugins.v1.PluginManagementService/ListPlugins", "{}");
        assert!(plugins.contains("status 1"), "{plugins}");
        daemon.stop();
    }
}

#[test]
fn a_named_plugin_directory_that_is_missing_is_logged() {
    let home = Home::new();
    let daemon = home.serve(&["--plugin-dir", "/nonexistent/plugins"]);
    let log = daemon.log_before_ready();
    let event = "plugin directory does not exist path=/nonexistent/plugins\n";
    assert!(log.ends_with(event), "{log}");
    daemon.stop();
}

#[test]
fn broken_plugins_are_reported_and_delay_no_query_outside_their_realm() {
    let home = Home::new();
    home.install_script("garbage", "not a program");
    home.install_script("crash", "#!/bin/sh\necho no token >&2\nexit 3\n");
    home.install_script("silent", "#!/bin/sh\nexec sleep 1000\n");
    home.write("plugins/text", "#!/bin/sh\n");
    let daemon = serve_with_plugins(&home);
    home.set("web/token", b"dummy-token");
    let output = home.run("get web/token", b"");
    assert_eq!(output.stdout, b"dummy-token\n", "{}", home.show(&output));

    wait_for_crash(
        &home,
        "garbage",
        "neither a program for this machine nor a script",
    );
    let message = wait_for_crash(&home, "crash", "exited with status 3");
    assert!(message.contains("no token"), "{message}");

    // A plugin that has not registered yet may hold the secret, so its first start is waited for. Then the error names it.
    let output = home.run("get nothing/here", b"");
    let text = home.show(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("crash, garbage, silent have never started"),
        "{text}"
    );

    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("no registration within"), "{log}");
}

/// The realm of a plugin that never registered is unknown, so it does not count as failed. *Not found* names it.
#[test]
fn not_found_names_the_plugins_that_never_started() {
    let home = Home::new();
    home.install("/bin/false", "vault");
    let _daemon = serve_with_plugins(&home);
    wait_for_crash(&home, "vault", "exited with status 1");
    insta::assert_snapshot!(home.transcript(&["get web/token", "get web/*"]), @r"
    $ keyway get web/token
    ! keyway: there is no secret web/token, but vault has never started.
    ! Run `keyway plugins` to see why, or `keyway ls` to see what there is.
    [exit status: 3]

    $ keyway get web/*
    ! keyway: no secret matches web/*, but vault has never started.
    ! Run `keyway plugins` to see why, or `keyway ls` to see what there is.
    [exit status: 3]
    ");
}

/// Every command that returns a secret ends with 4 while a listed module does not decide, and `run` starts nothing.
#[test]
fn without_its_access_control_module_the_daemon_denies_everything() {
    let home = Home::new();
    let serve_with_module = |name: &str| {
        home.write("config.toml", format!("[access]\nmodules = [\"{name}\"]\n"));
        home.serve(&["--config", "config.toml"])
    };
    home.set("web/token", b"dummy-token");
    let daemon = serve_with_module("guard");
    let mut text = home.transcript(&[
        "rm web/token",
        "get web/token",
        "get nothing/here",
        "ls",
        "ls --fetch",
    ]);
    let mut command = home.keyway(["run", "--", "sh", "-c", "echo started"]);
    let output = feed(command.env("TOKEN", "se://web/token"), b"");
    text += &format!(
        "$ TOKEN=se://web/token keyway run ...\n{}",
        home.show(&output)
    );
    insta::assert_snapshot!(text);
    let log = daemon.log_before_ready();
    assert!(
        log.contains("the access-control module guard is absent"),
        "{log}"
    );
    let (status, _log) = daemon.stop();
    assert_eq!(status.code(), Some(0));

    // A provider of that name is not a module.
    let _daemon = serve_with_module("file");
    let output = home.run("get web/token", b"");
    let text = home.show(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains(
            "the access-control module file must be running and is not: the plugin is a secrets provider"
        ),
        "{text}"
    );
}

#[test]
fn l16_with_pinning_on_a_new_plugin_is_untrusted_until_it_is_trusted() {
    let home = Home::new();
    let file = home.install("/bin/false", "stranger");
    let config = format!("[plugins.known]\nsha256 = \"{}\"\n", "00".repeat(32));
    home.write("config.toml", config);
    let serve = || home.serve(&["--plugin-dir", "plugins", "--config", "config.toml"]);
    let daemon = serve();

    let listed = plugin(&home, "stranger");
    let message = listed["message"].as_str().unwrap();
    assert_eq!(listed["status"], "untrusted", "{listed}");
    assert!(
        message.contains("keyway plugins trust stranger"),
        "{message}"
    );
    let mut text = home.transcript(&["plugins enable stranger", "plugins trust file"]);
    text += &home.transcript(&["plugins trust absent", "plugins trust known"]);
    insta::assert_snapshot!(text);
    assert_eq!(plugin(&home, "stranger")["status"], "untrusted");
    // An argument that names no plugin may be a secret in the wrong place.
    let output = home.run("plugins untrust not-a-real-token", b"");
    let text = home.show(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(!text.contains("not-a-real-token"), "{text}");

    let output = home.run("plugins trust stranger", b"");
    let text = home.show(&output);
    assert!(text.starts_with("trusted stranger (sha256 "), "{text}");
    wait_for_crash(&home, "stranger", "exited with status 1");

    // Another file under the name does not match the pin, and the next daemon still has the pin.
    assert_eq!(daemon.stop().0.code(), Some(0));
    fs::remove_file(&file).unwrap();
    home.install("/bin/true", "stranger");
    let daemon = serve();
    let advice = "keyway plugins trust stranger";
    wait_for(&home, "stranger", "refused", advice);
    assert!(home.run("plugins trust stranger", b"").status.success());
    wait_for_crash(&home, "stranger", "ended before the registration");
    assert_eq!(daemon.stop().0.code(), Some(0));
}
