//! The hidden prompt under shells with job control: stopped and continued, it never shows what is typed.

use std::fs;

use keyway_plugin_file::{Store, StoreConfig};
use keyway_test_support::{process, require, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Home, SHELLS, Terminal};

/// Typed at the prompt; no part of it may be on the screen.
const CANARY: &str = "not-a-real-token";

/// A shell with a terminal of its own, at whose prompt `$K` is `keyway`.
struct Shell {
    terminal: Terminal,
    home: Home,
}

impl Shell {
    fn start(shell: &[&str]) -> Self {
        let home = Home::new();
        let terminal = Terminal::shell(&home, shell);
        Self { terminal, home }
    }

    /// Types a command line.
    fn line(&mut self, text: &str) {
        self.terminal.press(&format!("{text}\n"));
    }

    /// The modes of the terminal that a command of the shell finds.
    fn modes(&mut self) -> String {
        self.line("stty -g >modes; echo 'mo''des'");
        self.terminal.expect("modes\r\n");
        fs::read_to_string(self.home.join("modes")).unwrap()
    }

    fn prompt(&mut self) {
        self.line("$K set web/token --store s");
        self.terminal.expect("not shown): ");
    }

    /// The process that prompts: the shell's child.
    fn prompting(&self) -> Pid {
        let shell = self.terminal.pid().as_raw_nonzero().get();
        let children = process::children(shell);
        Pid::from_raw(*children.first().expect("a prompt")).unwrap()
    }

    /// Waits until the prompt in the background is stopped. If `fg` came first, the stop would hit it in the foreground.
    fn wait_until_stopped(&self) {
        let prompting = self.prompting().as_raw_nonzero().get();
        wait_until("the prompt to be stopped", || {
            process::stat(prompting).expect("a prompt").state == 'T'
        });
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
        let store = Store::new(StoreConfig::new(self.home.join("s")));
        let stored = store.get(&"web/token".parse().unwrap()).unwrap();
        assert_eq!(stored[0].value.expose(), CANARY.as_bytes());
        self.line("exit");
    }
}

/// Runs a test under each shell that is installed.
fn under_each_shell(test: impl Fn(Shell)) {
    for shell in SHELLS {
        if require::has_program(shell[0]) {
            test(Shell::start(shell));
        }
    }
}

#[test]
fn a_prompt_continued_after_ctrl_z_hides_again() {
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
fn a_prompt_continued_after_a_stop_signal_hides_again() {
    for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
        under_each_shell(|mut shell| {
            let modes = shell.modes();
            shell.prompt();
            shell.terminal.press("real");
            kill_process(shell.prompting(), signal).unwrap();
            shell.terminal.expect("Stopped");
            assert_eq!(shell.modes(), modes);
            shell.finish(&modes);
        });
    }
}

#[test]
fn a_prompt_continued_after_sigstop_hides_again() {
    under_each_shell(|mut shell| {
        let modes = shell.modes();
        shell.prompt();
        for _ in 0..2 {
            kill_process(shell.prompting(), Signal::STOP).unwrap();
            shell.terminal.expect("Stopped");
            // A program cannot catch this signal, so the terminal is as the shell leaves it.
            shell.line("fg");
            shell.terminal.expect("not shown): ");
            assert!(!shell.terminal.echoes());
        }
        kill_process(shell.prompting(), Signal::STOP).unwrap();
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
fn ctrl_c_restores_the_terminal_modes_of_the_shell() {
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
