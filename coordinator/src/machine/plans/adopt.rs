//! Whether a plan is adopted, and what it changes.
//!
//! Called by `machine::apply`. It never adopts a plan that was made of an older state of the cluster, nor one beside which something runs
//! that the plan could meet.

use std::collections::BTreeMap;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{Generation, HostName, PlanId};
use clusterctl_proto::step::Step;

use super::busy::{busy_hosts, busy_text};
use super::{StepKey, ends, open_plan};
use crate::machine::apply::Applied;
use crate::machine::{Answer, Command, hosts, intent, journal, limits, operations};
use crate::model::{Model, OperationState, Plan, PlanDraft, PlanState, PlannedStep, StepState};

/// Longest plan that is taken.
const MAX_STEPS: usize = 2000;

pub(in crate::machine) fn adopt(model: &mut Model, command: &Command, index: u64, draft: &PlanDraft) -> Applied {
    let operation = model
        .operations
        .get(&draft.operation)
        .ok_or_else(|| operations::unknown(draft.operation))?;
    if operation.cluster != draft.cluster || !matches!(operation.state, OperationState::Waiting { .. }) {
        return Err(stale(format!("operation {} does not wait for a plan", draft.operation)));
    }
    let cluster = model
        .clusters
        .get(&draft.cluster)
        .ok_or_else(|| intent::no_cluster(&draft.cluster))?;
    if cluster.last_plan != draft.parent {
        return Err(stale(format!(
            "another plan of cluster {} was adopted meanwhile",
            draft.cluster
        )));
    }
    if let Some(open) = open_plan(model, &draft.cluster) {
        return Err(stale(format!(
            "plan {} of cluster {} has not ended",
            open.id, draft.cluster
        )));
    }
    if let Some((_, failure)) = in_the_way(model, draft) {
        return Err(failure);
    }
    well_formed(model, draft)?;
    if limits::hold(model) {
        limits::plan(draft)?;
        limits::plans_of(model, operation, draft)?;
    }

    let id = PlanId(index);
    let mut draft = draft.clone();
    for step in &mut draft.steps {
        step.state = StepState::Pending;
    }
    let text = format!(
        "plan {id} of {} step(s) adopted for operation {}",
        draft.steps.len(),
        draft.operation
    );
    // One that is tried again and again must not push everything else out of the journal.
    if !(operation.kind.heals() && operation.attempts > 0) {
        journal::line("plan_adopted", text)
            .cluster(&draft.cluster)
            .operation(draft.operation)
            .write(model, command);
    }
    if let Some(cluster) = model.clusters.get_mut(&draft.cluster) {
        let last = if draft.side {
            &mut cluster.last_copy
        } else {
            &mut cluster.last_plan
        };
        *last = Some(id);
    }
    if let Some(operation) = model.operations.get_mut(&draft.operation) {
        operation.plans.push(id);
        operation.state = OperationState::Running;
    }
    let generation = Generation {
        epoch: model.epoch,
        index,
    };
    model.plans.insert(
        id,
        Plan {
            id,
            generation,
            draft,
            adopted_at: command.at,
            state: PlanState::Running,
            unsettled: Default::default(),
            never_begun: Default::default(),
            waited_ms: Default::default(),
        },
    );
    ends::advance(model, command, id);
    Ok(Answer::Plan(id))
}

fn stale(message: String) -> Failure {
    Failure::new("plan_not_current", message)
        .exit(ExitClass::Conflict)
        .transient()
}

/// Nothing of another plan may run where this one works, nor on any member when it bootstraps: the host where something does, and the refusal.
pub(crate) fn in_the_way<'a>(model: &'a Model, draft: &PlanDraft) -> Option<(&'a HostName, Failure)> {
    let (host, step) = all_in_the_way(model, draft).into_iter().next()?;
    let failure = Failure::new("host_busy", busy_text(model, host, step))
        .exit(ExitClass::Conflict)
        .transient();
    Some((host, failure))
}

/// All busy hosts for which this plan waits.
pub(crate) fn all_in_the_way<'a>(model: &'a Model, draft: &PlanDraft) -> BTreeMap<&'a HostName, StepKey> {
    let mut busy = busy_hosts(model, &draft.cluster);
    let bootstraps = draft
        .steps
        .iter()
        .any(|step| matches!(step.step, Step::BootstrapGroup { .. }));
    let abandoned = |host: &HostName| draft.given_up.iter().any(|lost| lost.members.contains(host));
    let cluster = model.clusters.get(&draft.cluster);
    let member = |host: &HostName| cluster.is_some_and(|cluster| cluster.members.contains_key(host));
    busy.retain(|host, _| {
        draft.steps.iter().any(|step| step.host == **host) || (bootstraps && member(host) && !abandoned(host))
    });
    busy
}

fn well_formed(model: &Model, draft: &PlanDraft) -> Result<(), Failure> {
    let bad = |message: String| Err(Failure::new("bad_plan", message));
    if draft.steps.len() > MAX_STEPS {
        return bad(format!(
            "the plan has {} steps, more than {MAX_STEPS}",
            draft.steps.len()
        ));
    }
    if draft.side {
        copies_only(draft)?;
    }
    for (place, step) in (1..).zip(&draft.steps) {
        if step.number != place {
            return bad(format!("step {} stands at place {place}", step.number));
        }
        if let Some(later) = step.after.iter().find(|before| **before == 0 || **before >= place) {
            return bad(format!("step {place} is to come after step {later}"));
        }
        if !model.hosts.contains_key(&step.host) {
            return Err(hosts::unknown(&step.host));
        }
    }
    Ok(())
}

/// What is carried out beside other plans is a copy onto one host, after which its operation is planned anew: nothing that enters a group.
fn copies_only(draft: &PlanDraft) -> Result<(), Failure> {
    let copy = |step: &PlannedStep| matches!(step.step, Step::CloneData { .. }) && !step.finally && !step.best_effort;
    match draft.steps.as_slice() {
        [only] if copy(only) && draft.goes_on && draft.given_up.is_none() => Ok(()),
        _ => Err(Failure::new(
            "bad_plan",
            "a plan beside others may hold the copy of one host's data only",
        )),
    }
}
