//! `keyway get --clip`: with a program of the desktop, and at a terminal.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{ChildStderr, Stdio};

use keyway_test_support::{Process, set_mode};
use rustix::process::Signal;

use crate::support::{Home, Terminal, script};

/// A clipboard whose content is a file beside it.
const XCLIP: &str = "#!/bin/sh
case $3 in
-in) cat > \"$0.content\" ;;
-out) cat \"$0.content\" ;;
esac
";

/// `keyway get --clip` that has copied the value, and the rest of its standard error.
struct Clip {
    home: Home,
    process: Process,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Clip {
    fn start() -> Self {
        let home = Home::new();
        let _daemon = script::serve(&home);
        fs::create_dir(home.join("bin")).unwrap();
        fs::write(home.join("bin/xclip"), XCLIP).unwrap();
        set_mode(&home.join("bin/xclip"), 0o755);
        let mut command = home.keyway(["get", "web/token", "--clip"]);
        command.env("DISPLAY", ":0").env("PATH", home.search_path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let mut lines = BufReader::new(process.stderr()).lines();
        let note = lines.next().unwrap().unwrap();
        assert!(
            note.starts_with("keyway: the value of web/token is in the clipboard for 45 s"),
            "{note}"
        );
        Self {
            home,
            process,
            lines,
        }
    }

    fn content(&self) -> String {
        fs::read_to_string(self.home.join("bin/xclip.content")).unwrap()
    }

    /// Ends it, and returns what it says last.
    fn end(&mut self, signal: Signal) -> String {
        self.process.signal(signal);
        let last = self.lines.next().unwrap().unwrap();
        assert!(self.process.wait().success(), "{last}");
        last
    }
}

#[test]
fn a_value_is_in_the_clipboard_until_its_time_or_a_signal_ends_it() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut clip = Clip::start();
        assert_eq!(clip.content(), "dummy-token");
        assert_eq!(clip.end(signal), "keyway: the clipboard is empty.");
        assert_eq!(clip.content(), "");
    }
}

#[test]
fn what_was_copied_meanwhile_stays() {
    let mut clip = Clip::start();
    fs::write(clip.home.join("bin/xclip.content"), "other").unwrap();
    assert_eq!(
        clip.end(Signal::INT),
        "keyway: the clipboard holds something else by now, which stays."
    );
    assert_eq!(clip.content(), "other");
}

#[test]
fn without_a_desktop_the_terminal_is_sent_the_value() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut terminal = Terminal::start(&home.keyway(["get", "web/token", "--clip"]));
    // The base64 form of `dummy-token`.
    terminal.expect("\x1b]52;c;ZHVtbXktdG9rZW4=\x07");
    terminal.expect("was sent to the clipboard of the terminal, if it has one");
    terminal.press("\x03");
    terminal.expect("\x1b]52;c;!\x07");
    let (status, screen) = terminal.end();
    assert!(status.success(), "{screen}");
}

#[test]
fn without_any_clipboard_nothing_is_copied() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    insta::assert_snapshot!(home.transcript(&[
        "get web/token --clip",
        "get web/token --clip --json",
        "get web/token --clip --value",
    ]));
}
