//! `~/.aws/credentials`: access keys, which become the output of a `credential_process`.

use keyway_secrets::SecretValue;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Field, FormatError, Note, Parsed, Replacement, Role, ini};

/// What a `credential_process` prints.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials<'a> {
    version: u8,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_token: Option<&'a str>,
}

/// Finds the access key of each profile.
pub(super) fn parse(text: &[u8]) -> Result<Parsed, FormatError> {
    let entries = ini::entries(text, b"=");
    let mut parsed = Parsed::default();
    for profile in entries.chunk_by(|a, b| a.section == b.section) {
        match field(text, profile) {
            Ok(field) => parsed.fields.extend(field),
            Err(note) => parsed.notes.push(note),
        }
    }
    Ok(parsed)
}

/// Returns the access key of one profile, `None` if there is nothing to move.
fn field(text: &[u8], profile: &[ini::Entry]) -> Result<Option<Field>, Note> {
    let find = |key: &str| {
        let found = profile
            .iter()
            .find(|entry| entry.key.eq_ignore_ascii_case(key));
        found.map(|entry| {
            (
                entry,
                str::from_utf8(&text[entry.value.clone()]).unwrap_or_default(),
            )
        })
    };
    let note = |entry: &ini::Entry, text| Note {
        line: entry.line,
        text,
    };
    let key_id = find("aws_access_key_id");
    let Some((secret, secret_text)) = find("aws_secret_access_key") else {
        return match key_id {
            Some((entry, _)) => Err(note(
                entry,
                "this profile has no aws_secret_access_key, so it stays as it is",
            )),
            None => Ok(None),
        };
    };
    let Some((key_id, key_id_text)) = key_id else {
        return Err(note(
            secret,
            "this profile has no aws_access_key_id, so it stays as it is",
        ));
    };
    if find("credential_process").is_some() {
        return Err(note(
            secret,
            "this profile has a credential_process too, so it stays as it is",
        ));
    }
    let token = find("aws_session_token");
    let used = [Some(key_id), Some(secret), token.map(|(entry, _)| entry)];
    let mut used: Vec<_> = used.into_iter().flatten().collect();
    if used
        .iter()
        .any(|entry| entry.is_continued || entry.value.is_empty())
    {
        return Err(note(
            secret,
            "an empty value or one of several lines stays as it is",
        ));
    }
    used.sort_by_key(|entry| entry.line);
    let credentials = Credentials {
        version: 1,
        access_key_id: key_id_text,
        secret_access_key: secret_text,
        session_token: token.map(|(_, text)| text),
    };
    // Large enough not to be reallocated, even if each byte is escaped.
    let len: usize = used.iter().map(|entry| entry.value.len()).sum();
    let mut value = Zeroizing::new(Vec::with_capacity(6 * len + 256));
    serde_json::to_writer(&mut *value, &credentials).expect("strings serialize");
    let names: Vec<&str> = used.iter().map(|entry| entry.key.as_str()).collect();
    Ok(Some(Field {
        line: used[0].line,
        name: format!("[{}] {}", secret.section, names.join(", ")),
        key: secret.key.clone(),
        path: vec!["aws".to_owned(), secret.section.clone()],
        id: None,
        value: SecretValue::from(value.as_slice()),
        role: Role::Secret("an access key"),
        spans: spans(&used, text),
        replacement: Replacement::CredentialProcess,
    }))
}

/// The first line without its line break, and the other lines with theirs.
fn spans(used: &[&ini::Entry], text: &[u8]) -> Vec<std::ops::Range<usize>> {
    let first = used[0].full.clone();
    let content = text[first.clone()].trim_ascii_end().len();
    let others = used[1..].iter().map(|entry| entry.full.clone());
    std::iter::once(first.start..first.start + content)
        .chain(others)
        .collect()
}
