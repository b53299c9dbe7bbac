//! What is taken back when an operation failed or was cancelled: what certainly was not begun, so that nothing half-made stays in
//! the intent. What may have been begun stays, and the same command finishes it.

use clusterctl_proto::ids::{ClusterName, HostName, OperationId, PlanId, StepNumber};
use clusterctl_proto::step::Step;

use super::{Command, journal, plans};
use crate::model::{MemberPhase, Model, Operation, OperationKind, OperationState, PlannedStep, RouterPhase};

/// Feature level from which a cancelled operation is also rolled back when its failed plan ends, and none is while the same is wanted again;
/// and from which a cluster is not taken back whose group a plan found alive, and a member remembers that its entry may have begun.
pub(super) const LEVEL: u32 = 4;

/// It failed or was cancelled for good: takes back what was certainly not begun.
pub(super) fn undone(model: &mut Model, command: &Command, id: OperationId) {
    let Some(operation) = model.operations.get(&id) else {
        return;
    };
    let (kind, name) = (operation.kind.clone(), operation.cluster.clone());
    if model.feature_level >= LEVEL && wanted_again(model, operation) {
        return;
    }
    match &kind {
        OperationKind::Create { .. } => undo_create(model, command, id, &name),
        OperationKind::Join { host, .. } => {
            let removed =
                |kind: &OperationKind| matches!(kind, OperationKind::Remove { host: gone, .. } if gone == host);
            let begun = begun(model, &name, since(model, &name, removed), |step| {
                step.host == *host && enters(step)
            });
            if let Some(cluster) = model.clusters.get_mut(&name).filter(|_| !begun)
                && cluster
                    .members
                    .get(host)
                    .is_some_and(|member| member.phase == MemberPhase::Joining && !member.begun)
            {
                cluster.members.remove(host);
            }
        }
        OperationKind::Remove { host, .. } => undo_remove(model, &name, host),
        OperationKind::AddRouter { host, .. } => {
            let removed =
                |kind: &OperationKind| matches!(kind, OperationKind::RemoveRouter { host: gone, .. } if gone == host);
            let begun = begun(model, &name, since(model, &name, removed), |step| {
                step.host == *host && matches!(step.step, Step::RouterBootstrap { .. })
            });
            if let Some(cluster) = model.clusters.get_mut(&name).filter(|_| !begun)
                && cluster
                    .routers
                    .get(host)
                    .is_some_and(|router| router.phase == RouterPhase::Adding)
            {
                cluster.routers.remove(host);
            }
        }
        OperationKind::RemoveRouter { host, .. } => {
            let added =
                |kind: &OperationKind| matches!(kind, OperationKind::AddRouter { host: new, .. } if new == host);
            // A plan that adds a router forgets leftovers, too: only a removal's own steps count.
            let removal = |kind: &OperationKind| matches!(kind, OperationKind::RemoveRouter { .. });
            let begun = begun_by(model, &name, since(model, &name, added), removal, |step| {
                match &step.step {
                    Step::RouterGone { .. } => step.host == *host,
                    Step::ForgetRouter { address, .. } => address == host,
                    _ => false,
                }
            });
            if let Some(router) = model
                .clusters
                .get_mut(&name)
                .and_then(|cluster| cluster.routers.get_mut(host))
                && !begun
                && router.phase == RouterPhase::Removing
            {
                router.phase = RouterPhase::Router;
            }
        }
        OperationKind::CreateAccount { account } => {
            let dropped = |kind: &OperationKind| matches!(kind, OperationKind::DropAccount { user, from } if *user == account.user && *from == account.from);
            let begun = begun(
                model,
                &name,
                since(model, &name, dropped),
                |step| matches!(&step.step, Step::Account { account: made, .. } if made == account),
            );
            let key = format!("{}@{}", account.user, account.from);
            if let Some(cluster) = model.clusters.get_mut(&name).filter(|_| !begun)
                && cluster.accounts.get(&key).is_some_and(|known| !known.made)
            {
                cluster.accounts.remove(&key);
            }
        }
        OperationKind::DropAccount { .. }
        | OperationKind::Switchover { .. }
        | OperationKind::Verify
        | OperationKind::Rejoin { .. }
        | OperationKind::Recover { .. }
        | OperationKind::StartRouter { .. }
        | OperationKind::Forget { .. } => {}
    }
}

/// What it does to its host cannot be taken back by forgetting the host.
fn enters(step: &PlannedStep) -> bool {
    matches!(
        step.step,
        Step::JoinGroup { .. } | Step::CloneData { .. } | Step::BootstrapGroup { .. }
    )
}

/// A step of this plan has ended: where it may have let its host in, the member remembers it for when the plan is not kept any more. A step
/// that was given up without its agent's word is not remembered yet: its plan is kept until the agent says that it ended, or that it was
/// never begun, and the mark of a member is never taken back.
pub(super) fn remember(model: &mut Model, plan: PlanId, number: StepNumber) {
    if model.feature_level < LEVEL {
        return;
    }
    let Some(plan) = model.plans.get(&plan) else { return };
    let begun = |step: &&PlannedStep| enters(step) && plans::may_have_run(plan, step);
    let Some(step) = plans::find(plan, number).filter(begun) else {
        return;
    };
    if plan.unsettled.contains(&number) {
        return;
    }
    let cluster = model.clusters.get_mut(&plan.draft.cluster);
    if let Some(member) = cluster.and_then(|cluster| cluster.members.get_mut(&step.host)) {
        member.begun = true;
    }
}

/// Another operation, submitted while the plan of this one was ending, has the same intent: that one's end decides about it.
fn wanted_again(model: &Model, operation: &Operation) -> bool {
    let same = |other: &OperationKind| match (&operation.kind, other) {
        (OperationKind::Join { host, .. }, OperationKind::Join { host: other, .. })
        | (OperationKind::Remove { host, .. }, OperationKind::Remove { host: other, .. })
        | (OperationKind::AddRouter { host, .. }, OperationKind::AddRouter { host: other, .. })
        | (OperationKind::RemoveRouter { host, .. }, OperationKind::RemoveRouter { host: other, .. }) => host == other,
        (OperationKind::CreateAccount { account }, OperationKind::CreateAccount { account: other }) => account == other,
        _ => false,
    };
    model
        .active_operations()
        .any(|other| other.id != operation.id && other.cluster == operation.cluster && same(&other.kind))
}

fn undo_remove(model: &mut Model, name: &ClusterName, host: &HostName) {
    let brought = |kind: &OperationKind| match kind {
        OperationKind::Create { primary, with, .. } => primary == host || with.contains(host),
        OperationKind::Join { host: joined, .. } => joined == host,
        _ => false,
    };
    let address = format!("{host}:");
    let begun = begun(model, name, since(model, name, brought), |step| match &step.step {
        Step::LeaveGroup { .. } => step.host == *host,
        Step::ForgetInstance { address: gone, .. } => gone.starts_with(&address),
        _ => false,
    });
    let done =
        |op: &Operation| op.cluster == *name && matches!(op.state, OperationState::Done { .. }) && brought(&op.kind);
    let was_member = model.operations.values().any(done);
    if let Some(member) = model
        .clusters
        .get_mut(name)
        .and_then(|cluster| cluster.members.get_mut(host))
        && !begun
        && member.phase == MemberPhase::Leaving
    {
        let by_operations = if was_member {
            MemberPhase::Member
        } else {
            MemberPhase::Joining
        };
        member.phase = member.left_as.take().unwrap_or(by_operations);
    }
}

fn undo_create(model: &mut Model, command: &Command, id: OperationId, name: &ClusterName) {
    let formed = model.clusters.get(name).is_none_or(|cluster| cluster.formed);
    let other = model.active_operations().any(|op| op.cluster == *name && op.id != id);
    let since = since(model, name, |_| false);
    let later = model.feature_level >= LEVEL;
    // A plan that goes on with a group that lives already makes none, and writes its members.
    let makes = |step: &PlannedStep| match step.step {
        Step::BootstrapGroup { .. } => true,
        Step::JoinGroup { .. } | Step::Metadata { .. } | Step::MetadataInstance { .. } => later,
        _ => false,
    };
    if formed || other || begun(model, name, since, makes) {
        return;
    }
    model.clusters.remove(name);
    let text = format!("cluster {name} taken back: its group was never bootstrapped");
    journal::line("cluster_taken_back", text)
        .cluster(name)
        .operation(id)
        .write(model, command);
}

/// A step like this may have run, in a plan of the cluster adopted after this entry.
fn begun(model: &Model, name: &ClusterName, since: u64, like: impl Fn(&PlannedStep) -> bool) -> bool {
    begun_by(model, name, since, |_| true, like)
}

/// The same, in plans of such operations; one whose operation is not known any more counts.
fn begun_by(
    model: &Model,
    name: &ClusterName,
    since: u64,
    of: impl Fn(&OperationKind) -> bool,
    like: impl Fn(&PlannedStep) -> bool,
) -> bool {
    let serves = |id: &OperationId| model.operations.get(id).is_none_or(|op| of(&op.kind));
    let mut plans = model
        .plans
        .values()
        .filter(|plan| plan.draft.cluster == *name && plan.id.0 > since && serves(&plan.draft.operation));
    plans.any(|plan| {
        plan.draft
            .steps
            .iter()
            .any(|step| like(step) && plans::may_have_run(plan, step))
    })
}

/// When the intent that is judged began: the last operation that ended well and did the opposite, or the cluster's making.
fn since(model: &Model, name: &ClusterName, opposite: impl Fn(&OperationKind) -> bool) -> u64 {
    let made = model.clusters.get(name).map_or(0, |cluster| cluster.created_by.0);
    let done =
        |op: &&Operation| op.cluster == *name && matches!(op.state, OperationState::Done { .. }) && opposite(&op.kind);
    model
        .operations
        .values()
        .rev()
        .find(done)
        .map_or(made, |op| op.id.0.max(made))
}
