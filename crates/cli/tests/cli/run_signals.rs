//! Signals of `keyway run`: all are passed on, job control stops and continues both processes, and none is left behind.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keyway_test_support::{Process, feed, process, require, text, wait_until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::run::{self, run};
use crate::support::script;
use crate::support::{Home, KEYWAY, SHELLS, Terminal};

/// Starts `keyway run` with a shell script that prints its process id, and returns that id.
fn start(command: &mut Command) -> (Process, i32) {
    let (process, line, _) = run::start(command.stdin(Stdio::null()));
    let child = line.trim().parse().unwrap_or_else(|_| panic!("{line:?}"));
    (process, child)
}

fn kill(number: i32, pid: u32) {
    let script = format!("kill -{number} {pid}");
    let sent = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(sent.success(), "{script}");
}

fn wait_for_state(pid: i32, state: char) {
    wait_until(&format!("process {pid} to have state {state}"), || {
        process::stat(pid).is_some_and(|stat| stat.state == state)
    });
}

/// Those without the default action to end a process, SIGKILL, which cannot be caught, and the two that the C library reserves
/// for itself: programs that it starts may ignore them.
const NOT_ENDING: [i32; 11] = [9, 17, 18, 19, 20, 21, 22, 23, 28, 32, 33];

#[test]
fn every_signal_that_can_be_caught_ends_the_command() {
    let home = Home::new();
    for number in (1..=64).filter(|number| !NOT_ENDING.contains(number)) {
        let mut command = run(&home, &[], "echo $$; exec sleep 1000");
        let (mut process, child) = start(&mut command);
        kill(number, process.id());
        assert_eq!(process.wait().code(), Some(128 + number), "{number}");
        assert!(process::stat(child).is_none(), "{number}");
    }
}

/// As `perl -e 'alarm 1; exec ...'`, with a timer that expires at once.
#[test]
fn a_timer_of_the_caller_reaches_the_command() {
    if !require::has_program("perl") {
        return;
    }
    let script = "setitimer(ITIMER_REAL, 0.2); exec @ARGV";
    let mut command = Command::new("perl");
    command.args(["-MTime::HiRes=setitimer,ITIMER_REAL", "-e", script]);
    command.args([KEYWAY, "run", "--", "sleep", "1000"]);
    assert_eq!(feed(&mut command, b"").status.code(), Some(128 + 14));
}

#[test]
fn a_blocked_or_ignored_sigchld_does_not_hide_the_end_of_the_command() {
    for option in ["--block-signal=CHLD", "--ignore-signal=CHLD"] {
        let mut command = Command::new("env");
        command.args([option, KEYWAY, "run", "--", "sh", "-c", "exit 7"]);
        assert_eq!(feed(&mut command, b"").status.code(), Some(7), "{option}");
    }
}

#[test]
fn a_killed_run_leaves_no_process() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    // While it waits for a provider.
    let mut command = run(&home, &[], "touch started");
    let process = Process::spawn(command.env("A", "se://never/id").stdin(Stdio::null()));
    let own = process.id().cast_signed();
    let mut children = Vec::new();
    wait_until("the second process", || {
        children = process::children(own);
        !children.is_empty()
    });
    process.signal(Signal::KILL);
    wait_until("the second process to end", || {
        children
            .iter()
            .all(|child| process::stat(*child).is_none_or(|stat| stat.state == 'Z'))
    });
    assert!(!home.join("started").exists());
    // While the command runs.
    let (process, child) = start(&mut run(&home, &[], "echo $$; exec sleep 1000"));
    process.signal(Signal::KILL);
    wait_until("the command to end", || {
        process::stat(child).is_none_or(|stat| stat.state == 'Z')
    });
}

/// Killed at any moment between its start and that of its command.
#[test]
fn a_run_that_is_killed_while_it_starts_leaves_no_process() {
    let home = Home::new();
    let mark = home.path().to_str().unwrap().to_owned();
    for delay in 0..40 {
        let mut command = home.keyway(["run", "--", "sleep", "1000"]);
        let process = Process::spawn(command.env("MARK", &mark).stdin(Stdio::null()));
        let delay = Duration::from_micros(delay * 100);
        let started = Instant::now();
        while started.elapsed() < delay {
            std::hint::spin_loop();
        }
        process.signal(Signal::KILL);
    }
    let is_ours = |pid: &str| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        text(&environment).contains(&format!("MARK={mark}"))
    };
    wait_until("all processes to end", || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        !names.any(|name| is_ours(&name))
    });
}

#[test]
fn a_stop_signal_stops_the_command_and_sigcont_continues_it() {
    let home = Home::new();
    let inner = run(&home, &[], "echo $$; while :; do sleep 0.01; done");
    // In a session without a terminal the command has a group of its own.
    let mut command = Command::new("setsid");
    command.arg(inner.get_program()).args(inner.get_args());
    command.current_dir(home.path());
    let (mut process, child) = start(&mut command);
    for _ in 0..2 {
        process.signal(Signal::TSTP);
        wait_for_state(child, 'T');
        process.signal(Signal::CONT);
        wait_until("the command to run", || {
            process::stat(child).is_some_and(|stat| stat.state != 'T')
        });
    }
    // What another process stops is continued by another process as well.
    kill(19, child.cast_unsigned());
    wait_for_state(child, 'T');
    kill(18, child.cast_unsigned());
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(128 + 15));
}

#[test]
fn ctrl_z_and_fg_stop_and_continue_both_processes() {
    for shell in SHELLS {
        if !require::has_program(shell[0]) {
            continue;
        }
        let home = Home::new();
        let mut terminal = Terminal::shell(&home, shell);
        terminal.press("$K run -- sh -c 'echo go''ing; exec cat'\n");
        terminal.expect("going\r\n");
        terminal.press("one\n");
        terminal.expect("one\r\none\r\n");
        for word in ["two", "three"] {
            terminal.suspend();
            terminal.press("fg\n");
            terminal.expect("exec cat");
            terminal.press(&format!("{word}\n"));
            terminal.expect(&format!("{word}\r\n{word}\r\n"));
        }
        // A command that stops itself, as an editor does after it has restored the terminal.
        terminal.press("\x04");
        terminal.expect("ready> ");
        terminal.press("$K run -- sh -c 'kill -TSTP $$; echo contin''ued'\n");
        terminal.expect("Stopped");
        terminal.press("fg\n");
        terminal.expect("continued\r\n");
        terminal.press("$K run -- sh -c 'echo sleep''ing; exec sleep 1000'\n");
        terminal.expect("sleeping\r\n");
        terminal.press("\x03");
        terminal.expect_code(130);
        terminal.exit();
    }
}

/// Returns `true` if the process waits, and has taken every signal that was sent to it.
fn has_taken_all_signals(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let is_in = |line: &str| status.lines().any(|known| known.starts_with(line));
    is_in("State:\tS") && is_in("ShdPnd:\t0000000000000000")
}

/// A shell whose job has more processes, such as that of a function in a pipeline, continues it without waiting for `keyway run` to stop.
#[test]
fn a_job_that_is_continued_while_it_stops_does_not_stay_stopped() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    for options in ["", "--mask"] {
        let mut terminal = Terminal::shell(&home, SHELLS[0]);
        // With its output in a file the job keeps the terminal of the shell with --mask, too.
        terminal.press(&format!(
            "TOKEN=se://web/token $K --socket daemon.sock run {options} -- sh -c 'echo star''ted >/dev/tty; exec sleep 1000' >out 2>&1\n"
        ));
        terminal.expect("started\r\n");
        let shell = terminal.pid().as_raw_nonzero().get();
        let mut job = process::children(shell);
        while let [.., last] = job[..]
            && let [child] = process::children(last)[..]
        {
            job.push(child);
        }
        let group = Pid::from_raw(job[0]).unwrap();
        let command = Pid::from_raw(*job.last().unwrap()).unwrap();
        for round in 0..1000 {
            kill_process(command, Signal::TSTP).unwrap();
            while process::stat(command.as_raw_nonzero().get()).unwrap().state != 'T' {}
            // At every moment between the stop of the command and that of `keyway run`.
            let stopped = Instant::now();
            while stopped.elapsed() < Duration::from_micros(round % 100) {}
            kill_process_group(group, Signal::CONT).unwrap();
            wait_until("all processes of the job to run", || {
                job.iter().all(|pid| has_taken_all_signals(*pid))
            });
        }
        kill_process_group(group, Signal::KILL).unwrap();
        terminal.exit();
    }
}
