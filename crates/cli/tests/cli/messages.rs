//! Every message of the program for its user, each provoked with the real binary.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;

use keyway_test_support::scripted::ScriptedDaemon;
use keyway_test_support::{feed, set_mode};

use crate::support::{Home, script};

fn with_daemon(lines: &[&str]) -> String {
    let home = Home::new();
    let _daemon = script::serve(&home);
    home.transcript(lines)
}

#[test]
fn invalid_command_lines() {
    let home = Home::new();
    let not_utf8 = std::ffi::OsStr::from_bytes(b"web/\xff");
    let output = feed(&mut home.keyway(["get".as_ref(), not_utf8]), b"");
    insta::assert_snapshot!("an_argument_that_is_not_utf8", home.show(&output));
    insta::assert_snapshot!(home.transcript(&[
        "",
        "gett",
        "xyzzy",
        "list",
        "quit",
        "edit a",
        "scan .",
        "which a",
        "trust vault",
        "--config x serve",
        "get",
        "get a//b",
        "get a/b*",
        "get a b",
        "get a --json --value",
        "get a --json --json",
        "get a --sock x",
        "get a --socket",
        "get a --socket @",
        "set",
        "set a/*",
        "set NAME=hunter2",
        "get NAME=hunter2",
        "set a hunter2",
        "set a --valeu x",
        "set a --gen",
        "run --envfile x -- env",
        "get a --json=x",
        "get a --timeout 5",
        "get a --daemon-uid root",
        "get a --socket b --socket c",
        "set a --value=hunter2",
        "set a --store",
        "rm",
        "run",
        "run --",
        "run -- ",
        "run env",
        "plugins enabel vault",
        "plugins enable",
        "completions",
        "completions tcsh",
        "version 2",
    ]));
}

#[test]
fn help() {
    let home = Home::new();
    insta::assert_snapshot!(home.transcript(&[
        "--help",
        "--version",
        "get --help",
        "ls --help",
        "set --help",
        "rm --help",
        "plugins --help",
        "plugins enable --help",
        "config --help",
        "config check --help",
        "version --help",
        "completions --help",
        "help",
        "help set",
    ]));
}

#[test]
fn values_and_explanations() {
    insta::assert_snapshot!(with_daemon(&[
        "get web/token",
        "get web/token --value",
        "get web/token --json",
        "--json get se://web/token",
        "get bin/key --json",
        "get bin/quoted --json",
        "get web/tok/**",
        "get a --explain",
        "get a --explain --json",
        "get failing/** --explain",
        "get failing/** --explain --json",
        "get nothing/** --explain",
        "get denied/id --explain",
    ]));
}

#[test]
fn a_value_is_not_available() {
    insta::assert_snapshot!(with_daemon(&[
        "get nothing/here",
        "get web/tokn",
        "get WEB/token",
        "get session",
        "versions web/tokn",
        "get web/tokn --json",
        "get spare/here",
        "get new/here",
        "get nothing/**",
        "get web/*",
        "get web/* --json",
        "get twice/id",
        "get twice/id --value",
        "get repeated/id",
        "get partial/id",
        "get partial/id --json",
        "get foreign/id",
        "get denied/id",
        "get broken/id",
        "get slow/id",
        "get internal/id",
        "get hostile/id",
    ]));
}

#[test]
fn listings() {
    insta::assert_snapshot!(with_daemon(&[
        "ls",
        "ls web/*",
        "ls web/",
        "ls web",
        "ls --json",
        "ls --fetch",
        "ls --fetch --json",
        "ls nothing/**",
        "ls nothing/** --json",
        "ls broken/**",
        "ls broken/** --json",
        "ls a//b",
    ]));
}

#[test]
fn plugins_are_listed_and_changed() {
    insta::assert_snapshot!(with_daemon(&[
        "plugins",
        "plugins list --json",
        "plugins enable vault",
        "plugins disable vault --json",
        "plugins enable env",
        "plugins disable guard",
        "plugins enable absent",
        "plugins reload",
        "plugins reload --json",
        "plugins trust vault",
        "plugins trust vault --json",
        "plugins trust file",
        "plugins untrust vault",
        "plugins untrust vault --json",
        "plugins untrust absent",
        "plugins trust absent",
    ]));
}

#[test]
fn versions() {
    insta::assert_snapshot!(with_daemon(&["version", "version --json"]));
}

#[test]
fn a_daemon_without_keyways_services() {
    let home = Home::new();
    let _daemon = ScriptedDaemon::serve(home.socket(), script::reference());
    insta::assert_snapshot!(home.transcript(&[
        "ls",
        "ls web/*",
        "ls web/* --fetch",
        "plugins",
        "plugins --json",
        "get a/b --explain",
        "ls nothing/** --fetch",
        "plugins reload",
    ]));
}

#[test]
fn there_is_no_daemon() {
    let home = Home::new();
    let mut text = home.transcript(&[
        "get web/token",
        "ls",
        "plugins",
        "version",
        "get web/token --socket elsewhere.sock",
        "get web/token --socket @keyway-test-unused",
    ]);
    let mut command = home.keyway(["get", "web/token"]);
    command.env_remove("KEYWAY_SOCKET");
    let output = feed(&mut command, b"");
    text.push_str("$ env -u KEYWAY_SOCKET keyway get web/token\n");
    text.push_str(&home.show(&output));
    command.env("KEYWAY_SOCKET", "@");
    let output = feed(&mut command, b"");
    text.push_str("\n$ env KEYWAY_SOCKET=@ keyway get web/token\n");
    text.push_str(&home.show(&output));
    insta::assert_snapshot!(text);
}

#[test]
fn only_the_daemon_of_the_named_user_is_used() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let own = rustix::process::geteuid().as_raw();
    let other = own + 1;
    let shown = |line: &str, variable: &str| {
        let mut command = home.keyway(line.split(' '));
        if !variable.is_empty() {
            command.env("KEYWAY_DAEMON_UID", variable);
        }
        home.show(&feed(&mut command, b""))
    };
    let get = |more: &str| format!("get web/token{more}");
    for (line, variable) in [
        (get(&format!(" --daemon-uid {own}")), String::new()),
        (get(""), own.to_string()),
        (get(&format!(" --daemon-uid {own}")), other.to_string()),
    ] {
        assert_eq!(
            shown(&line, &variable),
            "dummy-token\n",
            "{line} {variable}"
        );
    }
    for (line, variable) in [
        (get(&format!(" --daemon-uid {other}")), String::new()),
        (get(""), other.to_string()),
        (get(&format!(" --daemon-uid {other}")), own.to_string()),
    ] {
        let text = shown(&line, &variable).replace(&format!("uid {own}"), "uid OWN");
        insta::allow_duplicates! {
            insta::assert_snapshot!(text, @"
            ! keyway: no daemon was reached at HOME/daemon.sock (another user's program listens there (uid OWN)).
            ! Start your own with `keyway serve`, or name the user of this one with --daemon-uid if you trust that user.
            [exit status: 5]
            ");
        }
    }
    insta::assert_snapshot!(shown("get web/token", "root"), @"
    ! keyway: KEYWAY_DAEMON_UID is wrong: a uid is a whole number from 0 to 4294967294.
    ! Correct the variable, or unset it for the default.
    [exit status: 2]
    ");
}

#[test]
fn a_stale_socket_of_a_daemon() {
    let home = Home::new();
    drop(UnixListener::bind(home.socket()).unwrap());
    insta::assert_snapshot!(home.transcript(&["get web/token", "version"]));
}

#[test]
fn another_file_at_the_address_of_the_socket() {
    let home = Home::new();
    fs::write(home.join("file.sock"), "").unwrap();
    insta::assert_snapshot!(home.transcript(&[
        "get web/token --socket file.sock/x",
        "get web/token --socket .",
    ]));
}

#[test]
fn a_server_of_another_protocol() {
    use std::io::{Read as _, Write as _};
    let home = Home::new();
    let listener = UnixListener::bind(home.socket()).unwrap();
    let server = std::thread::spawn(move || {
        for response in [
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\nbusy",
            "SSH-2.0-x\r\n",
            "",
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            // All of it: a close with unread bytes would reset the connection.
            let mut request = Vec::new();
            while !request.ends_with(b"web/token") {
                let mut bytes = [0; 1024];
                let n_read = stream.read(&mut bytes).unwrap();
                assert_ne!(n_read, 0, "an incomplete request");
                request.extend_from_slice(&bytes[..n_read]);
            }
            assert!(request.starts_with(b"POST /resolver.v1.ResolverService/GetSecrets"));
            stream.write_all(response.as_bytes()).unwrap();
        }
    });
    let text = home.transcript(&["get web/token", "get web/token", "get web/token"]);
    server.join().unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn the_file_store() {
    let home = Home::new();
    let mut text = String::new();
    let mut step = |line: &str, stdin: &[u8]| {
        let output = home.run(line, stdin);
        text.push_str(&format!(
            "$ printf {:?} | keyway {line}\n",
            String::from_utf8_lossy(stdin)
        ));
        text.push_str(&home.show(&output));
        text.push('\n');
    };
    step("set web/token", b"dummy");
    step("set web/token", b"dummy\n");
    step("set web/token", b"");
    step("set web/empty --allow-empty", b"");
    step("set web/trimmed --trim", b"dummy\r\n");
    step("set web/trimmed --trim", b"\n");
    step("--json set se://web/trimmed", b"dummy");
    step("rm web/trimmed --json", b"");
    step("set web/one --store other", b"1");
    step("rm web/token", b"");
    step("rm web/token", b"");
    step("rm web/one", b"");
    step("set web/large", &vec![b'x'; 8 * 1024 * 1024 + 1]);
    let identity = home.join("other/identity.txt");
    set_mode(&identity, 0o644);
    step("set web/one --store other", b"2");
    fs::write(home.join("other/index.age"), "not age").unwrap();
    set_mode(&identity, 0o600);
    step("rm web/one --store other", b"");
    fs::write(home.join("taken"), "").unwrap();
    step("set web/one --store taken", b"2");
    step("set web/one --store ", b"2");
    insta::assert_snapshot!(shorten(&text));
}

#[test]
fn without_stdin_or_a_terminal_nothing_is_stored() {
    let home = Home::new();
    home.run("set web/token", b"dummy");
    let mut closed = home.keyway(["set", "web/token"]);
    let program = closed.get_program().to_owned();
    let arguments: Vec<_> = closed.get_args().map(ToOwned::to_owned).collect();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec \"$@\" <&-", "sh"]).arg(program);
    shell.args(arguments).current_dir(home.path()).env_clear();
    shell.env("HOME", home.path());
    shell.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for output in [shell.output().unwrap(), closed.output().unwrap()] {
        assert_eq!(output.status.code(), Some(1));
        let text = home.show(&output);
        assert!(text.contains("Nothing was stored"), "{text}");
    }
    let output = home.run("set web/token", b"dummy");
    assert!(home.show(&output).contains("version 2,"));
}

/// The large value is not part of the message.
fn shorten(text: &str) -> String {
    text.replace(&"x".repeat(8 * 1024 * 1024 + 1), "x...")
}

#[test]
fn the_store_directory_is_missing() {
    let home = Home::new();
    let mut command = home.keyway(["set", "web/token"]);
    command.env_remove("HOME");
    let nowhere = feed(&mut command, b"dummy");
    command.env("KEYWAY_FILE_STORE", "relative");
    let relative = feed(&mut command, b"dummy");
    let (nowhere, relative) = (home.show(&nowhere), home.show(&relative));
    insta::assert_snapshot!(format!("{nowhere}\n{relative}"));
}
