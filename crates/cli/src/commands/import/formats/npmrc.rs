//! `.npmrc`: the registries of npm and their tokens. npm itself expands `${NAME}`.

use std::ops::Range;

use keyway_secrets::SecretValue;

use super::{Field, FormatError, Note, Parsed, Replacement, Role, ini};

/// Keys whose values npm treats as credentials, without the registry before them.
const CREDENTIALS: [&str; 4] = ["_authtoken", "_auth", "_password", "key"];

/// Finds the tokens and passwords, and what else may be a secret.
pub(super) fn parse(text: &[u8]) -> Result<Parsed, FormatError> {
    let mut parsed = Parsed::default();
    for entry in ini::entries(text, b"=") {
        let Some(value) = unquoted(text, entry.value) else {
            parsed.notes.push(Note {
                line: entry.line,
                text: "a value with escapes, quotes inside or a comment behind it stays as it is",
            });
            continue;
        };
        let (registry, key) = split_key(&entry.key);
        let is_credential = CREDENTIALS.contains(&key.to_ascii_lowercase().as_str());
        let content = &text[value.clone()];
        let path = ["npm", registry, key.trim_start_matches('_')];
        parsed.fields.push(Field {
            line: entry.line,
            name: entry.key.clone(),
            key: key.to_owned(),
            path: path
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
            id: None,
            value: SecretValue::from(content),
            role: match is_credential {
                _ if content.windows(2).any(|pair| pair == b"${") => Role::Expanded,
                true => Role::Secret("a credential of npm"),
                false => Role::Unknown,
            },
            spans: vec![value],
            replacement: Replacement::Variable(variable(registry, key)),
        });
    }
    name_the_only_token(&mut parsed.fields);
    Ok(parsed)
}

/// Returns the registry and the name of a key such as `//registry.npmjs.org/:_authToken`.
fn split_key(key: &str) -> (&str, &str) {
    match key
        .strip_prefix("//")
        .and_then(|rest| rest.rsplit_once(':'))
    {
        Some((registry, key)) => (registry.trim_end_matches('/'), key),
        None => ("", key),
    }
}

/// Returns the bytes inside the quotes of a value, or `None` if npm would unescape it or take a part of it for a comment.
fn unquoted(text: &[u8], value: Range<usize>) -> Option<Range<usize>> {
    let content = &text[value.clone()];
    let inner = match content {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        other => other,
    };
    let is_quoted = inner.len() < content.len();
    let special: &[u8] = if is_quoted { b"\\\"'" } else { b"\\;#\"'" };
    let start = value.start + usize::from(is_quoted);
    let is_plain = !inner.iter().any(|byte| special.contains(byte));
    is_plain.then_some(start..start + inner.len())
}

/// Returns the name of the variable for a key of a registry.
fn variable(registry: &str, key: &str) -> String {
    let text = format!("NPM_{registry}_{}", key.trim_start_matches('_'));
    let upper = text.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    });
    upper.collect()
}

/// Gives the token of a file with only one the name that npm's documentation uses.
fn name_the_only_token(fields: &mut [Field]) {
    let secrets = fields
        .iter_mut()
        .filter(|field| matches!(field.role, Role::Secret(_)));
    if let [only] = secrets.collect::<Vec<_>>().as_mut_slice()
        && only.key.eq_ignore_ascii_case("_authToken")
    {
        only.replacement = Replacement::Variable("NPM_TOKEN".to_owned());
    }
}
