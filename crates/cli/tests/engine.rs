//! The installed program alone is a working engine: the daemon, the file provider in it, and the commands.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use support::daemon::binary;
use support::engine::Engine;
use support::home::{Home, feed};

fn engine(home: &Home) -> Engine {
    Engine::start(&mut home.keyway(["serve"]))
}

#[test]
fn a_fresh_home_needs_nothing_but_the_daemon() {
    let home = Home::new();
    let engine = engine(&home);
    let mut text = String::new();
    text += &home.transcript(&["get web/token", "ls", "plugins"]);
    let output = home.run("set web/token", b"dummy-token");
    text += &format!(
        "$ printf dummy-token | keyway set web/token\n{}\n",
        home.show(&output)
    );
    text += &home.transcript(&[
        "get web/token",
        "ls",
        "rm web/token",
        "get web/token",
        "version",
    ]);
    insta::assert_snapshot!(text);
    let (status, rest) = engine.stop();
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
    assert!(!home.socket().exists());
}

#[test]
fn bytes_survive_the_whole_way() {
    let home = Home::new();
    let _engine = engine(&home);
    for value in [
        binary(),
        Vec::new(),
        b"line\n".to_vec(),
        vec![b'x'; 3 << 20],
    ] {
        assert!(
            home.run("set bin/key --allow-empty", &value)
                .status
                .success()
        );
        let output = home.run("get bin/key --value", b"");
        assert_eq!(output.status.code(), Some(0), "{}", home.show(&output));
        assert!(
            output.stdout == value,
            "{} bytes became {}",
            value.len(),
            output.stdout.len()
        );
    }
}

#[test]
fn a_program_runs_with_secrets_of_the_store() {
    let home = Home::new();
    let _engine = engine(&home);
    assert!(home.run("set web/token", b"dummy-token").status.success());
    let mut command = home.keyway(["run", "--", "sh", "-c", "echo \"$TOKEN\""]);
    let output = feed(command.env("TOKEN", "se://web/token"), b"");
    assert_eq!(home.show(&output), "dummy-token\n");
}

#[test]
fn a_provider_that_is_turned_off_answers_nothing_until_it_is_turned_on() {
    let home = Home::new();
    let _engine = engine(&home);
    assert!(home.run("set web/token", b"dummy-token").status.success());
    assert_eq!(home.run("plugins disable file", b"").status.code(), Some(0));
    insta::assert_snapshot!(home.transcript(&["get web/token"]), @r"
    $ keyway get web/token
    ! keyway: there is no secret web/token, but file is turned off.
    ! Run `keyway plugins enable file` if it should be asked, or `keyway ls` to see what there is.
    [exit status: 3]
    ");
    insta::assert_snapshot!(home.transcript(&["ls", "ls --json"]), @r#"
    $ keyway ls
    ID  PROVIDER  VERSION
    **  file      turned off
    ! keyway: no secret matches **.

    $ keyway ls --json
    {"secrets":[],"unlisted":[{"provider":"file","realm":"**","reason":"turned_off","message":""}]}
    "#);
    assert_eq!(home.run("plugins enable file", b"").status.code(), Some(0));
    assert_eq!(home.run("get web/token", b"").stdout, b"dummy-token\n");
}

#[test]
fn a_daemon_that_crashed_leaves_nothing_in_the_way_of_the_next() {
    let home = Home::new();
    engine(&home).kill();
    assert!(home.socket().exists());
    let engine = engine(&home);
    assert!(home.run("set web/token", b"dummy-token").status.success());
    assert_eq!(home.run("get web/token", b"").stdout, b"dummy-token\n");
    assert_eq!(engine.stop().0.code(), Some(0));
}

/// What `keyway plugins --json` says of one plugin.
fn plugin(home: &Home, name: &str) -> serde_json::Value {
    let output = home.run("plugins --json", b"");
    let plugins: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let found = plugins.into_iter().find(|plugin| plugin["name"] == name);
    found.unwrap_or_default()
}

/// Waits until a plugin has crashed for a reason that says so, and gives it.
fn crash(home: &Home, name: &str, says: &str) -> String {
    wait_for(home, name, "crashed", says)
}

/// Waits until a plugin has this status for a reason that says so, and gives the reason. How the process ended is added to the
/// reason when that is known, and an older reason stays until there is another.
fn wait_for(home: &Home, name: &str, status: &str, says: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let plugin = plugin(home, name);
        let message = plugin["message"].as_str().unwrap_or_default();
        if plugin["status"] == status && message.contains(says) {
            return message.to_owned();
        }
        assert!(Instant::now() < deadline, "{plugin}");
    }
}

#[test]
fn broken_plugins_are_reported_and_delay_nobody() {
    let home = Home::new();
    let plugins = home.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    for (name, mode, content) in [
        ("garbage", 0o700, "not a program"),
        ("crash", 0o700, "#!/bin/sh\necho no token >&2\nexit 3\n"),
        ("silent", 0o700, "#!/bin/sh\nexec sleep 1000\n"),
        ("text", 0o600, "#!/bin/sh\n"),
    ] {
        fs::write(plugins.join(name), content).unwrap();
        fs::set_permissions(plugins.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let engine = Engine::start(&mut home.keyway(["serve", "--plugin-dir", "plugins"]));
    assert!(home.run("set web/token", b"dummy-token").status.success());
    let output = home.run("get web/token", b"");
    assert_eq!(output.stdout, b"dummy-token\n", "{}", home.show(&output));

    crash(
        &home,
        "garbage",
        "neither a program for this machine nor a script",
    );
    let reason = crash(&home, "crash", "it exited with status 3");
    assert!(reason.contains("no token"), "{reason}");

    // A plugin that has not registered yet may hold the secret, so its first start is waited for; then its name is part of the
    // answer.
    let output = home.run("get nothing/here", b"");
    let text = home.show(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("crash, garbage, silent have never started"),
        "{text}"
    );

    let (status, log) = engine.stop();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("did not register within"), "{log}");
}

/// What they would have answered for is not known, so they are not counted as failed; whoever misses a secret is told.
#[test]
fn a_secret_that_is_missing_names_the_plugins_that_never_started() {
    let home = Home::new();
    let plugins = home.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::copy("/bin/false", plugins.join("vault")).unwrap();
    let _engine = Engine::start(&mut home.keyway(["serve", "--plugin-dir", "plugins"]));
    crash(&home, "vault", "it exited with status 1");
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

/// Everything that gives out a secret ends with 4 while a listed module does not decide, and nothing is started.
#[test]
fn without_its_access_control_module_the_daemon_denies_everything() {
    let home = Home::new();
    fs::write(
        home.path().join("config.toml"),
        "[access]\nmodules = [\"guard\"]\n",
    )
    .unwrap();
    let engine = Engine::start(&mut home.keyway(["serve", "--config", "config.toml"]));
    assert!(home.run("set web/token", b"dummy-token").status.success());
    let mut text = home.transcript(&["get web/token", "get nothing/here", "ls", "ls --fetch"]);
    let mut command = home.keyway(["run", "--", "sh", "-c", "echo started"]);
    let output = feed(command.env("TOKEN", "se://web/token"), b"");
    text += &format!(
        "$ TOKEN=se://web/token keyway run ...\n{}",
        home.show(&output)
    );
    insta::assert_snapshot!(text);
    let (status, log) = engine.stop();
    assert_eq!(status.code(), Some(0));
    assert!(
        log.contains("the access-control module guard is absent"),
        "{log}"
    );

    // A provider of that name decides about nothing.
    fs::write(
        home.path().join("config.toml"),
        "[access]\nmodules = [\"file\"]\n",
    )
    .unwrap();
    let _engine = Engine::start(&mut home.keyway(["serve", "--config", "config.toml"]));
    let output = home.run("get web/token", b"");
    let text = home.show(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains(
            "the access-control module file must be running and is not: it is a secrets provider"
        ),
        "{text}"
    );
}

#[test]
fn l16_with_pinning_on_a_new_plugin_waits_until_it_is_trusted() {
    let home = Home::new();
    let plugins = home.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::copy("/bin/false", plugins.join("stranger")).unwrap();
    let config = format!("[plugins.known]\nsha256 = \"{}\"\n", "00".repeat(32));
    fs::write(home.path().join("config.toml"), config).unwrap();
    let arguments = [
        "serve",
        "--plugin-dir",
        "plugins",
        "--config",
        "config.toml",
    ];
    let engine = Engine::start(&mut home.keyway(arguments));

    let listed = plugin(&home, "stranger");
    let message = listed["message"].as_str().unwrap();
    assert_eq!(listed["status"], "untrusted", "{listed}");
    assert!(
        message.contains("keyway plugins trust stranger"),
        "{message}"
    );
    let mut text = home.transcript(&["plugins enable stranger", "plugins trust file"]);
    text += &home.transcript(&["plugins trust nobody", "plugins trust known"]);
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
    crash(&home, "stranger", "it exited with status 1");

    // Another file under the name is not the one that was trusted, and the next daemon remembers which one was.
    assert_eq!(engine.stop().0.code(), Some(0));
    fs::remove_file(plugins.join("stranger")).unwrap();
    fs::copy("/bin/true", plugins.join("stranger")).unwrap();
    let engine = Engine::start(&mut home.keyway(arguments));
    wait_for(
        &home,
        "stranger",
        "refused",
        "keyway plugins trust stranger",
    );
    assert!(home.run("plugins trust stranger", b"").status.success());
    crash(&home, "stranger", "ended before it registered");
    assert_eq!(engine.stop().0.code(), Some(0));
}

#[test]
fn values_are_in_no_log_of_any_level() {
    let home = Home::new();
    let mut command = home.keyway(["serve"]);
    let engine = Engine::start(command.env("RUST_LOG", "trace"));
    assert!(
        home.run("set web/token", b"canary-of-a-value")
            .status
            .success()
    );
    for line in [
        "get web/token",
        "get web/token --json",
        "ls",
        "ls --fetch",
        "get web/*",
    ] {
        let output = home.run(line, b"");
        assert!(output.status.success(), "{line}: {}", home.show(&output));
    }
    let (_, log) = engine.stop();
    assert!(
        log.contains("received a frame"),
        "the log says too little: {log}"
    );
    for form in ["canary-of-a-value", "Y2FuYXJ5", "99, 97, 110, 97, 114, 121"] {
        assert!(!log.contains(form), "{form} is in the log");
    }
}

#[test]
fn what_keeps_a_daemon_from_starting() {
    let home = Home::new();
    let mut text = home.transcript(&[
        "serve --config missing.toml",
        "serve --listen",
        "serve --listen @",
        "serve --log-format yaml",
        "serve now",
    ]);
    for (name, content) in [
        ("unknown.toml", "lisen = [\"x\"]\n"),
        ("syntax.toml", "listen = \n"),
        ("type.toml", "listen = 3\n"),
        ("plugin.toml", "[plugins.vault]\ntimeout = \"soon\"\n"),
    ] {
        fs::write(home.path().join(name), content).unwrap();
        text += &home.transcript(&[&format!("serve --config {name}")]);
    }
    let shared = home.path().join("shared.toml");
    fs::write(&shared, "").unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o666)).unwrap();
    text += &home.transcript(&["serve --config shared.toml"]);
    let _taken = UnixListener::bind(home.path().join("taken.sock")).unwrap();
    text += &home.transcript(&["serve --listen taken.sock"]);
    fs::write(home.path().join("file.sock"), "").unwrap();
    text += &home.transcript(&["serve --listen file.sock"]);
    text += &home.transcript(&["serve --listen file.sock/daemon.sock"]);
    let own = format!(
        "process {} of uid {}",
        std::process::id(),
        rustix::process::geteuid().as_raw()
    );
    insta::assert_snapshot!(text.replace(&own, "process PID of uid UID"));
}
