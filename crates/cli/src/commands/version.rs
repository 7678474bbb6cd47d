//! `keyway version`: prints the versions of the program and of the daemon.

use keyway_local::escape_untrusted;
use keyway_resolver::ResolveError;
use serde::Serialize;

use crate::daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Versions {
    keyway: String,
    /// `None` if the daemon's version is not known.
    daemon: Option<String>,
}

/// Prints the version of the program, and that of the daemon. A daemon that is not running is not a failure.
pub(crate) fn run(globals: &Globals) -> Result<Exit, Failure> {
    let version = daemon::with_client(globals, async |daemon| Ok(daemon.version().await))?;
    let keyway = format!("v{}", env!("CARGO_PKG_VERSION"));
    if globals.json {
        let daemon = version.ok();
        return output::print_text(json::line(&Versions { keyway, daemon }));
    }
    let daemon = match version {
        Ok(version) => version,
        Err(ResolveError::NotRunning(error)) if error.is_not_running() => "not running".to_owned(),
        Err(error) => format!("not known: {error}"),
    };
    let daemon = escape_untrusted(&daemon);
    output::print_text(format_args!("keyway {keyway}\ndaemon {daemon}\n"))
}
