//! The question before an import, and changes of single rows.

use std::io::{self, Read as _};

use super::batch::Batch;
use super::plan::{Choice, Ids, Stored, Vault};
use super::report;
use crate::failure::Failure;
use crate::names;
use crate::output;
use crate::stdio::{self, Stdin};

/// What can be entered.
const HELP: &str = "\
yes             store these values, and rewrite the files
no              change nothing
NUMBER ID       move the value of this row to another id
NUMBER skip     leave the value of this row in its file
NUMBER move     move the value of this row
NUMBER replace  move it, as a new version of what the store has under its id
";

/// Longest line in bytes; an id may have 4096.
const MAX_LINE_LEN: usize = 8192;

/// Shows the values on stderr and asks until the answer is yes or no. Returns `true` for yes.
///
/// # Errors
///
/// Returns a [`Failure`] if the terminal or the store cannot be read.
pub(super) fn confirm(batch: &mut Batch, vault: &impl Vault) -> Result<bool, Failure> {
    show(&report::tables(batch))?;
    loop {
        let (values, files) = (
            output::count(batch.n_moved(), "value"),
            output::count(batch.n_files(), "file"),
        );
        show(&format!(
            "Move {values} out of {files}? [yes, no, ? for more] "
        ))?;
        let Some(line) = read_line()? else {
            show("\n")?;
            return Ok(false);
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["y" | "yes"] => return Ok(true),
            ["n" | "no" | "q" | "quit"] => return Ok(false),
            [row, change] => match change_row(batch, vault, row, change)? {
                Ok(()) => show(&report::tables(batch))?,
                Err(problem) => show(&format!("{problem}.\n"))?,
            },
            _ => show(HELP)?,
        }
    }
}

/// Changes what happens to the value of a row. The inner error is a sentence about the input, which is not repeated.
fn change_row(
    batch: &mut Batch,
    vault: &impl Vault,
    row: &str,
    change: &str,
) -> Result<Result<(), String>, Failure> {
    let row = row.parse().ok().and_then(|number| batch.position(number));
    let Some((file, index)) = row else {
        return Ok(Err("There is no row with this number".to_owned()));
    };
    let others = batch.positions().filter(|other| *other != (file, index));
    let mut ids = Ids::of(others.map(|(file, index)| &batch.files[file].plan.lines[index]));
    let target = &mut batch.files[file];
    let line = &mut target.plan.lines[index];
    match (change, &mut line.choice) {
        ("skip", choice) => *choice = Choice::Leave,
        ("move", Choice::Leave) => ids.assign_line(line, &target.place.names, vault)?,
        ("move", Choice::Move(..)) => {}
        ("replace", Choice::Move(_, stored @ Stored::OtherValue)) => *stored = Stored::Replaced,
        ("replace", _) => {
            return Ok(Err(
                "The store has no other value under the id of this row".to_owned()
            ));
        }
        (text, _) => match names::id(text) {
            Ok(id) if ids.is_free_for(&id, &line.field.value) => ids.choose(line, id, vault)?,
            Ok(_) => return Ok(Err("Another value of this import has this id".to_owned())),
            Err(error) => return Ok(Err(format!("This is not a valid id: {error}"))),
        },
    }
    Ok(Ok(()))
}

/// Reads one line from the terminal; `None` at the end of the input.
fn read_line() -> Result<Option<String>, Failure> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match Stdin.read(&mut byte).map_err(|error| unreadable(&error))? {
            0 if line.is_empty() => return Ok(None),
            0 => break,
            _ if byte == *b"\n" => break,
            _ if line.len() < MAX_LINE_LEN => line.push(byte[0]),
            _ => {}
        }
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

fn show(text: &str) -> Result<(), Failure> {
    stdio::write_stderr(text.as_bytes()).map_err(|error| unreadable(&error))
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::error(
        format_args!("the terminal cannot be used: {error}"),
        "Nothing was changed; give --yes to import without a question",
    )
}
