//! `keyway audit`: what the audit log has recorded.

mod record;
mod since;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use keyway_resolver::Pattern;

use self::record::Record;
use super::serve::settings::{self, ConfigOptions, Settings};
use crate::daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, Table};

/// Options of `keyway audit`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Show the records since this time: an age such as 30m, 2h or 7d, or a time such as 2026-11-30 or 2026-11-30T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = since::parse)]
    since: Option<SystemTime>,
    /// Show the records about ids that match, and about patterns that can match them.
    #[arg(long, value_name = "PATTERN", value_parser = crate::names::pattern)]
    id: Option<Pattern>,
    #[command(flatten)]
    config: ConfigOptions,
}

/// Prints the records, the oldest first.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let path = path(globals, options)?.ok_or_else(|| {
        Failure::error(
            "the audit log is off, so nothing was recorded",
            "Turn it on with `[audit]` and `path = \"/...\"` in the configuration, then run `keyway plugins reload`",
        )
    })?;
    let mut lines = Vec::new();
    let mut table = Table::new(["TIME", "ACTION", "CALLER", "ABOUT", "PROVIDERS", "OUTCOME"]);
    let mut n_unreadable = 0_usize;
    read(&path, |line| {
        let Ok(record) = serde_json::from_slice::<Record>(line) else {
            n_unreadable += 1;
            return;
        };
        if !record.is_since(options.since) || !record.is_about(options.id.as_ref()) {
            return;
        }
        if globals.json {
            lines.extend_from_slice(line);
            lines.push(b'\n');
        } else {
            record.push_to(&mut table);
        }
    })
    .map_err(|(path, error)| {
        Failure::error(
            format_args!("the audit log {} cannot be read: {error}", path.display()),
            "Only its owner and root can read it",
        )
    })?;
    if n_unreadable > 0 {
        output::note(format_args!(
            "{n_unreadable} lines are not records and were left out"
        ));
    }
    if globals.json {
        return output::print(&lines);
    }
    output::print_text(table)
}

/// Returns the path of the log: that of the running daemon, or that of the configuration without one. `None` if it is off.
fn path(globals: &Globals, options: &Options) -> Result<Option<PathBuf>, Failure> {
    let of_daemon = daemon::with_client(globals, async |daemon| {
        let status = daemon::status_if_running(globals, daemon).await;
        status.map_err(daemon::request_failure)
    })?;
    if let Some(status) = of_daemon {
        return Ok(status
            .audit
            .filter(|path| !path.is_empty())
            .map(PathBuf::from));
    }
    let config = Settings::from_config_options(&options.config)?
        .read()
        .map_err(|error| settings::failure(&error, options.config.given()))?;
    Ok(config.audit.map(|audit| audit.path))
}

/// Calls `take` with each line of the former files, the oldest first, and of the current one.
fn read(path: &Path, mut take: impl FnMut(&[u8])) -> Result<(), (PathBuf, io::Error)> {
    let former = |generation: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{generation}"));
        PathBuf::from(name)
    };
    let n_former = (1..).take_while(|generation| former(*generation).exists());
    let files: Vec<_> = n_former.map(former).collect();
    for file in files.iter().rev().map(PathBuf::as_path).chain([path]) {
        let opened = match File::open(file) {
            Ok(opened) => opened,
            // Renamed since it was looked for, or nothing was recorded yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err((file.into(), error)),
        };
        for line in BufReader::new(opened).split(b'\n') {
            let line = line.map_err(|error| (file.to_owned(), error))?;
            if !line.is_empty() {
                take(&line);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn former_files_are_read_before_the_current_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        for (name, text) in [
            ("audit.jsonl", "4\n5"),
            ("audit.jsonl.1", "3\n"),
            ("audit.jsonl.2", "1\n\n2\n"),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let mut lines = Vec::new();
        read(&path, |line| {
            lines.push(String::from_utf8(line.to_vec()).unwrap())
        })
        .unwrap();
        assert_eq!(lines, ["1", "2", "3", "4", "5"]);
        read(&directory.path().join("absent"), |_| panic!("a line")).unwrap();
    }
}
