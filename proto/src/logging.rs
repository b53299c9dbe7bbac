//! Logs: structured fields to the journal, readable text to a terminal.
//!
//! [`init`] is called first thing in each daemon's `main`. Connected to the journal, fields of the event and of the spans
//! around it become journal fields (`journalctl PLAN=7 NODE=node3`); else a line of text on stderr. The filter comes from
//! `CLUSTERCTL_LOG`. Never log a secret: fields are kept.

mod journal;

use std::io::{self, IsTerminal};

use systemd_journal_logger::connected_to_journal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

pub use journal::JournalLayer;

/// The environment variable with a filter, `debug,openraft=warn`.
pub const VARIABLE: &str = "CLUSTERCTL_LOG";

/// What daemons log where nobody says otherwise; openraft alone writes dozens of lines for an election.
pub const DEFAULT_FILTER: &str = "info,openraft=warn";

/// Starts logging; a second call does nothing.
///
/// A filter in the environment that does not parse is told on stderr, and the default is taken: a typing error in a unit
/// file must not stop a daemon.
pub fn init(default_filter: &str) {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).unwrap_or_else(|error| {
            eprintln!("{VARIABLE}={text:?} is not a log filter ({error}), using {default_filter:?}");
            EnvFilter::new(default_filter)
        }),
        _ => EnvFilter::new(default_filter),
    };
    let journal = if connected_to_journal() {
        JournalLayer::new().ok()
    } else {
        None
    };
    let layer = match journal {
        Some(layer) => layer.boxed(),
        None => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
    };
    // Fails only where a subscriber is set already, in tests.
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
}
