//! Tests of the parser: each line is a row of the table in `docs/book/src/reference/env-files.md`.

use proptest::prelude::*;

use super::*;

/// The value in the syntax of its expansions.
fn written(pieces: &[Piece]) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        Piece::Variable {
            name,
            default: None,
        } => format!("<{name}>"),
        Piece::Variable {
            name,
            default: Some(default),
        } => {
            let colon = if default.replaces_empty { ":" } else { "" };
            format!("<{name}{colon}-{}>", written(&default.value))
        }
    };
    pieces.iter().map(piece).collect()
}

fn check(text: &str, expected: &[(usize, &str, &str)]) {
    let entries = parse(text.as_bytes()).unwrap();
    let found: Vec<_> = entries
        .iter()
        .map(|entry| {
            (
                entry.line,
                entry.name.to_str().unwrap(),
                written(&entry.value),
            )
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(line, name, value)| (*line, *name, (*value).to_owned()))
        .collect();
    assert_eq!(found, expected, "{text}");
}

/// Neither the time nor the memory may grow with the square of the length.
#[test]
fn a_large_value_is_parsed_in_linear_time() {
    const LEN: usize = 1 << 20;
    let letters = "a".repeat(LEN);
    check(&format!("A={letters}"), &[(1, "A", letters.as_str())]);
    let expansions = "${B}x".repeat(LEN / 5);
    let expected = "<B>x".repeat(LEN / 5);
    check(&format!("A=\"{expansions}\""), &[(1, "A", &expected)]);
}

#[test]
fn lines_are_variables_comments_or_empty() {
    check("", &[]);
    check("\n  \n# NAME=x\n", &[]);
    check("A=1\nB=2", &[(1, "A", "1"), (2, "B", "2")]);
    check("\u{feff}A=1", &[(1, "A", "1")]);
    check("  export A_1 = x y \t\r\n", &[(1, "A_1", "x y")]);
    check(
        "A=\nB= # none\nC=a#b # c",
        &[(1, "A", ""), (2, "B", ""), (3, "C", "a#b")],
    );
    check("A=b=c==\nA=$HOME", &[(1, "A", "b=c=="), (2, "A", "$HOME")]);
    check("A=se://db/password", &[(1, "A", "se://db/password")]);
    check("A=a\\nb\\\\", &[(1, "A", "a\\nb\\\\")]);
}

#[test]
fn quotes_preserve_spaces_hashes_and_line_breaks() {
    check("A=' x # y '  # z\n", &[(1, "A", " x # y ")]);
    check(r"A='\n'", &[(1, "A", r"\n")]);
    check(r#"A="\n\r\t\"\\\$""#, &[(1, "A", "\n\r\t\"\\$")]);
    check("A='1\n2'\nB=3", &[(1, "A", "1\n2"), (3, "B", "3")]);
    check("A=\"1\n2\"\nB=3", &[(1, "A", "1\n2"), (3, "B", "3")]);
    check(r#"A=a"b"#, &[(1, "A", r#"a"b"#)]);
    check("A=''\nB=\"\"", &[(1, "A", ""), (2, "B", "")]);
}

#[test]
fn names_in_braces_are_expanded_outside_of_single_quotes() {
    for (text, expected) in [
        ("A=http://${HOST}:${PORT}/x", "http://<HOST>:<PORT>/x"),
        ("A=\"${HOST}\\n${_X1}\"", "<HOST>\n<_X1>"),
        ("A='${HOST}'", "${HOST}"),
        ("A=${PORT:-80}", "<PORT:-80>"),
        ("A=${PORT-}x", "<PORT->x"),
        ("A=${A:-${B:-c d}}e", "<A:-<B:-c d>>e"),
        ("A=\"${A:-\\\"x\\\"}\"", "<A:-\"x\">"),
        ("A=\\${HOST}", "${HOST}"),
        ("A=\"\\${HOST}\"", "${HOST}"),
        ("A=x\\$y", "x\\$y"),
        ("A=a} b", "a} b"),
    ] {
        check(text, &[(1, "A", expected)]);
    }
}

#[test]
fn what_other_programs_interpret_is_literal_and_noted() {
    let oddities = |text: &str| {
        let entry = parse(text.as_bytes()).unwrap().remove(0);
        let name = format!("A={}", written(&entry.value));
        assert_eq!(name.trim_matches('"'), text.replace('"', ""));
        entry.oddities
    };
    assert_eq!(oddities("A=$(date)x"), [Oddity::Command]);
    assert_eq!(
        oddities("A=\"$(a) `b` `c`\""),
        [Oddity::Command, Oddity::Backtick]
    );
    for text in [
        "A=${A:?unset}",
        "A=${A:+x}",
        "A=${#A}",
        "A=${A%x}",
        "A=${1}",
        "A=${",
        "A=${A",
    ] {
        assert_eq!(oddities(text), [Oddity::Expansion], "{text}");
    }
    assert_eq!(
        oddities("A=$PATH:x$1$"),
        [Oddity::Dollar("PATH".to_owned())]
    );
    assert_eq!(oddities("A=1; export B=2"), [Oddity::SecondAssignment]);
    assert_eq!(oddities("A=a=1; b=2; export"), []);
    assert_eq!(parse(b"A='$(a) `b` ${#c}'").unwrap()[0].oddities, []);
    let default = parse(b"A=${B:-$(c)}").unwrap().remove(0);
    assert_eq!(default.oddities, [Oddity::Command]);
}

#[test]
fn a_span_covers_the_value_with_its_quotes() {
    let text = "\u{feff}A= x y \t# c\r\nexport B='1\n2' # c\nC=\"\\n\"\nD=\nE=# c\nF=a#${b}";
    let entries = parse(text.as_bytes()).unwrap();
    let spans: Vec<_> = entries.iter().map(|e| &text[e.span.clone()]).collect();
    assert_eq!(spans, ["x y", "'1\n2'", "\"\\n\"", "", "", "a#${b}"]);
    let quotes: Vec<_> = entries.iter().map(|entry| entry.quote).collect();
    let (single, double) = (Some(Quote::Single), Some(Quote::Double));
    assert_eq!(quotes, [None, single, double, None, None, None]);
}

#[test]
fn errors_have_the_line_without_its_text() {
    let error = |text: &str| {
        let error = parse(text.as_bytes()).unwrap_err();
        (error.line, error.kind)
    };
    assert_eq!(error("A=1\nhunter2"), (2, ParseErrorKind::NotAnAssignment));
    assert_eq!(error("=x"), (1, ParseErrorKind::InvalidName));
    assert_eq!(error("1A=x"), (1, ParseErrorKind::InvalidName));
    assert_eq!(error("A B=x"), (1, ParseErrorKind::InvalidName));
    assert_eq!(error("A=1\nB='\n\n"), (2, ParseErrorKind::UnclosedQuote));
    assert_eq!(error("A=1\nB=\"\n\\\""), (2, ParseErrorKind::UnclosedQuote));
    assert_eq!(error("A='x'y"), (1, ParseErrorKind::TextAfterQuote));
    assert_eq!(error("A=\"x\n\"y"), (2, ParseErrorKind::TextAfterQuote));
    assert_eq!(error("A=\"\n\\x\""), (2, ParseErrorKind::InvalidEscape));
    assert_eq!(
        error("A=1\nB=${C:-x\n"),
        (2, ParseErrorKind::UnclosedExpansion)
    );
    let deep = format!("A={}{}", "${A:-".repeat(20), "}".repeat(20));
    assert_eq!(error(&deep), (1, ParseErrorKind::TooDeep));
}

#[test]
fn a_zero_byte_is_reported_on_its_line() {
    for (text, line) in [
        (&b"A=\0"[..], 1),
        (b"A=1\nD=x\0y\nB=2", 2),
        (b"A='1\n2\0'", 2),
        (b"A=\"1\n\n\0\"", 3),
        (b"A=${B:-\0}", 1),
    ] {
        let expected = ParseError {
            line,
            kind: ParseErrorKind::ZeroByte,
        };
        assert_eq!(parse(text).unwrap_err(), expected, "{text:?}");
    }
}

#[test]
fn debug_shows_no_value() {
    let entries = parse(b"A=not-a-real-token${B:-real}\n").unwrap();
    let text = format!("{entries:?}");
    assert!(text.contains("Text(16 bytes)"), "{text}");
    assert!(!text.contains("real"), "{text}");
}

#[test]
fn values_are_bytes() {
    let entries = parse(b"A=\xff\xfe\n").unwrap();
    assert!(matches!(&entries[0].value[..], [Piece::Text(text)] if **text == b"\xff\xfe"));
}

proptest! {
    #[test]
    fn parse_accepts_any_bytes_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..64)) {
        let n_lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
        match parse(&text) {
            Ok(entries) => prop_assert!(entries.iter().all(|entry| entry.line <= n_lines)),
            Err(error) => prop_assert!(error.line <= n_lines + 1),
        }
    }

    #[test]
    fn parse_accepts_any_syntax_without_a_panic(
        text in "(A=|[\"'$`#\n\\\\{}:-]|\\$\\{|\\}|\\$\\(|B| |se://){0,24}"
    ) {
        let _ = parse(text.as_bytes());
    }

    #[test]
    fn single_quotes_preserve_every_character(value in "[^'\0]{0,40}") {
        let text = format!("A=1\nNAME='{value}'\nB=2\n");
        let entries = parse(text.as_bytes()).unwrap();
        prop_assert_eq!(entries.len(), 3);
        prop_assert_eq!(written(&entries[1].value), value);
    }
}
