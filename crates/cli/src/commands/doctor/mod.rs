//! `keyway doctor`: what is wrong with the daemon, its store, its configuration and its service, and what to do about it. Changes nothing.

mod configuration;
mod daemon;
mod finding;
mod probe;
mod service;
mod store;

use clap::Args;
use serde::Serialize;

use crate::commands::service::ServiceStatus;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};
use finding::{Finding, Level};

/// Options of `keyway doctor`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Print the checks that found nothing, too.
    #[arg(long, short)]
    verbose: bool,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    findings: Vec<Finding>,
}

/// Runs all checks. A fault that was found is an exit code and not a failure of the command.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    // A machine without systemd has no service to check.
    let service = ServiceStatus::read().ok();
    let daemon = probe::examine(globals)?;
    let config = configuration::read()?;
    let findings: Vec<_> = [
        daemon::check(globals, &daemon, service.as_ref()),
        configuration::check(&config, &daemon),
        store::check(config.as_ref().ok(), service.as_ref()),
        service::check(service.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let exit = match findings.iter().any(|found| found.level() == Level::Wrong) {
        true => Exit::Error,
        false => Exit::Done,
    };
    let printed = match globals.json {
        true => output::print_text(json::line(&Report { findings })),
        false => output::print_text(lines(&findings, options.verbose)),
    };
    printed.map(|_| exit)
}

fn lines(findings: &[Finding], is_verbose: bool) -> String {
    let shown: String = findings
        .iter()
        .filter(|found| is_verbose || found.level() != Level::Ok)
        .map(ToString::to_string)
        .collect();
    match shown.is_empty() {
        true => "nothing is wrong\n".to_owned(),
        false => shown,
    }
}
