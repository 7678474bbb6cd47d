//! A daemon that systemd did not start, beside which its service cannot run.

use std::time::Duration;

use keyway_proto::keyway::v1::{ManagementServiceClient, StatusRequest};
use keyway_resolver::ResolveError;

use super::manager::UnitFacts;
use super::units;
use crate::daemon;
use crate::failure::Failure;
use crate::globals::Globals;

/// How long the response of a running daemon may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Makes sure that no daemon runs that systemd did not start.
///
/// # Errors
///
/// Returns a [`Failure`] if one runs, or if whatever listens there does not answer.
pub(super) fn check(globals: &Globals) -> Result<(), Failure> {
    // Whatever is at its addresses then was started by systemd, or cannot listen there.
    if UnitFacts::read(units::SOCKET)?.is_active() {
        return Ok(());
    }
    let of_service = UnitFacts::read(units::SERVICE)?.main_pid();
    let limit = globals.timeout.unwrap_or(LIMIT);
    let status = daemon::with_client(globals, async |daemon| {
        let daemon = daemon.with_timeout(limit);
        let client = ManagementServiceClient::from(daemon.rpc());
        Ok(client.status(StatusRequest {}).await)
    })?;
    let who = match status {
        Ok(status) if status.message().pid == of_service => return Ok(()),
        Ok(status) => format!("a daemon runs, process {},", status.message().pid()),
        Err(error) => match ResolveError::from(error) {
            ResolveError::NotRunning(error) if error.is_not_running() => return Ok(()),
            ResolveError::NotRunning(error) => return Err(daemon::not_running(&error)),
            _ => "another process listens at the address of the daemon".to_owned(),
        },
    };
    Err(Failure::error(
        format_args!("{who} that systemd did not start"),
        "Stop it with `keyway stop`, then run `keyway service install` again",
    ))
}
