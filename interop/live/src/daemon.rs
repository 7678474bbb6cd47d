//! A running `keyway serve`.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use keyway_test_support::{Home, eventually, feed};

use crate::programs::keyway;

/// A `keyway serve` in a [`Home`]. Dropped, it is killed.
#[derive(Debug)]
pub struct Daemon<'a> {
    home: &'a Home,
    process: keyway_test_support::Daemon,
}

impl<'a> Daemon<'a> {
    /// Starts the daemon at the home's socket and waits until it is ready.
    ///
    /// # Panics
    ///
    /// Panics if the daemon does not start.
    pub fn start(home: &'a Home) -> Self {
        Self::start_with(home, &[])
    }

    /// As [`Daemon::start`], with more arguments.
    ///
    /// # Panics
    ///
    /// Panics if the daemon does not start.
    pub fn start_with(home: &'a Home, arguments: &[&str]) -> Self {
        let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "debug".to_owned());
        let mut command = home.command(keyway());
        command
            .args(["serve", "--listen"])
            .arg(home.socket())
            .arg("--plugin-dir")
            .arg(home.create_dir("plugins"))
            .args(arguments)
            .env("XDG_RUNTIME_DIR", home.create_dir("runtime"))
            .env("RUST_LOG", level)
            .stdout(Stdio::null());
        let process = keyway_test_support::Daemon::start(&mut command);
        Self { home, process }
    }

    /// The path of the socket, for Go programs and for `KEYWAY_SOCKET`.
    pub fn socket(&self) -> PathBuf {
        self.home.socket()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits for a line of the log that contains `text`, behind the lines that were expected before.
    ///
    /// # Panics
    ///
    /// Panics if there is no such line in time.
    pub fn expect(&mut self, text: &str) {
        self.process.expect(text);
    }

    /// A `keyway` command for this daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(keyway());
        command.args(arguments);
        command
    }

    /// Runs a `keyway` command to its end.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Output {
        feed(&mut self.command(arguments), b"")
    }

    /// Waits until `keyway plugins list` shows a plugin running.
    ///
    /// # Panics
    ///
    /// Panics if that does not happen in time.
    pub fn wait_for_plugin(&self, name: &str) {
        eventually(&format!("{name} to run"), || {
            let listed = self.run(&["plugins", "list", "--json"]);
            if is_running(&listed.stdout, name) {
                return Ok(());
            }
            Err(listed)
        });
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    ///
    /// Panics if the daemon does not end, or not with 0.
    pub fn stop(self) {
        let (status, log) = self.process.stop();
        assert!(status.success(), "the daemon ended with {status}:\n{log}");
    }
}

/// Returns `true` if the output of `keyway plugins list --json` shows a plugin running.
fn is_running(json: &[u8], name: &str) -> bool {
    let listed: Vec<serde_json::Value> = serde_json::from_slice(json).unwrap_or_default();
    let mut plugins = listed.iter();
    plugins.any(|plugin| plugin["name"] == name && plugin["status"] == "running")
}
