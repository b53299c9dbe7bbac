//! Collects the steps of a plan: numbers them, wires `after`, keeps the report.
//!
//! Used by every planning function; decides nothing.

use clusterctl_proto::ids::{HostName, StepNumber};
use clusterctl_proto::step::Step;

use super::context::Context;
use crate::model::{PlanDraft, PlannedStep, StepState};

/// A plan that grows.
#[derive(Default)]
pub(crate) struct Builder {
    steps: Vec<PlannedStep>,
    report: Vec<String>,
    /// The last step that writes on the primary.
    last_write: Option<StepNumber>,
}

impl Builder {
    /// Adds a step that must end well.
    pub fn step(&mut self, host: &HostName, step: Step, title: impl Into<String>, after: &[StepNumber]) -> StepNumber {
        self.push(host, step, title.into(), after, false, false)
    }

    /// Adds a step that writes metadata or accounts on the primary: one after another, as each takes AdminAPI's lock, and taking
    /// it does not wait.
    pub fn write(
        &mut self,
        primary: &HostName,
        step: Step,
        title: impl Into<String>,
        after: &[StepNumber],
    ) -> StepNumber {
        let after: Vec<StepNumber> = after.iter().copied().chain(self.last_write).collect();
        let number = self.push(primary, step, title.into(), &after, false, false);
        self.last_write = Some(number);
        number
    }

    /// Adds a step whose failure is noted only.
    pub fn best_effort(
        &mut self,
        host: &HostName,
        step: Step,
        title: impl Into<String>,
        after: &[StepNumber],
    ) -> StepNumber {
        self.push(host, step, title.into(), after, true, false)
    }

    /// Adds a step that cleans up, whatever became of the others; its failure is noted only.
    pub fn finally(
        &mut self,
        host: &HostName,
        step: Step,
        title: impl Into<String>,
        after: &[StepNumber],
    ) -> StepNumber {
        self.push(host, step, title.into(), after, true, true)
    }

    /// Adds a line to the report.
    pub fn note(&mut self, line: impl Into<String>) {
        self.report.push(line.into());
    }

    /// Numbers of all steps so far that are not clean-up.
    pub fn all(&self) -> Vec<StepNumber> {
        let work = self.steps.iter().filter(|step| !step.finally);
        work.map(|step| step.number).collect()
    }

    /// The plan.
    pub fn finish(self, context: &Context<'_>, done_message: impl Into<String>) -> PlanDraft {
        let clusters = &context.world.model.clusters;
        PlanDraft {
            cluster: context.op.cluster.clone(),
            operation: context.op.id,
            parent: clusters.get(&context.op.cluster).and_then(|cluster| cluster.last_plan),
            steps: self.steps,
            report: self.report,
            done_message: done_message.into(),
            goes_on: false,
            side: false,
            given_up: None,
            taken_back: None,
        }
    }

    fn push(
        &mut self,
        host: &HostName,
        step: Step,
        title: String,
        after: &[StepNumber],
        best_effort: bool,
        finally: bool,
    ) -> StepNumber {
        let number = StepNumber::try_from(self.steps.len() + 1).unwrap_or(StepNumber::MAX);
        let mut after = after.to_vec();
        after.sort_unstable();
        after.dedup();
        self.steps.push(PlannedStep {
            number,
            host: host.clone(),
            step,
            title,
            after,
            best_effort,
            finally,
            state: StepState::Pending,
        });
        number
    }
}

/// `is` or `are`.
pub(crate) fn are<T>(items: &[T]) -> &'static str {
    if items.len() == 1 { "is" } else { "are" }
}

/// `node1, node2 and node3`.
pub(crate) fn listed<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}
