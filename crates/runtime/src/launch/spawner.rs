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
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::PLUGIN_DESCRIPTOR;
use super::guardian::Guardian;
use super::pinned::PinnedCopy;
use super::process::Process;
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

/// Why a plugin could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The operating system refused to run the file.
    #[error("{path} cannot be run: {source}{}", advice(.source), path = .path.display())]
    Execute {
        /// The executable.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not the one that was pinned.
    #[error("{path} has the SHA-256 {actual}, but {expected} is pinned: if the new file is wanted, change `sha256` in the configuration, or run `keyway plugins trust` where it is not configured", path = .path.display())]
    Checksum {
        /// The executable.
        path: PathBuf,
        /// What configuration says.
        expected: Sha256,
        /// What the file has.
        actual: Sha256,
    },
    /// A descriptor or process that starting needs could not be had.
    #[error("cannot prepare to start a plugin: {what}: {source}")]
    Prepare {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The thread that starts processes has ended, because the daemon is stopping.
    #[error("the daemon is stopping and starts no more plugins")]
    Stopping,
}

/// The next step for the common reasons why a file cannot be run.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            " (the file, or the interpreter that its first line names, does not exist)"
        }
        Some(libc::ENOEXEC) => {
            " (it is neither a program for this machine nor a script with a `#!` line)"
        }
        Some(libc::EACCES) => {
            " (it is not executable for us, or lies on a file system mounted `noexec`)"
        }
        _ => "",
    }
}

fn prepare_error(what: &'static str) -> impl FnOnce(io::Error) -> LaunchError {
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
struct Started {
    child: Child,
    pidfd: OwnedFd,
    socket: UnixStream,
    stderr: ChildStderr,
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

    /// Starts a process.
    ///
    /// # Errors
    ///
    /// When the file cannot be run. Then nothing is left of the attempt.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, a process that was started in the meantime is killed and reaped.
    pub(crate) async fn launch(&self, spec: LaunchSpec) -> Result<Launched, LaunchError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request::Launch(Box::new(spec), reply))
            .map_err(|_| LaunchError::Stopping)?;
        let started = answer.await.map_err(|_| LaunchError::Stopping)??;
        let Started {
            child,
            pidfd,
            socket,
            stderr,
        } = started;
        // From here on the process is killed and reaped when anything fails.
        let process =
            Process::new(child, pidfd, self.clone()).map_err(prepare_error("watch the process"))?;
        let socket = tokio::net::UnixStream::from_std(socket)
            .map_err(prepare_error("use the socket pair"))?;
        let stderr = pipe::Receiver::from_owned_fd(stderr.into())
            .map_err(prepare_error("read standard error"))?;
        Ok(Launched {
            process,
            socket,
            stderr,
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn specification(executable: PathBuf) -> LaunchSpec {
        LaunchSpec {
            argv0: "script".into(),
            environment: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            executable,
            sha256: None,
        }
    }

    /// An executable file with `text`. It is written by another process: while this one holds a file open for writing, a
    /// child forked by a neighbouring test holds it as well, and the kernel refuses to run it.
    fn executable(text: &str) -> (tempfile::TempDir, LaunchSpec) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (draft, path) = (
            directory.path().join("draft"),
            directory.path().join("script"),
        );
        std::fs::write(&draft, text).expect("a draft");
        let installed = Command::new("install")
            .args(["-m", "755"])
            .args([&draft, &path])
            .status()
            .expect("install");
        assert!(installed.success());
        (directory, specification(path))
    }

    fn script(body: &str) -> (tempfile::TempDir, LaunchSpec) {
        executable(&format!("#!/bin/sh\n{body}\n"))
    }

    async fn launch(spawner: &Spawner, spec: LaunchSpec) -> Launched {
        spawner.launch(spec).await.expect("launched")
    }

    async fn stderr_of(launched: Launched) -> String {
        let Launched {
            process,
            mut stderr,
            ..
        } = launched;
        let mut text = String::new();
        stderr
            .read_to_string(&mut text)
            .await
            .expect("standard error");
        process.exited().await.expect("the end is seen");
        process.reap().await.expect("reaped");
        text
    }

    #[tokio::test]
    async fn l15_exactly_descriptor_3_is_inherited() {
        let spawner = Spawner::start().expect("a spawner");
        // A descriptor without close-on-exec, as a careless library would leave it.
        let careless = File::open("/dev/null").expect("a file");
        rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).expect("the flag");
        // The list is that of a grandchild: `ls` and its own descriptor for the directory are the rest.
        let (_directory, spec) = script(
            "ls /proc/self/fd >&2; (readlink /proc/$$/fd/3 /proc/$$/fd/0 /proc/$$/fd/1) >&2\nexit 0",
        );
        let text = stderr_of(launch(&spawner, spec).await).await;
        let lines: Vec<&str> = text.lines().collect();
        let (numbers, targets) = lines.split_at(lines.len() - 3);
        assert_eq!(
            numbers,
            ["0", "1", "2", "3", "4"],
            "4 is what `ls` reads: {text}"
        );
        assert!(targets[0].starts_with("socket:"), "{text}");
        assert_eq!(targets[1..], ["/dev/null", "/dev/null"]);
    }

    #[tokio::test]
    async fn l13_the_environment_is_what_the_specification_says() {
        let spawner = Spawner::start().expect("a spawner");
        let (_directory, spec) = script("env >&2");
        let text = stderr_of(launch(&spawner, spec).await).await;
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        // The shell itself adds PWD.
        names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
        assert_eq!(names, ["PATH"]);
    }

    #[tokio::test]
    async fn l09_a_signal_that_the_daemon_ignores_still_reaches_a_plugin() {
        child::ignore_user_signal();
        let spawner = Spawner::start().expect("a spawner");
        let (_directory, spec) = script("grep SigIgn /proc/self/status >&2");
        let text = stderr_of(launch(&spawner, spec).await).await;
        let mask = text.trim_start_matches("SigIgn:").trim();
        let mask = u64::from_str_radix(mask, 16).expect("a mask of signals");
        // The bits above are real-time signals, which the C library keeps for itself.
        assert_eq!(mask & 0x7fff_ffff, 0, "{text}");
    }

    #[tokio::test]
    async fn l09_stop_is_graceful_first() {
        let spawner = Spawner::start().expect("a spawner");
        let (_directory, spec) =
            script("trap 'echo bye >&2; exit 7' INT; echo ready >&2; while :; do sleep 0.01; done");
        let Launched {
            process,
            mut stderr,
            ..
        } = launch(&spawner, spec).await;
        let mut ready = [0; 6];
        stderr
            .read_exact(&mut ready)
            .await
            .expect("the trap is set");
        let ended = process
            .stop(std::time::Duration::from_secs(30))
            .await
            .expect("stopped");
        assert_eq!((ended.status.code(), ended.killed), (Some(7), false));
    }

    #[tokio::test]
    async fn l09_stop_is_forced_when_ignored_and_takes_the_whole_group() {
        let spawner = Spawner::start().expect("a spawner");
        let (_directory, spec) = script("trap '' INT TERM; sleep 600 & echo $! >&2; wait");
        let Launched {
            process,
            mut stderr,
            ..
        } = launch(&spawner, spec).await;
        let mut first = [0; 1];
        stderr
            .read_exact(&mut first)
            .await
            .expect("the helper runs");
        let ended = process
            .stop(std::time::Duration::from_millis(20))
            .await
            .expect("stopped");
        assert!(ended.killed);
        // The helper held the other end of standard error: its end is the helper's end.
        let mut rest = String::new();
        stderr
            .read_to_string(&mut rest)
            .await
            .expect("standard error");
        let helper = format!("{}{rest}", char::from(first[0]));
        assert!(helper.trim().parse::<u32>().is_ok(), "{helper}");
    }

    #[tokio::test]
    async fn l07_a_dropped_process_is_killed_and_reaped() {
        let spawner = Spawner::start().expect("a spawner");
        let (_directory, spec) = script("sleep 600");
        let Launched {
            process,
            mut stderr,
            ..
        } = launch(&spawner, spec).await;
        let pid = process.pid();
        drop(process);
        stderr
            .read_to_string(&mut String::new())
            .await
            .expect("every holder of the pipe is gone");
        spawner.finish().await;
        assert!(
            !std::path::Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists(),
            "still there"
        );
    }

    #[tokio::test]
    async fn a_file_that_cannot_run_is_an_error_with_advice() {
        let spawner = Spawner::start().expect("a spawner");
        let (_directory, spec) = executable("no program\n");
        let message = spawner.launch(spec).await.expect_err("refused").to_string();
        assert!(
            message.contains("neither a program for this machine nor a script"),
            "{message}"
        );
        let message = spawner
            .launch(specification("/nowhere/plugin".into()))
            .await
            .expect_err("refused")
            .to_string();
        assert!(
            message.contains("/nowhere/plugin cannot be run"),
            "{message}"
        );
    }
}
