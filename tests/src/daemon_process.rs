//! A daemon in a process of its own: for signals, for other users, and for callers that are not its children.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use keyway_local::Address;
use keyway_test_support::wait::asynchronous::eventually;
use keyway_test_support::{Daemon, StartError, copy_executable, set_mode};
use rustix::process::Signal;

use crate::caller::{self, Reply};
use crate::home::Home;

/// Names the environment variable with [`Config::keep_alive`](keyway_runtime::Config::keep_alive) in milliseconds.
pub const KEEP_ALIVE_VARIABLE: &str = "KEYWAY_TEST_KEEP_ALIVE_MS";

/// A daemon process. Dropped, it is killed.
#[derive(Debug)]
pub struct DaemonProcess {
    /// Its home, which every user can enter.
    pub home: Arc<Home>,
    /// The executable of a caller, which every user can execute.
    caller: PathBuf,
    daemon: Daemon,
}

impl DaemonProcess {
    /// Starts the daemon and waits until it is ready. `executable` is `test-daemon`; `wrapper` is a program with arguments that
    /// runs it; `uid` is the owner of the home.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    pub fn start(executable: &str, home: Arc<Home>, wrapper: &[&str], uid: u32) -> Self {
        let started = Self::try_start(executable, home, wrapper, uid);
        started.unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`start`](Self::start) for a daemon that may refuse to start.
    ///
    /// # Errors
    ///
    /// Returns [`StartError`] if the daemon ends before it is ready.
    pub fn try_start(
        executable: &str,
        home: Arc<Home>,
        wrapper: &[&str],
        uid: u32,
    ) -> Result<Self, StartError> {
        let (daemon, caller) = (home.join("daemon"), home.join("caller"));
        // Another user may be unable to reach the build directory.
        copy_executable(executable, &daemon);
        copy_executable(home.executable(), &caller);
        open_to(home.path(), uid);
        let mut command = match wrapper {
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&daemon);
                command
            }
            [] => Command::new(&daemon),
        };
        let daemon = Daemon::try_start(command.arg(home.path()), |_| {})?;
        Ok(Self {
            home,
            caller,
            daemon,
        })
    }

    /// Its address.
    pub fn address(&self) -> Address {
        self.home.socket().into()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// Stops it with SIGTERM, and waits for its end.
    ///
    /// # Panics
    ///
    /// Panics if it does not end in time or not with status 0.
    pub fn stop(self) {
        let (status, log) = self.daemon.stop();
        assert!(status.success(), "{status}: {log}");
    }

    /// Kills it, as a crash would, and waits for its end.
    pub fn kill(self) {
        self.daemon.kill();
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Replaces its configuration file.
    pub fn configure(home: &Home, text: &str) {
        set_mode(&home.write("config.toml", text), 0o644);
    }

    /// Makes the daemon reload, and waits until it has.
    ///
    /// # Panics
    ///
    /// Panics if the wait exceeds its limit.
    pub fn reload(&mut self) {
        self.daemon.signal(Signal::HUP);
        self.daemon.expect("reloaded");
    }

    /// A call of a method of [`caller`] by this process, which is not its child.
    pub async fn call(&self, method: &str, argument: &str) -> Reply {
        self.call_as(&[], method, argument).await
    }

    /// A call at its address by a process that `wrapper` runs.
    pub async fn call_as(&self, wrapper: &[&str], method: &str, argument: &str) -> Reply {
        self.call_at(&self.address(), wrapper, method, argument)
            .await
    }

    /// The same at another of its addresses.
    pub async fn call_at(
        &self,
        address: &Address,
        wrapper: &[&str],
        method: &str,
        argument: &str,
    ) -> Reply {
        let wrapper: Vec<String> = wrapper.iter().map(|text| (*text).to_owned()).collect();
        let (caller, address) = (self.caller.clone(), address.clone());
        let (method, argument) = (method.to_owned(), argument.to_owned());
        let call = tokio::task::spawn_blocking(move || {
            let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
            caller::call_as(&wrapper, &caller, &address, &method, &argument)
        });
        call.await.expect("the caller does not panic")
    }

    /// Waits until a method responds with this outcome.
    ///
    /// # Panics
    ///
    /// Panics if the wait exceeds its limit.
    pub async fn wait_for(&self, outcome: &str, method: &str, argument: &str) {
        eventually(
            &format!("{method} {argument} to be {outcome}"),
            async || {
                let reply = self.call(method, argument).await;
                if reply.outcome() == outcome {
                    Ok(())
                } else {
                    Err(reply)
                }
            },
        )
        .await;
    }

    /// A command that opens so many connections as another user, one after the other, for [`caller::flooded`].
    pub fn flood_as(&self, wrapper: &[&str], count: usize) -> Command {
        let mut command = self.connect_as(wrapper);
        command.arg(count.to_string());
        command
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.daemon.id().cast_signed()
    }

    /// A command that connects as another user and stays. Its standard output ends with its connection.
    pub fn connect_as(&self, wrapper: &[&str]) -> Command {
        let [program, arguments @ ..] = wrapper else {
            panic!("no wrapper");
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(&self.caller)
            .arg(caller::STAY)
            .arg(std::ffi::OsString::from(self.address()));
        command
    }
}

/// Lets every user enter the home, and makes all of it belong to `uid`.
fn open_to(home: &Path, uid: u32) {
    set_mode(home, 0o711);
    if uid == rustix::process::geteuid().as_raw() {
        return;
    }
    let mut directories = vec![home.to_owned()];
    while let Some(directory) = directories.pop() {
        chown(&directory, Some(uid), Some(uid)).expect("root");
        for entry in std::fs::read_dir(&directory)
            .expect("a directory")
            .flatten()
        {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            } else if !entry.path().is_symlink() {
                chown(entry.path(), Some(uid), Some(uid)).expect("root");
            }
        }
    }
}
