//! Finds files with secrets in them below a directory. Changes nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;
use walkdir::{DirEntry, WalkDir};

use super::formats::Format;
use super::plan::classify_fields;
use super::source;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, Table, count, json};

/// Largest number of directories between the start and a file.
const MAX_DEPTH: usize = 64;
/// Largest number of files and directories that are examined.
const MAX_ENTRIES: usize = 1_000_000;
/// Directories that hold no files of a user, or copies of many projects.
const SKIPPED: [&str; 7] = [
    ".git",
    ".hg",
    ".svn",
    "node_modules",
    "target",
    ".venv",
    "__pycache__",
];

/// The output of `--json`.
#[derive(Debug, Default, Serialize)]
struct Scan {
    files: Vec<Found>,
    /// Files and directories that could not be examined, with the reason.
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Found {
    path: PathBuf,
    format: Format,
    secrets: usize,
    settings: usize,
    /// Lines that may hold a secret and that `import` cannot move.
    unclear: usize,
}

#[derive(Debug, Serialize)]
struct Skipped {
    path: Option<PathBuf>,
    reason: String,
}

/// Prints the files with secrets. Returns [`Exit::Error`] if there are any, or if not all of the directory was examined.
pub(super) fn run(globals: &Globals, directory: &Path) -> Result<Exit, Failure> {
    if !directory.is_dir() {
        return Err(Failure::usage(
            "the value of `--scan` is not a directory that can be read",
            "Name the directory of a project, such as `.`",
        ));
    }
    let scan = Scan::of(directory);
    match globals.json {
        true => output::print_text(json::line(&scan))?,
        false => scan.print()?,
    };
    Ok(match scan.files.is_empty() && scan.skipped.is_empty() {
        true => Exit::Done,
        false => Exit::Error,
    })
}

impl Scan {
    fn of(directory: &Path) -> Self {
        let mut scan = Self::default();
        let walk = WalkDir::new(directory)
            .max_depth(MAX_DEPTH)
            .sort_by_file_name();
        let mut n_entries = 0;
        for entry in walk.into_iter().filter_entry(is_examined) {
            n_entries += 1;
            if n_entries > MAX_ENTRIES {
                let reason = format!(
                    "there are more than {MAX_ENTRIES} files and directories; scan a part of them"
                );
                scan.skipped.push(Skipped { path: None, reason });
                break;
            }
            match entry {
                Ok(entry) if entry.file_type().is_file() => scan.examine(entry.path()),
                Ok(_) => {}
                Err(error) => scan.skipped.push(Skipped {
                    path: error.path().map(Path::to_owned),
                    reason: error
                        .io_error()
                        .map_or_else(|| "is in a loop".to_owned(), ToString::to_string),
                }),
            }
        }
        scan
    }

    fn examine(&mut self, path: &Path) {
        let Some(format) = Format::of_path(path) else {
            return;
        };
        let mut skip = |reason: String| {
            let path = Some(path.to_owned());
            self.skipped.push(Skipped { path, reason });
        };
        let text = match source::read_only(path) {
            Ok(text) => text,
            Err(error) => return skip(error.to_string()),
        };
        let parsed = match format.parse(&text) {
            Ok(parsed) => parsed,
            Err(error) => return skip(format!("line {}: {}", error.line, error.reason)),
        };
        let unclear = parsed.notes.len();
        let plan = classify_fields(parsed.fields, parsed.notes);
        let secrets = plan.n_secrets();
        if secrets > 0 || unclear > 0 {
            self.files.push(Found {
                path: path.to_owned(),
                format,
                secrets,
                settings: plan.lines.len() - secrets,
                unclear,
            });
        }
    }

    fn print(&self) -> Result<Exit, Failure> {
        let mut table = Table::new(["FILE", "SECRETS", "SETTINGS", "UNCLEAR"]);
        for found in &self.files {
            let [secrets, settings, unclear] =
                [found.secrets, found.settings, found.unclear].map(|n| n.to_string());
            table.push([
                &found.path.display().to_string(),
                &secrets,
                &settings,
                &unclear,
            ]);
        }
        output::print_text(table)?;
        for skipped in &self.skipped {
            let path = skipped
                .path
                .as_deref()
                .unwrap_or(Path::new("the directory"));
            output::note(format_args!(
                "{} was not examined: {}",
                path.display(),
                skipped.reason
            ));
        }
        let n_secrets: usize = self.files.iter().map(|found| found.secrets).sum();
        output::note(match n_secrets {
            0 => "no secret was found".to_owned(),
            n => format!(
                "{} in {}; `keyway import FILE` moves {} to the store",
                count(n, "secret"),
                count(
                    self.files.iter().filter(|found| found.secrets > 0).count(),
                    "file"
                ),
                if n == 1 { "it" } else { "them" }
            ),
        });
        Ok(Exit::Done)
    }
}

fn is_examined(entry: &DirEntry) -> bool {
    let is_skipped =
        entry.file_type().is_dir() && SKIPPED.iter().any(|name| entry.file_name() == *name);
    entry.depth() == 0 || !is_skipped
}
