//! Support of the test programs: a daemon for an external plugin, and test programs that are a plugin themselves.
#![allow(dead_code, reason = "each test program uses a part")]

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};

use keyway_plugin_sdk::testing::TestDaemon;
use keyway_test_support::{Home, Process, WAIT_LIMIT};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::time::timeout;

/// Set in the process that is the plugin.
const IS_PLUGIN: &str = "KEYWAY_TEST_IS_PLUGIN";

/// The lines of a plugin's standard error.
pub(crate) type Log = Lines<BufReader<ChildStderr>>;

/// Returns `true` in the process that is to run the plugin.
pub(crate) fn is_plugin() -> bool {
    std::env::var_os(IS_PLUGIN).is_some()
}

/// A plugin and its daemon.
pub(crate) struct External {
    pub(crate) process: Process,
    pub(crate) daemon: TestDaemon,
    _home: Home,
}

impl External {
    /// Starts this test program for the test `name`, which then runs a plugin. `prepare` may change the command.
    pub(crate) async fn start(name: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let home = Home::new();
        let listener = UnixListener::bind(home.socket()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", name, "--nocapture"])
            .env(IS_PLUGIN, "1")
            .env("KEYWAY_SOCKET", home.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        prepare(&mut command);
        let process = Process::spawn(&mut command);
        let daemon = accept(&listener).await;
        Self {
            process,
            daemon,
            _home: home,
        }
    }

    /// Returns the lines of the log.
    pub(crate) fn log(&mut self) -> Log {
        BufReader::new(self.process.stderr()).lines()
    }

    /// Stops the plugin, and returns its exit status and the rest of its log.
    pub(crate) async fn stop(self, log: Log) -> (ExitStatus, Vec<String>) {
        let Self {
            mut process,
            daemon,
            ..
        } = self;
        daemon.stop().await;
        let waiting = tokio::task::spawn_blocking(move || {
            let log = log.map_while(Result::ok).collect();
            (process.wait(), log)
        });
        let ended = timeout(WAIT_LIMIT, waiting).await;
        ended.expect("the plugin ends").unwrap()
    }
}

pub(crate) async fn text(daemon: &TestDaemon, id: &str) -> String {
    let found = daemon.get(id).await.unwrap();
    String::from_utf8(found[0].value.expose().to_vec()).unwrap()
}

/// Accepts one plugin on a daemon socket as the acceptor of the reference does, with its unusual status line.
pub(crate) async fn accept(listener: &UnixListener) -> TestDaemon {
    let (mut stream, _) = timeout(WAIT_LIMIT, listener.accept())
        .await
        .expect("the plugin dials")
        .unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    assert!(request.starts_with(b"GET /hijack HTTP/1.1\r\n"));
    let response =
        b"HTTP/0.0 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream.write_all(response).await.unwrap();
    TestDaemon::builder().attach(stream).await.unwrap()
}
