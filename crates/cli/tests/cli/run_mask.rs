//! `keyway run --mask`: values in the output of the command, through pipes and at terminals, which work as without it.

use std::io::Read as _;
use std::process::{Command, Stdio};

use keyway_test_support::scripted::ScriptedDaemon;
use keyway_test_support::{Process, feed, process, require, text, wait_until};
use rustix::process::Signal;

use crate::run::{self, run};
use crate::support::script;
use crate::support::{Home, SHELLS, Terminal};

/// `keyway run --mask` with a secret in `TOKEN` and a shell script.
fn masked(home: &Home, script: &str) -> Command {
    let mut command = run(home, &["--mask"], script);
    command.env("TOKEN", "se://web/token");
    command
}

fn served() -> (Home, ScriptedDaemon) {
    let home = Home::new();
    let daemon = script::serve(&home);
    (home, daemon)
}

#[test]
fn values_are_replaced_in_both_streams() {
    let (home, _daemon) = served();
    let script = "echo \"<$TOKEN>\"; echo \"[$TOKEN]\" >&2; printf dummy-; printf token; \
                  printf ' dummy-tok'; cat; exit 7";
    let output = feed(&mut masked(&home, script), b" in\0put\xff");
    assert_eq!(output.stdout, b"<********>\n******** dummy-tok in\0put\xff");
    assert_eq!(output.stderr, b"[********]\n");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn without_the_option_values_are_not_replaced() {
    let (home, _daemon) = served();
    let mut command = run(&home, &[], "echo \"$TOKEN\"");
    let output = feed(command.env("TOKEN", "se://web/token"), b"");
    assert_eq!(output.stdout, b"dummy-token\n");
}

#[test]
fn long_output_is_complete_and_has_no_value() {
    let (home, _daemon) = served();
    let script =
        "i=0; while [ $i -lt 3000 ]; do echo \"$i ${TOKEN}x$TOKEN dummy\"; i=$((i+1)); done";
    let output = feed(&mut masked(&home, script), b"");
    let expected: String = (0..3000)
        .map(|i| format!("{i} ********x******** dummy\n"))
        .collect();
    assert!(
        output.stdout == expected.into_bytes(),
        "{}",
        output.stdout.len()
    );
}

#[test]
fn both_streams_to_one_file_keep_their_order() {
    let (home, _daemon) = served();
    let inner = masked(
        &home,
        "for i in 1 2 3 4 5 6 7 8 9; do echo $i; echo -$i >&2; done",
    );
    let file = std::fs::File::create(home.join("out")).unwrap();
    let mut command = inner;
    command.stdout(file.try_clone().unwrap()).stderr(file);
    assert!(command.status().unwrap().success());
    let expected: String = (1..10).map(|i| format!("{i}\n-{i}\n")).collect();
    assert_eq!(std::fs::read_to_string(home.join("out")).unwrap(), expected);
}

#[test]
fn values_in_files_are_replaced_and_short_ones_are_noted() {
    let (home, _daemon) = served();
    let options = ["--mask", "--file", "FILE=db/password"];
    let mut command = run(&home, &options, "cat \"$FILE\"; echo \" $SHORT\"");
    command.env("SHORT", "x se://bin/quoted");
    let output = feed(&mut command, b"");
    assert_eq!(text(&output.stdout), "******** x a\"b\n\n");
    insta::assert_snapshot!(text(&output.stderr), @"keyway: the value of bin/quoted has fewer than 8 bytes, so --mask does not replace it.");
}

#[test]
fn a_reader_that_is_gone_ends_the_command() {
    let (home, _daemon) = served();
    let mut command = masked(&home, "exec yes \"$TOKEN\"");
    let (mut process, line, _) = run::start(&mut command);
    assert_eq!(line, "********\n");
    assert_eq!(process.wait().code(), Some(128 + 13));
}

#[test]
fn the_output_of_a_program_that_stays_behind_is_masked_and_not_waited_for() {
    let (home, _daemon) = served();
    let script = "{ read line <go; echo \"later $TOKEN\"; } & echo now; exit 3";
    assert!(
        Command::new("mkfifo")
            .arg(home.join("go"))
            .status()
            .unwrap()
            .success()
    );
    let mut command = masked(&home, script);
    let mut process = Process::spawn(command.stdout(Stdio::piped()));
    let mut stdout = process.stdout();
    assert_eq!(process.wait().code(), Some(3));
    std::fs::write(home.join("go"), "go\n").unwrap();
    let mut output = String::new();
    stdout.read_to_string(&mut output).unwrap();
    assert_eq!(output, "now\nlater ********\n");
}

#[test]
fn a_program_that_stays_behind_and_writes_without_end_is_not_waited_for() {
    let (home, _daemon) = served();
    let mut command = masked(&home, "yes & exit 4");
    let mut process = Process::spawn(command.stdout(Stdio::piped()));
    let mut stdout = process.stdout();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while !matches!(stdout.read(&mut buffer), Ok(0) | Err(_)) {
            if process.try_wait().is_some() {
                break;
            }
        }
        process.wait()
    });
    assert_eq!(reader.join().unwrap().code(), Some(4));
}

#[test]
fn signals_are_forwarded_and_a_killed_run_leaves_no_process() {
    let (home, _daemon) = served();
    for (signal, code) in [
        (Signal::TERM, 9),
        (Signal::USR1, 128 + 10),
        (Signal::INT, 128 + 2),
    ] {
        let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done";
        let mut command = masked(&home, script);
        let (mut process, _, _stdout) = run::start(&mut command);
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(code), "{signal:?}");
    }
    let mut command = masked(&home, "echo $$; exec sleep 1000");
    let (process, line, _) = run::start(&mut command);
    let child = line.trim().parse().unwrap();
    process.signal(Signal::KILL);
    wait_until("the command to end", || {
        process::stat(child).is_none_or(|stat| stat.state == 'Z')
    });
}

#[test]
fn a_command_that_does_not_exist_is_127() {
    let (home, _daemon) = served();
    let mut command = home.keyway(["run", "--mask", "--", "./no-such-command"]);
    let output = feed(command.env("TOKEN", "se://web/token"), b"");
    assert_eq!(output.status.code(), Some(127));
    assert!(text(&output.stderr).starts_with("keyway: there is no such command."));
}

/// A shell with job control, in which `m SCRIPT` runs a script with masked output.
fn shell(home: &Home, shell: &[&str]) -> Terminal {
    let mut terminal = Terminal::shell(home, shell);
    terminal.press(
        "m() { TOKEN=se://web/token $K --socket daemon.sock run --mask -- sh -c \"$1\"; }\n",
    );
    terminal.expect("ready> ");
    terminal
}

fn under_each_shell(test: impl Fn(&Home, Terminal)) {
    for name in SHELLS {
        if require::has_program(name[0]) {
            let (home, _daemon) = served();
            test(&home, shell(&home, name));
        }
    }
}

#[test]
fn at_a_terminal_the_command_has_one_of_its_own() {
    under_each_shell(|_, mut terminal| {
        terminal.resize(33, 77);
        terminal.press("m 'test -t 0 && test -t 1 && test -t 2 && stty size; echo \"<$TOKEN>\" >/dev/tty; read a; echo \"got $a\"'\n");
        terminal.expect("33 77\r\n<********>\r\n");
        terminal.press("typed\n");
        terminal.expect("typed\r\ngot typed\r\n");
        terminal.expect("ready> ");
        assert!(!terminal.seen().contains("dummy-token"));
        terminal.exit();
    });
}

#[test]
fn a_new_size_of_the_window_reaches_the_command() {
    under_each_shell(|_, mut terminal| {
        terminal.resize(20, 70);
        terminal.press("m 'trap \"stty size\" WINCH; stty size; while :; do sleep 0.01; done'\n");
        terminal.expect("20 70\r\n");
        terminal.resize(30, 90);
        terminal.expect("30 90\r\n");
        terminal.press("\x03");
        terminal.expect_code(130);
        terminal.exit();
    });
}

#[test]
fn a_command_may_change_the_modes_of_its_terminal() {
    under_each_shell(|_, mut terminal| {
        terminal.press("m 'stty raw -echo; echo wai''ting; dd bs=1 count=2 2>/dev/null | od -An -c; stty sane'\n");
        terminal.expect("waiting");
        terminal.press("\x03\x04");
        terminal.expect("003 004");
        terminal.expect("ready> ");
        terminal.press("stty -a | grep -c -w echo; echo pla''in\n");
        terminal.expect("plain\r\n");
        terminal.exit();
    });
}

#[test]
fn ctrl_z_stops_the_command_and_fg_continues_it() {
    under_each_shell(|_, mut terminal| {
        terminal.press("m 'echo go''ing; exec sed -u s/^/got:/'\n");
        terminal.expect("going\r\n");
        for word in ["one", "two"] {
            terminal.press(&format!("{word}\n"));
            terminal.expect(&format!("got:{word}\r\n"));
            terminal.suspend();
            // The shell has its terminal as it was.
            terminal.press("echo she''ll\n");
            terminal.expect("shell\r\n");
            terminal.press("fg\n");
            terminal.expect("--mask");
            terminal.expect("\r\n");
            // The outer terminal may still echo what is typed at once, so what the command writes is awaited.
            terminal.press(&format!("again {word}\n"));
            terminal.expect(&format!("got:again {word}\r\n"));
        }
        terminal.press("\x04");
        terminal.expect_code(0);
        terminal.exit();
    });
}

/// The shell sees a job as stopped only when its own child has stopped, which here is not `keyway run`.
#[test]
fn ctrl_z_stops_the_whole_job() {
    under_each_shell(|_, mut terminal| {
        terminal.press("(m 'echo go''ing; exec sed -u s/^/got:/'; echo do''ne)\n");
        terminal.expect("going\r\n");
        terminal.suspend();
        terminal.press("fg\n");
        terminal.expect("sed -u");
        terminal.expect("\r\n");
        terminal.press("again\n");
        terminal.expect("got:again\r\n");
        terminal.press("\x04");
        terminal.expect("done\r\n");
        terminal.exit();
    });
}

#[test]
fn a_shell_within_has_job_control() {
    if !require::has_program("bash") {
        return;
    }
    under_each_shell(|_, mut terminal| {
        terminal.press("m 'PS1=\"in\"\"ner> \" exec bash --norc --noprofile -i'\n");
        terminal.expect("inner> ");
        terminal.press("sh -c 'echo sleep''ing; exec sleep 1000'\n");
        terminal.expect("sleeping\r\n");
        terminal.press("\x1a");
        terminal.expect("Stopped");
        terminal.expect("inner> ");
        // The shell does not exit while a job is stopped, so the job has to be gone before.
        terminal.press("kill -KILL %1; wait -f %1; echo \"<$TOKEN>\"\n");
        terminal.expect("<********>");
        terminal.press("exit 5\n");
        terminal.expect_code(5);
        terminal.exit();
    });
}

#[test]
fn with_output_to_a_file_the_command_keeps_the_terminal() {
    under_each_shell(|home, mut terminal| {
        terminal.press("m 'test -t 0 && test -t 2 && ! test -t 1 && echo \"<$TOKEN>\" >&2; echo \"[$TOKEN]\"; exec cat' >out\n");
        terminal.expect("<********>\r\n");
        terminal.press("one\n");
        let output = || std::fs::read_to_string(home.join("out")).unwrap();
        // The key that stops the command discards what it has not read.
        wait_until("the first line", || output().ends_with("one\n"));
        terminal.suspend();
        terminal.press("fg\n");
        terminal.expect("--mask");
        terminal.expect("\r\n");
        terminal.press("two\n");
        terminal.expect("two\r\n");
        terminal.press("\x04");
        terminal.expect("ready> ");
        assert!(!terminal.seen().contains("dummy-token"));
        assert_eq!(output(), "[********]\none\ntwo\n");
        terminal.exit();
    });
}
