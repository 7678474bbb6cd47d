//! The thread that starts and reaps every plugin process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::oneshot;

use super::PLUGIN_DESCRIPTOR;
use super::error::LaunchError;
use super::guardian::Guardian;
use super::pinned::PinnedCopy;
use crate::config::Sha256;
use crate::sys::child;

/// What to start.
#[derive(Debug)]
pub(crate) struct LaunchSpec {
    /// The executable.
    pub(crate) executable: PathBuf,
    /// What the process sees as its own name.
    pub(crate) argv0: OsString,
    /// The whole environment of the process.
    pub(crate) environment: BTreeMap<OsString, OsString>,
    /// The checksum that the executable must have.
    pub(crate) sha256: Option<Sha256>,
}

pub(super) fn prepare_error(what: &'static str) -> impl FnOnce(io::Error) -> LaunchError {
    move |source| LaunchError::Prepare { what, source }
}

/// What the thread is asked to do.
#[derive(Debug)]
enum Request {
    Launch(
        Box<LaunchSpec>,
        oneshot::Sender<Result<Started, LaunchError>>,
    ),
    /// Ends the process's group and reaps it; waits for its end where it has not ended yet.
    Reap(Child, Option<oneshot::Sender<io::Result<ExitStatus>>>),
    /// Ends the thread; the sender is dropped when the guardian has ended too.
    Finish(oneshot::Sender<()>),
}

/// What the thread hands back, before it is tied to the async runtime.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) pidfd: OwnedFd,
    pub(super) socket: UnixStream,
    pub(super) stderr: ChildStderr,
}

/// A handle on the thread that starts processes. Cloning is cheap.
///
/// It must be one thread that lives as long as the daemon, because the kernel ties the parent-death signal to the *thread*
/// that forked: a plugin started by a worker thread would die with the worker. When the last handle is dropped, or
/// [`finish`](Self::finish) was called, the thread ends, and the kernel kills what is still running.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    requests: mpsc::Sender<Request>,
}

impl Spawner {
    /// Starts the thread and the guardian process.
    ///
    /// # Errors
    ///
    /// When the system has no room for another thread or process.
    pub(crate) fn start() -> Result<Self, LaunchError> {
        let guardian = Guardian::start().map_err(prepare_error("start the guardian process"))?;
        let (requests, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("keyway-spawner".into())
            .spawn(move || serve(&receiver, guardian))
            .map_err(prepare_error("start the spawner thread"))?;
        Ok(Self { requests })
    }

    /// Starts a process, which the caller has to reap. It is [`Launched`](super::Launched) that takes charge of it.
    ///
    /// # Errors
    ///
    /// When the file cannot be run. Then nothing is left of the attempt.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, a process that was started in the meantime is killed and reaped.
    pub(super) async fn start_process(&self, spec: LaunchSpec) -> Result<Started, LaunchError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Launch(Box::new(spec), reply))
            .map_err(|_| LaunchError::Stopping)?;
        answer.await.map_err(|_| LaunchError::Stopping)?
    }

    /// Ends what is left of the process's group and reaps the process.
    pub(super) async fn reap(&self, child: Child) -> io::Result<ExitStatus> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Reap(child, Some(reply)))
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// As [`reap`](Self::reap), for whom nobody waits.
    pub(super) fn reap_later(&self, child: Child) {
        // Without the thread the kernel has killed the process already, and init reaps it after us.
        let _ = self.requests.send(Request::Reap(child, None));
    }

    /// Ends the thread when it has done what was asked before, and waits for that.
    pub(crate) async fn finish(&self) {
        let (sender, ended) = oneshot::channel();
        if self.requests.send(Request::Finish(sender)).is_ok() {
            // The sender is dropped, never used: an error is the end.
            let _ = ended.await;
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the thread that owns the plugin processes has ended")
}

/// The thread's loop.
fn serve(requests: &mpsc::Receiver<Request>, mut guardian: Guardian) {
    let mut reserved = None;
    for request in requests {
        match request {
            Request::Launch(spec, reply) => {
                reserve_descriptor(&mut reserved);
                let result = start(&spec, &mut guardian);
                if let Err(Ok(started)) = reply.send(result) {
                    // Whoever asked for it is gone.
                    let _ = reap(started.child, &mut guardian);
                }
            }
            Request::Reap(child, reply) => {
                let status = reap(child, &mut guardian);
                if let Some(reply) = reply {
                    // Nobody left to tell is no error.
                    let _ = reply.send(status);
                }
            }
            Request::Finish(ended) => {
                drop(guardian);
                drop(ended);
                return;
            }
        }
    }
}

/// Keeps the descriptor number 3 taken in this process, so that in a child nothing that the standard library needs between
/// fork and exec can be there when the plugin's socket is put in its place.
fn reserve_descriptor(reserved: &mut Option<OwnedFd>) {
    if reserved.is_some() {
        return;
    }
    let null = File::open("/dev/null")
        .and_then(|null| Ok(rustix::io::fcntl_dupfd_cloexec(null, PLUGIN_DESCRIPTOR)?));
    use std::os::fd::AsRawFd;
    // Another number means that somebody else holds 3, which does as well while it lasts.
    *reserved = null.ok().filter(|fd| fd.as_raw_fd() == PLUGIN_DESCRIPTOR);
}

fn start(spec: &LaunchSpec, guardian: &mut Guardian) -> Result<Started, LaunchError> {
    let (ours, theirs) = UnixStream::pair().map_err(prepare_error("make a socket pair"))?;
    ours.set_nonblocking(true)
        .map_err(prepare_error("make a socket pair"))?;
    let theirs = OwnedFd::from(theirs);
    // The copy lives until the process has been started from it.
    let pinned = spec
        .sha256
        .map(|checksum| PinnedCopy::make(&spec.executable, checksum))
        .transpose()?;
    let program = pinned
        .as_ref()
        .map_or_else(|| spec.executable.clone(), PinnedCopy::path);
    let image = child::Image::new(&program, &spec.argv0, &spec.environment)
        .map_err(prepare_error("hand over name and environment"))?;
    let mut command = Command::new(&spec.executable);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    child::prepare(&mut command, image, &theirs);
    let mut child = command.spawn().map_err(|source| LaunchError::Execute {
        path: spec.executable.clone(),
        source,
    })?;
    drop(theirs);
    match watch(&mut child, guardian) {
        Ok((pidfd, stderr)) => Ok(Started {
            child,
            pidfd,
            socket: ours,
            stderr,
        }),
        Err(error) => {
            // The error that brought us here is the one to report.
            let _ = reap(child, guardian);
            Err(error)
        }
    }
}

fn watch(
    child: &mut Child,
    guardian: &mut Guardian,
) -> Result<(OwnedFd, ChildStderr), LaunchError> {
    let pid = Pid::from_child(child);
    guardian
        .watch(pid)
        .map_err(prepare_error("tell the guardian process"))?;
    // The child is not reaped yet, so its number is still its own.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)
        .map_err(|errno| prepare_error("open a pidfd (Linux 5.10 or later)")(errno.into()))?;
    let stderr = child
        .stderr
        .take()
        .expect("standard error was set to a pipe");
    Ok((pidfd, stderr))
}

/// Kills every process of the group, then reaps its leader. The leader's number, which is the group's, cannot be anybody
/// else's before the last line.
fn reap(mut child: Child, guardian: &mut Guardian) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(&child);
    // A group whose last process has ended is no error.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    if let Err(error) = guardian.forget(pid) {
        tracing::error!(%error, "the guardian process is out of order: helpers of plugins may outlive a killed daemon");
    }
    child.wait()
}
