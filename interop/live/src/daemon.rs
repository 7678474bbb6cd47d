//! A running `keyway serve`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::home::Home;
use crate::programs::keyway;
use crate::wait::{wait_for_end, wait_until};

/// How long the daemon may take to answer, or to end.
const LIMIT: Duration = Duration::from_secs(20);

/// A `keyway serve` in a [`Home`]. It is killed when dropped.
#[derive(Debug)]
pub struct Daemon<'a> {
    home: &'a Home,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl<'a> Daemon<'a> {
    /// Starts the daemon at the home's socket and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start(home: &'a Home) -> Self {
        Self::start_with(home, &[])
    }

    /// As [`Daemon::start`], with more arguments.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn start_with(home: &'a Home, arguments: &[&str]) -> Self {
        let mut child = home
            .command(&keyway())
            .arg("serve")
            .arg("--listen")
            .arg(home.socket())
            .arg("--plugin-dir")
            .arg(home.path("plugins"))
            .args(arguments)
            .env(
                "RUST_LOG",
                std::env::var("RUST_LOG").unwrap_or_else(|_| "debug".to_owned()),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon can be started");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                kept.lock().expect("nobody panics with the log").push(line);
            }
        });
        let mut daemon = Self { home, child, log };
        // Its own socket alone does not tell that it listens at the others.
        wait_until("the daemon to be ready", LIMIT, || {
            daemon.must_run();
            daemon.log().contains("keyway: ready").then_some(())
        });
        daemon
    }

    fn must_run(&mut self) {
        if let Some(status) = self
            .child
            .try_wait()
            .expect("a child of ours can be waited for")
        {
            panic!("the daemon ended with {status}:\n{}", self.log());
        }
    }

    /// The address for Go programs and for `KEYWAY_SOCKET`.
    pub fn socket(&self) -> PathBuf {
        self.home.socket()
    }

    /// What the daemon has written to standard error.
    pub fn log(&self) -> String {
        self.log
            .lock()
            .expect("nobody panics with the log")
            .join("\n")
    }

    /// Waits until the log holds a text.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub fn wait_for_log(&self, text: &str) {
        let name = format!("{text:?} in the daemon's log");
        wait_until(&name, LIMIT, || self.log().contains(text).then_some(()));
    }

    /// A `keyway` command that asks this daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(&keyway());
        command.args(arguments).arg("--socket").arg(self.socket());
        command
    }

    /// Runs a `keyway` command to its end.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .output()
            .expect("keyway can be started")
    }

    /// Waits until `keyway plugins list` shows a plugin running.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub fn wait_for_plugin(&mut self, name: &str) {
        let start = std::time::Instant::now();
        loop {
            self.must_run();
            let listed = self.run(&["plugins", "list", "--json"]);
            if plugin_runs(&listed.stdout, name) {
                return;
            }
            let text = String::from_utf8_lossy(&listed.stdout);
            let errors = String::from_utf8_lossy(&listed.stderr);
            let log = self.log();
            assert!(
                start.elapsed() < LIMIT,
                "{name} never ran:\n{text}\n{errors}\n{log}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    ///
    /// When the daemon does not end, or not with 0.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(
            sent.expect("`kill` exists").success(),
            "the daemon is gone already"
        );
        let status = wait_for_end("the daemon", &mut self.child, LIMIT);
        assert!(
            status.success(),
            "the daemon ended with {status}:\n{}",
            self.log()
        );
    }
}

fn plugin_runs(json: &[u8], name: &str) -> bool {
    let Ok(listed) = serde_json::from_slice::<serde_json::Value>(json) else {
        return false;
    };
    let plugins = listed.as_array().or_else(|| listed["plugins"].as_array());
    plugins.into_iter().flatten().any(|plugin| {
        let status = plugin["status"]
            .as_str()
            .or_else(|| plugin["run_status"].as_str());
        plugin["name"] == name
            && status.is_some_and(|status| status.eq_ignore_ascii_case("running"))
    })
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // It has ended already when the test stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}
