//! Types of the model as messages.

use std::collections::BTreeSet;

use clusterctl_proto::clock;
use clusterctl_proto::ids::{HostName, PlanId, StepNumber};
use clusterctl_proto::step::{StepData, StepOutcome, StepResult};
use clusterctl_proto::wire::control as pb;

use crate::leader::Leader;
use crate::machine::{describe, plans};
use crate::model::{self, Model, OperationState, PlanDraft, PlannedStep, StepState, UnixMs};

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
    let (state, detail, elapsed_ms) = match &from.state {
        StepState::Pending => (if running { "running" } else { "pending" }, String::new(), 0),
        StepState::Ended { outcome, .. } => {
            let (state, detail) = ended(outcome);
            (state, detail, outcome.elapsed_ms)
        }
    };
    pb::PlanStep {
        number: from.number,
        host: from.host.to_string(),
        name: from.step.name().to_owned(),
        title: from.title.clone(),
        after: from.after.clone(),
        state: state.to_owned(),
        detail,
        elapsed_ms,
    }
}

fn ended(outcome: &StepOutcome) -> (&'static str, String) {
    match &outcome.result {
        StepResult::Unchanged => ("unchanged", String::new()),
        StepResult::Changed { what } => ("changed", what.clone()),
        // It has no outcome of its own.
        StepResult::Failed { failure } if failure.code == plans::NOT_RUN => ("pending", "not run".to_owned()),
        StepResult::Failed { failure } => ("failed", failure.message.clone()),
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
