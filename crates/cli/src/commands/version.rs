//! `keyway version`: which program this is, and which daemon it talks to.

use std::time::Duration;

use keyway_resolver::ResolveError;
use serde::Serialize;

use crate::daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};
use crate::printable::printable;

/// A daemon that needs longer for this has other troubles than its version.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The versions as `--json` shows them.
#[derive(Debug, Serialize)]
struct Versions {
    keyway: String,
    /// `None` if the daemon's version is not known.
    daemon: Option<String>,
}

/// Prints our version, and the daemon's if there is one. That there is none is worth a line, not a failure.
pub(crate) fn run(globals: &Globals) -> Result<Exit, Failure> {
    let answer = daemon::ask(globals, async |daemon| {
        let timeout = globals.timeout.unwrap_or(TIMEOUT);
        Ok(daemon.with_timeout(timeout).version().await)
    })?;
    let keyway = format!("v{}", env!("CARGO_PKG_VERSION"));
    if globals.json {
        let daemon = answer.ok();
        return output::print_text(json::line(&Versions { keyway, daemon }));
    }
    let daemon = match answer {
        Ok(version) => version,
        Err(ResolveError::NotRunning(error)) if error.is_not_running() => "not running".to_owned(),
        Err(error) => format!("not known: {error}"),
    };
    let daemon = printable(&daemon);
    output::print_text(format_args!("keyway {keyway}\ndaemon {daemon}\n"))
}
