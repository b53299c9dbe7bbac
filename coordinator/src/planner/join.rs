//! A further member joins a formed cluster (or one that fell out, or stopped half-way, comes in again).

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, HostRole, StepNumber};
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{Recovery, Step};

use super::builder::Builder;
use super::context::Context;
use super::create::{MOST_MEMBERS, too_many};
use super::group::{self, Joiner};
use super::live::{self, Out, Primary};
use super::prepare::{self, Purpose};
use super::world::{Planning, Stop};
use super::{copy, heal, preflight, recovery, version, vouch};
use crate::model::operation::RecoveryWish;
use crate::model::{Cluster, Member, MemberPhase, PlanDraft};

/// The refusal for a cluster that was never formed.
pub(crate) fn not_formed(cluster: &Cluster) -> Failure {
    Failure::refused("not_formed", format!("{} is not formed yet", cluster.name))
        .fact("its create has not ended well")
        .hint(format!(
            "type its create again, it goes on where it stopped: clusterctl create {} --primary HOST …; see: clusterctl ops list",
            cluster.name
        ))
}

/// The plan.
pub(crate) fn plan(context: &Context<'_>, host: &HostName, wish: RecoveryWish, ignore: &[String]) -> Planning {
    let cluster = context.cluster()?;
    context.host_with_role(host, HostRole::Db)?;
    if !cluster.formed {
        return Err(not_formed(cluster).into());
    }
    let Some(member) = cluster.members.get(host) else {
        return Err(Failure::new("no_intent", format!("{host} is not to be a member of {}", cluster.name)).into());
    };
    let staying = cluster
        .members
        .values()
        .filter(|member| member.phase != MemberPhase::Leaving)
        .count();
    if staying > MOST_MEMBERS {
        return Err(too_many(staying).into());
    }
    context.certain(host)?;
    let primary = live::need_primary(context, cluster)?;
    let state = primary.state(&context.world, host);
    let registered = registered(&primary, cluster, host);
    if state == Some(MemberState::Online) && registered && member.phase == MemberPhase::Member {
        return Err(Stop::Already(format!(
            "{host} is an ONLINE member of {} already",
            cluster.name
        )));
    }
    if state.is_some_and(|state| matches!(state, MemberState::Online | MemberState::Recovering))
        && context
            .certain(host)
            .is_ok_and(|seen| heal::foreign_inside(cluster, host, seen))
    {
        let failure = Failure::refused(
            heal::GIVEN_UP_INSIDE,
            format!(
                "{host} is in the group with data of an unproven history: it may hold other transactions under the same numbers"
            ),
        )
        .hint(format!("clusterctl why {host}"));
        let pending = |seen| vouch::is_pending(&context.world, cluster, seen);
        if context.certain(host).is_ok_and(pending) {
            return Err(context.not_yet(failure));
        }
        return Err(failure.into());
    }
    let out = live::out(&context.world, host);
    if let Out::Unknown(why) = out {
        return Err(context.not_yet(
            Failure::refused("server_unknown", format!("{host} cannot join now: {why}"))
                .hint(format!("see on {host}: journalctl -u mysql"))
                .transient(),
        ));
    }
    let mut builder = Builder::default();
    let joined = if out == Out::Yes {
        match bring_in(&mut builder, context, cluster, &primary, (host, member), wish, ignore)? {
            Coming::Joins(steps) => steps,
            Coming::Copy(draft) => return Ok(*draft),
            Coming::Prepared => {
                builder.note(copy::FOLLOWS);
                let mut draft = builder.finish(context, format!("{host} is prepared for the copy"));
                draft.goes_on = true;
                return Ok(draft);
            }
        }
    } else if live::out_of_service(&context.world, host) == Out::Yes {
        // It is set up, and has given up or tries by itself: its way in is chosen as if it were out.
        let choice = recovery::choose(context, cluster, &primary, host, copy::wish(context, host, wish))?;
        builder.note(format!("{host} gets what it lacks by {}", choice.told()));
        if matches!(choice.recovery, Recovery::Clone { .. }) {
            let known = false;
            return Ok(heal::copies(
                builder,
                context,
                cluster,
                &primary,
                (host, member),
                &choice,
                known,
            ));
        }
        let account = group::member_account(&mut builder, context, primary.host, (host, member));
        let joiner = Joiner {
            host,
            member,
            recovery: choice.recovery,
            group_gtid: primary.server.gtid_executed.clone(),
            first: std::slice::from_ref(primary.host),
        };
        vec![group::join(&mut builder, context, cluster, joiner, &[account])]
    } else if state == Some(MemberState::Online) {
        builder.note(format!("{host} is ONLINE in the group already"));
        Vec::new()
    } else {
        builder.note(format!("{host} is on its way into the group already"));
        let joiner = Joiner {
            host,
            member,
            recovery: Recovery::Incremental,
            group_gtid: primary.server.gtid_executed.clone(),
            first: std::slice::from_ref(primary.host),
        };
        vec![group::join(&mut builder, context, cluster, joiner, &[])]
    };
    let known = group::register(&mut builder, context, cluster, primary.host, host, member, &joined);
    group::seeds_elsewhere(&mut builder, context, cluster, &primary, host, &[known]);
    let voters = live::voters(primary.view) + usize::from(state.is_none());
    let message = format!("{host} is a member of {}: {}", cluster.name, survives(voters));
    Ok(builder.finish(context, message))
}

/// How far a plan brings a host.
enum Coming {
    /// Into the group, by these steps.
    Joins(Vec<StepNumber>),
    /// It only copies its data.
    Copy(Box<PlanDraft>),
    /// It is only prepared, for a copy that follows.
    Prepared,
}

/// From a bare host to ONLINE, or one plan nearer.
fn bring_in(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    (host, member): (&HostName, &Member),
    wish: RecoveryWish,
    ignore: &[String],
) -> Planning<Coming> {
    context.with_facts(host)?;
    preflight::demand(context, cluster, &[host], ignore)?;
    version::fits(context, cluster, primary, host)?;
    let choice = recovery::choose(context, cluster, primary, host, copy::wish(context, host, wish))?;
    if copy::prepared(context, cluster, (host, member))
        && let Some(draft) = copy::plan(context, cluster, primary, (host, member), &choice)
    {
        return Ok(Coming::Copy(Box::new(draft)));
    }
    builder.note(format!("{host} gets its data by {}", choice.told()));

    let elsewhere = prepare::names_elsewhere(builder, context, cluster, host, &[]);
    let purpose = Purpose {
        member: true,
        router: cluster.routers.contains_key(host),
    };
    let mut prepared = prepare::base(builder, context, cluster, host, purpose)?;
    prepare::server(builder, context, cluster, host, member, &mut prepared)?;
    let local = builder.step(
        host,
        Step::LocalMemberAccounts {
            accounts: group::accounts(context, cluster),
        },
        format!("make the members' accounts known to mysqld on {host}"),
        &prepared.server,
    );
    let account = group::member_account(builder, context, primary.host, (host, member));
    if matches!(choice.recovery, Recovery::Clone { .. }) {
        return Ok(Coming::Prepared);
    }
    let mut after = elsewhere;
    after.extend(prepared.names);
    after.extend([local, account]);
    let mut first = vec![primary.host.clone()];
    first.extend(
        live::online(&context.world, cluster, primary)
            .into_iter()
            .filter(|peer| *peer != primary.host)
            .cloned(),
    );
    let joiner = Joiner {
        host,
        member,
        recovery: choice.recovery,
        group_gtid: primary.server.gtid_executed.clone(),
        first: &first,
    };
    let joined = group::join(builder, context, cluster, joiner, &after);
    Ok(Coming::Joins(vec![joined]))
}

/// The member stands in the primary's metadata.
pub(crate) fn registered(primary: &Primary<'_>, cluster: &Cluster, host: &HostName) -> bool {
    let address = live::address(cluster, host);
    let copy = primary.server.metadata.as_ref();
    copy.is_some_and(|copy| {
        copy.instances
            .iter()
            .any(|instance| instance.address.eq_ignore_ascii_case(&address))
    })
}

/// `3 members, tolerates 1 failure`.
pub(crate) fn survives(voters: usize) -> String {
    let members = if voters == 1 {
        "1 member".to_owned()
    } else {
        format!("{voters} members")
    };
    match live::tolerance(voters) {
        0 => format!("{members}, tolerates no failure"),
        1 => format!("{members}, tolerates 1 failure"),
        n => format!("{members}, tolerates {n} failures"),
    }
}
