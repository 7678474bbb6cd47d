//! Launching an executable as a runtime does.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use keyway_proto::{LAUNCH_VARIABLE, LaunchConfig};
use tokio::net::UnixStream;

use super::{TestDaemon, TestDaemonBuilder};
use crate::connection::{REGISTRATION_TIMEOUT, RegisterError};

/// How long a plugin may take to end that was asked to.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a plugin executable could not be started, or did not register.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// It did not register.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The system did not start it.
    #[error("cannot start {}: {source}", path.display())]
    Start {
        /// The executable.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl TestDaemonBuilder {
    /// Sets an environment variable for [`launch`](Self::launch); others are inherited from the test.
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
    /// It cannot be started, or does not register within five seconds.
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
        // The shell moves the connection from its stdin to descriptor 3: doing so between fork and exec takes unsafe
        // code. The command, which owns the plugin's end, is dropped with the end of this function.
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"exec "$0" 3<&0 </dev/null"#])
            .arg(path);
        command.env(LAUNCH_VARIABLE, config.to_json());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        let process = Process(Some(command.spawn()?));
        ours.set_nonblocking(true)?;
        Ok((process, UnixStream::from_std(ours)?))
    }
}

/// A plugin process; killed when it is dropped.
#[derive(Debug)]
pub(super) struct Process(Option<Child>);

impl Process {
    /// Waits for its end.
    pub(super) async fn ended(mut self) -> io::Result<ExitStatus> {
        let Some(mut child) = self.0.take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let waiting = tokio::task::spawn_blocking(move || child.wait());
        match tokio::time::timeout(END_TIMEOUT, waiting).await {
            Ok(ended) => ended.map_err(io::Error::other)?,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the plugin did not end",
            )),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // One that is gone already needs neither.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
