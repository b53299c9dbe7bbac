//! The agent's side of the stream: dials the coordinators, keeps one stream open, comes back after every loss.
//!
//! Started by `agent.rs`. It decides nothing: orders go to the runner, questions to the observer. Losing the stream stops no step:
//! what it ends with is sent by the next stream.

mod book;
mod cancel;
mod confirm;
mod contact;
mod dial;
mod link;
mod order;
mod runner;
mod stream;
mod tell;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use clusterctl_proto::failure::Failure;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use contact::Contact;
pub use dial::{Coordinators, Dial, Said};
pub use link::{Link, keep_certificate};
pub use runner::{Runner, Tools};

use crate::observe::Observer;

/// A stream that lived this long ends a row of failures.
const HEALTHY: Duration = Duration::from_secs(5);
/// The same failure is told again only after this time.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Messages that wait for the network.
const OUTBOX: usize = 64;

/// How the state of a connection that stands begins.
pub const CONNECTED: &str = "connected to coordinator";

/// Everything that a session works with.
pub struct Session {
    /// `ip:port` of the coordinators.
    pub endpoints: Vec<String>,
    /// Random id of this process, for the first message of each stream.
    pub instance: String,
    /// The way to them.
    pub dial: Arc<dyn Dial>,
    /// Of the random part of delays between dials; none: another one in each process.
    pub jitter: Option<u64>,
    /// Steps.
    pub runner: Arc<Runner>,
    /// Questions.
    pub observer: Arc<Observer>,
    /// Whether there is a coordinator, for who may act without one.
    pub contact: Arc<Contact>,
    /// Told whenever the state of the connection changes, in one line.
    pub state: Box<dyn Fn(&str) + Send + Sync>,
}

impl Session {
    /// Runs for ever.
    pub async fn run(mut self) {
        let mut delays = delays(self.jitter);
        let mut told: Option<(String, Instant)> = None;
        loop {
            let started = Instant::now();
            let result = self.once().await;
            self.runner.detach();
            self.contact.lost();
            self.dial.hung_up();
            if started.elapsed() >= HEALTHY {
                delays = self::delays(self.jitter);
            }
            let why = match &result {
                Ok(()) => "the coordinator ended the stream".to_owned(),
                Err(failure) => failure.to_string(),
            };
            let again = told
                .as_ref()
                .is_none_or(|(last, at)| *last != why || at.elapsed() >= TELL_AGAIN);
            if again {
                let (facts, hint) = match &result {
                    Ok(()) => (Vec::new(), None),
                    Err(failure) => (failure.facts.clone(), failure.hint.clone()),
                };
                tracing::warn!(?facts, hint, "not connected to a coordinator: {why}");
                (self.state)(&format!("not connected: {why}"));
                told = Some((why, Instant::now()));
            }
            // the next attempt begins with another coordinator: this one may not be the leader
            if !self.endpoints.is_empty() {
                self.endpoints.rotate_left(1);
            }
            tokio::time::sleep(delays.next().unwrap_or(Duration::from_secs(2))).await;
        }
    }

    async fn once(&self) -> Result<(), Failure> {
        let (outbox, says) = mpsc::channel(OUTBOX);
        stream::introduce(&outbox, &self.observer, &self.instance);
        let said = self.dial.dial(&self.endpoints, says).await?;
        let parts = (&self.runner, &self.observer, &*self.contact);
        stream::converse((said, outbox), parts, |coordinator| {
            self.contact.found();
            (self.state)(&format!("{CONNECTED} {coordinator}"));
        })
        .await
    }
}

/// 0.2, 0.4 … 2 s (a recovery from an outage waits for the last agent), each with a random part, so that many agents do not come back in step.
fn delays(jitter: Option<u64>) -> impl Iterator<Item = Duration> {
    let builder = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times();
    match jitter {
        Some(seed) => builder.with_jitter_seed(seed),
        None => builder,
    }
    .build()
}
