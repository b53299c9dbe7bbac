//! Which steps this process knows: waiting, running, finished. Pure; `runner.rs` does what it says.
//!
//! The leader sends a step again after a restart of either side. The same step that still runs goes on; one that has finished
//! in this process is answered again; any other runs (steps are idempotent). Of one cluster, one step runs at a time.

use std::collections::{BTreeMap, VecDeque};

use clusterctl_proto::ids::{ClusterName, PlanId, StepNumber};

/// Outcomes that are kept for a leader that asks again.
const KEPT: usize = 256;

/// A step of a plan.
pub type Key = (PlanId, StepNumber);

/// What to do with an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// New: run it now.
    Run,
    /// New: another step of this cluster runs, wait.
    Wait,
    /// It waits or runs already.
    Attached,
    /// It has finished: answer again.
    Answer,
}

/// The book. `O` is an order, `R` what came of it.
#[derive(Debug)]
pub struct Book<O, R> {
    running: BTreeMap<ClusterName, Key>,
    waiting: VecDeque<(ClusterName, Key, O)>,
    finished: VecDeque<Finished<R>>,
}

#[derive(Debug)]
struct Finished<R> {
    key: Key,
    result: R,
    sent: bool,
}

impl<O, R: Clone> Book<O, R> {
    /// Nothing known.
    pub fn new() -> Self {
        Self {
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            finished: VecDeque::new(),
        }
    }

    /// An order came. On [`Verdict::Run`] it is given back and counts as running.
    pub fn receive(&mut self, cluster: &ClusterName, key: Key, order: O) -> (Verdict, Option<O>) {
        if self.running.values().any(|running| *running == key)
            || self.waiting.iter().any(|(_, waiting, _)| *waiting == key)
        {
            return (Verdict::Attached, None);
        }
        if self.finished.iter().any(|finished| finished.key == key) {
            return (Verdict::Answer, None);
        }
        if self.running.contains_key(cluster) {
            self.waiting.push_back((cluster.clone(), key, order));
            return (Verdict::Wait, None);
        }
        self.running.insert(cluster.clone(), key);
        (Verdict::Run, Some(order))
    }

    /// A step ended. Answers the next of its cluster, which counts as running.
    pub fn finish(&mut self, cluster: &ClusterName, key: Key, result: R) -> Option<(Key, O)> {
        self.running.remove(cluster);
        self.record(key, result);
        let next = self.waiting.iter().position(|(waiting, ..)| waiting == cluster)?;
        let (cluster, key, order) = self.waiting.remove(next)?;
        self.running.insert(cluster, key);
        Some((key, order))
    }

    /// A step ended without having run: refused, or taken out of the queue.
    pub fn record(&mut self, key: Key, result: R) {
        self.finished.retain(|finished| finished.key != key);
        self.finished.push_back(Finished {
            key,
            result,
            sent: false,
        });
        while self.finished.len() > KEPT {
            self.finished.pop_front();
        }
    }

    /// Takes a waiting step out of the queue; true if it was there.
    pub fn withdraw(&mut self, key: Key) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(_, waiting, _)| *waiting != key);
        self.waiting.len() != before
    }

    /// The result of a finished step.
    pub fn result(&self, key: Key) -> Option<R> {
        self.finished
            .iter()
            .find(|finished| finished.key == key)
            .map(|finished| finished.result.clone())
    }

    /// What no stream has taken yet, oldest first.
    pub fn unsent(&self) -> Vec<(Key, R)> {
        self.finished
            .iter()
            .filter(|finished| !finished.sent)
            .map(|finished| (finished.key, finished.result.clone()))
            .collect()
    }

    /// Whether a stream has taken this result, the last time that it was to be sent.
    pub fn sent(&mut self, key: Key, taken: bool) {
        for finished in &mut self.finished {
            if finished.key == key {
                finished.sent = taken;
            }
        }
    }

    /// Steps that run now.
    pub fn running(&self) -> impl Iterator<Item = (&ClusterName, &Key)> {
        self.running.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ClusterName {
        text.parse().unwrap()
    }

    fn key(plan: u64, step: u32) -> Key {
        (PlanId(plan), step)
    }

    #[test]
    fn one_step_of_a_cluster_runs_at_a_time() {
        let mut book: Book<&str, &str> = Book::new();
        let prod = name("prod");
        assert_eq!(book.receive(&prod, key(1, 1), "a"), (Verdict::Run, Some("a")));
        assert_eq!(book.receive(&prod, key(1, 2), "b"), (Verdict::Wait, None));
        assert_eq!(book.receive(&name("other"), key(2, 1), "c"), (Verdict::Run, Some("c")));
        assert_eq!(book.running().count(), 2);
        assert_eq!(book.finish(&prod, key(1, 1), "done"), Some((key(1, 2), "b")));
        assert_eq!(book.finish(&prod, key(1, 2), "done"), None);
    }

    #[test]
    fn an_order_that_comes_again_is_attached_or_answered() {
        let mut book: Book<(), &str> = Book::new();
        let prod = name("prod");
        book.receive(&prod, key(1, 1), ());
        book.receive(&prod, key(1, 2), ());
        assert_eq!(book.receive(&prod, key(1, 1), ()).0, Verdict::Attached);
        assert_eq!(book.receive(&prod, key(1, 2), ()).0, Verdict::Attached);
        book.finish(&prod, key(1, 1), "one");
        assert_eq!(book.receive(&prod, key(1, 1), ()).0, Verdict::Answer);
        assert_eq!(book.result(key(1, 1)), Some("one"));
        book.finish(&prod, key(1, 2), "two");
        // the same step of a new plan is another step
        assert_eq!(book.receive(&prod, key(2, 1), ()).0, Verdict::Run);
    }

    #[test]
    fn what_no_stream_took_is_sent_by_the_next() {
        let mut book: Book<(), &str> = Book::new();
        let prod = name("prod");
        book.receive(&prod, key(1, 1), ());
        book.finish(&prod, key(1, 1), "one");
        assert_eq!(book.unsent(), [(key(1, 1), "one")]);
        book.sent(key(1, 1), true);
        assert!(book.unsent().is_empty());
        // asked again, and the stream broke
        book.sent(key(1, 1), false);
        assert_eq!(book.unsent().len(), 1);
    }

    #[test]
    fn a_waiting_step_can_be_withdrawn() {
        let mut book: Book<(), &str> = Book::new();
        let prod = name("prod");
        book.receive(&prod, key(1, 1), ());
        book.receive(&prod, key(1, 2), ());
        assert!(book.withdraw(key(1, 2)));
        assert!(!book.withdraw(key(1, 1)), "it runs");
        assert_eq!(book.finish(&prod, key(1, 1), "done"), None);
    }

    #[test]
    fn old_results_are_forgotten() {
        let mut book: Book<(), u32> = Book::new();
        for step in 0..1000 {
            book.record(key(1, step), step);
        }
        assert_eq!(book.unsent().len(), KEPT);
        assert_eq!(book.result(key(1, 0)), None);
    }
}
