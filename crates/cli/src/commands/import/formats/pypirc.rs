//! `.pypirc`: the package indexes that twine uploads to.

use keyway_secrets::SecretValue;

use super::{Field, FormatError, Note, Parsed, Replacement, Role, ini};
use crate::commands::import::classify;

/// Finds the passwords, and what else may be a secret.
pub(super) fn parse(text: &[u8]) -> Result<Parsed, FormatError> {
    let mut parsed = Parsed::default();
    for entry in ini::entries(text, b"=:") {
        if entry.is_continued {
            if classify::is_secret_name(&entry.key) {
                parsed.notes.push(Note {
                    line: entry.line,
                    text: "a value of several lines stays as it is",
                });
            }
            continue;
        }
        let is_password = entry.key.eq_ignore_ascii_case("password");
        let mut path = vec!["pypi".to_owned(), entry.section.clone()];
        path.extend((!is_password).then(|| entry.key.clone()));
        parsed.fields.push(Field {
            line: entry.line,
            name: format!("[{}] {}", entry.section, entry.key),
            key: entry.key,
            path,
            id: None,
            value: SecretValue::from(&text[entry.value.clone()]),
            role: match is_password {
                true => Role::Secret("a password"),
                false => Role::Unknown,
            },
            spans: vec![entry.value],
            replacement: Replacement::Reference(None),
        });
    }
    Ok(parsed)
}
