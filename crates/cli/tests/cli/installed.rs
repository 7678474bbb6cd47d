//! The program without any plugin directory: the daemon, its built-in file provider, and the commands.

use std::os::unix::net::UnixListener;

use keyway_test_support::{Daemon, copy_executable, feed, set_mode};

use crate::support::script::binary;
use crate::support::{Home, KEYWAY};

#[test]
fn a_fresh_home_works_without_configuration() {
    let home = Home::new();
    let daemon = home.serve(&[]);
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
    let (status, rest) = daemon.stop();
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
    assert!(!home.socket().exists());
}

#[test]
fn an_available_plugin_takes_the_place_of_the_built_in_store_only_if_it_is_chosen() {
    let home = Home::new();
    for path in ["prefix/plugins/file", "prefix/lib/keyway/plugins/env"] {
        let plugin = home.write(path, "#!/bin/sh\nexit 78\n");
        set_mode(&plugin, 0o755);
    }
    let program = home.create_dir("prefix/bin").join("keyway");
    copy_executable(KEYWAY, &program);
    let serve = || Daemon::start(home.command(&program).arg("serve"));
    let daemon = serve();
    home.set("web/token", b"dummy-token");
    assert_eq!(home.run("get web/token", b"").stdout, b"dummy-token\n");
    let plugins = home.show(&home.run("plugins", b""));
    assert!(plugins.contains("file  v0.1.0   running"), "{plugins}");
    assert!(plugins.contains("keyway plugins enable env"), "{plugins}");
    daemon.stop();
    home.configure("[plugins.file]\npriority = 1\n");
    let daemon = serve();
    let failed = home.run("get web/token", b"");
    assert_eq!(failed.status.code(), Some(5), "{}", home.show(&failed));
    daemon.stop();
}

#[test]
fn a_value_of_any_bytes_is_stored_and_read_back() {
    let home = Home::new();
    let _daemon = home.serve(&[]);
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
    let _daemon = home.serve(&[]);
    home.set("web/token", b"dummy-token");
    let mut command = home.keyway(["run", "--", "sh", "-c", "echo \"$TOKEN\""]);
    let output = feed(command.env("TOKEN", "se://web/token"), b"");
    assert_eq!(home.show(&output), "dummy-token\n");
}

#[test]
fn a_disabled_provider_is_not_called_until_it_is_enabled() {
    let home = Home::new();
    let _daemon = home.serve(&[]);
    home.set("web/token", b"dummy-token");
    assert_eq!(home.run("plugins disable file", b"").status.code(), Some(0));
    insta::assert_snapshot!(home.transcript(&["get web/token"]), @r"
    $ keyway get web/token
    ! keyway: there is no secret web/token, but file is turned off.
    ! Run `keyway plugins enable file` to use it, or `keyway ls` to see what there is.
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
fn a_daemon_starts_at_the_socket_of_one_that_crashed() {
    let home = Home::new();
    home.serve(&[]).kill();
    assert!(home.socket().exists());
    let daemon = home.serve(&[]);
    home.set("web/token", b"dummy-token");
    assert_eq!(home.run("get web/token", b"").stdout, b"dummy-token\n");
    assert_eq!(daemon.stop().0.code(), Some(0));
}

#[test]
fn a_start_that_is_refused_names_the_cause() {
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
        home.write(name, content);
        text += &home.transcript(&[&format!("serve --config {name}")]);
    }
    set_mode(&home.write("shared.toml", ""), 0o666);
    text += &home.transcript(&["serve --config shared.toml"]);
    let _taken = UnixListener::bind(home.join("taken.sock")).unwrap();
    text += &home.transcript(&["serve --listen taken.sock"]);
    home.write("file.sock", "");
    text += &home.transcript(&["serve --listen file.sock"]);
    text += &home.transcript(&["serve --listen file.sock/daemon.sock"]);
    let own = format!(
        "process {} of uid {}",
        std::process::id(),
        rustix::process::geteuid().as_raw()
    );
    insta::assert_snapshot!(text.replace(&own, "process PID of uid UID"));
}
