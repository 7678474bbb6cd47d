//! Launching an executable as a runtime does.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use keyway_proto::{LAUNCH_VARIABLE, LaunchConfig, is_inherited_variable};
use tokio::net::UnixStream;

use super::{TestDaemon, TestDaemonBuilder};
use crate::connection::{REGISTRATION_TIMEOUT, RegisterError};

/// Timeout of the exit of a plugin after `Shutdown`.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Error of launching a plugin executable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The plugin did not register.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The executable could not be started.
    #[error("cannot start {}", path.display())]
    Start {
        /// The executable.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
}

impl TestDaemonBuilder {
    /// Sets an environment variable for [`launch`](Self::launch). Of the test's own environment a plugin inherits the variables
    /// that it inherits from a daemon: `PATH`, `HOME`, `XDG_*`, `LC_*` and few others. The variables that `[plugins.NAME] env` and
    /// `pass_env` add in the daemon's configuration are set here.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Launches an executable as a runtime does: the connection at descriptor 3, stdin and stdout null. In an
    /// integration test, `env!("CARGO_BIN_EXE_name")` is the path of your plugin. Needs the system's `sh`.
    ///
    /// # Errors
    ///
    /// Returns [`LaunchError::Start`] if the executable cannot be started, and [`LaunchError::Register`] if it does not
    /// register within 5 s.
    pub async fn launch(self, executable: impl AsRef<Path>) -> Result<TestDaemon, LaunchError> {
        let path = executable.as_ref();
        let failed = |source| LaunchError::Start {
            path: path.to_owned(),
            source,
        };
        let name = self.name.clone();
        let (process, stream) = self.spawn(path).map_err(failed)?;
        let attached =
            tokio::time::timeout(REGISTRATION_TIMEOUT, self.launched().attach(stream)).await;
        let mut daemon = match attached {
            Ok(attached) => attached?,
            Err(_) => {
                return Err(RegisterError::TimedOut {
                    name,
                    waited: REGISTRATION_TIMEOUT,
                }
                .into());
            }
        };
        daemon.process = Some(process);
        Ok(daemon)
    }

    fn spawn(&self, path: &Path) -> io::Result<(Process, UnixStream)> {
        let (ours, theirs) = StdStream::pair()?;
        let config = LaunchConfig {
            name: self.name.clone(),
            timeout: REGISTRATION_TIMEOUT,
            fd: 3,
        };
        // The shell moves the connection from its stdin to descriptor 3, because that takes unsafe code between fork
        // and exec. The command owns the plugin's end and is dropped when this function returns.
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"exec "$0" 3<&0 </dev/null"#])
            .arg(path);
        let inherited = std::env::vars_os()
            .filter(|(name, _)| name.to_str().is_some_and(is_inherited_variable));
        command.env_clear().envs(inherited);
        command.env(LAUNCH_VARIABLE, config.to_json());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        let process = Process(Some(command.spawn()?));
        ours.set_nonblocking(true)?;
        Ok((process, UnixStream::from_std(ours)?))
    }
}

/// A plugin process, killed on drop.
#[derive(Debug)]
pub(super) struct Process(Option<Child>);

impl Process {
    /// Waits for the exit, at most [`EXIT_TIMEOUT`].
    pub(super) async fn wait(mut self) -> io::Result<ExitStatus> {
        let Some(mut child) = self.0.take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let waiting = tokio::task::spawn_blocking(move || child.wait());
        match tokio::time::timeout(EXIT_TIMEOUT, waiting).await {
            Ok(ended) => ended.map_err(io::Error::other)?,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the plugin did not exit",
            )),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Both fail if the process has exited already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
