//! Secrets in one of the formats.

use std::collections::BTreeMap;

use clap::ValueEnum;
use keyway_resolver::Envelope;
use zeroize::Zeroizing;

use super::names::variable;
use super::quote::{self, Unrepresentable};
use crate::output::json;

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// An env file that `keyway run`, bash and node read alike.
    Dotenv,
    /// Lines for a POSIX shell, as in `eval "$(keyway export 'shop/**' --format shell)"`.
    Shell,
    /// All values with their ids; those that are not UTF-8 in base64.
    Json,
}

/// Writes the secrets in this format. `n_skipped` components of each id are left out of the name of its variable.
///
/// # Errors
///
/// Returns a line for each secret that the format cannot hold.
pub(in crate::commands) fn write(
    format: Format,
    secrets: &[Envelope],
    n_skipped: usize,
) -> Result<Zeroizing<Vec<u8>>, Vec<String>> {
    let words = match format {
        Format::Json => return Ok(joined(&json_pieces(secrets))),
        Format::Dotenv => quote::dotenv,
        Format::Shell => quote::shell,
    };
    let mut errors = colliding(secrets, n_skipped);
    let mut pieces = Vec::new();
    for envelope in secrets {
        match words(envelope.value.expose()) {
            Ok(word) => {
                let export = if format == Format::Shell {
                    "export "
                } else {
                    ""
                };
                let name = variable(&envelope.id, n_skipped);
                // `keyway import` reads the id from the comment.
                let start = format!("# se://{}\n{export}{name}=", envelope.id);
                pieces.extend([
                    Zeroizing::new(start.into_bytes()),
                    word,
                    Zeroizing::new(b"\n".to_vec()),
                ]);
            }
            Err(Unrepresentable(what)) => errors.push(format!("{} holds {what}", envelope.id)),
        }
    }
    match errors.is_empty() {
        true => Ok(joined(&pieces)),
        false => Err(errors),
    }
}

/// Returns a line for each name that several ids would have.
fn colliding(secrets: &[Envelope], n_skipped: usize) -> Vec<String> {
    let mut ids: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for envelope in secrets {
        ids.entry(variable(&envelope.id, n_skipped))
            .or_default()
            .push(envelope.id.as_str());
    }
    ids.retain(|_, ids| ids.len() > 1);
    ids.iter()
        .map(|(name, ids)| format!("{} would have one variable, {name}", ids.join(" and ")))
        .collect()
}

fn json_pieces(secrets: &[Envelope]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut pieces = vec![Zeroizing::new(b"{\"secrets\":[".to_vec())];
    for (index, envelope) in secrets.iter().enumerate() {
        if index > 0 {
            pieces.push(Zeroizing::new(b",".to_vec()));
        }
        let mut object = json::secret(envelope);
        object.pop();
        pieces.push(object);
    }
    pieces.push(Zeroizing::new(b"]}\n".to_vec()));
    pieces
}

/// Joins the pieces in one buffer, which is never reallocated.
fn joined(pieces: &[Zeroizing<Vec<u8>>]) -> Zeroizing<Vec<u8>> {
    let len = pieces.iter().map(|piece| piece.len()).sum();
    let mut text = Zeroizing::new(Vec::with_capacity(len));
    for piece in pieces {
        text.extend_from_slice(piece);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format, secrets: &[(&str, &[u8])]) -> Result<String, Vec<String>> {
        let secrets = secrets
            .iter()
            .map(|(id, value)| Envelope::new(id.parse().unwrap(), value.to_vec()));
        let text = write(format, &secrets.collect::<Vec<_>>(), 1)?;
        Ok(String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn each_variable_has_its_id_in_a_comment() {
        let secrets: [(&str, &[u8]); 2] = [("shop/a-b", b"x y"), ("shop/c", b"it's")];
        assert_eq!(
            text(Format::Dotenv, &secrets).unwrap(),
            "# se://shop/a-b\nA_B='x y'\n# se://shop/c\nC=\"it's\"\n"
        );
        assert_eq!(
            text(Format::Shell, &secrets).unwrap(),
            "# se://shop/a-b\nexport A_B='x y'\n# se://shop/c\nexport C='it'\\''s'\n"
        );
    }

    #[test]
    fn json_holds_every_value() {
        let json = text(Format::Json, &[("a", b"x"), ("b", b"\xff\0")]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["secrets"][0]["value"], "x");
        assert_eq!(json["secrets"][1]["encoding"], "base64");
        assert_eq!(text(Format::Json, &[]).unwrap(), "{\"secrets\":[]}\n");
    }

    #[test]
    fn what_cannot_be_written_is_named_by_id() {
        let errors = text(
            Format::Dotenv,
            &[
                ("x/a-b", b"1"),
                ("x/a.b", b"2"),
                ("x/c", b"not-a-real-token\0"),
            ],
        )
        .unwrap_err();
        assert_eq!(
            errors,
            [
                "x/a-b and x/a.b would have one variable, A_B",
                "x/c holds a zero byte"
            ]
        );
    }
}
