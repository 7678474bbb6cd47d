//! The signals that the daemon knows: SIGTERM and SIGINT stop it, SIGHUP makes it reload.

use std::io;
use std::time::Duration;

use keyway_runtime::ManagerHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::failure::Failure;

/// Signals that have been asked for: from then on they do not end the process by themselves.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Begins to listen.
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Reloads at each SIGHUP; resolves at SIGTERM or SIGINT.
    pub(super) async fn serve_until_stop(&mut self, daemon: &ManagerHandle) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                Some(()) = self.hang_up.recv() => reload(daemon).await,
            }
        }
    }
}

async fn reload(daemon: &ManagerHandle) {
    match daemon.reload().await {
        Some(Ok(report)) => {
            for problem in &report.problems {
                tracing::warn!("{problem}");
            }
        }
        Some(Err(error)) => tracing::error!("the old configuration stays in force: {error}"),
        // The daemon is stopping.
        None => {}
    }
}

/// The second SIGTERM or SIGINT of an impatient person.
pub(super) struct SecondStop {
    terminate: Signal,
    interrupt: Signal,
}

/// Begins to count stop signals.
pub(super) fn second_stop() -> Result<SecondStop, Failure> {
    Ok(SecondStop {
        terminate: listen(SignalKind::terminate())?,
        interrupt: listen(SignalKind::interrupt())?,
    })
}

impl SecondStop {
    /// Resolves at the second signal of the two kinds together. What comes right after the first one is no second wish:
    /// `timeout` and wrappers of all kinds signal the process and then its group.
    pub(super) async fn wait(&mut self) {
        self.next().await;
        let echo = sleep(ECHO);
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

/// Faster than a person presses a key again.
const ECHO: Duration = Duration::from_millis(150);

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error: io::Error| {
        Failure::error(
            format_args!("the system lets this process not listen for signals: {error}"),
            "Check how many files this process may open",
        )
    })
}
