//! `keyway version`: which program this is, and which daemon it talks to.

use std::time::Duration;

use clap::Args;
use keyway_resolver::ResolveError;

use crate::daemon::DaemonOptions;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::printable::printable;

/// A daemon that needs longer for this has other troubles than its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the daemon is.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    daemon: DaemonOptions,
}

/// Prints our version, and the daemon's if there is one. That there is none is worth a line, not a failure.
pub(crate) fn run(options: &Options) -> Result<Exit, Failure> {
    let daemon = options.daemon.ask(async |daemon| {
        let answer = daemon.with_timeout(PATIENCE).version().await;
        Ok(match answer {
            Ok(version) => version,
            Err(ResolveError::NotRunning(error)) if error.is_not_running() => {
                "not running".to_owned()
            }
            Err(error) => format!("not known: {error}"),
        })
    })?;
    let own = env!("CARGO_PKG_VERSION");
    let daemon = printable(&daemon);
    output::print_text(format_args!("keyway v{own}\ndaemon {daemon}\n"))
}
