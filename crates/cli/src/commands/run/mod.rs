//! `keyway run`: runs a command with the references in its environment replaced by secrets.
//!
//! Two processes share the work. The first one forwards signals and waits, possibly for days, and never holds a secret.
//! The second one, forked from it, resolves the references and then executes the command, which replaces its memory.

mod plan;
mod replace;
mod resolve;
mod supervise;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use keyway_resolver::Pattern;
use serde::Serialize;

use self::plan::Plan;
use self::supervise::Role;
use crate::daemon::{self, QueryContext};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, Table, json};
use crate::waiting;

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
    let values = match plan.references().next() {
        None => BTreeMap::new(),
        Some(_) => daemon::with_client(globals, async |daemon| {
            let daemon = &daemon;
            let patterns: Vec<Pattern> = plan.references().map(|(_, id, _)| id.into()).collect();
            let context = QueryContext { daemon, globals };
            let resolved = resolve::resolve_all(&plan, &context);
            waiting::show(daemon, globals, &patterns, resolved).await
        })?,
    };
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

/// A reference in the output of `--json`.
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
