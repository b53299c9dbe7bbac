//! What passes between agents and coordinators: counted, and held against the rules that a single message can break.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clusterctl_proto::step::{Recovery, Step, StepData, StepOutcome, StepResult, Vouched};
use clusterctl_proto::wire::agent::{FromAgent, ToAgent, from_agent, to_agent};
use tokio::sync::Notify;

use crate::story::{Mark, Story};
use crate::wire::Tap;

/// An order, by plan and step.
type Place = (u64, u32);

/// What was ordered and answered.
pub struct Messages {
    story: Arc<Story>,
    state: Mutex<State>,
    /// A host was ordered something that matters.
    moment: Notify,
    at: Mutex<Option<(String, bool)>>,
}

#[derive(Default)]
struct State {
    /// What each order was: its step and its generation.
    orders: BTreeMap<Place, (Step, (u64, u64))>,
    /// The highest generation that the agent of a host has promised.
    promises: BTreeMap<String, (u64, u64)>,
    /// Whom the last order to bootstrap that a host got abandons.
    abandoned: BTreeMap<String, BTreeSet<String>>,
    /// Outcomes that were counted; one may be sent again.
    counted: BTreeMap<(String, Place), String>,
}

impl Messages {
    /// Nothing has passed.
    pub fn new(story: Arc<Story>) -> Arc<Self> {
        Arc::new(Self {
            story,
            state: Mutex::default(),
            moment: Notify::new(),
            at: Mutex::default(),
        })
    }

    /// Waits for an order that matters; answers the host, and whether it is to bootstrap.
    pub async fn moment(&self) -> (String, bool) {
        loop {
            self.moment.notified().await;
            let moment = self.at.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(moment) = moment {
                return moment;
            }
        }
    }

    /// Some order of this name.
    #[cfg(test)]
    pub fn ordered(&self, name: &str) -> Option<Step> {
        let state = self.lock();
        let mut steps = state.orders.values().map(|(step, _)| step);
        steps.find(|step| step.name() == name).cloned()
    }

    /// The ledger of this host is lost, and with it what was promised.
    pub fn forget(&self, host: &str) {
        self.lock().promises.remove(host);
    }

    /// Whom the last bootstrap that was ordered on this host abandons.
    pub fn abandoned(&self, host: &str) -> BTreeSet<String> {
        self.lock().abandoned.get(host).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcome(&self, host: &str, place: Place, outcome: &StepOutcome) {
        let mut state = self.lock();
        let Some((step, generation)) = state.orders.get(&place).cloned() else {
            return;
        };
        let name = step.name();
        let what = match &outcome.result {
            StepResult::Unchanged => "unchanged".to_owned(),
            StepResult::Changed { what } => format!("done: {what}"),
            StepResult::Failed { failure } => {
                let facts = failure
                    .facts
                    .first()
                    .map_or_else(String::new, |fact| format!(" ({fact})"));
                format!("failed: {}: {failure}{facts}", failure.code)
            }
        };
        let known = state.counted.insert((host.to_owned(), place), what.clone());
        if known.as_ref() == Some(&what) {
            return;
        }
        self.story.tell(format!("{host}: {name} of plan {} {what}", place.0));
        match &outcome.result {
            StepResult::Failed { failure } => self.failed(&failure.code),
            StepResult::Changed { .. } | StepResult::Unchanged => {
                if what.contains("agreed on nothing any more") {
                    self.story.mark(Mark::Halted);
                }
                let promised = state.promises.get(host).copied();
                let changed = matches!(outcome.result, StepResult::Changed { .. });
                match step {
                    Step::Promise {} if matches!(outcome.data, Some(StepData::Promised { .. })) => {
                        let held = state.promises.entry(host.to_owned()).or_default();
                        *held = (*held).max(generation);
                    }
                    Step::BootstrapGroup { .. } | Step::JoinGroup { .. } if changed && Some(generation) < promised => {
                        self.story.wrong(format!(
                            "{host} entered by generation {generation:?} below its promise {promised:?}"
                        ));
                    }
                    Step::JoinGroup { recovery, .. } if changed => {
                        self.story.mark(Mark::Joined);
                        if matches!(recovery, Recovery::Clone { .. }) {
                            self.story.mark(Mark::Cloned);
                        }
                    }
                    Step::CloneData { .. } if changed => self.story.mark(Mark::Cloned),
                    Step::SetPrimary { .. } if changed => self.story.mark(Mark::Switchover),
                    _ => {}
                }
            }
        }
    }

    fn failed(&self, code: &str) {
        let mark = match code {
            "stale_generation" | "promise_outdated" | "promised" => Mark::OldOrder,
            "order_outdated" => Mark::StaleOrder,
            "cancelled" => Mark::Cancelled,
            "group_alive" | "group_exists" | "peer_unknown" | "holds_less" | "other_lineage" => Mark::BootstrapRefused,
            "not_confirmed" => Mark::NotConfirmed,
            "errant_transactions" | "history_unknown" => Mark::KeptOut,
            _ => return,
        };
        self.story.mark(mark);
    }
}

impl Tap for Messages {
    fn told_to_agent(&self, host: &str, message: &ToAgent) {
        let Some(to_agent::Message::Run(run)) = &message.message else {
            return;
        };
        let Ok(step) = serde_json::from_slice::<Step>(&run.step_json) else {
            return;
        };
        let place = (run.plan, run.step);
        let mut state = self.lock();
        if let Step::BootstrapGroup { peers, .. } = &step {
            let abandoned = peers.iter().filter(|peer| peer.vouched == Vouched::Abandoned);
            let abandoned = abandoned.map(|peer| peer.host.to_string()).collect();
            state.abandoned.insert(host.to_owned(), abandoned);
        }
        if matches!(
            step,
            Step::BootstrapGroup { .. } | Step::JoinGroup { .. } | Step::CloneData { .. } | Step::Promise {}
        ) {
            *self.at.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((host.to_owned(), matches!(step, Step::BootstrapGroup { .. })));
            self.moment.notify_one();
        }
        if state
            .orders
            .insert(place, (step.clone(), (run.epoch, run.plan)))
            .is_none()
        {
            self.story.tell(format!(
                "-> {host}: {} (plan {} step {})",
                step.name(),
                run.plan,
                run.step
            ));
        } else {
            self.story.mark(Mark::OrderAgain);
        }
    }

    fn said_by_agent(&self, host: &str, message: &FromAgent) {
        if let Some(from_agent::Message::Outcome(outcome)) = &message.message
            && let Ok(told) = serde_json::from_slice::<StepOutcome>(&outcome.outcome_json)
        {
            self.outcome(host, (outcome.plan, outcome.step), &told);
        }
    }
}
