//! References to secrets in text: where each begins and ends, and what only looks like one.
//!
//! A *plain* reference is `se://` and the longest run of characters behind it that an id or a pattern can have:
//! `A-Z a-z 0-9 . _ : - / *`. A *delimited* one, `{{se://ID}}`, ends where its braces do, so that any text can follow. A letter
//! or a digit before `se://` belongs to the name of another scheme, as in `database://`. `{{se://}}` is the text `se://` itself.
//! Nothing is decoded or encoded.

pub(crate) mod lookalike;
pub(crate) mod resolve;

use std::fmt;
use std::ops::Range;

use keyway_secrets::{ParsePatternError, Pattern};

use crate::names::SCHEME;

/// A reference: the id of a secret, or a pattern that one secret must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) pattern: Pattern,
    /// Whether text behind it may have been taken for a part of it: it is plain, is not the whole text, and has a `:` or `.`.
    pub(crate) is_open_ended: bool,
}

/// What [`scan`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Secret(Reference),
    /// The text `se://` itself.
    Scheme,
}

/// A place in a text: a reference, an invalid one, or an escaped scheme.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) range: Range<usize>,
    pub(crate) target: Result<Target, InvalidReference>,
}

/// Error of a reference. It holds at most one character of the text, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InvalidReference {
    /// No id follows the scheme.
    Empty,
    /// `}}` does not follow the id.
    Unclosed,
    /// A single brace precedes the scheme, as in `${se://ID}`.
    SingleBrace,
    /// The id or pattern is invalid.
    Invalid(ParsePatternError),
}

impl fmt::Display for InvalidReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no id follows se://"),
            Self::Unclosed => f.write_str("}} does not follow the id after {{se://"),
            Self::SingleBrace => {
                f.write_str("${ is before se://, where only {{ delimits a reference")
            }
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

/// Returns every reference of a text, from left to right, without overlaps.
pub(crate) fn scan(text: &[u8]) -> impl Iterator<Item = Found> {
    let mut position = 0;
    std::iter::from_fn(move || {
        loop {
            let start = position + find(&text[position..], SCHEME.as_bytes())?;
            let id_start = start + SCHEME.len();
            let before = &text[position..start];
            let found = match before.trim_ascii_end().strip_suffix(b"{{") {
                Some(outer) => delimited(text, position + outer.len(), id_start),
                None if before.last().is_some_and(u8::is_ascii_alphanumeric) => {
                    position = id_start;
                    continue;
                }
                None => plain(text, start, id_start, before.ends_with(b"${")),
            };
            position = found.range.end;
            return Some(found);
        }
    })
}

fn delimited(text: &[u8], start: usize, id_start: usize) -> Found {
    let run = run(&text[id_start..]);
    let id_end = id_start + run.len();
    let rest = text[id_end..].trim_ascii_start();
    let Some(rest) = rest.strip_prefix(b"}}") else {
        return Found {
            range: start..id_end,
            target: Err(InvalidReference::Unclosed),
        };
    };
    let target = match run {
        "" => Ok(Target::Scheme),
        run => secret(run, false),
    };
    Found {
        range: start..text.len() - rest.len(),
        target,
    }
}

fn plain(text: &[u8], start: usize, id_start: usize, is_in_brace: bool) -> Found {
    let run = run(&text[id_start..]);
    let range = start..id_start + run.len();
    let target = match run {
        _ if is_in_brace => Err(InvalidReference::SingleBrace),
        "" => Err(InvalidReference::Empty),
        run => secret(run, range != (0..text.len()) && run.contains([':', '.'])),
    };
    Found { range, target }
}

fn secret(run: &str, is_open_ended: bool) -> Result<Target, InvalidReference> {
    let pattern = run.parse().map_err(InvalidReference::Invalid)?;
    Ok(Target::Secret(Reference {
        pattern,
        is_open_ended,
    }))
}

/// Returns the longest prefix of characters that an id or a pattern can have.
fn run(text: &[u8]) -> &str {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:-/*".contains(byte);
    let len = text.iter().take_while(|byte| is_part(byte)).count();
    str::from_utf8(&text[..len]).expect("the characters are ASCII")
}

/// Returns the index of the first occurrence.
fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Characters around a reference that were copied with it.
const QUOTES: [char; 13] = [
    '"', '\'', '`', '\u{ab}', '\u{bb}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{201c}', '\u{201d}',
    '\u{201e}', '\u{2039}', '\u{203a}',
];

/// Returns the plain reference in a text that has nothing but quotation marks and white space around it, if it has those.
pub(crate) fn quoted(text: &[u8]) -> Option<&str> {
    let text = str::from_utf8(text).ok()?;
    let inner = text.trim_matches(|c: char| c.is_whitespace() || QUOTES.contains(&c));
    let id = inner.strip_prefix(SCHEME)?;
    (inner.len() < text.len() && run(id.as_bytes()) == id).then_some(inner)
}

/// Escapes text without references, so that [`scan`] finds none in it.
pub(crate) fn escape(text: &[u8], escaped: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = find(rest, SCHEME.as_bytes()) {
        escaped.extend_from_slice(&rest[..at]);
        escaped.extend_from_slice(b"{{se://}}");
        rest = &rest[at + SCHEME.len()..];
    }
    escaped.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Replaces each reference by its pattern in angle brackets, and an invalid one by `!`.
    fn marked(text: &[u8]) -> String {
        let mut marked = Vec::new();
        let mut end = 0;
        for found in scan(text) {
            marked.extend_from_slice(&text[end..found.range.start]);
            end = found.range.end;
            match found.target {
                Ok(Target::Secret(reference)) => {
                    marked.extend(format!("<{}>", reference.pattern).bytes())
                }
                Ok(Target::Scheme) => marked.extend(b"<scheme>"),
                Err(_) => marked.push(b'!'),
            }
        }
        marked.extend_from_slice(&text[end..]);
        String::from_utf8(marked).unwrap()
    }

    #[test]
    fn a_plain_reference_ends_before_the_first_character_that_an_id_cannot_have() {
        for (text, expected) in [
            ("", ""),
            ("se://web/token", "<web/token>"),
            (
                "postgres://shop:se://shop/pw@localhost:5432/shop",
                "postgres://shop:<shop/pw>@localhost:5432/shop",
            ),
            ("Bearer se://web/token\r\n", "Bearer <web/token>\r\n"),
            (
                r#"{"a":"se://a/b","c":'se://c'}"#,
                r#"{"a":"<a/b>","c":'<c>'}"#,
            ),
            (
                "se://a,se://b;se://c?x=se://d&y=se://e%20",
                "<a>,<b>;<c>?x=<d>&y=<e>%20",
            ),
            ("se://a/b:5432/x", "<a/b:5432/x>"),
            ("se://web/* se://**", "<web/*> <**>"),
            ("\u{e9}se://a\u{e9}", "\u{e9}<a>\u{e9}"),
            ("-se://a", "-<a>"),
        ] {
            assert_eq!(marked(text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_delimited_reference_ends_with_its_braces() {
        for (text, expected) in [
            ("{{se://host}}:5432", "<host>:5432"),
            ("x{{ se://web/token\t}}y", "x<web/token>y"),
            ("{{{se://a}}}", "{<a>}"),
            (
                "{{ .Values.x }} {{se://a}}{{se://b}}",
                "{{ .Values.x }} <a><b>",
            ),
            ("write {{se://}}ID", "write <scheme>ID"),
            ("${{se://a}}", "$<a>"),
            ("{{ clickhouse://a }}", "{{ clickhouse://a }}"),
        ] {
            assert_eq!(marked(text.as_bytes()), expected);
        }
    }

    #[test]
    fn an_invalid_reference_is_an_error_and_never_text() {
        let error = |text: &str| {
            let mut errors = scan(text.as_bytes()).filter_map(|found| found.target.err());
            errors.next().map(|error| error.to_string())
        };
        for (text, expected) in [
            ("se://", "no id follows se://"),
            ("xx se:// yy", "no id follows se://"),
            ("{{se://a}", "}} does not follow the id after {{se://"),
            ("{{se://a b}}", "}} does not follow the id after {{se://"),
            (
                "${se://a}",
                "${ is before se://, where only {{ delimits a reference",
            ),
            (
                "se://u:se://p@h",
                "component 2 is empty: a pattern has no leading, trailing or double '/'",
            ),
            (
                "se://a/",
                "component 2 is empty: a pattern has no leading, trailing or double '/'",
            ),
            (
                "**se://a**",
                "component 1 mixes '*' with other characters: a wildcard is a whole component, * or **",
            ),
        ] {
            assert_eq!(error(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn another_scheme_that_ends_alike_is_text() {
        for text in ["database://host/x", "clickhouse://h:9000/db", "9se://a"] {
            assert_eq!(marked(text.as_bytes()), text);
        }
    }

    #[test]
    fn quotation_marks_and_blanks_around_a_reference_are_recognised() {
        for text in [
            "\"se://a/b\"",
            "'se://a/b'",
            " se://a/b",
            "se://a/b\n",
            "\u{201c}se://a/b\u{201d}",
            "\"'`se://a/b`'\"",
            "\u{a0}se://a/b",
        ] {
            assert_eq!(quoted(text.as_bytes()), Some("se://a/b"), "{text}");
        }
        for text in [
            "se://a/b",
            "\"x se://a/b\"",
            "'{{se://a}}'",
            "\"a\"",
            "'se://a' 'b'",
        ] {
            assert_eq!(quoted(text.as_bytes()), None, "{text}");
        }
        assert_eq!(quoted(b"\"se://a\xff\""), None);
    }

    #[test]
    fn only_a_plain_reference_beside_text_may_end_earlier() {
        for (text, expected) in [
            ("se://a:1", false),
            ("{{se://a:1}}x", false),
            ("xx se://a", false),
            ("xx se://a:1", true),
            ("se://a. x", true),
        ] {
            let Some(Ok(Target::Secret(reference))) =
                scan(text.as_bytes()).next().map(|found| found.target)
            else {
                panic!("{text}");
            };
            assert_eq!(reference.is_open_ended, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn ranges_are_in_order_and_cover_every_scheme_but_that_of_another(
            text in "(se://|\\{\\{|\\}\\}|[a-z/:* ${}\u{e9}]){0,12}"
        ) {
            let mut end = 0;
            let mut uncovered = Vec::new();
            for found in scan(text.as_bytes()) {
                prop_assert!(end <= found.range.start && found.range.start < found.range.end);
                uncovered.push(&text[end..found.range.start]);
                end = found.range.end;
            }
            uncovered.push(&text[end..]);
            for part in uncovered {
                for (at, _) in part.match_indices(SCHEME) {
                    let before = part[..at].bytes().last();
                    prop_assert!(before.is_some_and(|byte| byte.is_ascii_alphanumeric()), "{text}");
                }
            }
        }

        #[test]
        fn scan_accepts_any_bytes_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = scan(&text).count();
            let _ = quoted(&text);
        }

        #[test]
        fn escaped_text_is_restored(text in "(se://|\\{\\{|\\}\\}|[a-z ]){0,10}") {
            let mut escaped = Vec::new();
            escape(text.as_bytes(), &mut escaped);
            let restored = marked(&escaped).replace("<scheme>", SCHEME);
            prop_assert_eq!(restored, text);
        }
    }
}
