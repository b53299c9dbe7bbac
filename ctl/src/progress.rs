//! What changes between two updates of an operation, as lines for people. No IO: `follow` shows them.

use std::collections::{BTreeMap, HashMap};

use clusterctl_proto::wire::control::{Operation, OperationUpdate, Plan, PlanStep, StepProgress};

use crate::units;

/// A step, unique within an operation.
pub type StepKey = (u64, u32);

/// Something to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A remark on the operation: it waits, it was planned anew.
    Note(String),
    /// A step runs: its place and what it does, `[3/9] node2: install packages`.
    Started(StepKey, String),
    /// A line from a running step, and which step in short, `node2: packages`.
    Text(StepKey, String, String),
    /// A step ended: its whole line.
    Ended(StepKey, String),
}

/// Remembers what was shown.
#[derive(Default)]
pub struct Tracker {
    states: HashMap<StepKey, String>,
    /// Running steps, as they were told to have started.
    running: BTreeMap<StepKey, String>,
    waiting_for: String,
    plans_seen: usize,
    /// Facts of a failure that were shown last.
    facts: Vec<String>,
}

impl Tracker {
    /// What is new in this update. An update carries the whole operation, so one that is missed does no harm.
    pub fn take(&mut self, update: &OperationUpdate) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(operation) = &update.operation else {
            return changes;
        };
        for (index, plan) in operation.plans.iter().enumerate() {
            if index >= self.plans_seen {
                self.plans_seen = index + 1;
                if index > 0 {
                    changes.push(Change::Note(format!(
                        "planned anew: {}",
                        count(plan.steps.len(), "step")
                    )));
                }
            }
            for step in &plan.steps {
                self.step(plan, step, &mut changes);
            }
        }
        if let Some(plan) = operation.plans.last() {
            changes.extend(update.progress.iter().filter_map(|line| text(plan, line)));
        }
        self.waiting(operation, &mut changes);
        changes
    }

    /// What the operation was seen doing last, a line each.
    pub fn doing(&self) -> Vec<String> {
        let running = self.running.values().map(|line| format!("running: {line}"));
        let waiting = Some(format!("waiting: {}", self.waiting_for)).filter(|_| !self.waiting_for.is_empty());
        running.chain(waiting).collect()
    }

    fn step(&mut self, plan: &Plan, step: &PlanStep, changes: &mut Vec<Change>) {
        let key = (plan.id, step.number);
        let before = self.states.insert(key, step.state.clone());
        if before.as_deref() == Some(step.state.as_str()) {
            return;
        }
        self.running.remove(&key);
        match step.state.as_str() {
            "running" => {
                let line = format!("{} {}", place(plan, step), doing(step));
                self.running.insert(key, line.clone());
                changes.push(Change::Started(key, line));
            }
            "unchanged" | "changed" | "failed" => {
                changes.push(Change::Ended(key, ended(plan, step)));
                let facts = facts(step);
                if !facts.is_empty() {
                    facts.clone_into(&mut self.facts);
                    changes.extend(facts.iter().map(below));
                }
            }
            _ => {}
        }
    }

    fn waiting(&mut self, operation: &Operation, changes: &mut Vec<Change>) {
        // What was submitted just now is planned at once: no news.
        let waits_for = if operation.state == "waiting" && operation.message != "not planned yet" {
            operation.message.as_str()
        } else {
            ""
        };
        if waits_for != self.waiting_for {
            waits_for.clone_into(&mut self.waiting_for);
            if !waits_for.is_empty() {
                changes.push(Change::Note(format!("waiting: {waits_for}")));
                // Not once more when they stand below the step that failed just now.
                if operation.facts != self.facts {
                    self.facts.clone_from(&operation.facts);
                    changes.extend(self.facts.iter().map(below));
                }
            }
        }
    }
}

/// A fact, below the line that it belongs to.
fn below(fact: &String) -> Change {
    Change::Note(format!("  {fact}"))
}

fn text(plan: &Plan, line: &StepProgress) -> Option<Change> {
    let step = plan.steps.iter().find(|step| step.number == line.step)?;
    let mut words = line.text.trim().to_owned();
    if line.total > 0 {
        let percent = u128::from(line.done.min(line.total)) * 100 / u128::from(line.total);
        let counted = format!(
            "{} of {}, {percent} %",
            units::bytes(line.done),
            units::bytes(line.total)
        );
        words = if words.is_empty() {
            counted
        } else {
            format!("{words} ({counted})")
        };
    }
    (!words.is_empty()).then(|| Change::Text((plan.id, step.number), format!("{}: {}", step.host, step.name), words))
}

fn place(plan: &Plan, step: &PlanStep) -> String {
    format!("[{}/{}]", step.number, plan.steps.len())
}

fn doing(step: &PlanStep) -> String {
    format!("{}: {}", step.host, wanted(step))
}

/// `[3/9] node2: installed mysql-server 9.7.4 12.3s`; what changed nothing or failed is told by what was wanted.
pub fn ended(plan: &Plan, step: &PlanStep) -> String {
    let what = if step.state == "changed" && !step.detail.is_empty() {
        step.detail.clone()
    } else {
        format!("{}: {}", wanted(step), outcome(step))
    };
    format!(
        "{} {}: {what} {}",
        place(plan, step),
        step.host,
        units::elapsed(step.elapsed_ms)
    )
}

/// How a step stands or ended, in words.
pub fn outcome(step: &PlanStep) -> String {
    let detail = step.detail.as_str();
    match step.state.as_str() {
        "changed" if detail.is_empty() => "done".to_owned(),
        "changed" => detail.to_owned(),
        "unchanged" if step.name == "prove" => "ok".to_owned(),
        "unchanged" => "already so".to_owned(),
        "failed" => {
            let failed = match (step.best_effort, step.name.as_str()) {
                // The plan goes on without it.
                (true, _) => "not done",
                (false, "prove") => "failed, does not hold",
                (false, _) => "failed",
            };
            if detail.is_empty() {
                failed.to_owned()
            } else {
                format!("{failed}: {detail}")
            }
        }
        state if detail.is_empty() => state.to_owned(),
        // A step of a plan that stopped before its turn came.
        _ => detail.to_owned(),
    }
}

/// What a failed step saw, a line each.
pub fn facts(step: &PlanStep) -> &[String] {
    if step.state == "failed" { &step.facts } else { &[] }
}

fn wanted(step: &PlanStep) -> &str {
    if step.title.is_empty() { &step.name } else { &step.title }
}

/// `1 step`, `2 steps`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(state: &str, detail: &str, progress: Vec<StepProgress>) -> OperationUpdate {
        let step = PlanStep {
            number: 2,
            host: "node2".to_owned(),
            name: "packages".to_owned(),
            title: "install packages".to_owned(),
            state: state.to_owned(),
            detail: detail.to_owned(),
            elapsed_ms: 12_300,
            ..PlanStep::default()
        };
        let first = PlanStep {
            number: 1,
            state: "pending".to_owned(),
            ..PlanStep::default()
        };
        let plan = Plan {
            id: 7,
            steps: vec![first, step],
            ..Plan::default()
        };
        let operation = Operation {
            id: 5,
            state: "running".to_owned(),
            plans: vec![plan],
            ..Operation::default()
        };
        OperationUpdate {
            operation: Some(operation),
            progress,
        }
    }

    #[test]
    fn each_step_is_told_once_when_it_starts_and_once_when_it_ends() {
        let mut tracker = Tracker::default();
        let key = (7, 2);
        let started = Change::Started(key, "[2/2] node2: install packages".to_owned());
        assert_eq!(tracker.take(&update("running", "", vec![])), [started]);
        assert_eq!(tracker.doing(), ["running: [2/2] node2: install packages"]);
        assert_eq!(tracker.take(&update("running", "", vec![])), []);
        let ended = Change::Ended(key, "[2/2] node2: installed x 12.3s".to_owned());
        assert_eq!(tracker.take(&update("changed", "installed x", vec![])), [ended]);
        assert_eq!(tracker.take(&update("changed", "installed x", vec![])), []);
    }

    #[test]
    fn bytes_are_shown_with_a_percentage() {
        let mut tracker = Tracker::default();
        tracker.take(&update("running", "", vec![]));
        let line = StepProgress {
            step: 2,
            host: "node2".to_owned(),
            text: "file copy".to_owned(),
            done: 1 << 20,
            total: 4 << 20,
        };
        assert_eq!(
            tracker.take(&update("running", "", vec![line])),
            [Change::Text(
                (7, 2),
                "node2: packages".to_owned(),
                "file copy (1.0 MiB of 4.0 MiB, 25 %)".to_owned()
            )]
        );
    }

    #[test]
    fn a_step_is_told_by_what_happened() {
        let told = |name: &str, title: &str, state: &str, detail: &str| {
            let step = PlanStep {
                number: 1,
                host: "node1".to_owned(),
                name: name.to_owned(),
                title: title.to_owned(),
                state: state.to_owned(),
                detail: detail.to_owned(),
                elapsed_ms: 5,
                ..PlanStep::default()
            };
            let plan = Plan {
                steps: vec![step.clone()],
                ..Plan::default()
            };
            ended(&plan, &step)
        };
        assert_eq!(
            told("prove", "9: the metadata is complete", "unchanged", "2.4.0"),
            "[1/1] node1: 9: the metadata is complete: ok 5ms"
        );
        assert_eq!(
            told("prove", "9: the metadata is complete", "failed", "no row"),
            "[1/1] node1: 9: the metadata is complete: failed, does not hold: no row 5ms"
        );
        assert_eq!(
            told("packages", "install mysql-server", "unchanged", ""),
            "[1/1] node1: install mysql-server: already so 5ms"
        );
        assert_eq!(
            told("packages", "install mysql-server", "failed", "dpkg is locked"),
            "[1/1] node1: install mysql-server: failed: dpkg is locked 5ms"
        );
    }

    #[test]
    fn facts_stand_below_the_failed_step_and_are_not_told_twice() {
        let mut failed = update("failed", "dpkg is locked", vec![]);
        let facts = vec!["held by unattended-upgr".to_owned()];
        if let Some(operation) = failed.operation.as_mut() {
            operation.plans[0].steps[1].facts.clone_from(&facts);
            operation.facts.clone_from(&facts);
            operation.state = "waiting".to_owned();
            operation.message = "dpkg is locked; attempt 2 follows in 1 s".to_owned();
        }
        let waiting = Change::Note("waiting: dpkg is locked; attempt 2 follows in 1 s".to_owned());
        let fact = Change::Note("  held by unattended-upgr".to_owned());
        let line = "[2/2] node2: install packages: failed: dpkg is locked 12.3s".to_owned();
        assert_eq!(
            Tracker::default().take(&failed),
            [Change::Ended((7, 2), line), fact.clone(), waiting.clone()]
        );
        // Somebody who comes later, when the plan is not shown any more, sees them below the wait.
        failed.operation.iter_mut().for_each(|op| op.plans.clear());
        assert_eq!(Tracker::default().take(&failed), [waiting, fact]);
    }

    #[test]
    fn what_is_not_planned_yet_is_no_news() {
        let mut update = update("pending", "", vec![]);
        if let Some(operation) = update.operation.as_mut() {
            operation.state = "waiting".to_owned();
            operation.message = "not planned yet".to_owned();
        }
        assert_eq!(Tracker::default().take(&update), []);
    }

    #[test]
    fn a_new_plan_and_a_wait_are_remarked_once() {
        let mut tracker = Tracker::default();
        let mut second = update("failed", "dpkg is locked", vec![]);
        tracker.take(&second);
        if let Some(operation) = second.operation.as_mut() {
            operation.plans.push(Plan {
                id: 9,
                steps: vec![PlanStep::default()],
                ..Plan::default()
            });
            operation.state = "waiting".to_owned();
            operation.message = "node2 does not answer".to_owned();
        }
        assert_eq!(
            tracker.take(&second),
            [
                Change::Note("planned anew: 1 step".to_owned()),
                Change::Note("waiting: node2 does not answer".to_owned())
            ]
        );
        assert_eq!(tracker.take(&second), []);
    }
}
