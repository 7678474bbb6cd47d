//! `keyway run --file`: files in memory that are there for the command and gone after it, however `run` ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyway_test_support::{Process, feed, process, require, text, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::run::{self, run};
use crate::support::Home;
use crate::support::script::{self, binary};

/// Returns `true` if files can be in `/dev/shm`, where those of a home without a runtime directory are.
fn has_memory() -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let is_tmpfs = mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next(), fields.next()) == (Some("/dev/shm"), Some("tmpfs"))
    });
    require::has("a tmpfs at /dev/shm", is_tmpfs)
}

#[test]
fn a_file_has_the_value_and_is_gone_with_the_command() {
    if !has_memory() {
        return;
    }
    let home = Home::new();
    let _daemon = script::serve(&home);
    let options = ["--file", "KEY=bin/key", "--file", "TOKEN=se://web/tok*en"];
    let mut command = run(&home, &options, "true");
    assert_eq!(feed(&mut command, b"").status.code(), Some(2));
    let options = ["--file", "KEY=bin/key", "--file", "ROOT=se://vault/**"];
    let script = "cat \"$KEY\"; exec 3<\"$ROOT\" >&2; cat /proc/self/fd/3; \
                  stat -c ' %a %U' \"$ROOT\"; stat -c '%a' \"${ROOT%/*}\"; echo \"$ROOT\"; exit 7";
    let mut command = run(&home, &options, script);
    let output = feed(command.env("KEY", "se://nothing/here"), b"");
    assert_eq!(output.stdout, binary());
    let user = feed(Command::new("id").arg("-un"), b"").stdout;
    let shown = text(&output.stderr);
    let (modes, path) = shown.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(modes, format!("dummy-root 600 {}700", text(&user)));
    assert!(path.ends_with("/ROOT"), "{path}");
    assert_eq!(output.status.code(), Some(7));
    assert!(!Path::new(path).parent().unwrap().exists());
}

#[test]
fn a_runtime_directory_in_memory_is_preferred() {
    if !has_memory() {
        return;
    }
    let home = Home::new();
    let _daemon = script::serve(&home);
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = |mode| {
        fs::set_permissions(runtime.path(), fs::Permissions::from_mode(mode)).unwrap();
        let mut command = run(&home, &["--file", "A=web/token"], "echo \"$A\"; cat \"$A\"");
        let output = feed(command.env("XDG_RUNTIME_DIR", runtime.path()), b"");
        let shown = home.show(&output);
        let path = shown.strip_suffix("\ndummy-token(no line break)\n");
        PathBuf::from(path.unwrap_or_else(|| panic!("{shown}")))
    };
    assert!(path(0o700).starts_with(runtime.path().join("keyway")));
    // Another user could replace a file in it.
    assert!(!path(0o777).starts_with(runtime.path()));
}

#[test]
fn nothing_is_left_if_nothing_starts() {
    if !has_memory() {
        return;
    }
    let home = Home::new();
    let _daemon = script::serve(&home);
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = ["--file", "A=web/token", "--file", "B=nothing/here"];
    let mut command = run(&home, &options, "touch started");
    let output = feed(command.env("XDG_RUNTIME_DIR", runtime.path()), b"");
    insta::assert_snapshot!(home.show(&output), @"
    ! keyway: 1 of 2 references were not resolved, so nothing was started:
    !   B (se://nothing/here): there is no secret nothing/here
    ! Run `keyway ls` to see what there is, or store it with `keyway set nothing/here`.
    [exit status: 3]
    ");
    let output = feed(
        home.keyway(["run", "--file", "A=web/token", "--", "./no-such-command"])
            .env("XDG_RUNTIME_DIR", runtime.path()),
        b"",
    );
    assert_eq!(output.status.code(), Some(127));
    assert!(!home.join("started").exists());
    assert_eq!(
        fs::read_dir(runtime.path().join("keyway")).unwrap().count(),
        0
    );
}

/// Starts a command that prints the path of its file, and returns that.
fn start(home: &Home, options: &[&str]) -> (Process, PathBuf) {
    let mut command = run(home, options, "echo \"$A\"; exec sleep 1000");
    let (process, line, _) = run::start(&mut command);
    (process, PathBuf::from(line.trim_end()))
}

#[test]
fn the_files_are_gone_if_run_is_killed() {
    if !has_memory() {
        return;
    }
    let home = Home::new();
    let _daemon = script::serve(&home);
    let (process, path) = start(&home, &["--file", "A=web/token"]);
    assert_eq!(fs::read(&path).unwrap(), b"dummy-token");
    process.signal(Signal::KILL);
    let directory = path.parent().unwrap();
    wait_until("the directory to be removed", || !directory.exists());
}

#[test]
fn the_files_are_gone_if_the_guardian_is_killed() {
    if !has_memory() {
        return;
    }
    let home = Home::new();
    let _daemon = script::serve(&home);
    let (mut process, path) = start(&home, &["--file", "A=web/token"]);
    // The command is `sleep`, the guardian another copy of this program.
    let children = process::children(process.id().cast_signed());
    let guardian = children.iter().find(|child| {
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name != "sleep\n")
    });
    let guardian = Pid::from_raw(*guardian.unwrap()).unwrap();
    kill_process(guardian, Signal::KILL).unwrap();
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(128 + 15));
    assert!(!path.parent().unwrap().exists());
}

#[test]
fn the_files_are_gone_if_a_signal_ends_the_command() {
    if !has_memory() {
        return;
    }
    let home = Home::new();
    let _daemon = script::serve(&home);
    let (mut process, path) = start(&home, &["--file", "A=web/token"]);
    process.signal(Signal::INT);
    assert_eq!(process.wait().code(), Some(128 + 2));
    assert!(!path.parent().unwrap().exists());
}

#[test]
fn invalid_files_and_a_dry_run() {
    let home = Home::new();
    insta::assert_snapshot!(home.transcript(&[
        "run --file hunter2 -- true",
        "run --file A=web//hunter2 -- true",
        "run --file A=web/token --file A=db/password -- true",
        "run --dry-run --file A=web/token --file B=se://vault/* -- true",
    ]));
}
