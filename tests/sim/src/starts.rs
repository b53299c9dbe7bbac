//! Who started Group Replication where, and when: what came of it is his.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Who.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// An agent, by an order or by itself.
    Agent,
    /// A person.
    Person,
}

/// The last start on each host.
#[derive(Default)]
pub struct Starts(Mutex<BTreeMap<String, (Who, Instant)>>);

impl Starts {
    /// The agent of this host sends START.
    pub fn by_agent(&self, host: &str) {
        self.lock().insert(host.to_owned(), (Who::Agent, Instant::now()));
    }

    /// A person types START on this host.
    pub fn by_person(&self, host: &str) {
        self.lock().insert(host.to_owned(), (Who::Person, Instant::now()));
    }

    /// Who started it there last, and how long ago.
    pub fn last(&self, host: &str) -> Option<(Who, Duration)> {
        self.lock().get(host).map(|(who, at)| (*who, at.elapsed()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Who, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
