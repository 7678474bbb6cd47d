//! The table of `docs/book/src/reference/env-files.md`: the value of each row is what the program sets.

use keyway_test_support::{feed, text};

use crate::run::run;
use crate::support::Home;

const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/book/src/reference/env-files.md"
);

/// The text of a span of code at the start, and what follows it.
fn span(cell: &str) -> Option<(&str, &str)> {
    match cell.strip_prefix("``") {
        Some(rest) => {
            let (code, rest) = rest.split_once("``")?;
            Some((code.trim(), rest))
        }
        None => cell.strip_prefix('`')?.split_once('`'),
    }
}

#[test]
fn every_row_of_the_table_is_what_a_command_gets() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let mut n_rows = 0;
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        let (line, _) = span(cells.next().unwrap()).unwrap();
        let ours = cells.next().unwrap();
        let home = Home::new();
        home.write("a.env", format!("{}\n", line.replace('\u{21b5}', "\n")));
        let mut command = run(&home, &["--env-file", "a.env"], "printf %s \"$A\"");
        let output = feed(command.env("HOST", "db"), b"");
        n_rows += 1;
        if ours == "error" {
            assert_eq!(output.status.code(), Some(2), "{row}");
            continue;
        }
        let (value, rest) = span(ours).unwrap_or_else(|| panic!("{row}"));
        assert_eq!(
            text(&output.stdout),
            value.replace('\u{21b5}', "\n"),
            "{row}"
        );
        let is_noted = text(&output.stderr).contains("A (a.env:1): ");
        assert_eq!(
            (is_noted, rest),
            (rest == ", noted", if is_noted { ", noted" } else { "" }),
            "{row}"
        );
    }
    assert!(n_rows >= 16, "{n_rows}");
}
