//! The rules of safety (docs/safety.md) as named functions over a plan.
//!
//! Run by the leader before it adopts a plan, and by tests after every planning. They trust nothing that the planner
//! thought: each looks at intent, observations and steps by itself. Pure: no IO, no clock, no async. A plan that fails here is a
//! defect of the planner, or the world has moved since it was made: it is never adopted.

mod bootstrap;
mod evidence;
mod group;
mod now;
mod reach;
mod removal;
mod secrets;

#[cfg(test)]
mod now_tests;
#[cfg(test)]
mod tests;

pub use now::{EVIDENCE_MISSING, copy_is_void, still_safe};
pub use reach::{Halt, Reach, halt, needed, reach};

use std::collections::BTreeSet;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, StepNumber};
use clusterctl_proto::step::{Proof, Step};

use crate::model::{Cluster, Operation, OperationKind, PlanDraft, PlannedStep};
use crate::planner::{World, live, restored, with_intent};

/// What a rule looks at.
struct Case<'a> {
    world: World<'a>,
    op: &'a Operation,
    draft: &'a PlanDraft,
    cluster: &'a Cluster,
    /// For each step, in order: every step that has ended well before it starts.
    before: Vec<BTreeSet<StepNumber>>,
}

type Rule = fn(&Case<'_>) -> Result<(), Failure>;

/// Every rule, by name; the number is that of docs/safety.md.
const RULES: [(&str, Rule); 17] = [
    ("well_formed", well_formed),
    ("7_log_is_complete", log_is_complete),
    ("1_one_bootstrap", group::one_bootstrap),
    ("1_promises_last", group::promises_last),
    ("1_nothing_unsettled", group::nothing_unsettled),
    ("2_no_lost_transactions", evidence::no_lost_transactions),
    ("3_nothing_discarded", evidence::nothing_discarded),
    ("3_leads_with_proven_data", evidence::leads_with_proven_data),
    ("4_certainty", evidence::certainty),
    ("5_tolerance", group::tolerance),
    ("6_one_at_a_time", group::one_at_a_time),
    ("6_copies_apart", group::copies_apart),
    ("6_one_writer", group::one_writer),
    ("6_accounts_and_joins_apart", group::accounts_and_joins_apart),
    ("7_only_the_primary_writes", group::only_the_primary_writes),
    ("8_database_outlives_tools", database_outlives_tools),
    ("9_secrets", secrets::no_secrets),
];

/// Ok if the plan breaks no rule; else the failure names the rule.
pub fn check(world: &World<'_>, operation: &Operation, draft: &PlanDraft) -> Result<(), Failure> {
    with_intent(world, operation, |world| {
        let cluster = world.model.clusters.get(&draft.cluster);
        let cluster = cluster.ok_or_else(|| broken("well_formed", format!("there is no cluster {}", draft.cluster)))?;
        let before = closure(draft)?;
        let case = Case {
            world: *world,
            op: operation,
            draft,
            cluster,
            before,
        };
        RULES
            .iter()
            .try_for_each(|(name, rule)| rule(&case).map_err(|failure| named(name, failure)))
    })?
}

/// Rule 7: nothing is planned from a log that lacks orders which agents have received.
fn log_is_complete(case: &Case<'_>) -> Result<(), Failure> {
    restored::not_led(&case.world, &case.cluster.name).map_or(Ok(()), Err)
}

/// What every step waits for, through all steps between.
fn closure(draft: &PlanDraft) -> Result<Vec<BTreeSet<StepNumber>>, Failure> {
    let mut all: Vec<BTreeSet<StepNumber>> = Vec::new();
    for (step, number) in draft.steps.iter().zip(1..) {
        let earlier = |before: &StepNumber| *before >= 1 && *before < number;
        if step.number != number || !step.after.iter().all(earlier) {
            return Err(broken(
                "well_formed",
                format!("step {number} ({}) does not stand after what it waits for", step.title),
            ));
        }
        let mut before: BTreeSet<StepNumber> = BTreeSet::new();
        for direct in &step.after {
            before.insert(*direct);
            // In range: `direct` is at least 1 and less than this step's number.
            before.extend(all.get(*direct as usize - 1).into_iter().flatten());
        }
        all.push(before);
    }
    Ok(all)
}

impl<'a> Case<'a> {
    fn steps(&self) -> impl Iterator<Item = (&'a PlannedStep, &BTreeSet<StepNumber>)> {
        self.draft.steps.iter().zip(&self.before)
    }

    /// The steps that end well for certain before this one starts.
    fn surely_before<'b>(&'b self, before: &'b BTreeSet<StepNumber>) -> impl Iterator<Item = &'a PlannedStep> + 'b {
        // A best-effort step may have failed.
        self.draft
            .steps
            .iter()
            .filter(|step| before.contains(&step.number) && !step.best_effort)
    }

    fn bootstrap(&self) -> Option<&'a PlannedStep> {
        self.draft
            .steps
            .iter()
            .find(|step| matches!(step.step, Step::BootstrapGroup { .. }))
    }

    /// An operator has given this member up, by a break-glass that has not ended.
    fn is_given_up(&self, host: &HostName) -> bool {
        matches!(&self.op.kind, OperationKind::Recover { without, .. } if self.is_approved() && without.contains(host))
    }

    /// An operator has accepted what a recovery risks, and that has not ended.
    fn is_approved(&self) -> bool {
        match &self.op.kind {
            OperationKind::Recover {
                accept_loss: Some(_),
                expires_at: Some(end),
                ..
            } => *end > self.world.now && !self.op.by_itself(),
            _ => false,
        }
    }

    /// The host that leads when a step with these before it starts.
    fn leader(&self, before: &BTreeSet<StepNumber>) -> Option<&'a HostName> {
        let steps: Vec<&PlannedStep> = self.surely_before(before).collect();
        let moved = steps
            .iter()
            .rev()
            .find(|step| matches!(step.step, Step::SetPrimary { .. }));
        let made = || {
            steps
                .iter()
                .find(|step| matches!(step.step, Step::BootstrapGroup { .. }))
                .map(|step| &step.host)
        };
        let live = || live::primary(&self.world, self.cluster).map(|primary| primary.host);
        moved.map(|step| &step.host).or_else(made).or_else(live)
    }
}

/// A broken rule.
fn broken(rule: &str, what: impl Into<String>) -> Failure {
    named(rule, Failure::refused("", what))
}

fn named(rule: &str, mut failure: Failure) -> Failure {
    failure.code = format!("rule_{rule}");
    failure.hint.get_or_insert_with(|| {
        "the plan was not adopted and nothing was done; type the command again, and if it stays so, report it with this text".to_owned()
    });
    failure
}

fn wrong(what: impl Into<String>) -> Failure {
    Failure::refused("", what)
}

/// The plan belongs to its operation and to the cluster's last plan; its hosts are enrolled; clean-up holds nothing up.
fn well_formed(case: &Case<'_>) -> Result<(), Failure> {
    if case.draft.operation != case.op.id || case.draft.cluster != case.op.cluster {
        return Err(wrong("the plan is another operation's"));
    }
    if case.draft.parent != case.cluster.last_plan {
        return Err(wrong("the plan's parent is not the cluster's last plan"));
    }
    for (step, _) in case.steps() {
        if !case.world.model.hosts.contains_key(&step.host) {
            return Err(wrong(format!("step {}: {} is not enrolled", step.number, step.host)));
        }
        let cleaning = |number: &StepNumber| {
            case.draft
                .steps
                .iter()
                .any(|other| other.number == *number && other.finally)
        };
        if !step.finally && step.after.iter().any(cleaning) {
            return Err(wrong(format!("step {} waits for clean-up", step.number)));
        }
    }
    Ok(())
}

/// Rule 8: no step configures (and so may restart) a mysqld that takes part in a group.
fn database_outlives_tools(case: &Case<'_>) -> Result<(), Failure> {
    for (step, _) in case.steps() {
        if matches!(step.step, Step::Server { .. }) && live::out(&case.world, &step.host) != live::Out::Yes {
            return Err(wrong(format!(
                "step {} would configure mysqld on {}, which is not certainly out of any group",
                step.number, step.host
            )));
        }
    }
    Ok(())
}

/// Steps that only the primary may carry out.
pub(crate) fn is_primarys(step: &Step) -> bool {
    match step {
        Step::MemberAccounts { .. }
        | Step::Metadata { .. }
        | Step::MetadataInstance { .. }
        | Step::ForgetInstance { .. }
        | Step::Account { .. }
        | Step::DropAccount { .. }
        | Step::ForgetRouter { .. } => true,
        Step::Prove { proof } => matches!(
            proof,
            Proof::Metadata { .. } | Proof::WriteMarker { .. } | Proof::DropMarker
        ),
        _ => false,
    }
}
