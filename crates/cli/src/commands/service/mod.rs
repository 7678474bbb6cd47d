//! `keyway service`: the daemon as a service of the user's systemd, started by the first request.

mod conflict;
mod environment;
mod install;
mod installation;
mod linger;
mod manager;
mod package;
mod status;
mod uninstall;
mod units;

use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;

pub(crate) use status::ServiceStatus;
pub(crate) use units::UnitState;

/// Options of `keyway service`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Have systemd listen: the first request starts the daemon. Writes units, unless a package has installed them; run again after an
    /// update.
    Install,
    /// Show whether the units are installed, current, enabled and active.
    Status,
    /// Stop the service and remove its units. Secrets, state and configuration stay.
    Uninstall,
}

/// Runs the subcommand.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    match options.action {
        Action::Install => install::run(globals),
        Action::Status => status::run(globals),
        Action::Uninstall => uninstall::run(globals),
    }
}
