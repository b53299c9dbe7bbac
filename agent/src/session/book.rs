//! Which steps this process knows: waiting, running, finished. Pure; `runner.rs` does what it says.
//!
//! The leader sends a step again after a restart of either side. The same order that still runs goes on; one that has finished
//! in this process is answered again; any other runs (steps are idempotent). Which order is the same says its whole [`Key`]: plan and step
//! number alone may be those of another history. Of one cluster, one step runs at a time.

use std::collections::{BTreeMap, VecDeque};

use clusterctl_proto::ids::ClusterName;

use super::order::{Cancel, Key, Place};

/// Outcomes that are kept for a leader that asks again, and cancelled places.
const KEPT: usize = 256;

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

/// What is known of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known<R> {
    /// It waits or runs: its outcome will come.
    UnderWay,
    /// It has finished in this process.
    Finished(R),
    /// Nothing.
    Not,
}

/// The book. `O` is an order, `R` what came of it.
#[derive(Debug)]
pub struct Book<O, R> {
    running: BTreeMap<ClusterName, Key>,
    waiting: VecDeque<(Key, O)>,
    finished: VecDeque<Finished<R>>,
    /// Places where nothing is begun any more, for the time until the ledger remembers them.
    cancelled: VecDeque<Place>,
}

#[derive(Debug)]
struct Finished<R> {
    key: Key,
    result: R,
    /// It was begun: refused or withdrawn ones are told to the leader, but are decided again when they are ordered again.
    begun: bool,
    sent: bool,
}

impl<O, R: Clone> Book<O, R> {
    /// Nothing known.
    pub fn new() -> Self {
        Self {
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            finished: VecDeque::new(),
            cancelled: VecDeque::new(),
        }
    }

    /// What is known of this very order.
    pub fn known(&self, key: &Key) -> Known<R> {
        let running = self.running.values().any(|running| running == key);
        if running || self.waiting.iter().any(|(waiting, _)| waiting == key) {
            return Known::UnderWay;
        }
        let finished = self
            .finished
            .iter()
            .find(|finished| finished.begun && finished.key == *key);
        finished.map_or(Known::Not, |finished| Known::Finished(finished.result.clone()))
    }

    /// An order came that the ledger has accepted. On [`Verdict::Run`] it is given back and counts as running. One that waits
    /// already is replaced by the newer, which is as good and was received later. `again`: one that has finished runs once more.
    pub fn receive(&mut self, key: &Key, again: bool, order: O) -> (Verdict, Option<O>) {
        if self.running.values().any(|running| running == key) {
            return (Verdict::Attached, None);
        }
        if let Some((_, waiting)) = self.waiting.iter_mut().find(|(waiting, _)| waiting == key) {
            *waiting = order;
            return (Verdict::Attached, None);
        }
        if !again && matches!(self.known(key), Known::Finished(_)) {
            return (Verdict::Answer, None);
        }
        let cluster = &key.place.cluster;
        if self.running.contains_key(cluster) {
            self.waiting.push_back((key.clone(), order));
            return (Verdict::Wait, None);
        }
        self.running.insert(cluster.clone(), key.clone());
        (Verdict::Run, Some(order))
    }

    /// A step ended; it was begun, or refused when its turn came. Answers the next of its cluster, which counts as running.
    pub fn finish(&mut self, key: &Key, result: R, begun: bool) -> Option<(Key, O)> {
        let cluster = &key.place.cluster;
        self.running.remove(cluster);
        self.keep(key.clone(), result, begun);
        let next = self
            .waiting
            .iter()
            .position(|(waiting, _)| waiting.place.cluster == *cluster)?;
        let (key, order) = self.waiting.remove(next)?;
        self.running.insert(key.place.cluster.clone(), key.clone());
        Some((key, order))
    }

    /// A step ended without having run: refused, or taken out of the queue.
    pub fn record(&mut self, key: Key, result: R) {
        self.keep(key, result, false);
    }

    fn keep(&mut self, key: Key, result: R, begun: bool) {
        self.finished.retain(|finished| finished.key != key);
        self.finished.push_back(Finished {
            key,
            result,
            begun,
            sent: false,
        });
        while self.finished.len() > KEPT {
            self.finished.pop_front();
        }
    }

    /// Takes the waiting steps that are cancelled out of the queue, and answers them.
    pub fn withdraw(&mut self, cancel: &Cancel) -> Vec<Key> {
        let (out, stay) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(waiting, _)| cancel.is_at(waiting));
        self.waiting = stay;
        let out: VecDeque<(Key, O)> = out;
        out.into_iter().map(|(key, _)| key).collect()
    }

    /// The running step that is cancelled.
    pub fn running_at(&self, cancel: &Cancel) -> Option<&Key> {
        self.running.values().find(|running| cancel.is_at(running))
    }

    /// Whether a step of the plan that this place is in runs.
    pub fn runs_plan(&self, place: &Place) -> bool {
        let mut running = self.running.values().map(|key| &key.place);
        running.any(|other| (&other.cluster, other.epoch, other.plan) == (&place.cluster, place.epoch, place.plan))
    }

    /// The very order that is cancelled, when it has finished or was refused, and what came of it.
    pub fn finished_of(&self, cancel: &Cancel) -> Option<(Key, R)> {
        let finished = self.finished.iter().rev().find(|finished| cancel.is_of(&finished.key));
        finished.map(|finished| (finished.key.clone(), finished.result.clone()))
    }

    /// Whether an order that stands at the place that is cancelled was begun and has finished.
    pub fn has_finished_at(&self, cancel: &Cancel) -> bool {
        let mut finished = self.finished.iter();
        finished.any(|finished| finished.begun && cancel.is_at(&finished.key))
    }

    /// Nothing is begun at this place any more.
    pub fn close(&mut self, place: &Place) {
        if !self.cancelled.contains(place) {
            self.cancelled.push_back(place.clone());
        }
        while self.cancelled.len() > KEPT {
            self.cancelled.pop_front();
        }
    }

    /// Whether that was said.
    pub fn is_closed(&self, place: &Place) -> bool {
        self.cancelled.contains(place)
    }

    /// What no stream has taken yet, oldest first.
    pub fn unsent(&self) -> Vec<(Key, R)> {
        self.finished
            .iter()
            .filter(|finished| !finished.sent)
            .map(|finished| (finished.key.clone(), finished.result.clone()))
            .collect()
    }

    /// Whether a stream has taken this result, the last time that it was to be sent.
    pub fn sent(&mut self, key: &Key, taken: bool) {
        for finished in &mut self.finished {
            if finished.key == *key {
                finished.sent = taken;
            }
        }
    }

    /// How many orders wait.
    #[cfg(test)]
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Steps that run now.
    pub fn running(&self) -> impl Iterator<Item = (&ClusterName, &Key)> {
        self.running.iter()
    }
}

#[cfg(test)]
mod tests {
    use clusterctl_proto::ids::PlanId;
    use clusterctl_proto::wire::agent::CancelStep;

    use super::*;

    fn name(text: &str) -> ClusterName {
        text.parse().unwrap()
    }

    fn key_of(cluster: &str, plan: u64, step: u32) -> Key {
        Key {
            place: Place {
                cluster: name(cluster),
                epoch: 1,
                plan: PlanId(plan),
                step,
            },
            digest: [1; 32],
            secrets: [0; 32],
        }
    }

    fn key(plan: u64, step: u32) -> Key {
        key_of("prod", plan, step)
    }

    fn cancel(key: &Key) -> Cancel {
        Cancel::read(&CancelStep {
            plan: key.place.plan.0,
            step: key.place.step,
            epoch: key.place.epoch,
            cluster: key.place.cluster.to_string(),
            digest: key.digest.to_vec(),
        })
    }

    #[test]
    fn one_step_of_a_cluster_runs_at_a_time() {
        let mut book: Book<&str, &str> = Book::new();
        assert_eq!(book.receive(&key(1, 1), false, "a"), (Verdict::Run, Some("a")));
        assert_eq!(book.receive(&key(1, 2), false, "b"), (Verdict::Wait, None));
        assert_eq!(
            book.receive(&key_of("other", 2, 1), false, "c"),
            (Verdict::Run, Some("c"))
        );
        assert_eq!(book.running().count(), 2);
        assert_eq!(book.finish(&key(1, 1), "done", true), Some((key(1, 2), "b")));
        assert_eq!(book.finish(&key(1, 2), "done", true), None);
    }

    #[test]
    fn a_plan_runs_while_one_of_its_steps_does() {
        let mut book: Book<(), &str> = Book::new();
        book.receive(&key(7, 1), false, ());
        assert!(book.runs_plan(&key(7, 2).place));
        let mut earlier = key(7, 1).place;
        earlier.epoch = 0;
        for place in [earlier, key(6, 1).place, key_of("other", 7, 1).place] {
            assert!(!book.runs_plan(&place), "{place:?}");
        }
        book.finish(&key(7, 1), "done", true);
        assert!(!book.runs_plan(&key(7, 2).place));
    }

    #[test]
    fn an_order_that_comes_again_is_attached_or_answered() {
        let mut book: Book<u8, &str> = Book::new();
        book.receive(&key(1, 1), false, 0);
        book.receive(&key(1, 2), false, 0);
        assert_eq!(book.receive(&key(1, 1), false, 1).0, Verdict::Attached);
        assert_eq!(book.receive(&key(1, 2), false, 2).0, Verdict::Attached);
        assert_eq!(book.known(&key(1, 2)), Known::UnderWay);
        let next = book.finish(&key(1, 1), "one", true);
        assert_eq!(next, Some((key(1, 2), 2)), "the one that was received last");
        assert_eq!(book.receive(&key(1, 1), false, 0).0, Verdict::Answer);
        assert_eq!(book.known(&key(1, 1)), Known::Finished("one"));
        book.finish(&key(1, 2), "two", true);
        // The same step of a new plan is another step.
        assert_eq!(book.receive(&key(2, 1), false, 0).0, Verdict::Run);
    }

    #[test]
    fn another_order_at_a_known_place_is_not_the_same() {
        let mut book: Book<(), &str> = Book::new();
        book.receive(&key(1, 1), false, ());
        book.finish(&key(1, 1), "one", true);
        let mut others = [key(1, 1), key(1, 1), key_of("other", 1, 1), key(1, 1)];
        others[0].place.epoch = 2;
        others[1].digest = [2; 32];
        others[3].secrets = [2; 32];
        for other in others {
            assert_eq!(book.known(&other), Known::Not, "{other:?}");
            assert_eq!(book.receive(&other, false, ()).0, Verdict::Run, "{other:?}");
            book.finish(&other, "other", true);
        }
        assert_eq!(book.known(&key(1, 1)), Known::Finished("one"));
    }

    #[test]
    fn what_must_look_again_runs_again() {
        let mut book: Book<(), &str> = Book::new();
        assert_eq!(book.receive(&key(1, 1), true, ()).0, Verdict::Run);
        assert_eq!(book.receive(&key(1, 1), true, ()).0, Verdict::Attached, "it looks now");
        book.finish(&key(1, 1), "out", true);
        assert_eq!(book.receive(&key(1, 1), true, ()).0, Verdict::Run);
        book.finish(&key(1, 1), "in a group", true);
        assert_eq!(book.unsent(), [(key(1, 1), "in a group")]);
    }

    #[test]
    fn what_was_refused_is_decided_again() {
        let mut book: Book<(), &str> = Book::new();
        book.record(key(1, 1), "the ledger is lost");
        assert_eq!(book.unsent(), [(key(1, 1), "the ledger is lost")]);
        assert_eq!(book.known(&key(1, 1)), Known::Not);
        assert!(!book.has_finished_at(&cancel(&key(1, 1))));
        assert_eq!(book.receive(&key(1, 1), false, ()).0, Verdict::Run);
        book.finish(&key(1, 1), "done", true);
        assert_eq!(book.unsent(), [(key(1, 1), "done")]);
        book.receive(&key(1, 2), false, ());
        book.finish(&key(1, 2), "outdated", false);
        assert_eq!(book.receive(&key(1, 2), false, ()).0, Verdict::Run);
    }

    #[test]
    fn what_no_stream_took_is_sent_by_the_next() {
        let mut book: Book<(), &str> = Book::new();
        book.receive(&key(1, 1), false, ());
        book.finish(&key(1, 1), "one", true);
        assert_eq!(book.unsent(), [(key(1, 1), "one")]);
        book.sent(&key(1, 1), true);
        assert!(book.unsent().is_empty());
        // Asked again, and the stream broke.
        book.sent(&key(1, 1), false);
        assert_eq!(book.unsent().len(), 1);
    }

    #[test]
    fn a_waiting_step_can_be_withdrawn() {
        let mut book: Book<(), &str> = Book::new();
        book.receive(&key(1, 1), false, ());
        book.receive(&key(1, 2), false, ());
        let mut restored = key(1, 2);
        restored.place.epoch = 2;
        assert!(book.withdraw(&cancel(&restored)).is_empty(), "of another epoch");
        let mut reworded = key(1, 2);
        reworded.digest = [9; 32];
        assert_eq!(book.withdraw(&cancel(&reworded)), [key(1, 2)], "the same place");
        assert!(book.withdraw(&cancel(&key(1, 1))).is_empty(), "it runs");
        assert_eq!(book.running_at(&cancel(&key(1, 1))), Some(&key(1, 1)));
        assert_eq!(book.finish(&key(1, 1), "done", true), None);
        assert_eq!(book.finished_of(&cancel(&key(1, 1))), Some((key(1, 1), "done")));
        let mut reworded = key(1, 1);
        reworded.digest = [9; 32];
        assert_eq!(
            book.finished_of(&cancel(&reworded)),
            None,
            "what ended is another order"
        );
    }

    #[test]
    fn a_cancel_of_an_older_coordinator_matches_plan_and_step() {
        let mut book: Book<(), &str> = Book::new();
        book.receive(&key(1, 1), false, ());
        book.receive(&key(1, 2), false, ());
        let old = |plan, step| {
            Cancel::read(&CancelStep {
                plan,
                step,
                ..CancelStep::default()
            })
        };
        assert_eq!(book.withdraw(&old(1, 2)), [key(1, 2)]);
        assert_eq!(book.running_at(&old(1, 1)), Some(&key(1, 1)));
        assert_eq!(book.running_at(&old(1, 2)), None);
    }

    #[test]
    fn old_results_and_cancels_are_forgotten() {
        let mut book: Book<(), u32> = Book::new();
        for step in 0..1000 {
            book.record(key(1, step), step);
            book.close(&key(1, step).place);
        }
        assert_eq!(book.unsent().len(), KEPT);
        assert_eq!(book.known(&key(1, 0)), Known::Not);
        assert!(book.is_closed(&key(1, 999).place) && !book.is_closed(&key(1, 0).place));
    }
}
