//! Ending a plugin in the protocol's order: Shutdown, GoAway and drain, close, SIGINT, SIGKILL; each step bounded.

use std::time::Duration;

use keyway_local::{shortened, with_causes};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::connection::PluginConnection;
use super::machine::Exit;
use crate::launch::{EndedProcess, OutputLog, Process, STOP_GRACE};
use crate::model::PluginName;
use crate::wait::OwnedTask;

/// Limit for `PluginService.Shutdown`, and for the end of the streams after it (protocol).
const STEP: Duration = Duration::from_secs(2);

/// The time that a process has to end by itself once its connection has ended, before it gets a signal. A Go plugin looks for
/// the end of its connection every 50 ms.
const VOLUNTARY_EXIT: Duration = Duration::from_millis(500);

/// The time for which the last output is waited for after the process has ended.
const LAST_OUTPUT_LIMIT: Duration = Duration::from_millis(200);

/// The longest part of that output that a message repeats, in characters.
const MAX_LAST_OUTPUT_CHARS: usize = 200;

/// A launched process and the task that reads its output.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    process: Process,
    output: OwnedTask<()>,
}

impl ChildProcess {
    /// Returns the number of the process.
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }

    /// Returns `true` if a signal has stopped the process.
    pub(super) fn is_stopped(&self) -> bool {
        self.process.is_stopped()
    }

    pub(crate) fn new(
        process: Process,
        output: pipe::Receiver,
        log: OutputLog,
        name: PluginName,
    ) -> Self {
        Self {
            process,
            output: OwnedTask::spawn(log.drain(name, output)),
        }
    }

    /// Resolves when the process has ended. Cancel safe.
    pub(crate) async fn exited(&self) {
        if let Err(error) = self.process.exited().await {
            // If its end cannot be watched, the end of its connection counts.
            tracing::error!(%error, "plugin process cannot be watched");
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the process to end by itself, then ends it, reaps it, and reads its last output.
    async fn finish(self, voluntary: Duration) -> EndedProcess {
        let Self { process, output } = self;
        let exited = matches!(timeout(voluntary, process.exited()).await, Ok(Ok(())));
        let result = if exited {
            process.reap().await
        } else {
            process.stop(STOP_GRACE).await
        };
        // Its group has ended, so the pipe ends at once, unless a process that left the group holds it open.
        let _ = timeout(LAST_OUTPUT_LIMIT, output).await;
        result.unwrap_or_else(|error| {
            tracing::error!(%error, "plugin process cannot be reaped");
            EndedProcess::unknown()
        })
    }
}

/// Ends a plugin that runs: it gets a Shutdown, its requests finish, then its connection ends and with it the process.
pub(super) async fn end_gracefully(
    child: Option<ChildProcess>,
    connection: Option<PluginConnection>,
) -> Option<EndedProcess> {
    let has_registered = connection.is_some();
    if let Some(connection) = connection {
        shut_down(connection).await;
    }
    let voluntary = if has_registered {
        VOLUNTARY_EXIT
    } else {
        Duration::ZERO
    };
    Some(child?.finish(voluntary).await)
}

/// Ends the rest of a plugin that failed or leaves. Requests that a leaving plugin still works on are finished; then a process
/// that sees its connection end is about to end by itself, with a status that is more specific than a signal.
pub(super) async fn end_failed(
    child: Option<ChildProcess>,
    connection: Option<PluginConnection>,
) -> Option<EndedProcess> {
    if let Some(connection) = connection {
        connection.close(STEP).await;
    }
    Some(child?.finish(VOLUNTARY_EXIT).await)
}

/// Returns the facts of a process's end that the machine needs.
pub(super) fn exit(ended: Option<EndedProcess>, last_output: Option<String>) -> Exit {
    let Some(ended) = ended else {
        return Exit::default();
    };
    let text = match last_output {
        Some(line) => {
            let line = shortened(&line, MAX_LAST_OUTPUT_CHARS);
            format!("{ended}; last output: {line}")
        }
        None => ended.to_string(),
    };
    Exit {
        code: ended.status.code().filter(|_| !ended.killed),
        text,
    }
}

/// Sends Shutdown and closes the connection when the requests in flight are done or the time is up.
async fn shut_down(connection: PluginConnection) {
    let handle = connection.handle();
    if let Err(error) = handle.shut_down(STEP).await {
        // Its GoAway may overtake its response, and a plugin may end without one: either way it is ending.
        tracing::debug!(plugin = %handle.name(), error = %with_causes(&error), "no response to Shutdown");
    }
    connection.close(STEP).await;
}
