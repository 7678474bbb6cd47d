//! A shell in a temporary home, in which a page is followed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use keyway_test_support::{Process, eventually, set_mode};

use super::page::{Command, File, Page, Step, matches};
use crate::addresses::without_address;
use crate::support::user_manager::UserManager;
use crate::support::{Home, KEYWAY};

/// The bound of one command; package managers of other languages take seconds.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// The first lines of a session: where exit codes go, and a function for the hidden commands of pages that need a daemon.
const START: &str = "exec 9>&1
cd
start_daemon() {
    keyway serve >~/serve.log 2>&1 &
    until keyway status; do sleep 0.1; done >/dev/null 2>&1
}
";

/// A bash in namespaces of its own: no abstract socket of another daemon is seen, and all of its processes end with it.
struct Session<'a> {
    home: &'a Home,
    /// Commands and their output, out of sight of what searches the home.
    scripts: Home,
    stdin: ChildStdin,
    /// The exit code of each command.
    codes: Receiver<String>,
    code: i32,
    n_commands: usize,
    _shell: Process,
}

/// The places of tools outside of the home of each page: toolchains and compiled libraries.
fn tools() -> impl Iterator<Item = (&'static str, PathBuf)> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let defaults = [("RUSTUP_HOME", ".rustup"), ("GOCACHE", ".cache/go-build")];
    defaults.into_iter().map(move |(name, default)| {
        let named = std::env::var_os(name).map(PathBuf::from);
        (name, named.unwrap_or_else(|| home.join(default)))
    })
}

/// Follows a page in a new home.
pub(super) fn follow(name: &str, page: &Page) {
    let home = Home::new();
    let manager = page.has_user_manager.then(|| UserManager::start(&home));
    let mut session = Session::start(&home, manager.as_ref());
    for step in &page.steps {
        match step {
            Step::File(file) => session.write(name, file),
            Step::Configuration(text) => {
                home.write("config.toml", text);
                session.succeed(
                    name,
                    "keyway config check ~/config.toml && rm ~/config.toml",
                );
            }
            Step::Setup(text) => session.succeed(name, &format!("set -e\n{text}\nset +e")),
            Step::Command(command) => session.check(name, command),
        }
    }
}

impl<'a> Session<'a> {
    fn start(home: &'a Home, manager: Option<&UserManager<'_>>) -> Self {
        let bin = home.create_dir(".local/bin");
        std::os::unix::fs::symlink(KEYWAY, bin.join("keyway")).unwrap();
        let shell = ["bash", "--noprofile", "--norc", "-s"];
        let mut command = match manager {
            Some(manager) => manager.command(shell),
            None => {
                let mut command = without_address(home, "unshare");
                command
                    .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
                    .args(shell);
                command
            }
        };
        set_mode(&home.join("run"), 0o700);
        command
            .env("PATH", home.search_path_from(".local/bin"))
            .env("SHELL", "/bin/bash")
            .env("USER", "ann")
            .env("LANG", "C.UTF-8")
            .envs(tools())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut shell = Process::spawn(&mut command);
        let lines = BufReader::new(shell.stdout()).lines();
        let (sender, codes) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut stdin = shell.stdin();
        stdin.write_all(START.as_bytes()).unwrap();
        Self {
            home,
            scripts: Home::new(),
            stdin,
            codes,
            code: 0,
            n_commands: 0,
            _shell: shell,
        }
    }

    /// Runs a command that the page does not show.
    fn succeed(&mut self, name: &str, text: &str) {
        let (code, shown) = self.run(text, &[]);
        assert_eq!(code, 0, "{name}: {text}\n{shown}");
    }

    fn write(&mut self, name: &str, file: &File) {
        let path = self.home.write(&file.path, &file.text);
        set_mode(&path, file.mode);
        let check = match file.language.as_str() {
            "toml" if file.path.starts_with(".config/keyway") => "keyway config check",
            "sh" | "bash" => "bash -n",
            _ => return,
        };
        self.succeed(name, &format!("{check} ~/'{}'", file.path));
    }

    /// A file of this session for the command in progress.
    fn file(&self, kind: &str) -> PathBuf {
        self.scripts.join(format!("{}.{kind}", self.n_commands))
    }

    /// Runs a command and returns its exit code and what it has shown.
    fn run(&mut self, text: &str, dialogue: &[(String, String)]) -> (i32, String) {
        self.n_commands += 1;
        let [script, output] = ["sh", "out"].map(|kind| self.file(kind));
        fs::write(&script, format!("{text}\n")).unwrap();
        let (run, input) = match dialogue {
            [] => (
                format!(". '{}'", script.display()),
                PathBuf::from("/dev/null"),
            ),
            _ => (
                format!("script -qec \". '{}'\" /dev/null", script.display()),
                self.file("in"),
            ),
        };
        if !dialogue.is_empty() {
            let made = std::process::Command::new("mkfifo").arg(&input).status();
            assert!(made.unwrap().success());
        }
        let line = format!(
            "(exit {}); {run} <'{}' >'{}' 2>&1; echo $? >&9\n",
            self.code,
            input.display(),
            output.display()
        );
        self.stdin.write_all(line.as_bytes()).unwrap();
        if !dialogue.is_empty() {
            self.converse(&input, dialogue);
        }
        let code = self.codes.recv_timeout(COMMAND_LIMIT);
        let code = code.unwrap_or_else(|_| panic!("no end of {text}\n{}", self.shown()));
        self.code = code.parse().unwrap();
        (self.code, self.shown())
    }

    fn converse(&self, input: &PathBuf, dialogue: &[(String, String)]) {
        // A FIFO that is opened for both does not wait for its reader.
        let mut keyboard = fs::OpenOptions::new();
        let mut keyboard = keyboard.read(true).write(true).open(input).unwrap();
        let mut at = 0;
        for (text, typed) in dialogue {
            at = eventually(&format!("{text:?} at the terminal"), || {
                let shown = self.shown();
                let behind = shown.get(at..).and_then(|rest| rest.find(text.as_str()));
                behind.map(|found| at + found + text.len()).ok_or(shown)
            });
            keyboard.write_all(format!("{typed}\n").as_bytes()).unwrap();
        }
    }

    /// Returns the output of the command so far, for a reader named ann with the uid 1000.
    fn shown(&self) -> String {
        let bytes = fs::read(self.file("out")).unwrap_or_default();
        let home = self.home.path().to_str().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        String::from_utf8_lossy(&bytes)
            .replace("\r\n", "\n")
            .replace(&format!("{home}/run"), "/run/user/1000")
            .replace(home, "/home/ann")
            .replace(
                &format!("docker-secrets-engine/{uid}/"),
                "docker-secrets-engine/1000/",
            )
    }

    fn check(&mut self, name: &str, command: &Command) {
        let (code, shown) = self.run(&command.text, &command.dialogue);
        assert!(
            code == 0 || command.may_fail,
            "{name}: exit code {code}\n$ {}\n{shown}",
            command.text
        );
        if command.text.ends_with('&') {
            eventually(&command.text, || {
                let shown = self.shown();
                matches(&command.output, &shown).then_some(()).ok_or(shown)
            });
            return;
        }
        assert!(
            matches(&command.output, &shown),
            "{name}: the page has\n$ {}\n{}\nand not\n{shown}",
            command.text,
            command.output
        );
    }
}
