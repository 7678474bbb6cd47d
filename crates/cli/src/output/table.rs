//! Tables of text.

use std::fmt;

use keyway_local::escape_untrusted;

/// Rows under a heading, in columns as wide as their longest cell. A table without rows is empty, without a heading.
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
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.len() < 2 {
            return Ok(());
        }
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..n_columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                // The width of a format string is limited to 65,535, and an id may be longer.
                let padding = width - cell.chars().count() + 2;
                line.extend(std::iter::repeat_n(' ', padding));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
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
        let text = table.to_string();
        assert!(text.contains(&format!("{id}  file\n")));
        assert!(text.lines().all(|line| line.len() > 70_000));
    }

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let mut table = Table::new(["ID", "PROVIDER"]);
        assert_eq!(table.to_string(), "");
        table.push(["a/long/id", ""]);
        table.push(["b", "x\x1b[2J\x07"]);
        assert_eq!(
            table.to_string(),
            "ID         PROVIDER\na/long/id  -\nb          x\\u{7}\n"
        );
    }
}
