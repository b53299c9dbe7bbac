//! After an outage of all members: everyone promises, the member that has everything bootstraps, the others rejoin by plans of their
//! own. With a break-glass, without those that are given up.

use std::collections::BTreeSet;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, StepNumber};
use clusterctl_proto::step::Step;

use super::break_glass::{approved, diverged, may_be_left_out, not_known};
use super::forget::forget;
use super::holders::{self, Outage};
use super::outage::{self, Group};
use super::unpromised;
use crate::machine::plans;
use crate::model::{Cluster, OperationKind, Reckoning};
use crate::planner::builder::{Builder, listed};
use crate::planner::context::Context;
use crate::planner::join::{not_formed, registered};
use crate::planner::settings::UNREACHABLE_MAJORITY_SECONDS;
use crate::planner::world::{Planning, Stop};
use crate::planner::{group, lineage, live, recovery, settings};

/// The plan.
pub(crate) fn plan(context: &Context<'_>) -> Planning {
    let OperationKind::Recover { without, .. } = &context.op.kind else {
        return Err(Stop::Wait("no recovery".to_owned()));
    };
    let cluster = context.cluster()?;
    if !cluster.formed {
        return Err(not_formed(cluster).into());
    }
    if context.by_itself() {
        super::still_needed(&context.world, cluster, &context.op.kind)
            .map_err(|why| Stop::Already(format!("not needed any more: {why}")))?;
    }
    if let Some(rest) = finish(context, cluster, without) {
        return Ok(rest);
    }
    nobody_serves(context, cluster)?;
    nothing_unsettled(context, cluster, without)?;
    let case = holders::examine(&context.world, cluster, without);
    may_be_left_out(context, cluster, without, &case)?;
    if !case.nameless.is_empty() || !case.unknown.is_empty() {
        return Err(context.not_yet(not_known(context, cluster, without, &case)));
    }
    let Some(first) = case.best() else {
        return Err(diverged(&context.world, cluster, without, &case).into());
    };
    approved(context, cluster, without, &case, first)?;
    if !case.stuck.is_empty() {
        return Ok(stop_what_is_left(context, cluster, &case));
    }
    bootstrap(context, cluster, without, &case, first)
}

fn nobody_serves(context: &Context<'_>, cluster: &Cluster) -> Planning<()> {
    let name = &cluster.name;
    match outage::group(&context.world, cluster) {
        Group::Out => Ok(()),
        Group::Led(primary) => Err(Stop::Already(format!("{name} has a primary: {}", primary.host))),
        Group::Split(_) => live::need_primary(context, cluster).map(drop),
        Group::Leaderless(host, _) => Err(context.not_yet(
            Failure::refused(
                "group_lives",
                format!("{host} is in the group of {name}, which has a majority"),
            )
            .hint(format!("it comes to rest by itself; see: clusterctl why -c {name}"))
            .transient(),
        )),
        Group::NoQuorum(_, view) if view.has_stalled() => Err(context.not_yet(
            Failure::refused("no_quorum", outage::stalled(name, view))
                .hint(format!("type it again in half a minute; see: clusterctl why -c {name}"))
                .transient(),
        )),
        Group::NoQuorum(host, _) => Err(context.not_yet(
            Failure::refused(
                "no_quorum",
                format!("{host} is still in the group, without a majority: it gives up after {UNREACHABLE_MAJORITY_SECONDS} s"),
            )
            .hint(format!("type it again in half a minute; see: clusterctl why -c {name}"))
            .transient(),
        )),
    }
}

/// A step of an earlier plan may run unseen on a member: nothing is bootstrapped before its agent has said that it ended.
fn nothing_unsettled(context: &Context<'_>, cluster: &Cluster, without: &[HostName]) -> Planning<()> {
    let model = context.world.model;
    let busy = plans::busy_hosts(model, &cluster.name);
    let in_the_way = busy
        .into_iter()
        .find(|(host, _)| cluster.members.contains_key(*host) && !without.contains(host));
    match in_the_way {
        None => Ok(()),
        Some((host, step)) => Err(context.not_yet(
            Failure::refused("host_busy", plans::busy_text(model, host, step))
                .hint(match context.world.certain(host) {
                    // Named while it answers, it would be refused.
                    Some(_) => format!(
                        "on {host}: systemctl restart clusterctl-agent; or, {}",
                        unpromised::way_out(cluster, host)
                    ),
                    None => format!(
                        "bring {host} back; only if it is gone for good: clusterctl recover {} --without {host}",
                        cluster.name
                    ),
                })
                .transient(),
        )),
    }
}

/// First of two plans, both of this operation: who is in ERROR, or tries to come back, is stopped and promises.
fn stop_what_is_left(context: &Context<'_>, cluster: &Cluster, case: &Outage) -> crate::model::PlanDraft {
    let mut builder = Builder::default();
    builder.note(format!(
        "Group Replication still runs on {}, where it serves nobody: it is stopped first",
        listed(&case.stuck)
    ));
    promises(&mut builder, case, None);
    let mut draft = builder.finish(
        context,
        format!(
            "every member of {} is out of the group, and has promised to stay out",
            cluster.name
        ),
    );
    draft.goes_on = true;
    draft
}

/// Of everybody who is asked, but for who promises last.
fn promises(builder: &mut Builder, case: &Outage, last: Option<&HostName>) -> Vec<StepNumber> {
    let mut promise = |host: &HostName| {
        let title = format!("have {host} promise to stay out of any group that this plan does not make");
        builder.step(host, Step::Promise {}, title, &[])
    };
    let hosts = case.held.keys().chain(&case.behind);
    hosts.filter(|host| Some(*host) != last).map(&mut promise).collect()
}

/// The group lives, but whoever was given up still has its row and account: an earlier plan came so far.
fn finish(context: &Context<'_>, cluster: &Cluster, without: &[HostName]) -> Option<crate::model::PlanDraft> {
    let world = &context.world;
    let primary = live::primary(world, cluster)?;
    let abandoned_before = abandoned_before(context, cluster);
    let left: Vec<&HostName> = without
        .iter()
        .filter(|host| primary.row(world, host).is_none())
        .filter(|host| {
            let registered = || registered(&primary, cluster, host);
            cluster.duties.contains_key(*host) || (abandoned_before.contains(*host) && registered())
        })
        .collect();
    if left.is_empty() {
        return None;
    }
    let mut builder = Builder::default();
    left.iter()
        .for_each(|host| forget(&mut builder, context, cluster, primary.host, host, &[]));
    Some(builder.finish(
        context,
        format!(
            "{} lives without {}: primary {}",
            cluster.name,
            listed(left),
            primary.host
        ),
    ))
}

/// Members that the bootstraps of the cluster's history abandoned.
fn abandoned_before(context: &Context<'_>, cluster: &Cluster) -> BTreeSet<HostName> {
    let plans = context.world.model.plans.values();
    let ours = plans.filter(|plan| plan.draft.operation == context.op.id);
    let given_up = ours.filter_map(|plan| plan.draft.given_up.as_ref());
    let recorded = cluster.lineage.iter().flat_map(|id| cluster.lineages.path(id));
    let abandoned = recorded
        .filter_map(|id| cluster.lineages.get(id))
        .flat_map(|branch| &branch.abandoned);
    let legacy = cluster.left_out.keys();
    given_up
        .flat_map(|lost| &lost.members)
        .chain(abandoned)
        .chain(legacy)
        .cloned()
        .collect()
}

/// Before the start every server that will be a member knows the accounts of exactly those that may come in: an abandoned member that
/// is back before the group has forgotten it finds no account to enter by. Not binlogged, since nobody is in a group.
fn accounts(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    without: &[HostName],
    case: &Outage,
) -> Vec<StepNumber> {
    // Also where nobody is abandoned: a recovery that ended half-way may have dropped those of members that come in by this one.
    let abandoned = |host: &HostName| without.contains(host) || case.behind.contains(host);
    let wanted = cluster.members.iter().filter(|(host, _)| !abandoned(host));
    let accounts: Vec<_> = wanted
        .map(|(host, member)| settings::account(host, member, context.world.issuer))
        .collect();
    let runs = |host: &&HostName| live::server(&context.world, host).is_some() && cluster.members.contains_key(*host);
    let mut make = |host: &HostName| {
        let step = Step::LocalMemberAccounts {
            accounts: accounts.clone(),
        };
        let title = format!("let mysqld on {host} know the accounts of those that may come in, and of no other member");
        builder.step(host, step, title, &[])
    };
    case.held.keys().filter(runs).map(&mut make).collect()
}

fn bootstrap(
    context: &Context<'_>,
    cluster: &Cluster,
    without: &[HostName],
    case: &Outage,
    first: &HostName,
) -> Planning {
    let world = &context.world;
    let Some(member) = cluster.members.get(first) else {
        return Err(Failure::new("no_intent", format!("{first} is no member")).into());
    };
    let mut builder = Builder::default();
    let held = case.held.get(first);
    let base = held.map(|held| held.set.clone()).unwrap_or_default();
    builder.note(format!(
        "{first} has everything that any member holds: {}",
        recovery::shown(&base)
    ));
    for host in &case.behind {
        builder.note(format!(
            "{host} was abandoned before: what it holds beyond the group does not count"
        ));
    }
    let mut promised = promises(&mut builder, case, Some(first));
    promised.extend(accounts(&mut builder, context, cluster, without, case));
    // A busy host gets no order of another plan.
    for host in without.iter().filter(|host| live::takes_orders(world, cluster, host)) {
        let title = format!("have {host}, which is given up, promise to stay out");
        builder.best_effort(host, Step::Promise {}, title, &[]);
    }
    for host in &case.taken_back {
        builder.note(format!(
            "{host} was abandoned before; nothing was written without it, so what it holds counts"
        ));
    }
    let memory = world
        .sight
        .get(first)
        .and_then(|seen| seen.host.as_ref())
        .map(|facts| facts.memory_bytes);
    promised.push(group::promise_last(&mut builder, first, &promised));
    let peers = group::peers(cluster, first, &[]);
    let config = settings::group(cluster, first, member, &peers, memory, world.issuer);
    let made = builder.step(
        first,
        Step::BootstrapGroup {
            group: config,
            holds: base.clone(),
            lineage: lineage::recorded_as(world, cluster, first),
            peers: group::bootstrap_peers(world, cluster, first, without),
        },
        format!("bootstrap the group of {} on {first}", cluster.name),
        &promised,
    );
    for host in without {
        builder.note(format!("{host} is left out as accepted by {}", context.op.by));
        if !cluster.members.contains_key(host) {
            builder.note(format!("{host} is no member: a row of it in the metadata stays"));
        }
        forget(&mut builder, context, cluster, first, host, &[made]);
    }
    let lost = if without.is_empty() {
        String::new()
    } else {
        format!(" without {}", listed(without))
    };
    let mut draft = builder.finish(
        context,
        format!(
            "{} lives again{lost}: primary {first}; the other members rejoin by themselves",
            cluster.name
        ),
    );
    let known = |host: &HostName| {
        let held = holders::holds(world, cluster, host).ok()?;
        Some((host.clone(), held.set))
    };
    draft.given_up = (!without.is_empty()).then(|| Reckoning {
        members: without.to_vec(),
        base,
        known: without.iter().filter_map(known).collect(),
    });
    Ok(draft)
}
