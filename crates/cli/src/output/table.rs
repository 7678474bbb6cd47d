//! Tables of text.

use std::fmt;
use std::io::stdout;

use keyway_local::escape_untrusted;

use super::width::{columns_of, cut, width};

/// Number of spaces between two columns.
const GAP: usize = 2;

/// Rows under a heading, in columns as wide as their widest cell. A table without rows is empty, without a heading.
///
/// It is displayed at the width of the terminal that stdout is, where long cells end with `...`, and elsewhere whole.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table with these column names.
    pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Self {
        let heading = heading.map(str::to_owned).to_vec();
        Self {
            rows: vec![heading],
        }
    }

    /// Adds a row. An empty cell becomes `-`, and control characters are escaped.
    pub(crate) fn push<const N: usize>(&mut self, cells: [&str; N]) {
        let cells = cells.map(|cell| match cell {
            "" => "-".to_owned(),
            text => escape_untrusted(text),
        });
        self.rows.push(cells.to_vec());
    }

    /// Formats the table for a terminal of this width; whole without one.
    pub(crate) fn text(&self, columns: Option<usize>) -> String {
        if self.rows.len() < 2 {
            return String::new();
        }
        let widths = self.widths(columns);
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, limit) in row.iter().zip(&widths) {
                let cell = cut(cell, *limit);
                line.push_str(&cell);
                // The width of a format string is limited to 65,535, and an id may be longer.
                let padding = limit.saturating_sub(width(&cell)) + GAP;
                line.extend(std::iter::repeat_n(' ', padding));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Returns the width of each column: of its widest cell, or less if the columns together exceed those of the terminal.
    fn widths(&self, columns: Option<usize>) -> Vec<usize> {
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| width(cell)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..n_columns).map(widest).collect();
        let Some(columns) = columns else {
            return widths;
        };
        let limit = limit(&widths, columns.saturating_sub(GAP * (n_columns - 1)));
        widths.iter().map(|width| *width.min(&limit)).collect()
    }
}

/// Returns the largest limit on the width of a column with which the columns together fit into `available`; at least 1.
fn limit(widths: &[usize], available: usize) -> usize {
    let mut ascending = widths.to_vec();
    ascending.sort_unstable();
    let mut rest = available;
    for (index, width) in ascending.iter().enumerate() {
        let share = rest / (ascending.len() - index);
        if *width > share {
            return share.max(1);
        }
        rest -= width;
    }
    usize::MAX
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(columns_of(stdout())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_may_exceed_the_largest_width_of_a_format_string() {
        let mut table = Table::new(["ID", "PROVIDER"]);
        let id = "z".repeat(70_000);
        table.push([&id, "file"]);
        table.push(["a", "env"]);
        let text = table.text(None);
        assert!(text.contains(&format!("{id}  file\n")));
        assert!(text.lines().all(|line| line.len() > 70_000));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["ID", "PROVIDER"]);
        assert_eq!(table.text(None), "");
        table.push(["a/long/id", ""]);
        table.push(["b", "x\x1b[2J\x07"]);
        table.push(["\u{4e2d}\u{6587}", "file"]);
        assert_eq!(
            table.text(None),
            "ID         PROVIDER\na/long/id  -\nb          x\\u{7}\n\u{4e2d}\u{6587}       file\n"
        );
    }

    #[test]
    fn on_a_terminal_the_widest_cells_are_cut() {
        let mut table = Table::new(["ID", "PROVIDER", "MESSAGE"]);
        table.push(["web/token", "file", "the store is locked"]);
        table.push(["web/a-rather-long-name", "file", ""]);
        insta::assert_snapshot!(table.text(Some(40)), @"
        ID              PROVIDER  MESSAGE
        web/token       file      the store i...
        web/a-rathe...  file      -
        ");
        assert_eq!(table.text(Some(200)), table.text(None));
        for columns in 1..60 {
            let text = table.text(Some(columns));
            let widest = text.lines().map(width).max().unwrap();
            assert!(widest <= columns.max(7), "{columns}: {text}");
        }
    }
}
