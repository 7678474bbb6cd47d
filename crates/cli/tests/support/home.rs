//! A temporary home, and the binary run in it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A home that nothing of the machine's user leaks into.
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self {
            folder: TempDir::with_prefix("kw").unwrap(),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where a daemon of this home listens.
    pub fn socket(&self) -> PathBuf {
        self.path().join("daemon.sock")
    }

    /// `keyway` with these arguments, in this home and with an environment of its own.
    pub fn keyway(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        // Whoever starts the tests in the background has them ignore Ctrl-C, and ignoring is inherited.
        let mut command = Command::new("env");
        command
            .args(["--default-signal", env!("CARGO_BIN_EXE_keyway")])
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("KEYWAY_SOCKET", self.socket())
            .stdin(Stdio::null());
        command
    }

    /// Runs a line as a shell would split it at spaces, with this stdin.
    pub fn run(&self, line: &str, stdin: &[u8]) -> Output {
        let mut command = self.keyway(line.split_whitespace());
        feed(&mut command, stdin)
    }

    /// Runs lines and writes down what each printed and how it ended.
    pub fn transcript(&self, lines: &[&str]) -> String {
        let mut text = String::new();
        for line in lines {
            let output = self.run(line, b"");
            write!(text, "$ keyway {line}\n{}", self.show(&output)).unwrap();
            text.push('\n');
        }
        text
    }

    /// What was printed, stderr marked with `!`, and the exit code where it is not 0. The home's path becomes `HOME`.
    pub fn show(&self, output: &Output) -> String {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push_str("(no line break)\n");
        }
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            writeln!(text, "! {line}").unwrap();
        }
        if !output.status.success() {
            writeln!(text, "[{}]", output.status).unwrap();
        }
        let home = self.path().to_str().unwrap();
        let uid = rustix::process::geteuid().as_raw().to_string();
        text.replace(home, "HOME").replace(
            &format!("docker-secrets-engine/{uid}/"),
            "docker-secrets-engine/UID/",
        )
    }
}

/// Runs a command with this stdin, and gives what it printed.
pub fn feed(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = stdin.to_vec();
    // A program that does not read its stdin closes it, which is no business of the test.
    let writer = std::thread::spawn(move || input.write_all(&bytes).is_ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}
