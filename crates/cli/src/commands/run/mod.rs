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

/// The end of the help of `keyway run`.
pub(crate) const HELP: &str = "\
References are `se://ID`, also within a longer value; `{{se://ID}}` where text follows that an id could have; `se://PATTERN` for
the only secret that matches. The shell expands variables before `keyway run` starts, so `keyway run -- echo $TOKEN` prints what TOKEN
is in the shell: write the command in single quotes, as in the examples.

Examples:
  TOKEN=se://web/token keyway run -- sh -c 'echo \"$TOKEN\"'
  keyway run --env-file app.env -- ./server
  keyway run --dry-run --env-file app.env -- ./server
  DATABASE_URL=postgres://shop:se://shop/pw@localhost/shop keyway run -- ./migrate
  keyway run --env-file app.env -- bash        a shell that has the secrets

Exit codes:
  those of the command, and 128 + n if signal n ended it
  126  the command cannot be executed
  127  the command does not exist
  1    a value cannot be in an environment, or several secrets match a reference
  2    the command line, an env file or a reference is invalid
  3    there is no such secret
  4    access was denied
  5    the daemon or a provider is not available
  6    a store is locked or not logged in, or the user is needed
The command may end with the same codes, as with `env` and `timeout`.";

/// Options of `keyway run`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Add the variables of this file, a NAME=value a line; `-` is stdin; may be given several times, and the last one wins.
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
