//! Types of the model as messages.

use std::collections::BTreeSet;

use clusterctl_proto::clock;
use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, PlanId, StepNumber};
use clusterctl_proto::step::{StepData, StepOutcome, StepResult};
use clusterctl_proto::wire::control as pb;

use crate::leader::Leader;
use crate::machine::{describe, plans};
use crate::model::{self, Model, OperationState, PlanDraft, PlanState, PlannedStep, StepState, UnixMs};

/// RFC 3339 with milliseconds.
pub(super) fn time(at: UnixMs) -> String {
    clock::rfc3339_millis(u64::try_from(at).unwrap_or_default())
}

/// An operation with its plans, in its newest state.
pub(super) fn operation(leader: &Leader, model: &Model, from: &model::Operation) -> pb::Operation {
    let plans: Vec<&model::Plan> = from.plans.iter().filter_map(|id| model.plans.get(id)).collect();
    let mut to = pb::Operation {
        id: from.id.0,
        kind: from.kind.name().to_owned(),
        cluster: from.cluster.to_string(),
        title: describe::title(&from.kind, from.cluster.as_str()),
        by: from.by.clone(),
        submitted_at: time(from.submitted_at),
        ended_at: from.ended_at.map(time).unwrap_or_default(),
        proofs: plans.last().map(|plan| proofs(&plan.draft)).unwrap_or_default(),
        plans: plans.into_iter().map(|plan| adopted_plan(leader, plan)).collect(),
        ..Default::default()
    };
    match &from.state {
        OperationState::Waiting { why } => {
            "waiting".clone_into(&mut to.state);
            to.message.clone_from(why);
            if let Some(failure) = last_failure(model, from).filter(|failure| why.starts_with(&failure.message)) {
                to.facts.clone_from(&failure.facts);
                to.hint = failure.hint.clone().unwrap_or_default();
            }
        }
        OperationState::Running => "running".clone_into(&mut to.state),
        OperationState::Done { message } => {
            "done".clone_into(&mut to.state);
            to.message.clone_from(message);
        }
        OperationState::Failed { failure } => {
            "failed".clone_into(&mut to.state);
            to.message.clone_from(&failure.message);
            to.hint = failure.hint.clone().unwrap_or_default();
            to.code.clone_from(&failure.code);
            to.facts.clone_from(&failure.facts);
            to.exit_code = u32::from(failure.exit.code());
        }
        OperationState::Cancelled { by } => {
            "cancelled".clone_into(&mut to.state);
            to.message = format!("cancelled by {by}");
        }
    }
    to
}

/// What stopped the newest plan of an operation that is to be tried again.
fn last_failure<'a>(model: &'a Model, of: &model::Operation) -> Option<&'a Failure> {
    let plan = model.plans.get(of.plans.last()?)?;
    match plan.state {
        PlanState::Failed { step } => plans::find(plan, step).and_then(plans::failure_of),
        _ => None,
    }
}

fn adopted_plan(leader: &Leader, from: &model::Plan) -> pb::Plan {
    let running: BTreeSet<StepNumber> = {
        let ready: Vec<(StepNumber, &HostName)> = plans::ready_steps(from)
            .into_iter()
            .map(|step| (step.number, &step.host))
            .collect();
        let sessions = leader.sessions();
        ready
            .into_iter()
            .filter(|(number, host)| sessions.is_sent(host, (from.id, *number)))
            .map(|(number, _)| number)
            .collect()
    };
    pb::Plan {
        id: from.id.0,
        generation: from.generation.index,
        ..plan(&from.draft, &running)
    }
}

/// A plan that may not be adopted.
pub(super) fn plan(from: &PlanDraft, running: &BTreeSet<StepNumber>) -> pb::Plan {
    pb::Plan {
        id: 0,
        parent: from.parent.map_or(0, |PlanId(id)| id),
        generation: 0,
        steps: from
            .steps
            .iter()
            .map(|step| plan_step(step, running.contains(&step.number)))
            .collect(),
        report: from.report.clone(),
    }
}

fn plan_step(from: &PlannedStep, running: bool) -> pb::PlanStep {
    let mut to = pb::PlanStep {
        number: from.number,
        host: from.host.to_string(),
        name: from.step.name().to_owned(),
        title: from.title.clone(),
        after: from.after.clone(),
        state: if running { "running" } else { "pending" }.to_owned(),
        best_effort: from.best_effort,
        ..Default::default()
    };
    if let StepState::Ended { outcome, .. } = &from.state {
        to.elapsed_ms = outcome.elapsed_ms;
        to.spent_ms.clone_from(&outcome.spent_ms);
        ended(outcome, &mut to);
    }
    to
}

fn ended(outcome: &StepOutcome, to: &mut pb::PlanStep) {
    let (state, detail) = match &outcome.result {
        StepResult::Unchanged => ("unchanged", String::new()),
        StepResult::Changed { what } => ("changed", what.clone()),
        // It has no outcome of its own.
        StepResult::Failed { failure } if failure.code == plans::NOT_RUN => ("pending", "not run".to_owned()),
        StepResult::Failed { failure } => {
            to.facts.clone_from(&failure.facts);
            to.hint = failure.hint.clone().unwrap_or_default();
            ("failed", failure.message.clone())
        }
    };
    state.clone_into(&mut to.state);
    to.detail = detail;
    if let Some(StepData::Proof { passed, evidence, .. }) = &outcome.data {
        to.detail.clone_from(evidence);
        if !passed {
            // The step did its work; what it was to prove does not hold.
            "failed".clone_into(&mut to.state);
        }
    }
}

fn proofs(draft: &PlanDraft) -> Vec<pb::Proof> {
    let proof = |step: &PlannedStep| match &step.state {
        StepState::Ended {
            outcome:
                StepOutcome {
                    data:
                        Some(StepData::Proof {
                            step,
                            title,
                            passed,
                            evidence,
                        }),
                    ..
                },
            ..
        } => Some(pb::Proof {
            step: *step,
            title: title.clone(),
            passed: *passed,
            evidence: evidence.clone(),
        }),
        _ => None,
    };
    let mut list: Vec<pb::Proof> = draft.steps.iter().filter_map(proof).collect();
    list.sort_by_key(|proof| proof.step);
    list
}

/// A line of the journal.
pub(super) fn event(from: &model::Event) -> pb::Event {
    pb::Event {
        id: from.id.0,
        at: time(from.at),
        who: from.who.clone(),
        cluster: from.cluster.as_ref().map(ToString::to_string).unwrap_or_default(),
        host: from.host.as_ref().map(ToString::to_string).unwrap_or_default(),
        operation: from.operation.map_or(0, |operation| operation.0),
        kind: from.kind.clone(),
        text: from.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clusterctl_proto::step::Step;

    use super::*;

    fn ended_with(result: StepResult, data: Option<StepData>) -> pb::PlanStep {
        let outcome = StepOutcome {
            result,
            data,
            elapsed_ms: 7,
            spent_ms: BTreeMap::from([("restart".to_owned(), 5)]),
        };
        let step = PlannedStep {
            number: 3,
            host: "node1".parse().expect("name"),
            step: Step::Promise {},
            title: "promise".to_owned(),
            after: Vec::new(),
            best_effort: false,
            finally: false,
            state: StepState::Ended { outcome, at: 1 },
        };
        plan_step(&step, false)
    }

    #[test]
    fn a_failed_step_carries_facts_hint_and_where_its_time_went() {
        let failure = Failure::new("no", "mysqld does not start")
            .fact("[ERROR] disk full")
            .hint("journalctl -u mysql");
        let shown = ended_with(StepResult::Failed { failure }, None);
        assert_eq!(
            (shown.state.as_str(), shown.detail.as_str(), shown.hint.as_str()),
            ("failed", "mysqld does not start", "journalctl -u mysql")
        );
        assert_eq!(shown.facts, ["[ERROR] disk full"]);
        assert_eq!(shown.spent_ms["restart"], 5);
        let shown = ended_with(StepResult::Unchanged, None);
        assert!(shown.facts.is_empty() && shown.hint.is_empty(), "{shown:?}");
    }

    #[test]
    fn a_proof_that_does_not_hold_is_shown_as_failed() {
        let proof = |passed| StepData::Proof {
            step: 9,
            title: "metadata".to_owned(),
            passed,
            evidence: "a row is missing".to_owned(),
        };
        let shown = ended_with(StepResult::Unchanged, Some(proof(false)));
        assert_eq!(
            (shown.state.as_str(), shown.detail.as_str()),
            ("failed", "a row is missing")
        );
        assert_eq!(ended_with(StepResult::Unchanged, Some(proof(true))).state, "unchanged");
    }
}
