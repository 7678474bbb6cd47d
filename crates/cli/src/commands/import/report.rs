//! What an import would do or has done, as text and as JSON. Never a value: names, lengths and reasons.

use std::fmt::Write as _;

use keyway_local::escape_untrusted;
use serde::Serialize;

use super::apply::Applied;
use super::batch::{Batch, FileImport};
use super::formats::{Format, Note, Role};
use super::leftovers::{History, Leftovers};
use super::next;
use super::plan::{Choice, Line, Stored};
use crate::failure::Failure;
use crate::output::{Table, count, json};

/// The result for one file.
pub(super) struct FileReport<'a> {
    pub(super) file: &'a FileImport,
    /// What was done; `None` if nothing was to be changed yet.
    pub(super) applied: Option<Result<Applied, Failure>>,
    pub(super) leftovers: Leftovers,
}

/// Returns all values in a table for each file, with the numbers of their rows.
pub(super) fn tables(batch: &Batch) -> String {
    let mut text = String::new();
    let mut row = 0;
    for file in &batch.files {
        writeln!(text, "{}: {}", title(file), summary(file)).expect("writing to a string succeeds");
        let mut table = Table::new(["#", "LINE", "NAME", "BYTES", "WHY", "BECOMES"]);
        for line in &file.plan.lines {
            row += 1;
            let field = &line.field;
            let [row, number] = [row, field.line].map(|n| n.to_string());
            let len = len(line).map_or_else(String::new, |len| len.to_string());
            table.push([
                &row,
                &number,
                &field.name,
                &len,
                &line.reason,
                &destination(line),
            ]);
        }
        writeln!(text, "{table}{}", notes(&file.plan.notes)).expect("writing to a string succeeds");
    }
    text
}

/// Returns the path of a file, and where it leads if it is a link.
fn title(file: &FileImport) -> String {
    let given = file.source.given.display();
    let title = match file.source.is_link {
        true => format!("{given} -> {}", file.source.path.display()),
        false => given.to_string(),
    };
    escape_untrusted(&title)
}

fn summary(file: &FileImport) -> String {
    let (n_secrets, n_values) = (file.plan.n_secrets(), file.plan.lines.len());
    match n_secrets {
        0 => "no secret was found".to_owned(),
        _ => format!(
            "{}, {}",
            count(n_secrets, "secret"),
            count(n_values - n_secrets, "setting")
        ),
    }
}

fn destination(line: &Line) -> String {
    match &line.choice {
        Choice::Leave => "stays".to_owned(),
        Choice::Move(id, Stored::Nothing) => format!("se://{id}"),
        Choice::Move(id, Stored::SameValue) => format!("se://{id} (stored already)"),
        Choice::Move(id, Stored::Replaced) => format!("se://{id} (as a new version)"),
        Choice::Move(id, Stored::OtherValue) => format!("stays: {id} is stored with another value"),
        Choice::Move(id, Stored::Reserved) => format!("stays: {id} is reserved"),
    }
}

/// Returns the length of a value, `None` for one that depends on other variables.
fn len(line: &Line) -> Option<usize> {
    (line.field.role != Role::Expanded).then(|| line.field.value.len())
}

fn notes(notes: &[Note]) -> String {
    let lines = notes
        .iter()
        .map(|note| format!("line {}: {}\n", note.line, note.text));
    lines.collect()
}

/// Returns what was done with one file.
pub(super) fn done(report: &FileReport<'_>) -> String {
    let (file, plan) = (report.file, &report.file.plan);
    let mut text = String::new();
    let mut line = |sentence: String| {
        writeln!(text, "{}", escape_untrusted(&sentence)).expect("writing to a string succeeds")
    };
    let Some(Ok(applied)) = report.applied.as_ref().filter(|_| plan.n_moved() > 0) else {
        line(format!("{}: left as it is, {}", title(file), summary(file)));
        plan.lines
            .iter()
            .filter(|line| line.is_refused())
            .for_each(|left| line(refused(left)));
        return text + &notes(&plan.notes);
    };
    let n_reused = plan.n_moved() - applied.n_stored;
    let reused = match n_reused {
        0 => String::new(),
        n => format!(" ({n} of them stored already)"),
    };
    line(format!(
        "{}: moved {}{reused}",
        title(file),
        count(plan.n_moved(), "value")
    ));
    for moved in &plan.lines {
        match moved.destination() {
            Some(id) => line(format!("  {} -> se://{id}", moved.field.name)),
            None if moved.is_refused() => line(refused(moved)),
            None => {}
        }
    }
    for note in &plan.notes {
        line(format!("  line {}: {}", note.line, note.text));
    }
    if let Some(backup) = &applied.backup {
        line(format!(
            "  The old file is {}; remove it when all works",
            backup.display()
        ));
    }
    line(format!("  {}", remaining(&report.leftovers)));
    for step in steps(file) {
        line(format!("  {step}."));
    }
    text
}

fn refused(line: &Line) -> String {
    let Choice::Move(id, _) = &line.choice else {
        return String::new();
    };
    format!(
        "  {} (line {}) {}; move it to another id, or look at that one with `keyway get {id}`",
        line.field.name,
        line.field.line,
        destination(line)
    )
}

/// Returns a sentence about where the old values still are.
fn remaining(leftovers: &Leftovers) -> String {
    let mut places = Vec::new();
    match &leftovers.git {
        Some(History::Commits {
            commits: 0,
            is_tracked: true,
        }) => places.push("in git's index".to_owned()),
        Some(History::Commits { commits: 0, .. }) | None => {}
        Some(History::Commits { commits, .. }) => {
            places.push(format!("in git's history ({})", count(*commits, "commit")))
        }
        Some(History::Unknown) => {
            places.push("perhaps in git's history, which could not be read".to_owned())
        }
    }
    places.extend(leftovers.copies.iter().map(|copy| format!("in {copy}")));
    match places.as_slice() {
        [] => "Snapshots and backups may still have the old values: rotate them to be safe."
            .to_owned(),
        places => format!(
            "The old values are still {}, and snapshots and backups may have them: rotate them.",
            places.join(", ")
        ),
    }
}

fn steps(file: &FileImport) -> Vec<String> {
    let moved = file
        .plan
        .lines
        .iter()
        .filter_map(|line| Some((&line.field, line.destination()?)));
    let moved: Vec<_> = moved.collect();
    match moved.is_empty() {
        true => Vec::new(),
        false => next::steps(file.format, &file.source.given, &moved),
    }
}

/// The output of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    files: Vec<File<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    path: String,
    target: Option<String>,
    format: Option<Format>,
    /// `moved`, `planned`, `unchanged` or `failed`.
    outcome: &'static str,
    error: Option<String>,
    values: Vec<Value<'a>>,
    notes: Vec<LineNote>,
    leftovers: Option<&'a Leftovers>,
    backup: Option<String>,
    next: Vec<String>,
}

#[derive(Serialize)]
struct Value<'a> {
    line: usize,
    name: &'a str,
    bytes: Option<usize>,
    is_secret: bool,
    reason: &'a str,
    id: Option<&'a str>,
    /// What the store has under the id: `nothing`, `same_value`, `other_value`, `replaced` or `reserved`.
    stored: Option<Stored>,
    is_moved: bool,
}

#[derive(Serialize)]
struct LineNote {
    line: usize,
    text: &'static str,
}

/// Returns the report as JSON in one line.
pub(super) fn to_json(batch: &Batch, reports: &[FileReport<'_>]) -> String {
    let refused = batch.refused.iter().map(|(path, failure)| File {
        // A path that does not exist may be a secret in the wrong place.
        path: path
            .symlink_metadata()
            .map(|_| path.display().to_string())
            .unwrap_or_default(),
        target: None,
        format: None,
        outcome: "failed",
        error: Some(sentences(failure)),
        values: Vec::new(),
        notes: Vec::new(),
        leftovers: None,
        backup: None,
        next: Vec::new(),
    });
    let files = reports.iter().map(file_json).chain(refused).collect();
    json::line(&Report { files })
}

fn file_json<'a>(report: &'a FileReport<'_>) -> File<'a> {
    let (file, plan) = (report.file, &report.file.plan);
    let (outcome, error) = match &report.applied {
        _ if plan.n_moved() == 0 => ("unchanged", None),
        None => ("planned", None),
        Some(Ok(_)) => ("moved", None),
        Some(Err(failure)) => ("failed", Some(sentences(failure))),
    };
    let backup = report
        .applied
        .as_ref()
        .and_then(|applied| applied.as_ref().ok()?.backup.as_ref());
    File {
        path: file.source.given.display().to_string(),
        target: file
            .source
            .is_link
            .then(|| file.source.path.display().to_string()),
        format: Some(file.format),
        outcome,
        error,
        values: plan.lines.iter().map(value_json).collect(),
        notes: plan
            .notes
            .iter()
            .map(|note| LineNote {
                line: note.line,
                text: note.text,
            })
            .collect(),
        leftovers: Some(&report.leftovers),
        backup: backup.map(|path| path.display().to_string()),
        next: steps(file),
    }
}

fn value_json(line: &Line) -> Value<'_> {
    let (id, stored) = match &line.choice {
        Choice::Leave => (None, None),
        Choice::Move(id, stored) => (Some(id.as_str()), Some(*stored)),
    };
    Value {
        line: line.field.line,
        name: &line.field.name,
        bytes: len(line),
        is_secret: line.is_secret,
        reason: &line.reason,
        id,
        stored,
        is_moved: line.destination().is_some(),
    }
}

fn sentences(failure: &Failure) -> String {
    format!("{}. {}.", failure.what(), failure.advice())
}
