//! What becomes of the intent when an operation ended well: phases settle, and the journal says so.

use clusterctl_proto::ids::{ClusterName, HostName, OperationId};
use clusterctl_proto::step::Step;

use super::{Command, journal, operations, plans};
use crate::model::{
    AccountIntent, MemberPhase, Model, OperationKind, OperationState, PlanDraft, PlannedStep, RouterPhase,
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
    operations::turn(model, command, &name, id);
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
            let gone = model.clusters.get_mut(&name).and_then(|cluster| {
                cluster.duties.remove(host);
                cluster.accounts_dropped.remove(host);
                cluster.members.remove(host)
            });
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
        OperationKind::Forget { host } => forgotten(model, command, id, &name, host),
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

/// An abandoned member has lost its row and account.
fn forgotten(model: &mut Model, command: &Command, id: OperationId, name: &ClusterName, host: &HostName) {
    let Some(draft) = last_draft(model, id) else { return };
    let forgets = |step: &PlannedStep| ran_well(step) && matches!(step.step, Step::ForgetInstance { .. });
    if draft.steps.iter().any(forgets) {
        let text = format!("the metadata row and the account of {host}, which was abandoned, are removed");
        journal::line("member_forgotten", text)
            .cluster(name)
            .host(host)
            .operation(id)
            .write(model, command);
    }
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
