//! `keyway run`: runs a command with the references in its environment replaced by secrets.
//!
//! Two processes share the work. The first one forwards signals and waits, possibly for days, and never holds a secret.
//! The second one, forked from it, resolves the references and then executes the command, which replaces its memory.

mod files;
mod mask;
mod plan;
mod replace;
mod supervise;
mod value;

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::files::{FileOption, Guard};
use self::mask::Mask;
use self::plan::Plan;
use self::supervise::{Inherited, Role};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, Table, json};
use crate::reference::resolve::Wanted;

/// The end of the help of `keyway run`.
const HELP: &str = "\
References are `se://ID`, also within a longer value; `{{se://ID}}` where text follows that an id could have; `se://PATTERN` for \
the only secret that matches. The shell expands variables before `keyway run` starts, so `keyway run -- echo $TOKEN` prints what \
TOKEN is in the shell: write the command in single quotes, as in the examples.

--mask reads what the command writes: through a terminal of its own where stdout or stderr is one, through pipes elsewhere. It \
cannot see a value that is encoded (base64, JSON escapes), cut by colours or line breaks, written to files or another terminal, or \
written in pieces with a second between them. A value with fewer than 8 bytes is not masked.";

/// Options of `keyway run`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// Add the variables of this file, a NAME=value a line; `-` is stdin; may be given several times, and the last one wins.
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// Write the secret to a file in memory, and set NAME to its path; the file is gone when the command ends.
    #[arg(long = "file", value_name = "NAME=ID", value_parser = files::parse_option)]
    files: Vec<FileOption>,
    /// Replace values of 8 bytes and more by ******** in what the command writes to stdout and stderr.
    #[arg(long)]
    mask: bool,
    /// Print which variables would become which secrets, and start nothing.
    #[arg(long)]
    dry_run: bool,
    /// The command and its arguments; it gets stdin, stdout and stderr as they are.
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command in a child process and returns its exit code.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    files::reject_duplicates(&options.files)?;
    if options.dry_run {
        return dry_run(globals, options);
    }
    let guard = match options.files.is_empty() {
        true => None,
        false => Some(Guard::start()?),
    };
    match supervise::fork(options.mask)? {
        Role::Supervisor(exit) => {
            guard.into_iter().for_each(Guard::finish);
            Ok(exit)
        }
        Role::Command(inherited) => become_command(globals, options, inherited, guard),
    }
}

/// Resolves the references and executes the command. Returns on failure, and with `--mask` when the command has ended.
fn become_command(
    globals: &Globals,
    options: &Options,
    inherited: Inherited,
    guard: Option<Guard>,
) -> Result<Exit, Failure> {
    let plan = options.plan()?;
    plan.notes().for_each(output::note);
    // Without its path and arguments, which may hold what no log should have.
    let name = options.command.first();
    let name = name.and_then(|name| Path::new(name).file_name());
    let values = wanted(&plan, options).resolve(globals, "nothing was started", name)?;
    let files = match &guard {
        Some(guard) => files::write(&options.files, guard.directory(), &values)?,
        None => Vec::new(),
    };
    let command = replace::command(&options.command, &plan, &values, &files)?;
    let mask = options.mask.then(|| Mask::new(&values)).flatten();
    match mask {
        Some(mask) => mask.run(command, inherited, guard),
        None => Err(replace::replace(command, inherited)),
    }
}

impl Options {
    fn plan(&self) -> Result<Plan, Failure> {
        let files: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        Plan::new(env::vars_os(), &self.env_files, &files)
    }
}

/// Returns the references of the plan and of `--file`.
fn wanted(plan: &Plan, options: &Options) -> Wanted {
    let mut wanted = Wanted::default();
    for (variable, reference, _) in plan.references() {
        wanted.add(variable.name.display().to_string(), reference);
    }
    for file in &options.files {
        wanted.add(file.name.clone(), &file.reference);
    }
    wanted
}

/// A reference in the output of `--dry-run`.
#[derive(Serialize)]
struct Row {
    variable: String,
    id: String,
    from: String,
}

fn dry_run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let plan = options.plan()?;
    plan.notes().for_each(output::note);
    let variables = plan.references().map(|(variable, reference, origin)| Row {
        variable: variable.name.display().to_string(),
        id: reference.pattern.to_string(),
        from: origin.to_string(),
    });
    let files = options.files.iter().map(|file| Row {
        variable: file.name.clone(),
        id: file.reference.pattern.to_string(),
        from: "--file".to_owned(),
    });
    let rows: Vec<Row> = variables.chain(files).collect();
    if globals.json {
        return output::print_text(json::line(&rows));
    }
    let mut table = Table::new(["VARIABLE", "SECRET", "FROM"]);
    for row in &rows {
        table.push([&row.variable, &row.id, &row.from]);
    }
    if rows.is_empty() {
        output::note(
            "no variable has a reference (se://ID), so the command would run with the environment as it is",
        );
    }
    output::print_text(table)
}
