//! `keyway run`: runs a command with the references in its environment replaced by secrets.
//!
//! Two processes share the work. The first one forwards signals and waits, possibly for days, and never holds a secret.
//! The second one, forked from it, resolves the references and then executes the command, which replaces its memory.

mod plan;
mod replace;
mod supervise;
mod value;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::plan::Plan;
use self::supervise::Role;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, Table, json};
use crate::reference::resolve::Wanted;

/// Options of `keyway run`.
#[derive(Args, Debug)]
pub(crate) struct Options {
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

/// Runs the command in a child process and returns its exit code.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    if options.dry_run {
        return dry_run(globals, &options.plan()?);
    }
    let inherited = match supervise::fork()? {
        Role::Supervisor(exit) => return Ok(exit),
        Role::Command(inherited) => inherited,
    };
    let plan = options.plan()?;
    plan.notes().for_each(output::note);
    let values = wanted(&plan).resolve(globals, "nothing was started")?;
    Err(replace::replace(
        &options.command,
        &plan,
        &values,
        inherited,
    ))
}

impl Options {
    fn plan(&self) -> Result<Plan, Failure> {
        Plan::new(env::vars_os(), &self.env_files)
    }
}

/// Returns the references of the plan.
fn wanted(plan: &Plan) -> Wanted {
    let mut wanted = Wanted::default();
    for (variable, reference, _) in plan.references() {
        wanted.add(variable.name.display().to_string(), reference);
    }
    wanted
}

/// A reference in the output of `--json`.
#[derive(Serialize)]
struct Reference {
    variable: String,
    id: String,
    from: String,
}

fn dry_run(globals: &Globals, plan: &Plan) -> Result<Exit, Failure> {
    plan.notes().for_each(output::note);
    if globals.json {
        let references = plan.references();
        let references = references.map(|(variable, reference, origin)| Reference {
            variable: variable.name.display().to_string(),
            id: reference.pattern.to_string(),
            from: origin.to_string(),
        });
        let references: Vec<Reference> = references.collect();
        return output::print_text(json::line(&references));
    }
    let mut table = Table::new(["VARIABLE", "SECRET", "FROM"]);
    for (variable, reference, origin) in plan.references() {
        let name = variable.name.display().to_string();
        table.push([&name, reference.pattern.as_str(), &origin.to_string()]);
    }
    if plan.references().next().is_none() {
        output::note(
            "no variable has a reference (se://ID), so the command would run with the environment as it is",
        );
    }
    output::print_text(table)
}
