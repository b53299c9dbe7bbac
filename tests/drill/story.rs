//! What happened, line by line with the time of day: shown at once and kept for the end.
//!
//! Told by every part of the drill. Hosts of a lab share this machine's clock, so times compare with their journals.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The story so far.
#[derive(Default)]
pub struct Story {
    lines: Mutex<Vec<String>>,
}

impl Story {
    /// Adds a line.
    pub fn tell(&self, text: &str) {
        let line = format!("{} {text}", time_of_day());
        eprintln!("{line}");
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n") + "\n"
    }
}

/// `07:12:03.4`, UTC.
fn time_of_day() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = now.as_secs();
    let tenths = now.subsec_millis() / 100;
    format!(
        "{:02}:{:02}:{:02}.{tenths}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}
