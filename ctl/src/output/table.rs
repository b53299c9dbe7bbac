//! Tables without borders: columns two spaces apart, one line per row wherever no person's terminal is too narrow.

use std::io::IsTerminal;

use comfy_table::{ContentArrangement, Table, presets};

use crate::output::paint;

/// Widest a table gets on a terminal whose size is not told.
const FALLBACK_WIDTH: u16 = 120;

/// Columns and rows to be.
pub struct Columns {
    table: Table,
    rows: usize,
}

impl Columns {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        match terminal_width() {
            // A script or a file: never wrap, each row is one line.
            None => table.set_content_arrangement(ContentArrangement::Disabled),
            Some(width) => table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width),
        };
        table.set_header(headings.iter().copied());
        Self { table, rows: 0 }
    }

    /// Adds a row; an empty cell becomes `-`, so that columns can be counted by a script.
    pub fn row<I, S>(&mut self, cells: I)
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let cells = cells.into_iter().map(|cell| match paint::clean(cell.as_ref()) {
            empty if empty.is_empty() => "-".to_owned(),
            text => text,
        });
        self.table.add_row(cells.collect::<Vec<String>>());
        self.rows += 1;
    }

    /// No row was added.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The finished text, without blanks at line ends.
    pub fn render(mut self) -> String {
        let count = self.table.column_count();
        for (index, column) in self.table.column_iter_mut().enumerate() {
            column.set_padding((0, if index + 1 == count { 0 } else { 2 }));
        }
        let text = self.table.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n") + "\n"
    }
}

/// Columns of the terminal on stdout; none when stdout is no terminal.
pub fn terminal_width() -> Option<u16> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let told = rustix::termios::tcgetwinsize(&out)
        .ok()
        .map(|size| size.ws_col)
        .filter(|width| *width >= 40);
    Some(told.unwrap_or(FALLBACK_WIDTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Columns::new(&["NODE", "STATE"]);
        assert!(table.is_empty());
        table.row(["node1", "ONLINE"]);
        table.row(["n2", ""]);
        assert_eq!(table.render(), "NODE   STATE\nnode1  ONLINE\nn2     -\n");
    }
}
