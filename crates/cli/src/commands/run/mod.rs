//! `keyway run`: a command whose environment has secrets where ours has references to them.

mod child;
mod env_file;
mod plan;
mod resolve;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use self::child::Environment;
use self::plan::Plan;
use crate::daemon::DaemonOptions;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Table};

/// What to run, and with which environment.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    daemon: DaemonOptions,
    /// Add the variables of this file, a NAME=value a line; may be given several times, and the last one wins.
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// Print which variables would become which secrets, and start nothing.
    #[arg(long)]
    dry_run: bool,
    /// The command and its arguments; it gets stdin, stdout and stderr as they are.
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Resolves every reference, then starts the command, and ends as it ends.
pub(crate) fn run(options: &Options) -> Result<Exit, Failure> {
    let plan = Plan::new(env::vars_os(), &options.env_files)?;
    if options.dry_run {
        return dry_run(&plan);
    }
    let values = match plan.references().next() {
        None => BTreeMap::new(),
        Some(_) => options
            .daemon
            .ask(async |resolver| resolve::resolve_all(&plan, &resolver).await)?,
    };
    let environment = Environment::new(&plan, &values)?;
    // The plan and the values are wiped before the command runs: it has its own copy then.
    drop((values, plan));
    child::run(&options.command, environment)
}

fn dry_run(plan: &Plan) -> Result<Exit, Failure> {
    let mut table = Table::new(["VARIABLE", "SECRET", "FROM"]);
    for (variable, id, origin) in plan.references() {
        let name = variable.name.display().to_string();
        table.push([&name, id.as_str(), &origin.to_string()]);
    }
    if plan.references().next().is_none() {
        output::note(
            "no variable starts with se://, so the command would run with the environment as it is",
        );
    }
    output::print_text(table)
}
