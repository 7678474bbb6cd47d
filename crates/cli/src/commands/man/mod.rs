//! `keyway man`: writes the manual pages, for packages.

mod page;

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Args, Command};
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};

/// Options of `keyway man`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The directory, such as `share/man/man1`; it is created.
    directory: PathBuf,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    /// The names of the files.
    written: Vec<String>,
}

/// Writes one page for the program and one for each command.
pub(crate) fn run(
    globals: &Globals,
    options: &Options,
    definition: Command,
) -> Result<Exit, Failure> {
    let pages = page::all(definition);
    let written = fs::create_dir_all(&options.directory).and_then(|()| {
        pages.iter().try_for_each(|page| {
            let path = options.directory.join(&page.file_name);
            fs::write(path, &page.content)
        })
    });
    written.map_err(|error: io::Error| {
        Failure::error(
            format_args!("the manual pages cannot be written: {error}"),
            "Name a directory that you may write to",
        )
    })?;
    let report = Report {
        written: pages.into_iter().map(|page| page.file_name).collect(),
    };
    if globals.json {
        return output::print_text(json::line(&report));
    }
    let count = output::count(report.written.len(), "manual page");
    output::print_text(format_args!("wrote {count}\n"))
}
