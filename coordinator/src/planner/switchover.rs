//! The primary moves.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::Step;

use super::builder::Builder;
use super::context::Context;
use super::live::{self, Primary};
use super::world::{Planning, Stop};
use super::{heal, vouch};
use crate::model::Cluster;

/// Running transactions on the old primary may take so long.
pub(crate) const TIMEOUT_SECONDS: u32 = 30;

/// The plan.
pub(crate) fn plan(context: &Context<'_>, to: Option<&HostName>) -> Planning {
    let cluster = context.cluster()?;
    if let Some(to) = to {
        context.host(to)?;
        if !cluster.members.contains_key(to) {
            let members: Vec<&str> = cluster.members.keys().map(HostName::as_str).collect();
            return Err(
                Failure::refused("not_a_member", format!("{to} is no member of {}", cluster.name))
                    .fact(format!("members: {}", members.join(", ")))
                    .hint(format!("choose one of the members: clusterctl status {}", cluster.name))
                    .into(),
            );
        }
    }
    let primary = live::need_primary(context, cluster)?;
    // One that is tried again wants the member that it had chosen, not the next one: else the primary would move twice.
    let to = to.or_else(|| chosen(context).filter(|host| leads_or_may(context, &primary, host)));
    if to == Some(primary.host) {
        return Err(Stop::Already(format!(
            "{} is the primary of {} already",
            primary.host, cluster.name
        )));
    }
    let target = match to {
        Some(to) => to,
        None => {
            best_secondary(context, cluster, &primary, None).ok_or_else(|| no_secondary(context, cluster, &primary))?
        }
    };
    // Nothing is known of one whose agent is silent, and the step is to run there.
    let seen = context.certain(target)?;
    match primary.state(&context.world, target) {
        Some(MemberState::Online) => {}
        state => {
            let state = state.map_or("not in the group", live::state);
            return Err(Failure::refused(
                "not_online",
                format!("{target} is {state}: only an ONLINE member can lead"),
            )
            .hint(format!(
                "wait until it is ONLINE, or choose another: clusterctl status {}",
                cluster.name
            ))
            .into());
        }
    }
    if heal::is_unproven(&context.world, cluster, target, seen) {
        if vouch::is_pending(&context.world, cluster, seen) {
            return Err(context.not_yet(unproven(target)));
        }
        return Err(unproven(target).into());
    }
    let mut builder = Builder::default();
    builder.note(format!(
        "{} leads now; writes pause while {target} takes over",
        primary.host
    ));
    builder.step(
        target,
        Step::SetPrimary {
            timeout_seconds: TIMEOUT_SECONDS,
        },
        format!("make {target} the primary instead of {}", primary.host),
        &[],
    );
    Ok(builder.finish(
        context,
        format!(
            "{target} is the primary of {}, instead of {}",
            cluster.name, primary.host
        ),
    ))
}

/// Whom an earlier plan of this very operation was to make the primary.
fn chosen<'a>(context: &Context<'a>) -> Option<&'a HostName> {
    let plan = context.world.model.plans.get(context.op.plans.last()?)?;
    let mut steps = plan.draft.steps.iter();
    steps
        .find(|step| matches!(step.step, Step::SetPrimary { .. }))
        .map(|step| &step.host)
}

fn leads_or_may(context: &Context<'_>, primary: &Primary<'_>, host: &HostName) -> bool {
    primary.state(&context.world, host) == Some(MemberState::Online) && context.world.certain(host).is_some()
}

/// Clients would read and change what may be other data under the same numbers.
fn unproven(target: &HostName) -> Failure {
    Failure::refused(
        "unproven_data",
        format!(
            "{target} is in the group with data of an unproven history: it may hold other transactions under the same numbers, and must not lead"
        ),
    )
    .hint(format!("see: clusterctl why {target}"))
}

/// The ONLINE secondary, certainly seen, whose data are proven, with the shortest queue.
pub(crate) fn best_secondary<'a>(
    context: &Context<'_>,
    cluster: &'a Cluster,
    primary: &Primary<'_>,
    but: Option<&HostName>,
) -> Option<&'a HostName> {
    let online = live::online(&context.world, cluster, primary);
    let others = online
        .into_iter()
        .filter(|host| *host != primary.host && Some(*host) != but);
    let certain = others.filter_map(|host| {
        let seen = context.world.certain(host)?;
        if heal::is_unproven(&context.world, cluster, host, seen) {
            return None;
        }
        Some((seen.observation.mysql.server.as_ref()?.queue, host))
    });
    certain.min().map(|(_, host)| host)
}

fn no_secondary(context: &Context<'_>, cluster: &Cluster, primary: &Primary<'_>) -> Failure {
    let mut failure = Failure::refused(
        "no_secondary",
        format!(
            "{} has no other ONLINE member whose data are proven and that could lead",
            cluster.name
        ),
    )
    .hint(format!("see: clusterctl status {}", cluster.name));
    for host in cluster.members.keys().filter(|host| *host != primary.host) {
        failure = failure.fact(format!("{host}: {}", live::describe(&context.world, cluster, host)));
    }
    failure
}
