//! Other copies of a file: in git's history, and those that editors leave beside it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::source::Source;
use crate::program;

/// Largest number of commits that is counted.
const MAX_COMMITS: usize = 1000;
/// The time that each call of git may take.
const GIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the old values of a file still are.
#[derive(Debug, Default, Serialize)]
pub(super) struct Leftovers {
    /// What git has; `None` if the file is not in a work tree.
    pub(super) git: Option<History>,
    /// The names of copies beside the file.
    pub(super) copies: Vec<String>,
}

/// What git has of a file.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum History {
    /// The number of commits with the file, at most 1000, and whether the index has it.
    Commits { commits: usize, is_tracked: bool },
    /// git is not installed, or failed.
    Unknown,
}

/// Looks for other copies of the file.
pub(super) fn find(source: &Source, repository: Option<&Path>) -> Leftovers {
    Leftovers {
        git: repository.map(|root| history(root, &source.path)),
        copies: copies(&source.path),
    }
}

fn history(root: &Path, file: &Path) -> History {
    let Ok(file) = file.strip_prefix(root) else {
        return History::Unknown;
    };
    let commits = [
        "log",
        "--all",
        "--format=%h",
        "--no-show-signature",
        "--max-count=1000",
        "--",
    ]
    .map(OsStr::new);
    let tracked = ["ls-files", "--"].map(OsStr::new);
    let count = |arguments: &[&OsStr]| count_lines(root, arguments, file);
    match count(&commits).and_then(|commits| Some((commits, count(&tracked)?))) {
        Some((commits, n_tracked)) => History::Commits {
            commits: commits.min(MAX_COMMITS),
            is_tracked: n_tracked > 0,
        },
        None => History::Unknown,
    }
}

/// Runs git and counts the lines of its output; `None` if it fails or takes too long.
fn count_lines(root: &Path, arguments: &[&OsStr], file: &Path) -> Option<usize> {
    let mut git = Command::new("git");
    // A work tree may name a program as its file system monitor.
    git.args([
        "--literal-pathspecs",
        "--no-pager",
        "-c",
        "core.fsmonitor=false",
        "-C",
    ])
    .arg(root)
    .args(arguments)
    .arg(file)
    .env("GIT_OPTIONAL_LOCKS", "0")
    .env("GIT_TERMINAL_PROMPT", "0");
    // Set in hooks, where they name another work tree.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        git.env_remove(variable);
    }
    let output = program::output(git, GIT_TIMEOUT).ok()?;
    let n_lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    output.status.success().then_some(n_lines)
}

/// Returns the names of backups and swap files beside `file`.
fn copies(file: &Path) -> Vec<String> {
    let (Some(name), Some(directory)) = (file.file_name(), file.parent()) else {
        return Vec::new();
    };
    let mut names = candidates(name);
    names.retain(|name| directory.join(name).symlink_metadata().is_ok());
    names
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Returns the names that editors and users give to copies of a file.
fn candidates(name: &OsStr) -> Vec<OsString> {
    const ENDS: [&str; 13] = [
        "~", ".bak", ".bak.2", ".old", ".orig", ".save", ".backup", ".tmp", ".swp", ".swo", ".swn",
        ".un~", ".rej",
    ];
    let wrapped = |start: &str, end: &str| {
        let mut text = OsString::from(start);
        text.push(name);
        text.push(end);
        text
    };
    let mut names: Vec<OsString> = ENDS.iter().map(|end| wrapped("", end)).collect();
    // vim puts a `.` before the name of a swap file, unless there is one.
    names.extend([".swp", ".swo", ".swn", ".un~"].map(|end| wrapped(".", end)));
    names.extend([wrapped("#", "#"), wrapped(".#", "")]);
    names
}
