//! A member's data are replaced by a donor's copy: three plans of one operation.
//!
//! 1. What the copy relies on elsewhere is prepared (`join`, `heal::rejoin`): the host, its account on the primary.
//! 2. [`plan`]: the copy itself, a plan beside others that touches this host only. It may take hours, and enters no group.
//! 3. The entry, planned anew from what is seen then, as for every member that lacks little.
//!
//! Which of them is next is told by the operation's own plans in the log and by what is seen, so it survives every restart. Pure.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::DataDirectory;
use clusterctl_proto::step::{Recovery, Step};

use super::builder::Builder;
use super::context::Context;
use super::heal;
use super::lineage;
use super::live::Primary;
use super::recovery::Choice;
use super::settings;
use super::world::World;
use crate::machine::plans;
use crate::model::operation::RecoveryWish;
use crate::model::{Cluster, Member, Model, Operation, OperationKind, OperationState, Plan, PlanDraft, PlanState};

/// Plans of this operation that have ended well, the newest first.
fn done<'a>(context: &Context<'a>) -> impl Iterator<Item = &'a Plan> {
    let plans = context.op.plans.iter().rev();
    let model = context.world.model;
    plans
        .filter_map(|id| model.plans.get(id))
        .filter(|plan| plan.state == PlanState::Done)
}

/// A plan of this operation has made the member's account on the primary, by which it logs in to the donor; and its server runs, with our
/// marker in its data directory.
pub(crate) fn prepared(context: &Context<'_>, cluster: &Cluster, (host, member): (&HostName, &Member)) -> bool {
    let ours =
        |data: &DataDirectory| matches!(data, DataDirectory::Ours { cluster: Some(name) } if *name == cluster.name);
    let seen = context.world.certain(host).map(|seen| &seen.observation.mysql);
    if !seen.is_some_and(|mysql| mysql.server.is_some() && ours(&mysql.data)) {
        return false;
    }
    let user = member.account_user();
    let makes = |step: &Step| match step {
        Step::MemberAccounts { accounts } => accounts.iter().any(|account| account.user == user),
        _ => false,
    };
    done(context).any(|plan| plan.draft.steps.iter().any(|step| makes(&step.step)))
}

/// A plan of this operation has copied a donor's data to this host.
pub(crate) fn copied(context: &Context<'_>, host: &HostName) -> bool {
    done(context).any(|plan| plan.draft.side && plan.draft.steps.iter().any(|step| step.host == *host))
}

/// How the data are to come: a copy that was asked for is made once.
pub(crate) fn wish(context: &Context<'_>, host: &HostName, asked: RecoveryWish) -> RecoveryWish {
    match asked {
        RecoveryWish::Clone if copied(context, host) => RecoveryWish::Auto,
        asked => asked,
    }
}

/// Whether this plan is a copy that is to be stopped, as an operation does not wait for it. A recovery, when nobody is in the group: nothing
/// is bootstrapped while a member is being copied. The removal of its host, when it waits for nothing else: a removal that stands in line or
/// is paused may be cancelled yet, and half of a copy is worth nothing.
pub(crate) fn makes_way<'a>(model: &'a Model, plan: &Plan, world: impl Fn() -> World<'a>) -> bool {
    let here = |host: &HostName| plan.draft.steps.iter().any(|step| step.host == *host);
    let waits =
        |op: &&Operation| op.cluster == plan.draft.cluster && matches!(op.state, OperationState::Waiting { .. });
    let waiting = || model.active_operations().filter(waits);
    let removes = |op: &Operation| matches!(&op.kind, OperationKind::Remove { host, .. } if here(host));
    let recovers = |op: &Operation| match &op.kind {
        OperationKind::Recover { without, .. } => !without.iter().any(here),
        _ => false,
    };
    plan.draft.side
        && (waiting().any(|op| removes(op) && super::waits_only_for_copies(&world(), op))
            || (waiting().any(recovers) && heal::nobody_inside(&world(), &plan.draft.cluster)))
}

/// A donor gives its data to one host at a time.
pub(crate) fn gives(context: &Context<'_>, cluster: &Cluster, donor: &HostName) -> bool {
    let copies = plans::copies(context.world.model, &cluster.name);
    let mut steps = copies.values().flat_map(|plan| &plan.draft.steps);
    steps.any(|step| matches!(&step.step, Step::CloneData { donor: giving, .. } if giving == donor))
}

/// What is told of a plan that only prepares a copy.
pub(crate) const FOLLOWS: &str = "the copy is a plan of its own, beside which others of the cluster are carried out; the entry into the group is planned when it ends";

/// The copy; none: the data come otherwise.
pub(crate) fn plan(
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    (host, member): (&HostName, &Member),
    choice: &Choice,
) -> Option<PlanDraft> {
    let Recovery::Clone { donor, port } = &choice.recovery else {
        return None;
    };
    let mut builder = Builder::default();
    builder.note(format!("{host} gets its data by {}", choice.told()));
    builder.note("other plans of the cluster are carried out meanwhile; the entry into the group is planned when the copy has ended");
    let group = lineage::of_group(&context.world, cluster, primary);
    let step = Step::CloneData {
        donor: donor.clone(),
        port: *port,
        group_name: cluster.group_name,
        account: settings::account(host, member, context.world.issuer),
        group_gtid: primary.server.gtid_executed.clone(),
        history: lineage::history(cluster, group.as_ref()),
    };
    builder.step(host, step, format!("copy the data of {donor} onto {host}"), &[]);
    let mut draft = builder.finish(context, format!("{host} holds a copy of {donor}'s data"));
    (draft.side, draft.goes_on) = (true, true);
    Some(draft)
}
