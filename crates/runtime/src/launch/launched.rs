//! Launching: a process that was started, tied to the async runtime.

use tokio::net::unix::pipe;

use super::error::LaunchError;
use super::process::Process;
use super::spawner::{LaunchSpec, Spawner, Started, prepare_error};

/// A process that was started, with our end of its connection.
#[derive(Debug)]
pub(crate) struct Launched {
    /// The process.
    pub(crate) process: Process,
    /// Our end of the socket pair.
    pub(crate) socket: tokio::net::UnixStream,
    /// What it writes to standard error.
    pub(crate) stderr: pipe::Receiver,
}

impl Launched {
    /// Starts a process.
    ///
    /// # Errors
    ///
    /// When the file cannot be run. Then nothing is left of the attempt.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, a process that was started in the meantime is killed and reaped.
    pub(crate) async fn start(spawner: &Spawner, spec: LaunchSpec) -> Result<Self, LaunchError> {
        let Started {
            child,
            pidfd,
            socket,
            stderr,
        } = spawner.start_process(spec).await?;
        // From here on the process is killed and reaped when anything fails.
        let process = Process::new(child, pidfd, spawner.clone())
            .map_err(prepare_error("watch the process"))?;
        let socket = tokio::net::UnixStream::from_std(socket)
            .map_err(prepare_error("use the socket pair"))?;
        let stderr = pipe::Receiver::from_owned_fd(stderr.into())
            .map_err(prepare_error("read standard error"))?;
        Ok(Self {
            process,
            socket,
            stderr,
        })
    }
}

#[cfg(test)]
mod tests;
