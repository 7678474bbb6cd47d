//! `keyway version`: prints the versions of the program and of the daemon, and whether they differ.

use clap::Args;
use keyway_local::{Credentials, escape_untrusted};
use keyway_resolver::ResolveError;
use serde::Serialize;

use crate::daemon::{self, Daemon};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};
use crate::waiting;

/// Options of `keyway version`.
#[derive(Args, Debug)]
pub(crate) struct Options {}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Versions {
    keyway: String,
    /// `None` if the daemon's version is not known.
    daemon: Option<String>,
    /// Whether the file of the daemon was replaced since it started; `None` if that is not known.
    is_daemon_replaced: Option<bool>,
}

/// Prints the version of the program, and that of the daemon. A daemon that is not running is not a failure.
pub(crate) fn run(globals: &Globals, _options: &Options) -> Result<Exit, Failure> {
    let (version, is_daemon_replaced) = daemon::with_client(globals, async |daemon| {
        let version = waiting::show(&daemon, globals, &[], daemon.version()).await;
        let is_replaced = match &version {
            Ok(_) if is_visible(globals)? => is_replaced(&daemon).await,
            _ => None,
        };
        Ok((version, is_replaced))
    })?;
    let keyway = format!("v{}", env!("CARGO_PKG_VERSION"));
    if globals.json {
        return output::print_text(json::line(&Versions {
            keyway,
            daemon: version.ok(),
            is_daemon_replaced,
        }));
    }
    let advice = match (&version, is_daemon_replaced) {
        (_, Some(true)) => {
            "the program of the daemon was replaced since it started: `keyway stop`, then start it again, runs the new one\n"
        }
        (Ok(version), _) if *version != keyway => {
            "the daemon and this program differ: after an update `keyway stop`, then start it again, runs the new one\n"
        }
        _ => "",
    };
    let daemon = match version {
        Ok(version) => version,
        Err(ResolveError::NotRunning(error)) if error.is_not_running() => "not running".to_owned(),
        Err(error) => format!("not known: {error}"),
    };
    let daemon = escape_untrusted(&daemon);
    output::print_text(format_args!("keyway {keyway}\ndaemon {daemon}\n{advice}"))
}

/// Returns `true` if the process that listens is in this pid namespace or one below it. Otherwise the daemon refuses to report its
/// status, and logs that.
fn is_visible(globals: &Globals) -> Result<bool, Failure> {
    let addresses = daemon::addresses(globals)?;
    let reached = addresses
        .iter()
        .find_map(|address| keyway_local::connect(address).ok());
    let listener = reached.and_then(|stream| Credentials::of_peer(&stream).ok());
    Ok(listener.is_some_and(|listener| listener.pid.is_some()))
}

/// Returns whether the file of the daemon was replaced since it started. Other implementations do not report that.
async fn is_replaced(daemon: &Daemon) -> Option<bool> {
    daemon::status(daemon).await.ok()?.is_executable_replaced
}
