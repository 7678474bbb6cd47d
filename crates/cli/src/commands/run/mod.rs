//! `keyway run`: a command whose environment has secrets where ours has references to them.
//!
//! Two processes share the work. The first one passes signals on and waits, which may be for days, and never sees a
//! secret. The second one resolves the references and then becomes the command, which leaves nothing of it in memory.

mod env_file;
mod plan;
mod replace;
mod resolve;
mod supervise;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::plan::Plan;
use crate::daemon::{self, Session};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, Table, json};

/// The flag of [`Options::replace`].
const REPLACE_FLAG: &str = "--replace";

/// What to run, and with which environment.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Add the variables of this file, a NAME=value a line; may be given several times, and the last one wins.
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// Print which variables would become which secrets, and start nothing.
    #[arg(long)]
    dry_run: bool,
    /// Become the command instead of waiting for it; what the second process is told by the first one.
    #[arg(long, hide = true)]
    replace: bool,
    /// The command and its arguments; it gets stdin, stdout and stderr as they are.
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Lets a process resolve every reference and become the command, and ends as it ends.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    if options.dry_run {
        return dry_run(globals, &options.plan()?);
    }
    if !options.replace {
        return supervise::supervise();
    }
    let plan = options.plan()?;
    let values = match plan.references().next() {
        None => BTreeMap::new(),
        Some(_) => daemon::ask(globals, async |daemon| {
            let daemon = &daemon;
            resolve::resolve_all(&plan, &Session { daemon, globals }).await
        })?,
    };
    Err(replace::replace(&options.command, &plan, &values))
}

impl Options {
    fn plan(&self) -> Result<Plan, Failure> {
        Plan::new(env::vars_os(), &self.env_files)
    }
}

/// A reference as `--json` shows it.
#[derive(Serialize)]
struct Reference {
    variable: String,
    id: String,
    from: String,
}

fn dry_run(globals: &Globals, plan: &Plan) -> Result<Exit, Failure> {
    if globals.json {
        let references = plan.references();
        let references = references.map(|(variable, id, origin)| Reference {
            variable: variable.name.display().to_string(),
            id: id.to_string(),
            from: origin.to_string(),
        });
        let references: Vec<Reference> = references.collect();
        return output::print_text(json::line(&references));
    }
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
