//! A member leaves for good: its row and account first, so that its own copy of the metadata does not list it; then the group.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, StepNumber};
use clusterctl_proto::observe::{DataDirectory, MemberState, UnitState};
use clusterctl_proto::step::Step;

use super::builder::Builder;
use super::context::Context;
use super::join::survives;
use super::live::{self, Out, Primary};
use super::switchover::{TIMEOUT_SECONDS, best_secondary};
use super::world::{Planning, Seen, Stop};
use super::{group, heal, lineage, prepare};
use crate::machine::plans;
use crate::model::{Cluster, Member, PlannedStep};

/// The plan.
pub(crate) fn plan(context: &Context<'_>, host: &HostName, force: bool) -> Planning {
    let cluster = context.cluster()?;
    let Some(member) = cluster.members.get(host) else {
        context.host(host)?;
        return Err(super::not_there(cluster, host, false));
    };
    let live = live::primaries(&context.world, cluster);
    if !cluster.formed && live.is_empty() {
        return unformed(context, cluster, host, force);
    }
    if cluster.members.len() == 1 {
        return Err(last(cluster, host).into());
    }
    let primary = live::need_primary(context, cluster)?;
    if *host != *primary.host && !lineage::goes_on(&context.world, cluster, &primary) {
        return Err(Failure::refused(
            lineage::GIVEN_UP_LEADS,
            format!(
                "{} leads {} in a history that was abandoned: {host} may be the only one that has what was written since",
                primary.host, cluster.name
            ),
        )
        .hint(format!("clusterctl why -c {}", cluster.name))
        .into());
    }
    if heal::may_have_more(&context.world, cluster, &primary, host) {
        return Err(context.not_yet(
            Failure::refused(
                "lineage_unknown",
                format!(
                    "what the group of {} began with is not recorded yet: {host} may be the only one that has what was written before",
                    cluster.name
                ),
            )
            .fact(format!("{} leads; {host} is out of the group and holds data", primary.host))
            .hint(format!(
                "start the agents of all members, and see: clusterctl why -c {}",
                cluster.name
            ))
            .transient(),
        ));
    }
    let state = primary.state(&context.world, host);
    let foreign = somebody_elses(context, cluster, host);
    let answers = match context.certain(host) {
        Ok(seen) => match &foreign {
            Some(what) => {
                out_already(context, cluster, &primary, host, what)?;
                false
            }
            None if force && hangs(seen) => {
                hanging(context, &primary, host, state)?;
                false
            }
            None => true,
        },
        Err(_) if force => false,
        Err(Stop::Refuse(failure)) => {
            let hint = format!("bring {host} back, or, if it is gone for good: clusterctl remove {host} --force");
            return Err(failure.hint(hint).into());
        }
        Err(stop) => return Err(stop),
    };
    if !answers && state == Some(MemberState::Unreachable) {
        // It may be back before that.
        return Err(context.not_yet(
            Failure::refused(
                "still_in_group",
                format!("the group has not expelled {host} yet, which it does not reach"),
            )
            .fact(format!("{} sees {host} UNREACHABLE", primary.host))
            .hint(format!(
                "in some seconds, type it again: clusterctl remove {host} --force"
            ))
            .transient(),
        ));
    }
    if !answers && matches!(state, Some(MemberState::Online | MemberState::Recovering)) {
        // No answer is not "down" (rule 4).
        return Err(Failure::refused(
            "still_in_group",
            format!("the agent of {host} is silent, but the group still sees its mysqld"),
        )
        .fact(format!(
            "{} sees {host} {}",
            primary.host,
            state.map_or("gone", live::state)
        ))
        .hint(format!(
            "start the agent: on {host}: systemctl start clusterctl-agent; or stop mysqld there, and type it again"
        ))
        .into());
    }
    tolerance(context, cluster, &primary, host, state)?;
    let mut builder = Builder::default();
    let (leader, handed) = hand_over(&mut builder, context, cluster, &primary, host)?;
    let forgotten = forget(&mut builder, context, cluster, (host, member), leader, &handed);
    let mut left = vec![forgotten];
    if answers {
        let title = format!("take {host} out of the group; its data stays");
        left = vec![builder.step(host, leave(cluster), title, &left)];
    } else if let Some(what) = foreign {
        builder.note(left_as_it_is(host, &what));
    } else {
        let silent = match context.certain(host) {
            Ok(_) => format!("mysqld on {host}"),
            Err(_) => host.to_string(),
        };
        builder.note(format!(
            "{silent} does not answer: forgotten as asked; should it come back, it is out of the metadata"
        ));
    }
    let mut rest = cluster.clone();
    rest.members.remove(host);
    group::seeds_elsewhere(&mut builder, context, &rest, &primary, host, &left);
    prepare::names_elsewhere(&mut builder, context, &rest, host, &left);
    let counts = usize::from(matches!(state, Some(MemberState::Online | MemberState::Recovering)));
    let rest = survives(live::voters(primary.view).saturating_sub(counts));
    Ok(builder.finish(
        context,
        format!("{host} is no member of {} any more: {rest}", cluster.name),
    ))
}

fn leave(cluster: &Cluster) -> Step {
    Step::LeaveGroup {
        group_name: Some(cluster.group_name),
    }
}

/// Why the mysqld of this host is not the cluster's to stop, if it is not.
fn somebody_elses(context: &Context<'_>, cluster: &Cluster, host: &HostName) -> Option<String> {
    let mysql = &context.world.certain(host)?.observation.mysql;
    match &mysql.data {
        DataDirectory::Foreign { what } if !mysql.data.is_unseen() => {
            return Some(format!("its data directory is not that of {}: {what}", cluster.name));
        }
        DataDirectory::Ours { cluster: Some(other) } if *other != cluster.name => {
            return Some(format!("its data are of cluster {other}"));
        }
        DataDirectory::Foreign { .. }
        | DataDirectory::Ours { .. }
        | DataDirectory::Pristine
        | DataDirectory::Absent => {}
    }
    let name = &mysql.server.as_ref()?.group_name;
    (!name.is_empty() && !live::same_group(name, cluster)).then(|| format!("it is set up for another group ({name})"))
}

fn left_as_it_is(host: &HostName, what: &str) -> String {
    format!("mysqld on {host} is left as it is, since {what}")
}

/// What is somebody else's is forgotten only, which is not enough for a server that is in the group.
fn out_already(
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    host: &HostName,
    what: &str,
) -> Planning<()> {
    let state = primary.state(&context.world, host);
    let Some(state) = state.filter(|state| !matches!(state, MemberState::Offline | MemberState::Error)) else {
        return Ok(());
    };
    let told = format!("{} sees {host} {}", primary.host, live::state(state));
    Err(context.not_yet(in_the_group(cluster, host, what).fact(told)))
}

fn in_its_group(context: &Context<'_>, cluster: &Cluster, host: &HostName) -> bool {
    live::server(&context.world, host).is_some_and(|server| live::is_ours(server, cluster))
}

fn in_the_group(cluster: &Cluster, host: &HostName, what: &str) -> Failure {
    Failure::refused(
        "foreign_data",
        format!("{host} is in the group of {}, but {what}", cluster.name),
    )
    .hint(format!(
        "look whose it is; then, on {host}: STOP GROUP_REPLICATION; and: clusterctl remove {host}"
    ))
    .transient()
}

/// Its agent answers, and mysqld runs without answering the agent: nobody can make it leave.
fn hangs(seen: &Seen) -> bool {
    let mysql = &seen.observation.mysql;
    mysql.server.is_none() && mysql.unit == UnitState::Running
}

/// One that hangs is forgotten only when the group has expelled it: some look may just have taken long.
fn hanging(context: &Context<'_>, primary: &Primary<'_>, host: &HostName, state: Option<MemberState>) -> Planning<()> {
    let inside = state.filter(|state| !matches!(state, MemberState::Offline | MemberState::Error));
    let Some(state) = inside else { return Ok(()) };
    Err(context.not_yet(
        Failure::refused(
            "still_in_group",
            format!("mysqld on {host} does not answer its agent, and the group has not expelled it"),
        )
        .fact(format!("{} sees {host} {}", primary.host, live::state(state)))
        .hint(format!(
            "stop mysqld there (on {host}: systemctl stop mysql), then: clusterctl remove {host} --force"
        ))
        .transient(),
    ))
}

/// A cluster whose group never came to life: the host is taken out of the intent, and out of whatever it may be in.
fn unformed(context: &Context<'_>, cluster: &Cluster, host: &HostName, force: bool) -> Planning {
    let mut builder = Builder::default();
    builder.note(format!("{} is not formed and no group of it is seen", cluster.name));
    match context.certain(host) {
        Ok(_) => match (live::out(&context.world, host), somebody_elses(context, cluster, host)) {
            (Out::Unknown(why), _) => {
                return Err(context.not_yet(
                    Failure::refused("server_unknown", format!("{host} cannot be taken out now: {why}")).transient(),
                ));
            }
            (Out::No(told), Some(what)) if in_its_group(context, cluster, host) => {
                return Err(context.not_yet(in_the_group(cluster, host, &what).fact(told)));
            }
            (_, Some(what)) => builder.note(left_as_it_is(host, &what)),
            (Out::Yes | Out::No(_), None) => {
                builder.step(
                    host,
                    leave(cluster),
                    format!("make sure that {host} is in no group"),
                    &[],
                );
            }
        },
        Err(_) if force => {
            no_group_left_behind(context, cluster, host)?;
            builder.note(format!("{host} does not answer: forgotten as asked"));
        }
        Err(stop) => return Err(stop),
    }
    Ok(builder.finish(context, format!("{host} is no member of {} any more", cluster.name)))
}

/// A silent host that may have made or entered the group is not forgotten while others could bootstrap it without that host (safety
/// rule 1): one that does not answer blocks. The last one may go, and the cluster with it.
fn no_group_left_behind(context: &Context<'_>, cluster: &Cluster, host: &HostName) -> Planning<()> {
    if cluster.members.len() == 1 {
        return Ok(());
    }
    let enters = |step: &&PlannedStep| {
        step.host == *host && matches!(step.step, Step::BootstrapGroup { .. } | Step::JoinGroup { .. })
    };
    let plans = context.world.model.plans.values();
    let entered = plans
        .filter(|plan| plan.draft.cluster == cluster.name && plan.id.0 > cluster.created_by.0)
        .any(|plan| {
            let mut steps = plan.draft.steps.iter().filter(enters);
            steps.any(|step| plans::may_have_run(plan, step))
        });
    if !entered {
        return Ok(());
    }
    let others = cluster.members.keys().filter(|other| *other != host);
    let others: Vec<String> = others.map(|other| format!("clusterctl remove {other}")).collect();
    Err(Failure::refused(
        "may_be_in_group",
        format!("{host} is silent, and the group of {} may live there", cluster.name),
    )
    .fact("a step that makes or enters the group was sent to it; without it the others would make a second group")
    .hint(format!(
        "bring {host} back; or, if it is gone for good, give this attempt up: {}; then: clusterctl remove {host} --force",
        others.join("; ")
    ))
    .into())
}

fn last(cluster: &Cluster, host: &HostName) -> Failure {
    Failure::refused(
        "last_member",
        format!(
            "{host} is the only member of {}: without it there is no cluster",
            cluster.name
        ),
    )
    .hint("join another member first: clusterctl join HOST")
}

/// Safety rule 5: the operator is told the numbers.
fn tolerance(
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    host: &HostName,
    state: Option<MemberState>,
) -> Planning<()> {
    if !matches!(state, Some(MemberState::Online | MemberState::Recovering)) {
        return Ok(());
    }
    let now = live::voters(primary.view);
    let online = live::online(&context.world, cluster, primary);
    if online.iter().all(|other| *other == host) {
        return Err(Failure::refused(
            "last_online_member",
            format!("{host} is the only ONLINE member of {}", cluster.name),
        )
        .hint(format!(
            "bring another member ONLINE first: clusterctl status {}",
            cluster.name
        ))
        .into());
    }
    let (before, after) = (live::tolerance(now), live::tolerance(now.saturating_sub(1)));
    if after >= before || context.op.accept_lower_tolerance {
        return Ok(());
    }
    Err(Failure::refused(
        "lower_tolerance",
        format!("without {host}, {} survives {after} failures instead of {before}", cluster.name),
    )
    .fact(format!("now: {}", survives(now)))
    .fact(format!("then: {}", survives(now.saturating_sub(1))))
    .hint(format!(
        "join another member first (clusterctl join HOST), or agree to it: clusterctl remove {host} --accept-lower-tolerance"
    ))
    .into())
}

/// A primary hands over before it goes: applications hardly notice, and the metadata is written by one that stays.
fn hand_over<'a>(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &'a Cluster,
    primary: &Primary<'a>,
    host: &HostName,
) -> Planning<(&'a HostName, Vec<StepNumber>)> {
    if primary.host != host {
        return Ok((primary.host, Vec::new()));
    }
    let Some(next) = best_secondary(context, cluster, primary, Some(host)) else {
        return Err(context.not_yet(
            Failure::refused(
                "no_secondary",
                format!("{host} is the primary, and no other ONLINE member answers to take over"),
            )
            .hint(format!("see: clusterctl status {}", cluster.name))
            .transient(),
        ));
    };
    let step = Step::SetPrimary {
        timeout_seconds: TIMEOUT_SECONDS,
    };
    let handed = builder.step(next, step, format!("make {next} the primary instead of {host}"), &[]);
    Ok((next, vec![handed]))
}

fn forget(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    (host, member): (&HostName, &Member),
    leader: &HostName,
    after: &[StepNumber],
) -> StepNumber {
    let step = Step::ForgetInstance {
        address: live::address(cluster, host),
        server_uuid: live::server(&context.world, host).map(|server| server.server_uuid),
        account: member.account_user(),
    };
    builder.write(
        leader,
        step,
        format!("remove {host} and its account from the metadata"),
        after,
    )
}
