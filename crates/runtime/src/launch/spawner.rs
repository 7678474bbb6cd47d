//! The thread that starts and reaps every plugin process.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, waitpid};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::error::{LaunchError, prepare_error};
use super::guardian::Guardian;
use crate::sys::child::{self, Descriptors};
use crate::sys::children;
use crate::sys::image::Image;

/// Interval of the checks for the end of a killed process.
const REAP_INTERVAL: Duration = Duration::from_millis(10);

/// Limit for the end of killed processes when the thread finishes. A process in an uninterruptible system call
/// takes longer; the kernel reaps it after us.
const FINISH_BOUND: Duration = Duration::from_secs(1);

/// A request to the thread.
#[derive(Debug)]
enum Request {
    Fork(Image, oneshot::Sender<Result<Forked, LaunchError>>),
    /// Kills the process's group and reaps the process as soon as it has ended.
    Reap(Pid, ReapReply),
    /// Reaps children that this process did not fork.
    ReapAdopted,
    /// Ends the thread; the sender is dropped when the guardian has ended too.
    Finish(oneshot::Sender<()>),
}

/// Receives the exit status; `None` if no task waits for it.
type ReapReply = Option<oneshot::Sender<io::Result<ExitStatus>>>;

/// A process that was forked, before it is tied to the async runtime.
#[derive(Debug)]
pub(super) struct Forked {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) socket: UnixStream,
    pub(super) output: OwnedFd,
    /// The read end of the pipe that reports whether the file was executed.
    pub(super) report: OwnedFd,
}

/// A handle on the thread that starts processes. Cloning is cheap. The thread never waits for a file or a process.
///
/// It must be one thread that lives as long as the daemon, because the kernel ties the parent-death signal to the *thread*
/// that forked: a plugin started by a worker thread would end with the worker. When the last handle is dropped, or
/// [`finish`](Self::finish) was called, the thread ends, and the kernel kills the processes that still run.
#[derive(Debug, Clone)]
pub(crate) struct Spawner {
    requests: mpsc::Sender<Request>,
    /// Permits to hash a large file.
    large_files: Arc<Semaphore>,
}

impl Spawner {
    /// Starts the thread and the guardian process.
    ///
    /// # Errors
    ///
    /// Returns [`LaunchError::Prepare`] if the system cannot create another thread or process.
    pub(crate) fn start() -> Result<Self, LaunchError> {
        let guardian = Guardian::start().map_err(prepare_error("start the guardian process"))?;
        let (requests, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("keyway-spawner".into())
            .spawn(move || Thread::new(guardian).serve(&receiver))
            .map_err(prepare_error("start the spawner thread"))?;
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self {
            requests,
            large_files: Arc::new(Semaphore::new((processors / 2).max(1))),
        })
    }

    /// Waits for the permission to hash a large file: half of the processors do that at most.
    pub(super) async fn hash_large_file(&self) -> SemaphorePermit<'_> {
        self.large_files
            .acquire()
            .await
            .expect("the semaphore is never closed")
    }

    /// Forks a process that executes `image`. The caller has to reap it, and learns from the [report](Forked::report) whether
    /// the image was executed.
    ///
    /// # Errors
    ///
    /// Returns [`LaunchError::Prepare`] if the system lacks resources for the process or its descriptors, and
    /// [`LaunchError::Stopping`] if the thread has ended. Then nothing is left of the attempt.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a process that was started in the meantime is killed and reaped.
    pub(super) async fn fork(&self, image: Image) -> Result<Forked, LaunchError> {
        let (reply, response) = oneshot::channel();
        self.requests
            .send(Request::Fork(image, reply))
            .map_err(|_| LaunchError::Stopping)?;
        response.await.map_err(|_| LaunchError::Stopping)?
    }

    /// Kills the rest of the process's group and reaps the process.
    pub(super) async fn reap(&self, pid: Pid) -> io::Result<ExitStatus> {
        let (reply, response) = oneshot::channel();
        self.requests
            .send(Request::Reap(pid, Some(reply)))
            .map_err(|_| stopped())?;
        response.await.map_err(|_| stopped())?
    }

    /// As [`reap`](Self::reap), if no task waits for the status.
    pub(super) fn reap_later(&self, pid: Pid) {
        // Without the thread the kernel has killed the process already, and init reaps it after us.
        let _ = self.requests.send(Request::Reap(pid, None));
    }

    /// Reaps the ended children that this process did not fork but adopted, now and after each process that is reaped.
    pub(super) fn reap_adopted(&self) {
        // Without the thread init reaps them after us.
        let _ = self.requests.send(Request::ReapAdopted);
    }

    /// Ends the thread after the earlier requests, and waits for that, for little more than a second at most.
    pub(crate) async fn finish(&self) {
        let (sender, ended) = oneshot::channel();
        if self.requests.send(Request::Finish(sender)).is_ok() {
            // The sender is dropped, never used, so the end is an error.
            let _ = ended.await;
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the thread that owns the plugin processes has ended")
}

/// The state that the thread owns.
struct Thread {
    guardian: Guardian,
    /// Every process that was forked and is not reaped.
    forked: HashSet<Pid>,
    /// `true` once adopted children are reaped as well.
    reaps_adopted: bool,
    /// Processes that were killed and have not ended yet.
    ending: Vec<(Pid, ReapReply)>,
}

impl Thread {
    fn new(guardian: Guardian) -> Self {
        Self {
            guardian,
            forked: HashSet::new(),
            reaps_adopted: false,
            ending: Vec::new(),
        }
    }

    fn serve(mut self, requests: &mpsc::Receiver<Request>) {
        child::block_signals();
        loop {
            let request = if self.ending.is_empty() {
                requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                requests.recv_timeout(REAP_INTERVAL)
            };
            match request {
                Ok(Request::Fork(image, reply)) => {
                    let result = self.fork(&image);
                    if let Err(Ok(forked)) = reply.send(result) {
                        // The task that requested it is gone.
                        self.ending.push((forked.pid, None));
                    }
                }
                Ok(Request::Reap(pid, reply)) => self.ending.push((pid, reply)),
                Ok(Request::ReapAdopted) => {
                    self.reaps_adopted = true;
                    self.reap_adopted();
                }
                Ok(Request::Finish(ended)) => {
                    self.finish();
                    drop(ended);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.reap_ended();
        }
    }

    fn finish(mut self) {
        let started = Instant::now();
        while !self.ending.is_empty() && started.elapsed() < FINISH_BOUND {
            #[expect(
                clippy::disallowed_methods,
                reason = "the spawner's thread has no runtime, and reaps within a bound"
            )]
            thread::sleep(REAP_INTERVAL);
            self.reap_ended();
        }
    }

    fn fork(&mut self, image: &Image) -> Result<Forked, LaunchError> {
        let (socket, descriptors, output, report) = descriptors()?;
        let pid = child::fork_plugin(image, &descriptors).map_err(prepare_error("fork"))?;
        self.forked.insert(pid);
        // The child's ends must have no other holder, or their closing would not be seen.
        drop(descriptors);
        match self.watch(pid) {
            Ok(pidfd) => Ok(Forked {
                pid,
                pidfd,
                socket,
                output,
                report,
            }),
            Err(error) => {
                self.ending.push((pid, None));
                Err(error)
            }
        }
    }

    fn watch(&mut self, pid: Pid) -> Result<OwnedFd, LaunchError> {
        self.guardian
            .watch(pid)
            .map_err(prepare_error("notify the guardian process"))?;
        // The child is not reaped yet, so its number is still its own.
        rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)
            .map_err(prepare_error("open a pidfd (Linux 5.10 or later)"))
    }

    fn reap_ended(&mut self) {
        let n_forked = self.forked.len();
        let Self {
            guardian,
            forked,
            ending,
            ..
        } = self;
        ending.retain_mut(|(pid, reply)| match try_reap(*pid, guardian) {
            None => true,
            Some(status) => {
                forked.remove(pid);
                if let Some(reply) = reply.take() {
                    // The task that waited may be gone.
                    let _ = reply.send(status);
                }
                false
            }
        });
        // A reaped process may have hidden others.
        if self.reaps_adopted && self.forked.len() < n_forked {
            self.reap_adopted();
        }
    }

    fn reap_adopted(&mut self) {
        let Self {
            guardian, forked, ..
        } = self;
        loop {
            match children::reap_adopted(|pid| pid == guardian.pid() || forked.contains(&pid)) {
                Ok(Some(pid)) if pid == guardian.pid() => {
                    if let Err(error) = guardian.revive() {
                        return tracing::error!(%error, "guardian process ended and cannot be replaced");
                    }
                }
                Ok(_) => return,
                Err(error) => {
                    return tracing::error!(%error, "processes that plugins left behind cannot be reaped");
                }
            }
        }
    }
}

/// Kills every process of the group, then reaps its leader if that has ended. The leader's number, which is the group's,
/// belongs to no other process before the last line.
fn try_reap(pid: Pid, guardian: &mut Guardian) -> Option<io::Result<ExitStatus>> {
    // Neither a group whose last process has ended nor a child that has made no group yet is an error.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    if !has_ended(pid) {
        return None;
    }
    if let Err(error) = guardian.forget(pid) {
        tracing::error!(%error, "guardian process failed: helpers of plugins may outlive a killed daemon");
    }
    match waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => Some(Ok(ExitStatus::from_raw(status.as_raw()))),
        Ok(None) => None,
        Err(errno) => Some(Err(errno.into())),
    }
}

/// Returns `true` if the child has ended, or is not a child of this process any more.
fn has_ended(pid: Pid) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(pid), ended), Ok(None))
}

/// Makes the connections of a plugin process with the daemon: our end of the socket, the child's descriptors, and our ends of the
/// pipes for its output and for the report.
fn descriptors() -> Result<(UnixStream, Descriptors, OwnedFd, OwnedFd), LaunchError> {
    let (ours, theirs) = UnixStream::pair().map_err(prepare_error("make a socket pair"))?;
    ours.set_nonblocking(true)
        .map_err(prepare_error("make a socket pair"))?;
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(prepare_error("make a pipe"));
    let ((output, output_writer), (report, report_writer)) = (pipe()?, pipe()?);
    let null = File::open("/dev/null").map_err(prepare_error("open /dev/null"))?;
    let descriptors = Descriptors::new(null.into(), output_writer, theirs.into(), report_writer)
        .map_err(prepare_error("arrange descriptors"))?;
    Ok((ours, descriptors, output, report))
}
