//! A home with the commands of `keyway` in it.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::ops::Deref;
use std::process::{Command, Output};

use keyway_test_support::{Daemon, feed, text};

/// The program under test.
pub(crate) const KEYWAY: &str = env!("CARGO_BIN_EXE_keyway");

/// A home without settings of the machine's user.
pub(crate) struct Home(keyway_test_support::Home);

impl Deref for Home {
    type Target = keyway_test_support::Home;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(keyway_test_support::Home::new())
    }

    /// `keyway` with these arguments.
    pub(crate) fn keyway(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.command(KEYWAY);
        command.args(arguments);
        command
    }

    /// The search path with the directory `bin` of this home first.
    pub(crate) fn search_path(&self) -> OsString {
        self.search_path_from("bin")
    }

    /// The search path with this directory of the home first.
    pub(crate) fn search_path_from(&self, first: &str) -> OsString {
        let mut path = self.join(first).into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path
    }

    /// Starts `keyway serve` with these arguments. It listens at the socket of this home alone.
    #[track_caller]
    pub(crate) fn serve(&self, arguments: &[&str]) -> Daemon {
        Daemon::start(self.keyway(["serve"]).args(arguments))
    }

    /// Runs a line, split at spaces, with this standard input.
    pub(crate) fn run(&self, line: &str, stdin: &[u8]) -> Output {
        feed(&mut self.keyway(line.split_whitespace()), stdin)
    }

    /// Stores a secret.
    #[track_caller]
    pub(crate) fn set(&self, id: &str, value: &[u8]) {
        let output = self.run(&format!("set {id}"), value);
        assert!(output.status.success(), "{}", self.show(&output));
    }

    /// Posts JSON to the daemon, and returns the response as it is on the wire.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, json: &str) -> String {
        keyway_test_support::http::post(&self.socket(), path, json)
    }

    /// The response to a query for secrets.
    #[track_caller]
    pub(crate) fn query(&self, pattern: &str) -> String {
        let json = format!(r#"{{"pattern":"{pattern}"}}"#);
        self.post("/resolver.v1.ResolverService/GetSecrets", &json)
    }

    /// Runs lines, and returns each with its output and exit status.
    pub(crate) fn transcript(&self, lines: &[&str]) -> String {
        let mut text = String::new();
        for line in lines {
            let output = self.run(line, b"");
            writeln!(text, "$ keyway {line}\n{}", self.show(&output)).unwrap();
        }
        text
    }

    /// Standard output, standard error marked with `!`, and the exit status if it is not 0. The home's path becomes `HOME`.
    pub(crate) fn show(&self, output: &Output) -> String {
        let mut shown = text(&output.stdout);
        if !shown.is_empty() && !shown.ends_with('\n') {
            shown.push_str("(no line break)\n");
        }
        for line in text(&output.stderr).lines() {
            writeln!(shown, "! {line}").unwrap();
        }
        if !output.status.success() {
            writeln!(shown, "[{}]", output.status).unwrap();
        }
        let home = self.path().to_str().unwrap();
        let uid = rustix::process::geteuid().as_raw().to_string();
        shown.replace(home, "HOME").replace(
            &format!("docker-secrets-engine/{uid}/"),
            "docker-secrets-engine/UID/",
        )
    }
}
