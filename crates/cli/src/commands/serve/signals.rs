//! The signals of the daemon: SIGTERM and SIGINT stop it, SIGHUP reloads it or reports that its terminal was closed.

use std::io;
use std::time::Duration;

use keyway_local::with_causes;
use keyway_runtime::ManagerHandle;
use rustix::fs::{Mode, OFlags, open};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::sys;

/// The handled signals, which no longer terminate the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the signal was ignored when the daemon was started, as under `nohup`. It then stays ignored.
    hang_up: Option<Signal>,
    /// Whether the daemon was started at a terminal, whose end it follows.
    had_terminal: bool,
    /// Never received: with a handler, a write beyond the limit of a file's size is an error like that on a full disk.
    _file_size: Signal,
}

impl Signals {
    /// Installs the handlers.
    pub(super) fn listen() -> Result<Self, Failure> {
        let hang_up = match sys::is_ignored(libc::SIGHUP) {
            true => None,
            false => Some(listen(SignalKind::hangup())?),
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up,
            had_terminal: has_terminal(),
            _file_size: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Resolves at SIGTERM or SIGINT.
    pub(super) async fn stop(&mut self) {
        stop(&mut self.terminate, &mut self.interrupt).await;
    }

    /// Reloads at each SIGHUP; resolves at SIGTERM or SIGINT, also while a reload waits for plugins, and at a SIGHUP because the
    /// terminal of the daemon was closed.
    pub(super) async fn serve_until_stop(&mut self, daemon: &ManagerHandle) {
        let mut reloads = JoinSet::new();
        loop {
            tokio::select! {
                () = stop(&mut self.terminate, &mut self.interrupt) => return,
                Some(()) = next_of(&mut self.hang_up) => {
                    if self.had_terminal && terminal_is_gone().await {
                        return;
                    }
                    reloads.spawn(reload(daemon.clone()));
                }
                Some(_) = reloads.join_next() => {}
            }
        }
    }
}

/// Waits for a signal that may be ignored.
async fn next_of(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Returns `true` if the process has a controlling terminal that is open.
fn has_terminal() -> bool {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open("/dev/tty", flags, Mode::empty()).is_ok()
}

/// Returns `true` if the terminal that the daemon was started at was closed. When a shell ends, the kernel sends SIGHUP to the process
/// group in the foreground shortly before it takes the terminal from the session.
async fn terminal_is_gone() -> bool {
    if !has_terminal() {
        return true;
    }
    sleep(HANG_UP_WINDOW).await;
    !has_terminal()
}

/// Time between a SIGHUP of the kernel and the end of the terminal that it reports, with a reserve for a busy machine.
const HANG_UP_WINDOW: Duration = Duration::from_millis(200);

async fn reload(daemon: ManagerHandle) {
    match daemon.reload().await {
        Some(Ok(report)) => {
            for problem in &report.problems {
                tracing::warn!("{problem}");
            }
        }
        Some(Err(error)) => {
            tracing::error!(error = %with_causes(&*error), "reload failed, the old configuration stays in force")
        }
        // The daemon is stopping.
        None => {}
    }
}

/// Waits for a second SIGTERM or SIGINT.
pub(super) struct SecondStop {
    terminate: Signal,
    interrupt: Signal,
}

/// Starts to count stop signals.
pub(super) fn second_stop() -> Result<SecondStop, Failure> {
    Ok(SecondStop {
        terminate: listen(SignalKind::terminate())?,
        interrupt: listen(SignalKind::interrupt())?,
    })
}

impl SecondStop {
    /// Waits for the second signal of either kind. Signals within [`ECHO_WINDOW`] of the first one are ignored: `timeout` and
    /// similar wrappers signal the process and then its group.
    pub(super) async fn wait(&mut self) {
        stop(&mut self.terminate, &mut self.interrupt).await;
        let echo = sleep(ECHO_WINDOW);
        tokio::pin!(echo);
        loop {
            tokio::select! {
                biased;
                () = &mut echo => break,
                () = stop(&mut self.terminate, &mut self.interrupt) => {}
            }
        }
        stop(&mut self.terminate, &mut self.interrupt).await;
    }
}

async fn stop(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Time after the first signal in which further ones are echoes of it; shorter than a user repeats a key.
const ECHO_WINDOW: Duration = Duration::from_millis(150);

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error: io::Error| {
        Failure::error(
            format_args!("cannot listen for signals: {error}"),
            "Check how many files this process may open",
        )
    })
}
