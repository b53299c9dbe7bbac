//! What to do, as a pure function of (intent, observations, now). No IO, no clock, no async.
//!
//! Called by `leader` on every tick and after every change, and by `api` for `--dry-run` and for refusing bad requests
//! before they are stored. It never changes anything.

mod account;
mod builder;
mod context;
mod copy;
mod create;
mod group;
pub(crate) mod heal;
mod join;
pub(crate) mod lineage;
pub(crate) mod live;
pub mod preflight;
mod prepare;
mod recovery;
mod remove;
pub mod restored;
mod router;
mod settings;
mod switchover;
mod verify;
mod version;
pub(crate) mod vouch;
pub(crate) mod world;

#[cfg(test)]
pub(crate) mod tests;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, HostName};

use crate::machine::{operations, plans};
use crate::model::{Cluster, Operation, OperationKind, OperationState, PlanDraft};
use context::Context;
use world::{Planning, Stop};

pub(crate) use builder::{are, listed};
pub(crate) use context::seconds;
pub(crate) use copy::makes_way as copy_makes_way;
pub use world::{Decision, Doubt, Seen, Sight, World};

/// What follows for this operation: it may be stored in the model or, with id 0, not yet (`--dry-run`, refusals before
/// storing; then what may pass by itself, such as an agent that is silent, is refused at once).
pub fn decide(world: &World<'_>, operation: &Operation) -> Decision {
    match plan(world, operation) {
        Ok(draft) => Decision::Plan(draft),
        Err(stop) => stop.into(),
    }
}

/// The world as this operation wants it: with its intent, if it is not stored yet.
pub(crate) fn with_intent<T>(
    world: &World<'_>,
    operation: &Operation,
    then: impl FnOnce(&World<'_>) -> T,
) -> Result<T, Failure> {
    if operation.id.0 != 0 {
        return Ok(then(world));
    }
    let model = context::imagine(world, operation)?;
    Ok(then(&World {
        model: &model,
        ..*world
    }))
}

fn plan(world: &World<'_>, operation: &Operation) -> Planning {
    let draft = draft(world, operation)?;
    let context = Context {
        world: *world,
        op: operation,
    };
    beside_others(&context, &draft)?;
    Ok(draft)
}

/// The operation has its plan, which would be adopted now if its own hosts were not being copied.
fn waits_only_for_copies(world: &World<'_>, operation: &Operation) -> bool {
    let open = plans::open_plan(world.model, &operation.cluster).is_some();
    if open || !operations::is_due(operation, world.now) {
        return false;
    }
    let copies = plans::copies(world.model, &operation.cluster);
    let own = |host: &&HostName| copies.contains_key(*host) && operation.kind.hosts().contains(host);
    draft(world, operation).is_ok_and(|draft| plans::all_in_the_way(world.model, &draft).keys().all(own))
}

/// The plan, whatever other plans do on its hosts.
fn draft(world: &World<'_>, operation: &Operation) -> Planning {
    if let Some(failure) = restored::not_led(world, &operation.cluster) {
        return Err(failure.into());
    }
    before_intent(world, operation)?;
    with_intent(world, operation, |world| {
        let context = Context {
            world: *world,
            op: operation,
        };
        busy(world, operation)?;
        let cluster = world.model.clusters.get(&operation.cluster);
        if let Some(cluster) = cluster
            && let Some(said) = cluster.holds_back(operation, world.now)
        {
            paused(operation, &cluster.name, &heal::told(said))?;
        }
        if let Some(host) = cluster.and_then(|cluster| live::outdated(world, cluster)) {
            return Err(Stop::Wait(format!(
                "{host} is asked again, as something was done there since"
            )));
        }
        by_kind(&context)
    })?
}

/// An operator's operation waits until the pause ends. The coordinator's own recovery ends, and not as done: an operator who asks for a
/// recovery meanwhile may be answered with it. What else it does by itself is not needed while the cluster is paused, and says so.
fn paused(operation: &Operation, cluster: &ClusterName, told: &str) -> Planning<()> {
    if !operation.by_itself() {
        return Err(Stop::Wait(format!(
            "{cluster} is paused with all operations, {told}; go on: clusterctl resume {cluster}"
        )));
    }
    if !matches!(operation.kind, OperationKind::Recover { .. }) {
        return Ok(());
    }
    let text = format!("{cluster} is paused, {told}: it is not recovered by itself");
    let failure = Failure::refused(plans::PAUSED, text).hint(format!(
        "end the pause: clusterctl resume {cluster}; or recover it by your own word: clusterctl recover {cluster}"
    ));
    Err(failure.into())
}

/// The plan does nothing where a step of an earlier one may run. What heals keeps nobody waiting, and waits. What an operator wants waits
/// as long as a copy makes progress; for an agent that does not say whether a step ended it waits as for one that is silent.
fn beside_others(context: &Context<'_>, draft: &PlanDraft) -> Planning<()> {
    let model = context.world.model;
    let Some((host, failure)) = plans::in_the_way(model, draft).filter(|_| context.stored()) else {
        return Ok(());
    };
    if context.op.kind.heals() || plans::copies(model, &draft.cluster).contains_key(host) {
        return Err(Stop::Wait(failure.message));
    }
    Err(context.not_yet(failure.hint(format!(
        "is {host} up? on {host}: systemctl restart clusterctl-agent, which stops what its agent still does; then type the command again"
    ))))
}

/// What can be said from names and intent alone.
fn before_intent(world: &World<'_>, op: &Operation) -> Planning<()> {
    match &op.kind {
        OperationKind::Create { .. } => match create::Wanted::of(&op.kind) {
            Some(wanted) => create::before_intent(world, op, &wanted),
            None => Ok(()),
        },
        kind => {
            if !world.model.clusters.contains_key(&op.cluster) {
                return Err(context::no_such_cluster(op).into());
            }
            // Who is given up may be a name in old metadata only.
            let unknown = |host: &&HostName| !world.model.hosts.contains_key(*host);
            if !matches!(kind, OperationKind::Recover { .. })
                && let Some(host) = kind.hosts().into_iter().find(unknown)
            {
                return Err(context::unknown_host(world, host).into());
            }
            match kind {
                OperationKind::CreateAccount { account } => account::before_intent(world, op, account),
                OperationKind::Remove { host, .. } => already_gone(world, op, host, false),
                OperationKind::RemoveRouter { host, .. } => already_gone(world, op, host, true),
                _ => Ok(()),
            }
        }
    }
}

fn already_gone(world: &World<'_>, op: &Operation, host: &HostName, router: bool) -> Planning<()> {
    let Some(cluster) = world.model.clusters.get(&op.cluster) else {
        return Ok(());
    };
    let there = if router {
        cluster.routers.contains_key(host)
    } else {
        cluster.members.contains_key(host)
    };
    if there {
        Ok(())
    } else {
        Err(not_there(cluster, host, router))
    }
}

/// What is to be removed is not there: so it is already, unless the other kind was meant.
fn not_there(cluster: &Cluster, host: &HostName, router: bool) -> Stop {
    let (what, other, there, command) = if router {
        ("router", "member", cluster.members.contains_key(host), "remove")
    } else {
        ("member", "router", cluster.routers.contains_key(host), "router remove")
    };
    let text = format!("{host} is no {what} of {}", cluster.name);
    if !there {
        return Stop::Already(text);
    }
    Failure::new("other_kind", format!("{text} but a {other}"))
        .hint(format!("to take it out: clusterctl {command} {host}"))
        .exit(ExitClass::Usage)
        .into()
}

/// Operations of one cluster are done one after another, the older first; one that waits for a host lets others pass. One that heals stands in nobody's way, and in line
/// behind nobody: what others wait for may be just that.
fn busy(world: &World<'_>, op: &Operation) -> Planning<()> {
    if op.kind.heals() {
        return Ok(());
    }
    let others = world
        .model
        .active_operations()
        .filter(|other| other.cluster == op.cluster && other.id != op.id && !other.kind.heals())
        .filter(|other| !copies(world, other) && !waits_for_a_host(world, op, other));
    // What `imagine` wrote is the operation itself.
    let mut older = others.filter(|other| other.id.0 != 0 && (op.id.0 == 0 || other.id < op.id));
    match older.next() {
        None => Ok(()),
        Some(other) => Err(Stop::Wait(format!(
            "operation {} ({}) is not done yet",
            other.id,
            crate::machine::describe::title(&other.kind, other.cluster.as_str())
        ))),
    }
}

/// What is carried out of this operation now is a copy, which others need not wait for.
fn copies(world: &World<'_>, op: &Operation) -> bool {
    let last = op.plans.last().and_then(|id| world.model.plans.get(id));
    op.state == OperationState::Running && last.is_some_and(|plan| plan.draft.side && !plans::is_settled(plan))
}

/// It is about another host and waits: it joins that host, while members give their data to others for hours; or the host is being copied,
/// or its agent has not said whether an earlier step ended. Nothing is done for it meanwhile.
fn waits_for_a_host(world: &World<'_>, op: &Operation, other: &Operation) -> bool {
    let last = other.plans.last().and_then(|id| world.model.plans.get(id));
    let waits = matches!(other.state, OperationState::Waiting { .. }) && last.is_none_or(plans::is_settled);
    let hosts = other.kind.hosts();
    let apart = !hosts.iter().any(|host| op.kind.hosts().contains(host));
    let for_donor =
        || matches!(other.kind, OperationKind::Join { .. }) && !plans::copies(world.model, &other.cluster).is_empty();
    let busy = plans::busy_hosts(world.model, &other.cluster);
    // What comes after a create needs the cluster.
    let creates = matches!(other.kind, OperationKind::Create { .. });
    waits && apart && !creates && (for_donor() || hosts.iter().any(|host| busy.contains_key(host)))
}

fn by_kind(context: &Context<'_>) -> Planning<PlanDraft> {
    match &context.op.kind {
        kind @ OperationKind::Create { .. } => match create::Wanted::of(kind) {
            Some(wanted) => create::plan(context, &wanted),
            None => Err(Stop::Wait("not planned".to_owned())),
        },
        OperationKind::Join {
            host,
            recovery,
            ignore_checks,
        } => join::plan(context, host, *recovery, ignore_checks),
        OperationKind::Remove { host, force } => remove::plan(context, host, *force),
        OperationKind::AddRouter { host, ignore_checks } => router::add(context, host, ignore_checks),
        OperationKind::RemoveRouter { host, force } => router::remove(context, host, *force),
        OperationKind::CreateAccount { account } => account::create(context, account),
        OperationKind::DropAccount { user, from } => account::drop(context, user, from),
        OperationKind::Switchover { to } => switchover::plan(context, to.as_ref()),
        OperationKind::Verify => verify::plan(context),
        OperationKind::Rejoin { host } => heal::rejoin(context, host),
        OperationKind::Recover { .. } => heal::recover(context),
        OperationKind::StartRouter { host } => heal::start_router(context, host),
        OperationKind::Forget { host } => heal::forget(context, host),
    }
}
