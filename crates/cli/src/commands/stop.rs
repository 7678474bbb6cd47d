//! `keyway stop`: stops the daemon and waits until its process has ended.

use std::time::Duration;

use clap::Args;
use keyway_proto::keyway::v1::{ManagementServiceClient, StopRequest};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;
use tokio::time::timeout;

use crate::daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};

/// How long the daemon may take to end. It stops its plugins within 8 s.
const LIMIT: Duration = Duration::from_secs(15);

/// Options of `keyway stop`.
#[derive(Args, Debug)]
pub(crate) struct Options {}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Stopped {
    pid: i32,
}

/// Stops the daemon. That none is running is a failure.
pub(crate) fn run(globals: &Globals, _options: &Options) -> Result<Exit, Failure> {
    let pid = daemon::with_client(globals, async |daemon| {
        let status = daemon::status(&daemon).await;
        let pid = status.map_err(daemon::request_failure)?.pid();
        // Opened while it runs, so that it cannot be a later process with the same number. A daemon in another pid namespace has
        // none here: the response is then all that can be known.
        let process = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let client = ManagementServiceClient::from(daemon.rpc());
        let stopped = client.stop(StopRequest {}).await;
        stopped.map_err(|error| daemon::request_failure(error.into()))?;
        let Some(process) = process else {
            return Ok(pid);
        };
        let process = keyway_local::readable(process)
            .map_err(|error| Failure::error(error, "Check how many files this process may open"))?;
        match timeout(LIMIT, process.readable()).await {
            Ok(_ended) => Ok(pid),
            Err(_elapsed) => Err(Failure::error(
                format_args!("the daemon, process {pid}, has not ended after {LIMIT:?}"),
                format_args!("End it with `kill -KILL {pid}`; its plugins end with it"),
            )),
        }
    })?;
    if globals.json {
        return output::print_text(json::line(&Stopped { pid }));
    }
    output::print_text(format_args!("stopped the daemon, process {pid}\n"))
}
