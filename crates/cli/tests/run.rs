//! `keyway run`: what the child gets, what it is told, and how it ends.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};

use support::daemon::{Daemon, binary, full};
use support::home::{Home, feed};

/// `keyway run` with these arguments before the `--`, and a shell script as the command.
fn script(home: &Home, options: &[&str], script: &str) -> Command {
    let mut arguments = vec!["run"];
    arguments.extend(options);
    arguments.extend(["--", "sh", "-c", script]);
    home.keyway(arguments)
}

fn with_daemon(change: impl FnOnce(&mut Command), options: &[&str], text: &str) -> Output {
    let home = Home::new();
    let _daemon = Daemon::serve(&home.socket(), full());
    let mut command = script(&home, options, text);
    change(&mut command);
    feed(&mut command, b"")
}

#[test]
fn references_become_secrets_and_everything_else_stays() {
    let odd = std::ffi::OsStr::from_bytes(b"\xff=\n");
    let output = with_daemon(
        |command| {
            command
                .env("TOKEN", "se://web/token")
                .env("AGAIN", "se://web/token")
                .env("PASSWORD", "se://db/password")
                .env("ODD", odd)
                .env("NOT_ONE", "x se://web/token");
        },
        &[],
        "printf '%s|' \"$TOKEN\" \"$AGAIN\" \"$PASSWORD\" \"$NOT_ONE\" \"$ODD\"",
    );
    let expected = b"dummy-token|dummy-token|dummy-password|x se://web/token|\xff=\n|";
    assert_eq!(output.stdout, expected);
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn options_of_the_program_may_stand_before_the_command() {
    let home = Home::new();
    let _daemon = Daemon::serve(&home.path().join("other.sock"), full());
    let line = [
        "--socket",
        "other.sock",
        "run",
        "--",
        "sh",
        "-c",
        "echo $TOKEN -- $0",
        "--",
    ];
    let output = feed(home.keyway(line).env("TOKEN", "se://web/token"), b"");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "dummy-token -- --\n"
    );
    let line = ["--json", "run", "--dry-run", "--", "true"];
    let output = feed(home.keyway(line).env("TOKEN", "se://web/token"), b"");
    let expected = r#"[{"variable":"TOKEN","id":"web/token","from":"environment"}]"#;
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{expected}\n")
    );
}

#[test]
fn files_add_variables_and_the_last_one_wins() {
    let home = Home::new();
    let _daemon = Daemon::serve(&home.socket(), full());
    fs::write(home.path().join("a.env"), "A=file\nB='se://web/token'\n").unwrap();
    fs::write(home.path().join("b.env"), "B=se://db/password\n").unwrap();
    let mut command = script(
        &home,
        &["--env-file", "a.env", "--env-file", "b.env"],
        "echo $A $B $C",
    );
    command.env("A", "environment").env("C", "kept");
    let output = feed(&mut command, b"");
    assert_eq!(home.show(&output), "file dummy-password kept\n");
}

#[test]
fn a_secret_may_hold_any_byte_but_zero() {
    let home = Home::new();
    let _daemon = Daemon::serve(&home.socket(), full());
    let mut command = script(&home, &[], "printf %s \"$A\"");
    command.env("A", "se://bin/quoted");
    assert_eq!(feed(&mut command, b"").stdout, b"a\"b\n");
    assert!(binary().contains(&0));
    command.env("A", "se://bin/key");
    insta::assert_snapshot!(home.show(&feed(&mut command, b"")));
}

#[test]
fn stdin_stdout_and_stderr_are_the_childs() {
    let home = Home::new();
    let output = feed(&mut script(&home, &[], "cat; echo error >&2"), &binary());
    assert_eq!(
        (output.stdout, output.stderr),
        (binary(), b"error\n".to_vec())
    );
}

#[test]
fn it_ends_as_the_child_does() {
    let home = Home::new();
    let status = |text: &str| feed(&mut script(&home, &[], text), b"").status;
    assert_eq!(status("exit 0").code(), Some(0));
    assert_eq!(status("exit 7").code(), Some(7));
    assert_eq!(status("exit 255").code(), Some(255));
    assert_eq!(status("kill -KILL $$").code(), Some(128 + 9));
    assert_eq!(status("kill -SEGV $$").code(), Some(128 + 11));
    assert_eq!(status("kill -TERM $$").signal(), None);
}

/// The signals that a program started by this shell command blocks, ignores and catches.
fn signals(command: &str) -> String {
    let grep = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status";
    let script = format!("{command} {grep}");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_child_has_the_signals_that_it_would_have_without_us() {
    let run = format!("exec {} run --", env!("CARGO_BIN_EXE_keyway"));
    assert_eq!(signals(&run), signals("exec"));
    let nohup = "trap '' HUP USR1;";
    assert_eq!(
        signals(&format!("{nohup} {run}")),
        signals(&format!("{nohup} exec"))
    );
    assert_ne!(signals(&format!("{nohup} {run}")), signals(&run));
}

#[test]
fn the_child_may_leave_core_files_as_without_us() {
    let limit = |command: &str| {
        let script = format!("ulimit -Sc \"$(ulimit -Hc)\"; {command} sh -c 'ulimit -Sc'");
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let direct = limit("exec");
    assert_ne!(direct, "0\n");
    assert_eq!(
        limit(&format!("exec {} run --", env!("CARGO_BIN_EXE_keyway"))),
        direct
    );
}

/// Whether any of the memory that a process can read holds this.
fn is_in_memory(pid: rustix::process::Pid, text: &[u8]) -> bool {
    use std::os::unix::fs::FileExt as _;
    let pid = pid.as_raw_nonzero();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines().any(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (number(start), number(end));
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // Some of the kernel's own pages cannot be read by anybody.
        rest.starts_with('r')
            && memory.read_exact_at(&mut bytes, start).is_ok()
            && bytes.windows(text.len()).any(|window| window == text)
    })
}

#[test]
fn the_process_that_waits_holds_no_secret() {
    let home = Home::new();
    let _daemon = Daemon::serve(&home.socket(), full());
    let mut command = script(&home, &[], "echo \"$A\"; echo $$; read line");
    let mut child = command
        .env("A", "se://web/token")
        .env("MARK", "a-text-to-be-found")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "dummy-token");
    let inner = rustix::process::Pid::from_raw(lines.next().unwrap().parse().unwrap()).unwrap();
    let outer = rustix::process::Pid::from_child(&child);
    assert!(is_in_memory(outer, b"a-text-to-be-found"));
    assert!(!is_in_memory(outer, b"dummy-token"));
    assert!(is_in_memory(inner, b"dummy-token"));
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn nothing_starts_unless_everything_is_resolved() {
    let home = Home::new();
    let _daemon = Daemon::serve(&home.socket(), full());
    let mut text = String::new();
    for references in [
        &["se://nothing/here"][..],
        &[
            "se://web/token",
            "se://nothing/here",
            "se://denied/id",
            "se://nothing/here",
        ],
        &["se://nothing/here", "se://broken/id"],
        &["se://twice/id"],
        &["se://web/*", "se://", "se://a b"],
    ] {
        let mut command = script(&home, &[], "touch started");
        for (name, reference) in ["A", "B", "C", "D"].iter().zip(references) {
            command.env(name, reference);
        }
        text += &format!(
            "# {}\n{}\n",
            references.join(" "),
            home.show(&feed(&mut command, b""))
        );
    }
    assert!(!home.path().join("started").exists());
    insta::assert_snapshot!(text);
}

#[test]
fn without_a_daemon() {
    let home = Home::new();
    let output = feed(&mut script(&home, &[], "echo no secrets needed"), b"");
    assert_eq!(home.show(&output), "no secrets needed\n");
    let mut command = script(&home, &[], "touch started");
    command
        .env("A", "se://web/token")
        .env("B", "se://db/password");
    insta::assert_snapshot!(home.show(&feed(&mut command, b"")));
    assert!(!home.path().join("started").exists());
}

#[test]
fn a_dry_run_names_what_would_be_asked_for_and_asks_nobody() {
    let home = Home::new();
    fs::write(
        home.path().join("app.env"),
        "# comment\nTOKEN=se://web/token\nPLAIN=hunter2\n",
    )
    .unwrap();
    let mut command = script(
        &home,
        &["--dry-run", "--env-file", "app.env"],
        "touch started",
    );
    command.env("PASSWORD", "se://db/password");
    let dry = home.show(&feed(&mut command, b""));
    let nothing = home.show(&feed(
        &mut script(&home, &["--dry-run"], "touch started"),
        b"",
    ));
    assert!(!home.path().join("started").exists());
    insta::assert_snapshot!(format!("{dry}\n{nothing}"));
}

#[test]
fn files_that_are_wrong() {
    let home = Home::new();
    let mut text = String::new();
    for content in [
        "A=1\nhunter2\n",
        "A='hunter2\n",
        "A=\"hunter2\"x",
        "1A=hunter2",
        "A=\"\\x\"",
        "A=se://hunter 2",
    ] {
        fs::write(home.path().join("app.env"), content).unwrap();
        let output = feed(
            &mut script(&home, &["--env-file", "app.env"], "touch started"),
            b"",
        );
        let shown = home.show(&output);
        assert!(!shown.contains("hunter2"), "{shown}");
        text += &format!("# {content:?}\n{shown}\n");
    }
    let output = feed(
        &mut script(&home, &["--env-file", "missing.env"], "touch started"),
        b"",
    );
    text += &home.show(&output);
    assert!(!home.path().join("started").exists());
    insta::assert_snapshot!(text);
}

#[test]
fn commands_that_cannot_be_started() {
    let home = Home::new();
    fs::write(home.path().join("text"), "echo hello\n").unwrap();
    let mut text = home.transcript(&[
        "run -- no-such-command",
        "run -- ./no/such",
        "run -- ./text",
        "run -- .",
    ]);
    let mut command = Command::new("chmod");
    assert!(
        command
            .arg("755")
            .arg(home.path().join("text"))
            .status()
            .unwrap()
            .success()
    );
    text += &home.transcript(&["run -- ./text"]);
    insta::assert_snapshot!(text);
}

#[test]
fn a_command_is_found_in_the_childs_path() {
    let home = Home::new();
    fs::create_dir(home.path().join("bin")).unwrap();
    std::os::unix::fs::symlink("/bin/echo", home.path().join("bin/own-echo")).unwrap();
    let path = format!("PATH={}\n", home.path().join("bin").display());
    fs::write(home.path().join("app.env"), path).unwrap();
    let output = home.run("run --env-file app.env -- own-echo found", b"");
    assert_eq!(home.show(&output), "found\n");
}

#[test]
fn a_signal_that_arrives_is_passed_on_once() {
    for (name, number) in [
        ("TERM", 15),
        ("INT", 2),
        ("HUP", 1),
        ("QUIT", 3),
        ("USR1", 10),
        ("WINCH", 28),
    ] {
        let home = Home::new();
        let text = format!(
            "trap 'echo got; trap \"exit 3\" {name}; n=0; while [ $n -lt 20 ]; do sleep 0.01; n=$((n+1)); done; exit 9' {name}; echo ready; while :; do sleep 0.01; done"
        );
        let mut command = script(&home, &[], &text);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let pid = rustix::process::Pid::from_child(&child);
        let signal = rustix::process::Signal::from_named_raw(number).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        // 9: it came once and not again; 3: it came twice.
        assert_eq!(child.wait().unwrap().code(), Some(9), "{name}");
    }
}

#[test]
fn a_child_that_a_signal_ends_is_128_and_its_number() {
    let home = Home::new();
    let mut command = script(&home, &[], "echo ready; exec sleep 1000");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}

/// Whether programs can be process 1 of something here; says so loudly when not.
fn has_namespaces() -> bool {
    let there = isolated("true")
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        assert!(
            std::env::var_os("KEYWAY_REQUIRE_ALL").is_none(),
            "namespaces are missing"
        );
        eprintln!("skipped: needs `unshare` and namespaces for processes");
    }
    there
}

/// A shell script whose first program is process 1 of a namespace.
fn isolated(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
        "sh",
        "-c",
    ]);
    command.arg(format!("exec {script}"));
    command
}

#[test]
fn process_1_reaps_what_its_child_leaves_behind_and_passes_signals_on() {
    if !has_namespaces() {
        return;
    }
    let keyway = env!("CARGO_BIN_EXE_keyway");
    let count = "(sleep 0.05 &); (sleep 0.05 &); sleep 0.5; grep -l zombie /proc/[0-9]*/status | wc -l; echo \"from $PPID\"; kill -TERM 1; sleep 20";
    let output = isolated(&format!("{keyway} run -- sh -c '{count}'"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        (text.as_ref(), output.status.code()),
        ("0\nfrom 1\n", Some(128 + 15))
    );
}

#[test]
fn without_a_terminal_the_child_has_a_group_of_its_own() {
    let home = Home::new();
    let script = "read -r _ _ _ _ group _ </proc/$$/stat; [ $group = $$ ] && echo own";
    let mut command = Command::new("setsid");
    command.args([
        env!("CARGO_BIN_EXE_keyway"),
        "run",
        "--",
        "sh",
        "-c",
        script,
    ]);
    command.current_dir(home.path());
    assert_eq!(feed(&mut command, b"").stdout, b"own\n");
}
