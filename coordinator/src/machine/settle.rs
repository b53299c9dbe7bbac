//! What becomes of the intent when an operation ends.
//!
//! Done: phases settle. Failed or cancelled: what certainly was not begun is taken back, so that nothing half-made stays
//! in the intent; what may have been begun stays, and the same command finishes it.

use clusterctl_proto::ids::{ClusterName, HostName, OperationId, PlanId, StepNumber};
use clusterctl_proto::step::Step;

use super::{Command, journal, plans};
use crate::model::{
    AccountIntent, MemberPhase, Model, Operation, OperationKind, OperationState, PlanDraft, PlannedStep, RouterPhase,
};

/// What was wanted is so.
pub(super) fn done(model: &mut Model, command: &Command, id: OperationId, message: &str) {
    let Some(operation) = model.operations.get_mut(&id) else {
        return;
    };
    if operation.state.is_final() {
        return;
    }
    operation.state = OperationState::Done {
        message: message.to_owned(),
    };
    operation.ended_at = Some(command.at);
    let (kind, name) = (operation.kind.clone(), operation.cluster.clone());
    match &kind {
        OperationKind::Create {
            primary, with, routers, ..
        } => {
            let formed = model
                .clusters
                .get_mut(&name)
                .is_some_and(|cluster| !std::mem::replace(&mut cluster.formed, true));
            if formed {
                journal::line("cluster_formed", format!("cluster {name} formed"))
                    .cluster(&name)
                    .operation(id)
                    .write(model, command);
            }
            for host in std::iter::once(primary).chain(with) {
                member_joined(model, command, id, &name, host);
            }
            for host in routers {
                router_added(model, command, id, &name, host);
            }
        }
        OperationKind::Join { host, .. } => member_joined(model, command, id, &name, host),
        OperationKind::Remove { host, .. } => {
            let gone = model
                .clusters
                .get_mut(&name)
                .and_then(|cluster| cluster.members.remove(host));
            if gone.is_some() {
                let text = format!("{host} left cluster {name}");
                journal::line("member_left", text)
                    .cluster(&name)
                    .host(host)
                    .operation(id)
                    .write(model, command);
            }
            drop_empty(model, &name);
        }
        OperationKind::AddRouter { host, .. } => router_added(model, command, id, &name, host),
        OperationKind::RemoveRouter { host, .. } => {
            let gone = model
                .clusters
                .get_mut(&name)
                .and_then(|cluster| cluster.routers.remove(host));
            if gone.is_some() {
                let text = format!("router on {host} removed from cluster {name}");
                journal::line("router_removed", text)
                    .cluster(&name)
                    .host(host)
                    .operation(id)
                    .write(model, command);
            }
            drop_empty(model, &name);
        }
        OperationKind::CreateAccount { account } => {
            if let Some(cluster) = model.clusters.get_mut(&name) {
                let key = format!("{}@{}", account.user, account.from);
                cluster.accounts.insert(
                    key,
                    AccountIntent {
                        account: account.clone(),
                        made: true,
                    },
                );
            }
        }
        OperationKind::DropAccount { user, from } => {
            if let Some(cluster) = model.clusters.get_mut(&name) {
                cluster.accounts.remove(&format!("{user}@{from}"));
            }
        }
        OperationKind::Switchover { .. } | OperationKind::Verify => {}
        OperationKind::Rejoin { host } | OperationKind::StartRouter { host } => healed(model, command, id, &name, host),
        OperationKind::Recover { .. } => recovered(model, command, id, &name),
    }
    journal::line("operation_done", format!("operation {id} done: {message}"))
        .cluster(&name)
        .operation(id)
        .write(model, command);
}

fn member_joined(model: &mut Model, command: &Command, id: OperationId, name: &ClusterName, host: &HostName) {
    if let Some(cluster) = model.clusters.get_mut(name) {
        cluster.left_out.remove(host);
    }
    let Some(member) = model
        .clusters
        .get_mut(name)
        .and_then(|cluster| cluster.members.get_mut(host))
    else {
        return;
    };
    if member.phase == MemberPhase::Joining {
        member.phase = MemberPhase::Member;
        let text = format!("{host} is a member of cluster {name}");
        journal::line("member_joined", text)
            .cluster(name)
            .host(host)
            .operation(id)
            .write(model, command);
    }
}

fn router_added(model: &mut Model, command: &Command, id: OperationId, name: &ClusterName, host: &HostName) {
    let Some(router) = model
        .clusters
        .get_mut(name)
        .and_then(|cluster| cluster.routers.get_mut(host))
    else {
        return;
    };
    if router.phase == RouterPhase::Adding {
        router.phase = RouterPhase::Router;
        let text = format!("router on {host} serves cluster {name}");
        journal::line("router_added", text)
            .cluster(name)
            .host(host)
            .operation(id)
            .write(model, command);
    }
}

/// A cluster without members and routers is none.
fn drop_empty(model: &mut Model, name: &ClusterName) {
    if model
        .clusters
        .get(name)
        .is_some_and(|cluster| cluster.members.is_empty() && cluster.routers.is_empty())
    {
        model.clusters.remove(name);
    }
}

/// It failed or was cancelled for good: takes back what was certainly not begun.
pub(super) fn undone(model: &mut Model, command: &Command, id: OperationId) {
    let Some(operation) = model.operations.get(&id) else {
        return;
    };
    let (kind, name) = (operation.kind.clone(), operation.cluster.clone());
    match &kind {
        OperationKind::Create { .. } => undo_create(model, command, id, &name),
        OperationKind::Join { host, .. } => {
            let removed =
                |kind: &OperationKind| matches!(kind, OperationKind::Remove { host: gone, .. } if gone == host);
            let begun = begun(model, &name, since(model, &name, removed), |step| {
                step.host == *host && matches!(step.step, Step::JoinGroup { .. } | Step::BootstrapGroup { .. })
            });
            if let Some(cluster) = model.clusters.get_mut(&name).filter(|_| !begun)
                && cluster
                    .members
                    .get(host)
                    .is_some_and(|member| member.phase == MemberPhase::Joining)
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
        | OperationKind::StartRouter { .. } => {}
    }
}

/// The plan by which this operation ended well, if it needed one.
fn last_draft(model: &Model, id: OperationId) -> Option<&PlanDraft> {
    let plan = model.operations.get(&id)?.plans.last()?;
    model.plans.get(plan).map(|plan| &plan.draft)
}

fn ran_well(step: &PlannedStep) -> bool {
    plans::has_ended(step) && plans::failure_of(step).is_none()
}

/// A member or router runs again: what was done is told by the steps.
fn healed(model: &mut Model, command: &Command, id: OperationId, name: &ClusterName, host: &HostName) {
    let Some(draft) = last_draft(model, id) else { return };
    // An operation may end as not needed any more after a plan that failed: that healed nothing.
    let has = |like: fn(&Step) -> bool| draft.steps.iter().any(|step| ran_well(step) && like(&step.step));
    let (kind, text) = if has(|step| matches!(step, Step::JoinGroup { .. })) {
        ("member_rejoined", format!("{host} is ONLINE again in {name}"))
    } else if has(|step| matches!(step, Step::RouterRunning { .. })) {
        ("router_restarted", format!("Router on {host} runs again"))
    } else if has(|step| matches!(step, Step::StartServer {})) {
        ("server_started", format!("mysqld on {host} runs again"))
    } else {
        return;
    };
    journal::line(kind, text)
        .cluster(name)
        .host(host)
        .operation(id)
        .write(model, command);
}

/// The group lives again.
fn recovered(model: &mut Model, command: &Command, id: OperationId, name: &ClusterName) {
    let Some(draft) = last_draft(model, id) else { return };
    let bootstraps = |step: &&PlannedStep| ran_well(step) && matches!(step.step, Step::BootstrapGroup { .. });
    let Some(first) = draft.steps.iter().find(bootstraps).map(|step| step.host.clone()) else {
        return;
    };
    let text = format!("the group of {name} lives again, bootstrapped on {first}");
    journal::line("cluster_recovered", text)
        .cluster(name)
        .host(&first)
        .operation(id)
        .write(model, command);
}

fn undo_remove(model: &mut Model, name: &ClusterName, host: &HostName) {
    let brought = |kind: &OperationKind| match kind {
        OperationKind::Create { primary, with, .. } => primary == host || with.contains(host),
        OperationKind::Join { host: joined, .. } => joined == host,
        _ => false,
    };
    let address = format!("{host}:");
    let begun = begun(model, name, since(model, name, brought), |step| match &step.step {
        Step::LeaveGroup {} => step.host == *host,
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
        member.phase = if was_member {
            MemberPhase::Member
        } else {
            MemberPhase::Joining
        };
    }
}

fn undo_create(model: &mut Model, command: &Command, id: OperationId, name: &ClusterName) {
    let formed = model.clusters.get(name).is_none_or(|cluster| cluster.formed);
    let other = model.active_operations().any(|op| op.cluster == *name && op.id != id);
    let since = since(model, name, |_| false);
    if formed
        || other
        || begun(model, name, since, |step| {
            matches!(step.step, Step::BootstrapGroup { .. })
        })
    {
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

/// A bootstrap that gives members up has run, or may have: from now on the group numbers without them. Whoever was left out must prove
/// more than others before it comes in. Or one takes them back.
pub(super) fn given_up(model: &mut Model, plan: PlanId, step: StepNumber) {
    let Some(plan) = model.plans.get(&plan) else { return };
    let bootstraps = |step: &&PlannedStep| matches!(step.step, Step::BootstrapGroup { .. });
    let ran = plans::find(plan, step)
        .filter(bootstraps)
        .is_some_and(|step| plans::may_have_run(plan, step));
    if let Some(cluster) = model.clusters.get_mut(&plan.draft.cluster).filter(|_| ran) {
        cluster.left_out.retain(|host, _| !plan.draft.taken_back.contains(host));
        let Some(given_up) = &plan.draft.given_up else { return };
        for host in &given_up.members {
            // The group numbers without it since the first time: beyond that, its transactions are its own.
            cluster
                .left_out
                .entry(host.clone())
                .or_insert_with(|| given_up.base.clone());
        }
    }
}

/// A member that was left out enters, or may have: the plan was adopted since it held nothing that was given up, and from now on it
/// gets what the group has. What it holds then is no proof against it, however its join ends.
pub(super) fn let_in(model: &mut Model, plan: PlanId, step: StepNumber) {
    let Some(plan) = model.plans.get(&plan) else { return };
    let enters = |step: &&PlannedStep| matches!(step.step, Step::JoinGroup { .. }) && plans::may_have_run(plan, step);
    if let Some(step) = plans::find(plan, step).filter(enters)
        && let Some(cluster) = model.clusters.get_mut(&plan.draft.cluster)
    {
        cluster.left_out.remove(&step.host);
    }
}
