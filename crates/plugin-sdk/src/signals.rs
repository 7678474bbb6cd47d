//! SIGINT and SIGTERM, which stop a plugin gracefully, whatever the process has inherited.

use std::io;

use keyway_local::unblock_signals;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that stop a plugin.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Installs handlers, after which the signals no longer terminate the process. Must be called before other threads start.
    pub(crate) fn listen() -> io::Result<Self> {
        unblock_signals()?;
        // The handler stays for the life of the process. A process that ignores SIGCHLD, which is inherited, cannot wait for
        // its children.
        let _child = signal(SignalKind::child())?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for either signal.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no signal is lost.
    pub(crate) async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
