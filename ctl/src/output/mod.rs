//! What reaches stdout and stderr, and in which form.
//!
//! stdout carries data only; everything else goes to stderr. A reader that goes away (`| head`) ends the program quietly.

pub mod errors;
mod habits;
pub mod json;
pub mod paint;
pub mod table;
pub mod wrap;

use std::io::{ErrorKind, Write};

/// Writes a text, with a line end if it has none, to stdout.
pub fn data(text: &str) {
    write_or_leave(&mut std::io::stdout().lock(), text);
}

/// Writes a line to stderr; what cannot be written there cannot be told anybody.
pub fn note(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "{}", text.trim_end_matches('\n'));
}

fn write_or_leave(out: &mut impl Write, text: &str) {
    let line_end = if text.ends_with('\n') || text.is_empty() {
        ""
    } else {
        "\n"
    };
    let written = write!(out, "{text}{line_end}").and_then(|()| out.flush());
    if let Err(err) = written {
        if err.kind() == ErrorKind::BrokenPipe {
            // The reader has what it wanted.
            std::process::exit(0);
        }
        note(&format!("error: cannot write to stdout: {err}"));
        std::process::exit(1);
    }
}
