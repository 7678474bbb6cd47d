//! The signals of the daemon: SIGTERM and SIGINT stop it, SIGHUP reloads it.

use std::io;
use std::time::Duration;

use keyway_local::with_causes;
use keyway_runtime::ManagerHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::failure::Failure;

/// The handled signals, which no longer terminate the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Never received: with a handler, a write beyond the limit of a file's size is an error like that on a full disk.
    _file_size: Signal,
}

impl Signals {
    /// Installs the handlers.
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            _file_size: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    /// Reloads at each SIGHUP; resolves at SIGTERM or SIGINT, also while a reload waits for plugins.
    pub(super) async fn serve_until_stop(&mut self, daemon: &ManagerHandle) {
        let mut reloads = JoinSet::new();
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                Some(()) = self.hang_up.recv() => {
                    reloads.spawn(reload(daemon.clone()));
                }
                Some(_) = reloads.join_next() => {}
            }
        }
    }
}

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
        self.next().await;
        let echo = sleep(ECHO_WINDOW);
        tokio::pin!(echo);
        loop {
            tokio::select! {
                biased;
                () = &mut echo => break,
                () = self.next() => {}
            }
        }
        self.next().await;
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
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
