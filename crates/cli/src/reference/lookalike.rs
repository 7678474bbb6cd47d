//! Text that looks like a reference and is not one: a scheme in upper case, and the references of other programs.

use std::fmt;

use crate::names::SCHEME;

/// The schemes of other programs' references.
const FOREIGN: [&str; 16] = [
    "akv://",
    "aws-sm://",
    "awssm://",
    "azurekv://",
    "bw://",
    "bws://",
    "doppler://",
    "gcp-sm://",
    "gcpsm://",
    "infisical://",
    "keeper://",
    "keychain://",
    "keyring://",
    "op://",
    "pass://",
    "vault://",
];

/// Prefixes of other programs' references at the start of a value.
const FOREIGN_PREFIXES: [&str; 3] = ["bws:", "ref+", "secretref:"];

/// Misspelt forms of [`SCHEME`].
const MISSPELT: [&str; 2] = ["se%3a//", "se%3a%2f%2f"];

/// What a text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookalike {
    /// A reference whose scheme is misspelt.
    Misspelt,
    /// A reference of another program.
    Foreign(&'static str),
}

impl fmt::Display for Lookalike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misspelt => f.write_str(
                "this looks like a reference, but the scheme of references is `se://`; it is passed as it is",
            ),
            Self::Foreign(scheme) => write!(
                f,
                "`{scheme}` looks like a reference of another program; it is passed as it is"
            ),
        }
    }
}

/// Returns the first lookalike of a text.
pub(crate) fn find(text: &[u8]) -> Option<Lookalike> {
    let is_start = |at: usize| at == 0 || !text[at - 1].is_ascii_alphanumeric();
    let anywhere = || {
        let mut starts = (0..text.len()).filter(|at| is_start(*at));
        starts.find_map(|at| at_start(&text[at..]))
    };
    prefix(text).or_else(anywhere)
}

fn at_start(text: &[u8]) -> Option<Lookalike> {
    let is_misspelt = has_prefix(text, SCHEME) && !text.starts_with(SCHEME.as_bytes());
    if is_misspelt || MISSPELT.iter().any(|form| has_prefix(text, form)) {
        return Some(Lookalike::Misspelt);
    }
    let scheme = FOREIGN.iter().find(|scheme| has_prefix(text, scheme))?;
    Some(Lookalike::Foreign(scheme))
}

/// Returns the lookalike at the start of a value, behind quotation marks and blanks.
fn prefix(text: &[u8]) -> Option<Lookalike> {
    let is_skipped = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`".contains(byte);
    let offset = text.iter().take_while(|byte| is_skipped(byte)).count();
    let text = &text[offset..];
    // `se:/ID`, but not the scheme itself.
    if has_prefix(text, "se:/") && !has_prefix(text, SCHEME) {
        return Some(Lookalike::Misspelt);
    }
    let prefix = FOREIGN_PREFIXES
        .iter()
        .find(|prefix| has_prefix(text, prefix))?;
    Some(Lookalike::Foreign(prefix))
}

/// Compares without regard to ASCII case.
fn has_prefix(text: &[u8], prefix: &str) -> bool {
    let start = text.get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookalikes_are_found() {
        for (text, expected) in [
            ("SE://web/token", Some(Lookalike::Misspelt)),
            ("\"Se://a", Some(Lookalike::Misspelt)),
            ("se:/web/token", Some(Lookalike::Misspelt)),
            ("se%3A%2F%2Fweb", Some(Lookalike::Misspelt)),
            ("op://vault/item/field", Some(Lookalike::Foreign("op://"))),
            ("{{ OP://v/i }}", Some(Lookalike::Foreign("op://"))),
            (
                "postgres://u:vault://kv/pw@h",
                Some(Lookalike::Foreign("vault://")),
            ),
            ("bws:1234", Some(Lookalike::Foreign("bws:"))),
            ("'ref+vault://x", Some(Lookalike::Foreign("ref+"))),
            ("se://web/token", None),
            ("https://host/op", None),
            ("loop://x", None),
            ("DATABASE://x", None),
            ("a bws:1", None),
            ("", None),
        ] {
            assert_eq!(find(text.as_bytes()), expected, "{text}");
        }
    }
}
