//! Progress lines of running steps: the newest of each step, and word of every new one. In memory only.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use clusterctl_proto::ids::{HostName, PlanId, StepNumber};
use clusterctl_proto::wire::control::StepProgress;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// A line of a step.
#[derive(Clone, Debug)]
pub struct Line {
    /// The plan.
    pub plan: PlanId,
    /// As it goes to watchers.
    pub progress: StepProgress,
}

/// Of all plans that have not ended.
pub struct Progress {
    newest: Mutex<BTreeMap<(PlanId, StepNumber), StepProgress>>,
    /// When a step was sent, or gave a line last.
    signs: Mutex<BTreeMap<(PlanId, StepNumber), Instant>>,
    lines: broadcast::Sender<Line>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            newest: Mutex::default(),
            signs: Mutex::default(),
            lines: broadcast::Sender::new(256),
        }
    }
}

impl Progress {
    /// A line came.
    pub fn tell(&self, plan: PlanId, step: StepNumber, host: &HostName, text: String, done: u64, total: u64) {
        let progress = StepProgress {
            step,
            host: host.to_string(),
            text,
            done,
            total,
        };
        self.newest().insert((plan, step), progress.clone());
        // Nobody watching is no error.
        let _ = self.lines.send(Line { plan, progress });
    }

    /// The step was sent, or shows that it runs.
    pub fn sign(&self, plan: PlanId, step: StepNumber, at: Instant) {
        self.signs().insert((plan, step), at);
    }

    /// When it did so last.
    pub fn last_sign(&self, plan: PlanId, step: StepNumber) -> Option<Instant> {
        self.signs().get(&(plan, step)).copied()
    }

    /// The newest lines of a plan, by step.
    pub fn of(&self, plan: PlanId) -> Vec<StepProgress> {
        let newest = self.newest();
        let mut lines: Vec<_> = newest
            .iter()
            .filter(|((of, _), _)| *of == plan)
            .map(|(_, line)| line.clone())
            .collect();
        lines.sort_by_key(|line| line.step);
        lines
    }

    /// Every line from now on.
    pub fn follow(&self) -> broadcast::Receiver<Line> {
        self.lines.subscribe()
    }

    /// Forgets steps that have ended.
    pub fn retain(&self, keep: impl Fn(PlanId, StepNumber) -> bool) {
        self.newest().retain(|(plan, step), _| keep(*plan, *step));
        self.signs().retain(|(plan, step), _| keep(*plan, *step));
    }

    fn signs(&self) -> std::sync::MutexGuard<'_, BTreeMap<(PlanId, StepNumber), Instant>> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest(&self) -> std::sync::MutexGuard<'_, BTreeMap<(PlanId, StepNumber), StepProgress>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
