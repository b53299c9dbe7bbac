//! A tracing layer onto systemd's journal that keeps structured fields.
//!
//! The usual bridge from tracing to `log` turns fields into text. Here the fields of a span are kept with the span, those
//! of the event are added, and all go to the journal as fields of their own, beside the message.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use log::kv::{self, Key, Source, Value, VisitSource};
use systemd_journal_logger::{JournalLog, current_exe_identifier};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Sends each event to the journal.
pub struct JournalLayer {
    journal: JournalLog,
    lost: AtomicBool,
}

impl JournalLayer {
    /// Connects to the journal's socket. `SYSLOG_IDENTIFIER` is the program's file name.
    pub fn new() -> io::Result<Self> {
        let name = current_exe_identifier().unwrap_or_else(|| "clusterctl".to_owned());
        let journal = JournalLog::empty()?.with_syslog_identifier(name);
        Ok(Self {
            journal,
            lost: AtomicBool::new(false),
        })
    }
}

/// Fields by name, in order; a later one of the same name takes the place of the earlier.
#[derive(Default, Clone, Debug, PartialEq)]
pub(super) struct Fields {
    pairs: Vec<(String, String)>,
    message: String,
}

impl Fields {
    fn set(&mut self, name: &str, value: String) {
        if name == "message" {
            self.message = value;
            return;
        }
        let name = journal_name(name);
        match self.pairs.iter_mut().find(|(known, _)| *known == name) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((name, value)),
        }
    }

    fn add(&mut self, other: &Self) {
        for (name, value) in &other.pairs {
            self.set(name, value.clone());
        }
    }
}

/// journald has its own meaning for some names, and the logger crate writes some itself.
fn journal_name(name: &str) -> String {
    const TAKEN: [&str; 5] = ["message", "priority", "unit", "target", "errno"];
    let low = name.to_ascii_lowercase();
    if TAKEN.contains(&low.as_str()) || low.starts_with("code_") || low.starts_with("syslog_") {
        format!("field_{low}")
    } else {
        name.to_owned()
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let causes = std::iter::successors(value.source(), |cause| (*cause).source());
        for cause in causes.take(8) {
            let _ = write!(text, ": {cause}");
        }
        self.set(field.name(), text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }
}

impl Source for Fields {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        for (name, value) in &self.pairs {
            visitor.visit_pair(Key::from_str(name), Value::from(value.as_str()))?;
        }
        Ok(())
    }
}

/// The event's own fields over those of the spans around it, from the root.
pub(super) fn gather<S>(event: &Event<'_>, context: &Context<'_, S>) -> Fields
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    let mut fields = Fields::default();
    for span in context
        .event_scope(event)
        .into_iter()
        .flat_map(|scope| scope.from_root())
    {
        if let Some(of_span) = span.extensions().get::<Fields>() {
            fields.add(of_span);
        }
    }
    event.record(&mut fields);
    fields
}

/// Keeps a new span's fields with the span.
pub(super) fn keep<S>(attributes: &Attributes<'_>, id: &Id, context: &Context<'_, S>)
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    if let Some(span) = context.span(id) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().replace(fields);
    }
}

impl<S> Layer<S> for JournalLayer
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        keep(attributes, id, &context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let fields = gather(event, &context);
        let metadata = event.metadata();
        let sent = self.journal.journal_send(
            &log::Record::builder()
                .level(level(metadata.level()))
                .target(metadata.target())
                .module_path(metadata.module_path())
                .file(metadata.file())
                .line(metadata.line())
                .key_values(&fields)
                .args(format_args!("{}", fields.message))
                .build(),
        );
        // Losing the journal must not stop the program; say it once, where systemd may still catch it.
        if let Err(error) = sent
            && !self.lost.swap(true, Ordering::Relaxed)
        {
            eprintln!("cannot write to the journal: {error}");
        }
    }
}

fn level(level: &Level) -> log::Level {
    match *level {
        Level::ERROR => log::Level::Error,
        Level::WARN => log::Level::Warn,
        Level::INFO => log::Level::Info,
        Level::DEBUG => log::Level::Debug,
        Level::TRACE => log::Level::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;

    /// Gathers as the real layer does, and keeps instead of sending.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Fields>>>);

    impl<S: Subscriber + for<'lookup> LookupSpan<'lookup>> Layer<S> for Kept {
        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            keep(attributes, id, &context);
        }
        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            if let Ok(mut kept) = self.0.lock() {
                kept.push(gather(event, &context));
            }
        }
    }

    #[test]
    fn fields_of_spans_and_event_come_together() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::registry().with(kept.clone());
        tracing::subscriber::with_default(subscriber, || {
            let _plan = tracing::info_span!("plan", plan = 7, node = "node1", cluster = %"prod").entered();
            let _step = tracing::info_span!("step", node = "node3", unit = "mysql.service").entered();
            tracing::info!(attempt = 2, seen = ?Some(1), "clone\nfinished");
        });
        let kept = kept.0.lock().map(|kept| kept.clone()).unwrap_or_default();
        let pairs: Vec<(&str, &str)> = kept[0]
            .pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("plan", "7"),
                ("node", "node3"),
                ("cluster", "prod"),
                ("field_unit", "mysql.service"),
                ("attempt", "2"),
                ("seen", "Some(1)"),
            ]
        );
        assert_eq!(kept[0].message, "clone\nfinished");
    }

    #[test]
    fn names_that_journald_owns_are_moved() {
        for name in ["priority", "MESSAGE", "code_file", "syslog_identifier", "target"] {
            assert!(journal_name(name).starts_with("field_"), "{name}");
        }
        assert_eq!(journal_name("plan"), "plan");
    }
}
