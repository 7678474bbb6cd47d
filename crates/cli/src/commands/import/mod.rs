//! `keyway import`: moves secrets out of files into the store, and puts references in their place.

mod apply;
mod batch;
mod classify;
mod dialogue;
mod formats;
mod ids;
mod leftovers;
mod next;
mod place;
mod plan;
mod report;
mod scan;
mod source;
mod steps;
mod vault;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use keyway_secrets::Id;

use self::batch::{Batch, FileImport, Rules};
use self::formats::Format;
use self::plan::Vault;
use self::report::FileReport;
use self::vault::StoreVault;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::names;
use crate::output;
use crate::store::StoreOptions;

/// Options of `keyway import`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// The files: .env, .envrc, shell scripts, .netrc, .npmrc, .pypirc, .git-credentials, ~/.aws/credentials.
    #[arg(value_name = "FILE", required_unless_present = "scan")]
    files: Vec<PathBuf>,
    /// List the files below this directory that have secrets in them, and change nothing.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["files", "format", "prefix", "yes", "dry_run", "backup"])]
    scan: Option<PathBuf>,
    /// The format of the files [default: by their names].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Begin the ids with this [default: the project's name, from its git work tree or directory].
    #[arg(long, value_name = "ID", value_parser = names::id)]
    prefix: Option<Id>,
    /// Move all secrets without a question, except those whose id has another value.
    #[arg(long)]
    yes: bool,
    /// Show what would be moved, and change nothing.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Keep the old file beside the new one, as FILE.bak with mode 0600.
    #[arg(long)]
    backup: bool,
    /// Rewrite a file that has several names (hard links); the other names keep the old values.
    #[arg(long)]
    break_hard_links: bool,
    #[command(flatten)]
    store: StoreOptions,
}

const AFTER_HELP: &str = "\
Values are stored and read back before the file is replaced. Comments, order, quotes, line ends and mode of the file stay.";

/// Runs the command.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    if let Some(directory) = &options.scan {
        return scan::run(globals, directory);
    }
    let asks = !options.yes && !options.dry_run;
    if asks {
        check_terminal(globals)?;
    }
    let vault = StoreVault::new(globals, &options.store)?;
    let rules = Rules {
        format: options.format,
        prefix: options.prefix.as_ref(),
        breaks_hard_links: options.break_hard_links,
    };
    let mut batch = Batch::read(&options.files, &rules, &vault)?;
    if asks
        && batch.files.iter().any(|file| file.plan.n_secrets() > 0)
        && !dialogue::confirm(&mut batch, &vault)?
    {
        return Err(Failure::error(
            "the answer was not yes",
            "Nothing was stored, and no file was changed",
        ));
    }
    let files = batch.files.iter();
    let reports: Vec<_> = files.map(|file| process(file, &vault, options)).collect();
    print(globals, options, &batch, &reports)
}

/// Returns an error if a question cannot be asked.
fn check_terminal(globals: &Globals) -> Result<(), Failure> {
    if globals.json {
        return Err(Failure::usage(
            "`--json` leaves no place for a question",
            "Give --yes as well, or --dry-run to see what would be moved",
        ));
    }
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage(
        "import asks before it changes files, and there is no terminal",
        "Give --yes to move all secrets, or --dry-run to see what would be moved",
    ))
}

/// Moves the values of one file, unless it is a dry run.
fn process<'a>(file: &'a FileImport, vault: &impl Vault, options: &Options) -> FileReport<'a> {
    let applied =
        (!options.dry_run).then(|| apply::apply(&file.source, &file.plan, vault, options.backup));
    let leftovers = match file.plan.n_moved() {
        0 => leftovers::Leftovers::default(),
        _ => leftovers::find(&file.source, file.place.repository.as_deref()),
    };
    FileReport {
        file,
        applied,
        leftovers,
    }
}

/// Prints the result: the report to stdout, and what failed to stderr.
fn print(
    globals: &Globals,
    options: &Options,
    batch: &Batch,
    reports: &[FileReport<'_>],
) -> Result<Exit, Failure> {
    let failures = reports
        .iter()
        .filter_map(|report| report.applied.as_ref()?.as_ref().err());
    let failures: Vec<&Failure> = batch
        .refused
        .iter()
        .map(|(_, failure)| failure)
        .chain(failures)
        .collect();
    let text = match (globals.json, options.dry_run) {
        (true, _) => report::to_json(batch, reports),
        (false, true) => report::tables(batch),
        (false, false) => {
            let done = reports
                .iter()
                .filter(|report| !matches!(report.applied, Some(Err(_))));
            done.map(report::done).collect()
        }
    };
    output::print_text(text)?;
    for failure in &failures {
        failure.report();
    }
    let exits = failures.iter().map(|failure| failure.exit());
    let partial = batch.is_partial().then_some(Exit::Error);
    Ok(exits.chain(partial).min().unwrap_or(Exit::Done))
}
