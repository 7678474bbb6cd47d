//! A daemon that systemd did not start, beside which its service cannot run.

use keyway_proto::keyway::v1::StatusResponse;
use keyway_resolver::ResolveError;

use super::manager::UnitFacts;
use crate::daemon;
use crate::failure::Failure;
use crate::globals::Globals;

/// Makes sure that no daemon runs that systemd did not start, by what systemd knows of its units. Returns the status of the daemon
/// that systemd started, if one runs and responds.
///
/// # Errors
///
/// Returns a [`Failure`] if another one runs, or if the process that listens there does not respond.
pub(super) fn check(
    globals: &Globals,
    socket: &UnitFacts,
    service: &UnitFacts,
) -> Result<Option<StatusResponse>, Failure> {
    // A query would start the daemon.
    if socket.is_active() && service.main_pid().is_none() {
        return Ok(None);
    }
    let status = daemon::with_client(globals, async |daemon| {
        Ok(daemon::status_if_running(globals, daemon).await)
    })?;
    let who = match status {
        Ok(Some(status)) if status.pid == service.main_pid() => return Ok(Some(status)),
        // Whatever is at its addresses then was started by systemd, or cannot listen there.
        _ if socket.is_active() => return Ok(None),
        Ok(None) => return Ok(None),
        Ok(Some(status)) => format!("a daemon runs, process {},", status.pid()),
        Err(ResolveError::NotRunning(error)) => return Err(daemon::not_running(&error)),
        Err(_) => "another process listens at the address of the daemon".to_owned(),
    };
    Err(Failure::error(
        format_args!("{who} that systemd did not start"),
        "Stop it with `keyway stop`, then run `keyway service install` again",
    ))
}
