//! A daemon that systemd did not start, beside which its service cannot run.

use keyway_resolver::ResolveError;

use super::manager::UnitFacts;
use crate::daemon;
use crate::failure::Failure;
use crate::globals::Globals;

/// Makes sure that no daemon runs that systemd did not start, by what systemd knows of its units.
///
/// # Errors
///
/// Returns a [`Failure`] if one runs, or if the process that listens there does not respond.
pub(super) fn check(
    globals: &Globals,
    socket: &UnitFacts,
    service: &UnitFacts,
) -> Result<(), Failure> {
    // Whatever is at its addresses then was started by systemd, or cannot listen there.
    if socket.is_active() {
        return Ok(());
    }
    let status = daemon::with_client(globals, async |daemon| {
        Ok(daemon::status_if_running(globals, daemon).await)
    })?;
    let who = match status {
        Ok(None) => return Ok(()),
        Ok(Some(status)) if status.pid == service.main_pid() => return Ok(()),
        Ok(Some(status)) => format!("a daemon runs, process {},", status.pid()),
        Err(ResolveError::NotRunning(error)) => return Err(daemon::not_running(&error)),
        Err(_) => "another process listens at the address of the daemon".to_owned(),
    };
    Err(Failure::error(
        format_args!("{who} that systemd did not start"),
        "Stop it with `keyway stop`, then run `keyway service install` again",
    ))
}
