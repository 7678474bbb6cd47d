//! The hidden prompt under shells with job control: stopped and continued, it never shows what is typed.

mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use keyway_plugin_file::{Store, StoreConfig};
use rustix::process::{Pid, Signal, kill_process};
use support::home::Home;
use support::terminal::Terminal;

/// What is typed at the prompt; none of it may be seen.
const CANARY: &str = "not-a-real-token";

/// The shells under which the prompt is tested, with the options that make them interactive and read no files.
const SHELLS: [&[&str]; 2] = [&["bash", "--norc", "--noprofile", "-i"], &["dash", "-i"]];

/// A shell with a terminal of its own, at whose prompt `$K` is `keyway`.
struct Shell {
    terminal: Terminal,
    home: Home,
}

impl Shell {
    fn start(shell: &[&str]) -> Self {
        let home = Home::new();
        let mut command = Command::new("env");
        command
            .arg("--default-signal")
            .args(shell)
            .current_dir(home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env("HISTFILE", "/dev/null")
            .env("TERM", "dumb")
            .env("PS1", "ready> ")
            .env("K", env!("CARGO_BIN_EXE_keyway"));
        let mut terminal = Terminal::start(&command);
        terminal.expect("ready> ");
        Self { terminal, home }
    }

    /// Types a command line.
    fn line(&mut self, text: &str) {
        self.terminal.press(&format!("{text}\n"));
    }

    /// The modes of the terminal as a command sees them that the shell runs.
    fn modes(&mut self) -> String {
        self.line("stty -g >modes; echo 'mo''des'");
        self.terminal.expect("modes\r\n");
        fs::read_to_string(self.home.path().join("modes")).unwrap()
    }

    fn prompt(&mut self) {
        self.line("$K set web/token --store s");
        self.terminal.expect("not shown): ");
    }

    /// The process that asks: the shell's child.
    fn asking(&self) -> Pid {
        let shell = self.terminal.pid().as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        let child = children.split_whitespace().next().unwrap();
        Pid::from_raw(child.parse().unwrap()).unwrap()
    }

    /// Waits until the prompt in the background is stopped. If `fg` came first, the stop would hit it in the foreground.
    fn wait_until_stopped(&self) {
        let stat = format!("/proc/{}/stat", self.asking().as_raw_nonzero());
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let stat = fs::read_to_string(&stat).unwrap();
            // The state stands behind the name, which is in parentheses.
            if stat.rsplit(") ").next().unwrap().starts_with('T') {
                return;
            }
            assert!(Instant::now() < deadline, "{stat}");
        }
    }

    /// Continues the prompt, types the value, and checks that all of it and nothing else was stored, unseen.
    fn finish(mut self, modes: &str) {
        self.line("fg");
        self.terminal.expect("not shown): ");
        assert!(!self.terminal.echoes());
        self.line(CANARY);
        self.terminal.expect("stored web/token");
        assert_eq!(self.modes(), modes);
        let seen = self.terminal.seen();
        assert!(!seen.contains("real"), "{seen}");
        let store = Store::new(StoreConfig::new(self.home.path().join("s")));
        let stored = store.get(&"web/token".parse().unwrap()).unwrap();
        assert_eq!(stored[0].value.expose(), CANARY.as_bytes());
        self.line("exit");
    }
}

/// Runs a test under each shell. One that is absent is skipped, or fails the test if everything is required.
fn under_each_shell(test: impl Fn(Shell)) {
    for shell in SHELLS {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).any(|dir| dir.join(shell[0]).is_file());
        if found {
            test(Shell::start(shell));
            continue;
        }
        assert_ne!(
            std::env::var_os("KEYWAY_REQUIRE_ALL").as_deref(),
            Some("1".as_ref()),
            "{} is required",
            shell[0]
        );
        eprintln!("skipped: needs {}", shell[0]);
    }
}

#[test]
fn ctrl_z_and_fg_hide_again() {
    under_each_shell(|mut shell| {
        let modes = shell.modes();
        shell.prompt();
        for _ in 0..2 {
            shell.terminal.press("real");
            shell.terminal.press("\x1a");
            shell.terminal.expect("Stopped");
            assert_eq!(shell.modes(), modes);
            shell.line("fg");
            shell.terminal.expect("not shown): ");
            assert!(!shell.terminal.echoes());
        }
        shell.terminal.press("\x1a");
        shell.terminal.expect("Stopped");
        shell.finish(&modes);
    });
}

#[test]
fn a_prompt_that_was_stopped_from_outside_hides_again() {
    for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
        under_each_shell(|mut shell| {
            let modes = shell.modes();
            shell.prompt();
            shell.terminal.press("real");
            kill_process(shell.asking(), signal).unwrap();
            shell.terminal.expect("Stopped");
            assert_eq!(shell.modes(), modes);
            shell.finish(&modes);
        });
    }
}

#[test]
fn sigstop_and_fg_hide_again() {
    under_each_shell(|mut shell| {
        let modes = shell.modes();
        shell.prompt();
        for _ in 0..2 {
            kill_process(shell.asking(), Signal::STOP).unwrap();
            shell.terminal.expect("Stopped");
            // A program does not hear of this signal, so the terminal is as the shell leaves it.
            shell.line("fg");
            shell.terminal.expect("not shown): ");
            assert!(!shell.terminal.echoes());
        }
        kill_process(shell.asking(), Signal::STOP).unwrap();
        shell.terminal.expect("Stopped");
        shell.finish(&modes);
    });
}

#[test]
fn a_prompt_in_the_background_waits_for_the_foreground() {
    under_each_shell(|mut shell| {
        let modes = shell.modes();
        shell.prompt();
        shell.terminal.press("real\x1a");
        shell.terminal.expect("Stopped");
        shell.line("bg");
        assert_eq!(shell.modes(), modes);
        shell.wait_until_stopped();
        shell.finish(&modes);
    });
    under_each_shell(|mut shell| {
        let modes = shell.modes();
        shell.line("$K set web/token --store s &");
        assert_eq!(shell.modes(), modes);
        shell.wait_until_stopped();
        shell.finish(&modes);
    });
}

#[test]
fn ctrl_c_leaves_the_terminal_of_the_shell_as_it_was() {
    under_each_shell(|mut shell| {
        let modes = shell.modes();
        shell.prompt();
        shell.terminal.press("real\x03");
        shell.terminal.expect("\r\n");
        shell.terminal.expect("ready> ");
        shell.line("echo \"code=$?\"");
        shell.terminal.expect("code=130");
        assert_eq!(shell.modes(), modes);
        assert!(!shell.terminal.seen().contains("real"));
        shell.line("exit");
    });
}
