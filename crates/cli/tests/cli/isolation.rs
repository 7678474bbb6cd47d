//! Daemons and clients of different users and namespaces.

use std::path::PathBuf;
use std::process::Command;

use keyway_test_support::{Daemon, copy_executable, require, set_mode, text};

use crate::addresses::{has_namespace, mode, without_address};
use crate::support::script;
use crate::support::{Home, KEYWAY};

/// A user without any rights.
const OTHER_UID: u32 = 64_123;

/// A program as [`OTHER_UID`], in a home.
fn as_other_user(home: &Home, program: &str) -> Command {
    let mut command = without_address(home, "setpriv");
    command
        .arg(format!("--reuid={OTHER_UID}"))
        .arg(format!("--regid={OTHER_UID}"))
        .args(["--clear-groups", program]);
    command
}

fn has_other_user() -> bool {
    let home = Home::new();
    set_mode(home.path(), 0o755);
    require::can_run("setpriv as root", &mut as_other_user(&home, "true"))
}

/// A copy of the program that every user may execute, because the build directory may be closed to others.
fn copy_for_all(home: &Home) -> PathBuf {
    let copy = home.join("keyway");
    copy_executable(KEYWAY, &copy);
    copy
}

#[test]
fn an_abstract_name_of_another_user_is_an_error_in_the_log() {
    if !has_namespace("--net") || !has_other_user() {
        return;
    }
    let home = Home::new();
    let others = Home::new();
    set_mode(home.path(), 0o755);
    set_mode(others.path(), 0o755);
    set_mode(&others.create_dir("run"), 0o777);
    let keyway = copy_for_all(&others);
    // The log is a fifo, so that the shell reads the line of readiness when it is written.
    let script = format!(
        "mkfifo {log}; \
         setpriv --reuid={OTHER_UID} --regid={OTHER_UID} --clear-groups env HOME={others} {keyway} serve \
           --listen @docker-secrets-engine/0/daemon.sock 2>{log} & other=$!; \
         trap 'kill $other' EXIT; exec 3<{log}; \
         while read -r line <&3; do case $line in *ready*) break;; esac; done; \
         echo other is $other >&2; {KEYWAY} serve",
        others = others.join("run").display(),
        keyway = keyway.display(),
        log = home.join("log").display(),
    );
    let mut command = without_address(&home, "unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", &script]);
    let daemon = Daemon::start(&mut command);
    let log = daemon.log_before_ready();
    let pid = log.lines().find_map(|line| line.strip_prefix("other is "));
    let pid = pid.unwrap_or_else(|| panic!("no pid: {log}"));
    let error = log.lines().find(|line| line.contains("ERROR"));
    let error = error.unwrap_or_else(|| panic!("no error: {log}"));
    let holder = format!("process {pid} of uid {OTHER_UID}");
    assert!(
        error.contains("another user listens at") && error.contains(&holder),
        "{error}"
    );
    assert!(!daemon.addresses().contains('@'));
}

#[test]
fn a_user_in_allow_uids_reaches_a_path_outside_of_the_default_directory() {
    if !has_other_user() {
        return;
    }
    let home = Home::new();
    set_mode(home.path(), 0o755);
    home.configure(&format!("allow_uids = [{OTHER_UID}]\n"));
    let socket = home.join("shared/made/daemon.sock");
    let serve = || home.serve(&["--listen", "shared/made/daemon.sock"]);
    let daemon = serve();
    assert_eq!(mode(&socket), 0o666);
    assert_eq!(mode(&home.join("shared/made")), 0o711);
    assert_eq!(mode(&home.join("shared")), 0o711);

    let keyway = copy_for_all(&home);
    let version = |daemon_uid: Option<&str>| {
        let mut command = as_other_user(&home, keyway.to_str().unwrap());
        command.arg("version").env("KEYWAY_SOCKET", &socket);
        if let Some(uid) = daemon_uid {
            command.env("KEYWAY_DAEMON_UID", uid);
        }
        let output = command.output().unwrap();
        text(&output.stdout) + &text(&output.stderr)
    };
    let refused = version(None);
    assert!(refused.contains("another user's program"), "{refused}");
    let accepted = version(Some("0"));
    assert!(
        accepted.matches(env!("CARGO_PKG_VERSION")).count() == 2,
        "{accepted}"
    );
    assert_eq!(daemon.log_before_ready(), "");
    drop(daemon);

    home.configure("");
    let _daemon = serve();
    assert_eq!(mode(&socket), 0o600);
}

#[test]
fn a_closed_directory_that_keeps_allowed_users_out_is_named() {
    let home = Home::new();
    set_mode(home.path(), 0o755);
    let closed = home.create_dir("closed");
    set_mode(&closed, 0o700);
    home.configure(&format!("allow_uids = [{OTHER_UID}]\n"));
    let daemon = home.serve(&["--listen", "closed/daemon.sock"]);
    assert_eq!(mode(&closed), 0o700);
    let advice = format!("run `chmod o+x {}`", closed.display());
    let log = daemon.log_before_ready();
    assert!(log.contains("WARN") && log.contains(&advice), "{log}");
}

#[test]
fn a_daemon_of_an_unmapped_user_does_not_start() {
    if !has_namespace("--user") {
        return;
    }
    let home = Home::new();
    let mut command = without_address(&home, "unshare");
    command.args(["--user", KEYWAY, "serve", "--listen", "@keyway-unmapped"]);
    let output = command.output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(
        message.contains("user namespace") && message.contains("unshare --map-current-user"),
        "{message}"
    );
}

#[test]
fn a_daemon_and_a_client_in_different_pid_namespaces_reach_each_other() {
    if !has_namespace("--pid") {
        return;
    }
    let home = Home::new();
    let inside = |arguments: &[&str]| {
        let mut command = home.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", KEYWAY]);
        command.args(arguments);
        command
    };
    let check = |mut client: Command| {
        let output = client.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    let daemon = home.serve(&[]);
    check(inside(&["version"]));
    let (_, log) = daemon.stop();
    assert!(!log.contains("refused"), "{log}");

    let _daemon = Daemon::start(&mut inside(&["serve"]));
    check(home.keyway(["version"]));
}

#[test]
fn doctor_names_the_daemon_of_another_user_and_tells_a_user_of_allow_uids_whom_to_be() {
    if !has_other_user() {
        return;
    }
    let home = Home::new();
    set_mode(home.path(), 0o755);
    home.configure(&format!("allow_uids = [{OTHER_UID}]\n"));
    let daemon = home.serve(&["--listen", "shared/daemon.sock"]);
    let keyway = copy_for_all(&home);
    let doctor = |daemon_uid: &str| {
        let mut command = as_other_user(&home, keyway.to_str().unwrap());
        command
            .arg("doctor")
            .env("HOME", "/nonexistent")
            .env("KEYWAY_SOCKET", home.join("shared/daemon.sock"))
            .env("KEYWAY_DAEMON_UID", daemon_uid);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        home.show(&output)
    };
    let foreign = doctor(&OTHER_UID.to_string());
    let expected = "wrong  daemon: no daemon was reached at HOME/shared/daemon.sock \
                    (another user's program listens there (uid 0)). ";
    assert!(foreign.starts_with(expected), "{foreign}");
    assert!(
        foreign.contains("name the user of this one with --daemon-uid"),
        "{foreign}"
    );
    let denied = doctor("0");
    let expected = "wrong  daemon: the daemon does not report its status: ";
    assert!(denied.starts_with(expected), "{denied}");
    assert!(
        denied.contains(". Run the command as the user of the daemon.\n"),
        "{denied}"
    );
    daemon.stop();
}

#[test]
fn doctor_finds_a_daemon_and_a_caller_of_different_pid_namespaces() {
    if !has_namespace("--pid") {
        return;
    }
    let home = Home::new();
    let inside = |arguments: &[&str]| {
        let mut command = home.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", KEYWAY]);
        command.args(arguments);
        command
    };
    let check = |mut client: Command, expected: &str| {
        let output = client.output().unwrap();
        let shown = home.show(&output);
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(shown.starts_with(expected), "{shown}");
        assert!(!shown.contains("wrong  daemon"), "{shown}");
    };
    let daemon = home.serve(&[]);
    check(
        inside(&["doctor"]),
        "wrong  pid namespace: the daemon does not run in the pid namespace of this command",
    );
    daemon.stop();
    let _daemon = Daemon::start(&mut inside(&["serve"]));
    check(
        home.keyway(["doctor"]),
        "wrong  pid namespace: the daemon, process ",
    );
}

#[test]
fn client_commands_need_no_proc() {
    if !has_namespace("--mount") {
        return;
    }
    let home = Home::new();
    let _daemon = script::serve(&home);
    for (line, expected) in [
        ("get web/token", "dummy-token\n"),
        ("run -- sh -c 'echo $TOKEN; exit 7'", "dummy-token\n"),
        ("set web/token --store s", "stored web/token"),
        ("rm web/token --store s", "removed web/token"),
        ("ls", "ID "),
        ("plugins", "RANK "),
        ("version", "daemon v"),
        ("config", ""),
    ] {
        let script = format!(
            "mount -t tmpfs none /proc && ! [ -e /proc/self ] && echo value | {KEYWAY} {line}"
        );
        let mut command = home.command("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        let output = command.env("TOKEN", "se://web/token").output().unwrap();
        let code = if line.starts_with("run") { 7 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        assert!(
            text(&output.stdout).contains(expected),
            "{line}: {output:?}"
        );
    }
}
