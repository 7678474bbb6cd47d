//! A daemon in a process of its own: for signals, for other users, and for callers that are not its children.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;

use keyway_local::Address;
use rustix::process::{Pid, Signal, kill_process};

use crate::caller::{self, Reply};
use crate::daemon::PATIENCE;
use crate::home::Home;
use crate::processes::wait_until;

/// A daemon process. Dropped, it is killed.
#[derive(Debug)]
pub struct DaemonProcess {
    /// Its home, which every user can enter.
    pub home: Arc<Home>,
    /// The executable of a caller, which every user can execute.
    caller: PathBuf,
    child: Child,
}

impl DaemonProcess {
    /// Starts the daemon and waits until it accepts connections or ends. `executable` is `test-daemon`; `wrapper` is a program with arguments that runs
    /// it; `uid` is the user whom the home belongs to.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn start(executable: &str, home: Arc<Home>, wrapper: &[&str], uid: u32) -> Self {
        let (daemon, caller) = (home.path().join("daemon"), home.path().join("caller"));
        // Another user may be unable to reach the build directory.
        copy(Path::new(executable), &daemon);
        copy(home.executable(), &caller);
        open_to(home.path(), uid);
        let log = File::create(home.path().join("log")).expect("the log");
        let mut command = match wrapper {
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(&daemon);
                command
            }
            [] => Command::new(&daemon),
        };
        let child = command
            .arg(home.path())
            .stderr(log)
            .spawn()
            .expect("a daemon");
        let mut daemon = Self {
            home,
            caller,
            child,
        };
        let is_ready = |daemon: &mut Self| {
            daemon.address().as_path().is_some_and(Path::exists) || daemon.ended().is_some()
        };
        let is_met = wait_until(PATIENCE, || is_ready(&mut daemon)).await;
        assert!(is_met, "not ready: {}", daemon.log());
        daemon
    }

    /// Its address.
    pub fn address(&self) -> Address {
        self.home.path().join("daemon.sock").into()
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).expect("the log")
    }

    /// Replaces its configuration file.
    pub fn configure(home: &Home, text: &str) {
        let file = home.path().join("config.toml");
        std::fs::write(&file, text).expect("the configuration");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    }

    /// Makes it reload, and waits until it has.
    ///
    /// # Panics
    ///
    /// If that does not happen.
    pub async fn reload(&self) {
        let n_reloads = || self.log().matches("reloaded").count();
        let before = n_reloads();
        kill_process(self.pid(), Signal::HUP).expect("a signal");
        let is_met = wait_until(PATIENCE, || n_reloads() > before).await;
        assert!(is_met, "no reload: {}", self.log());
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
    /// If that does not happen.
    pub async fn wait_for(&self, outcome: &str, method: &str, argument: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let reply = self.call(method, argument).await;
            if reply.outcome() == outcome {
                return;
            }
            let is_late = tokio::time::Instant::now() >= deadline;
            assert!(!is_late, "{method} {argument}: {reply:?}\n{}", self.log());
        }
    }

    /// Starts a process of another user that connects and stays; its standard output ends with its connection.
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

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies an executable in another process: a descriptor of this one, open for writing, could be inherited by a child of another
/// test, and the file could not be executed until that child has closed it.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.expect("cp runs").success(), "{}", to.display());
}

/// Lets every user enter the home, and makes all of it belong to `uid`.
fn open_to(home: &Path, uid: u32) {
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o711)).expect("a mode");
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
