//! The process of `keyway run` beside its child: inheritance, signals, and the exit status.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ChildStdout, Command, Stdio};

use keyway_test_support::{Process, feed, require, text};
use rustix::process::{Pid, Signal};

use crate::run::{self, run};
use crate::support::script::{self, binary};
use crate::support::{Home, KEYWAY};

#[test]
fn the_child_has_the_standard_streams() {
    let home = Home::new();
    let output = feed(&mut run(&home, &[], "cat; echo error >&2"), &binary());
    assert_eq!(
        (output.stdout, output.stderr),
        (binary(), b"error\n".to_vec())
    );
}

#[test]
fn the_exit_status_is_the_childs() {
    let home = Home::new();
    let status = |text: &str| feed(&mut run(&home, &[], text), b"").status;
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
    text(&feed(Command::new("sh").args(["-c", &script]), b"").stdout)
}

#[test]
fn the_child_has_the_signal_dispositions_of_a_direct_start() {
    let run = format!("exec {KEYWAY} run --");
    assert_ne!(signals(&run), "");
    assert_eq!(signals(&run), signals("exec"));
    let nohup = "trap '' HUP USR1;";
    assert_eq!(
        signals(&format!("{nohup} {run}")),
        signals(&format!("{nohup} exec"))
    );
    assert_ne!(signals(&format!("{nohup} {run}")), signals(&run));
    let env = "exec env --block-signal=CHLD,TERM,RTMIN --ignore-signal=CHLD,PIPE,ALRM";
    if require::can_run("env --block-signal", &mut shell(&format!("{env} true"))) {
        let direct = signals(env);
        assert_eq!(signals(&format!("{env} {KEYWAY} run --")), direct);
        assert_ne!(signals(&run), direct);
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn the_child_has_the_limits_and_umask_of_a_direct_start() {
    let state = |command: &str| {
        let script =
            format!("umask 031; ulimit -n 200; {command} sh -c 'umask; ulimit -n; ulimit -Hn'");
        text(&feed(&mut shell(&script), b"").stdout)
    };
    assert_eq!(state(&format!("exec {KEYWAY} run --")), "0031\n200\n200\n");
}

#[test]
fn the_child_has_the_closed_descriptors_of_a_direct_start() {
    let open = |closed: &str, command: &str| {
        let home = Home::new();
        let list = "for n in 0 1 2; do [ -e /proc/$$/fd/$n ] && printf $n >>open; done";
        let script = format!("exec {command} sh -c '{list}' {closed}");
        let status = home.command("sh").args(["-c", &script]).status().unwrap();
        // The list ends with the last descriptor's test.
        assert!(status.code().is_some(), "{status}");
        fs::read_to_string(home.join("open")).unwrap_or_default()
    };
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ""] {
        let direct = open(closed, "env");
        assert_eq!(
            open(closed, &format!("{KEYWAY} run --")),
            direct,
            "{closed}"
        );
    }
}

#[test]
fn the_child_has_the_core_limit_of_a_direct_start() {
    let limit = |command: &str| {
        let script = format!("ulimit -Sc \"$(ulimit -Hc)\"; {command} sh -c 'ulimit -Sc'");
        text(&feed(Command::new("sh").args(["-c", &script]), b"").stdout)
    };
    let direct = limit("exec");
    assert_ne!(direct, "0\n");
    assert_eq!(limit(&format!("exec {KEYWAY} run --")), direct);
}

/// Returns `true` if the memory that a process can read contains `text`.
fn is_in_memory(pid: Pid, text: &[u8]) -> bool {
    let pid = pid.as_raw_nonzero();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines().any(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (number(start), number(end));
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // Some of the kernel's own pages cannot be read.
        rest.starts_with('r')
            && memory.read_exact_at(&mut bytes, start).is_ok()
            && bytes.windows(text.len()).any(|window| window == text)
    })
}

#[test]
fn the_waiting_process_holds_no_secret() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut command = run(&home, &[], "echo \"$A\"; echo $$; read line");
    command
        .env("A", "se://web/token")
        .env("MARK", "a-text-to-be-found")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut process = Process::spawn(&mut command);
    let mut lines = BufReader::new(process.stdout()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "dummy-token");
    let inner = Pid::from_raw(lines.next().unwrap().parse().unwrap()).unwrap();
    let outer = process.pid();
    assert!(is_in_memory(outer, b"a-text-to-be-found"));
    assert!(!is_in_memory(outer, b"dummy-token"));
    assert!(is_in_memory(inner, b"dummy-token"));
    drop(process.stdin());
    process.wait();
}

/// Starts a command and waits until its child has printed `ready`. Returns its standard output, too, because the child writes more.
fn start(command: &mut Command) -> (Process, BufReader<ChildStdout>) {
    let (process, line, stdout) = run::start(command);
    assert_eq!(line, "ready\n");
    (process, stdout)
}

#[test]
fn a_signal_is_passed_on_once() {
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
        let mut command = run(&home, &[], &text);
        let (mut process, _stdout) = start(&mut command);
        process.signal(Signal::from_named_raw(number).unwrap());
        // 9: one signal and no second; 3: two signals.
        assert_eq!(process.wait().code(), Some(9), "{name}");
    }
}

#[test]
fn the_exit_status_of_a_signalled_child_is_128_and_the_signal() {
    let home = Home::new();
    let mut command = run(&home, &[], "echo ready; exec sleep 1000");
    let (mut process, _stdout) = start(&mut command);
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(128 + 15));
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
fn process_1_reaps_orphans_and_passes_signals_on() {
    if !require::can_run("unshare --pid", &mut isolated("true")) {
        return;
    }
    // `cat` ends when both orphans have ended, because they hold the pipe.
    let count = "{ (sleep 0.05 &); (sleep 0.05 &); } | cat; \
         n=0; while grep -qs zombie /proc/[0-9]*/status && [ $n -lt 1000 ]; do n=$((n+1)); done; \
         grep -ls zombie /proc/[0-9]*/status | wc -l; echo \"from $PPID\"; kill -TERM 1; sleep 20";
    let output = feed(
        &mut isolated(&format!("{KEYWAY} run -- sh -c '{count}'")),
        b"",
    );
    assert_eq!(
        (text(&output.stdout).as_str(), output.status.code()),
        ("0\nfrom 1\n", Some(128 + 15))
    );
}

#[test]
fn without_a_terminal_the_child_has_its_own_process_group() {
    let home = Home::new();
    let script = "read -r _ _ _ _ group _ </proc/$$/stat; [ $group = $$ ] && echo own";
    let mut command = Command::new("setsid");
    command.args([KEYWAY, "run", "--", "sh", "-c", script]);
    command.current_dir(home.path());
    assert_eq!(feed(&mut command, b"").stdout, b"own\n");
}
