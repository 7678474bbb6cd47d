//! `.env` files, read by the parser of `keyway run --env-file`, so that what it sees is what is moved.

use std::ops::Range;

use keyway_secrets::{Id, SecretValue};
use zeroize::Zeroizing;

use super::lines::lines;
use super::{Field, FormatError, Parsed, Replacement, Role};
use crate::commands::import::classify;
use crate::env_file::{self, Entry, Oddity, Piece};
use crate::names::SCHEME;

/// Finds the variables of the file.
pub(super) fn parse(text: &[u8]) -> Result<Parsed, FormatError> {
    let entries = env_file::parse(text).map_err(|error| FormatError {
        line: error.line,
        reason: error.kind.to_string(),
    })?;
    let ids = commented_ids(text);
    let fields = entries.into_iter().map(|entry| {
        let id = ids.iter().find(|(line, _)| line + 1 == entry.line);
        field(text, entry, id.map(|(_, id)| id.clone()))
    });
    Ok(Parsed {
        fields: fields.collect(),
        notes: Vec::new(),
    })
}

fn field(text: &[u8], entry: Entry, id: Option<Id>) -> Field {
    let name = entry.name.to_string_lossy().into_owned();
    let value = literal(&entry);
    let mut field = Field {
        line: entry.line,
        key: name.clone(),
        path: vec![name.clone()],
        name,
        id,
        role: match value {
            Some(_) => Role::Unknown,
            None => Role::Expanded,
        },
        value: SecretValue::from(value.as_ref().map_or(&[][..], |value| value.as_slice())),
        spans: vec![entry.span.clone()],
        replacement: Replacement::Reference(entry.quote),
    };
    // An export has whole values.
    let range = value.filter(|_| field.id.is_none());
    if let Some(range) = range.and_then(|value| password(text, &entry, &value)) {
        narrow(&mut field, text, range);
    }
    field
}

/// Returns the value as `run` passes it, `None` if it or another program makes something else of the text.
fn literal(entry: &Entry) -> Option<Zeroizing<Vec<u8>>> {
    let changes = |oddity: &Oddity| {
        matches!(
            oddity,
            Oddity::Command | Oddity::Expansion | Oddity::SecondAssignment
        )
    };
    if entry.oddities.iter().any(changes) {
        return None;
    }
    match entry.value.as_slice() {
        [] => Some(Zeroizing::default()),
        [Piece::Text(text)] => Some(text.clone()),
        _ => None,
    }
}

/// Returns the bytes of the file that are the password of a URL, `None` if the value is not a URL or has escapes.
fn password(text: &[u8], entry: &Entry, value: &[u8]) -> Option<Range<usize>> {
    let n_quotes = usize::from(entry.quote.is_some());
    let inner = entry.span.start + n_quotes..entry.span.end - n_quotes;
    let password = classify::url_password(value)?;
    (text[inner.clone()] == *value)
        .then_some(inner.start + password.start..inner.start + password.end)
}

/// Moves only the password of a URL. `run` resolves a reference within a longer value.
fn narrow(field: &mut Field, text: &[u8], range: Range<usize>) {
    let stem = ["_URL", "_URI", "_DSN"]
        .iter()
        .find_map(|end| field.key.strip_suffix(end));
    field.path = vec![format!("{}_PASSWORD", stem.unwrap_or(&field.key))];
    field.name = format!("password in {}", field.name);
    field.value = SecretValue::from(&text[range.clone()]);
    field.spans = vec![range];
    field.role = Role::Secret("the password of a URL");
    field.replacement = Replacement::Reference(None);
}

/// Returns the lines that are comments of `keyway export`, with the id that each one names.
pub(super) fn commented_ids(text: &[u8]) -> Vec<(usize, Id)> {
    lines(text)
        .filter_map(|line| {
            let comment = str::from_utf8(line.text).ok()?.strip_prefix("# ")?;
            let id = comment.strip_prefix(SCHEME)?.parse().ok()?;
            Some((line.number, id))
        })
        .collect()
}
