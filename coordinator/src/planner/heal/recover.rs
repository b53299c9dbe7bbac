//! After an outage of all members: everyone promises, the member that has everything bootstraps, the others rejoin by plans of their
//! own. With a break-glass, without those that are given up.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{HostName, StepNumber};
use clusterctl_proto::step::Step;

use super::holders::{self, Outage};
use super::loss;
use super::outage::{self, Group};
use crate::model::{Cluster, GivenUp, OperationKind};
use crate::planner::builder::{Builder, are, listed};
use crate::planner::context::Context;
use crate::planner::join::{not_formed, registered};
use crate::planner::settings::UNREACHABLE_MAJORITY_SECONDS;
use crate::planner::world::{Planning, Stop};
use crate::planner::{group, live, recovery, settings};

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
    let case = holders::examine(&context.world, cluster, without);
    may_be_left_out(context, cluster, without, &case)?;
    if !case.nameless.is_empty() || !case.unknown.is_empty() {
        return Err(context.not_yet(not_known(context, cluster, without, &case)));
    }
    let Some(first) = case.best() else {
        return Err(diverged(cluster, &case).into());
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

/// Only members, and only those of which something is not known; or one side of a divergence.
fn may_be_left_out(context: &Context<'_>, cluster: &Cluster, without: &[HostName], case: &Outage) -> Planning<()> {
    let whole = holders::examine(&context.world, cluster, &[]);
    for host in without {
        if !cluster.members.contains_key(host) && !whole.unknown.contains_key(host) {
            return Err(
                Failure::new("not_a_member", format!("{host} is no member of {}", cluster.name))
                    .fact(format!("members: {}", listed(cluster.members.keys())))
                    .hint(format!("see: clusterctl status {}", cluster.name))
                    .exit(ExitClass::Usage)
                    .into(),
            );
        }
    }
    let known = without.iter().find(|host| whole.held.contains_key(*host));
    match known {
        // It answers, so nothing has to be given up, unless what it holds contradicts the others.
        Some(host) if whole.best().is_some() || case.best().is_none() => Err(Failure::refused(
            "not_lost",
            format!("{host} answers, and what it holds is known: it need not be left out"),
        )
        .hint(format!("clusterctl recover {}", cluster.name))
        .into()),
        _ if cluster.members.keys().all(|host| without.contains(host)) => {
            Err(Failure::refused("nobody_left", "no member would be left")
                .hint(format!("see: clusterctl status {}", cluster.name))
                .into())
        }
        _ => Ok(()),
    }
}

/// The refusal that shows what is known, what would be risked, and the exact command.
fn not_known(context: &Context<'_>, cluster: &Cluster, without: &[HostName], case: &Outage) -> Failure {
    let name = &cluster.name;
    let mut failure = Failure::refused(
        "members_unknown",
        format!("{name} is not bootstrapped: it is not known of every member that it is out, and what it holds"),
    )
    .exit(ExitClass::Refused)
    .transient();
    for (host, text) in &case.told {
        failure = failure.fact(format!("{host}: {text}"));
    }
    if !case.nameless.is_empty() {
        return failure
            .fact(format!(
                "listed in a member's metadata or view, and no name of a host: {}",
                case.nameless.join(", ")
            ))
            .hint("take them out of the metadata on the member that lists them");
    }
    let moving = if case.moving.is_empty() {
        String::new()
    } else {
        format!(
            "mysqld is starting or stopping on {}: wait a few seconds; else ",
            listed(&case.moving)
        )
    };
    let lost: Vec<HostName> = without.iter().chain(case.unknown.keys()).cloned().collect();
    let rest = holders::examine(&context.world, cluster, &lost);
    let all = listed(&lost);
    match rest.best().filter(|_| rest.unknown.is_empty()) {
        Some(first) => {
            let code = rest.code(cluster, &lost);
            risk(failure, cluster, &lost, &rest, first).hint(format!(
                "{moving}bring {all} back, then it is recovered by itself; only if {all} {} gone for good: {}",
                are(&lost),
                loss::command(cluster, &lost, &code)
            ))
        }
        None => failure.hint(format!("{moving}bring at least one of {all} back")),
    }
}

fn risk(failure: Failure, cluster: &Cluster, lost: &[HostName], rest: &Outage, first: &HostName) -> Failure {
    let all = listed(lost);
    let has = rest.held.get(first).map(recovery::shown).unwrap_or_default();
    failure
        .fact(format!("risk: {first} would lead with {has}; what {all} alone may hold beyond that is lost, also if it was acknowledged"))
        .fact(format!(
            "risk: if {all} {} up and taking writes somewhere, {} would live twice: power off first",
            are(lost),
            cluster.name
        ))
}

fn diverged(cluster: &Cluster, case: &Outage) -> Failure {
    let name = &cluster.name;
    let all = case.all();
    let mut failure = Failure::refused(
        "diverged",
        format!("the members of {name} hold different transactions, and none holds them all"),
    );
    for (host, set) in &case.held {
        failure = failure
            .fact(format!("{host} holds: {}", recovery::shown(set)))
            .fact(format!("{host} lacks: {}", recovery::shown(&all.subtract(set))));
    }
    let example = case.held.keys().next().map_or("HOST", |host| host.as_str());
    failure.hint(format!(
        "look what is in them (mysqlbinlog --include-gtids=SET BINLOG), then leave out the member whose transactions are given up, e.g.: clusterctl recover {name} --without {example}"
    ))
}

/// A break-glass counts for exactly what was shown, and for a while.
fn approved(
    context: &Context<'_>,
    cluster: &Cluster,
    without: &[HostName],
    case: &Outage,
    first: &HostName,
) -> Planning<()> {
    let OperationKind::Recover {
        accept_loss,
        expires_at,
        ..
    } = &context.op.kind
    else {
        return Ok(());
    };
    if without.is_empty() {
        return Ok(());
    }
    let code = case.code(cluster, without);
    let command = loss::command(cluster, without, &code);
    let refused = |code: &str, message: String| {
        let mut failure = Failure::refused(code, message);
        for (host, text) in &case.told {
            failure = failure.fact(format!("{host}: {text}"));
        }
        for host in without {
            failure = failure.fact(format!("{host}: {}", holders::silent(&context.world, host)));
        }
        risk(failure, cluster, without, case, first).hint(command.clone())
    };
    let all = listed(without);
    match accept_loss {
        None => Err(refused(
            "loss_not_accepted",
            format!("without {all}, transactions may be lost: nothing is done before that is accepted"),
        )
        .into()),
        Some(given) if *given != code => Err(refused(
            "loss_changed",
            format!("--accept-loss {given} does not stand for what is seen now: look again"),
        )
        .into()),
        Some(_) if expires_at.is_none_or(|end| end <= context.world.now) => {
            Err(refused("approval_expired", "the approval has ended".to_owned()).into())
        }
        Some(_) => Ok(()),
    }
}

/// First of two plans, both of this operation: who is in ERROR, or tries to come back, is stopped and promises.
fn stop_what_is_left(context: &Context<'_>, cluster: &Cluster, case: &Outage) -> crate::model::PlanDraft {
    let mut builder = Builder::default();
    builder.note(format!(
        "Group Replication still runs on {}, where it serves nobody: it is stopped first",
        listed(&case.stuck)
    ));
    promises(&mut builder, case);
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

fn promises(builder: &mut Builder, case: &Outage) -> Vec<StepNumber> {
    let mut promise = |host: &HostName| {
        let title = format!("have {host} promise to stay out of any group that this plan does not make");
        builder.step(host, Step::Promise {}, title, &[])
    };
    case.held.keys().chain(&case.left_out).map(&mut promise).collect()
}

/// The group lives, but whoever was given up still has its row and account: an earlier plan came so far.
fn finish(context: &Context<'_>, cluster: &Cluster, without: &[HostName]) -> Option<crate::model::PlanDraft> {
    let world = &context.world;
    let primary = live::primary(world, cluster)?;
    let left: Vec<&HostName> = without
        .iter()
        .filter(|host| cluster.left_out.contains_key(*host))
        .filter(|host| primary.row(world, host).is_none() && registered(&primary, cluster, host))
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

/// Without its row and account it cannot come in unasked.
fn forget(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    primary: &HostName,
    host: &HostName,
    after: &[StepNumber],
) {
    let Some(lost) = cluster.members.get(host) else { return };
    let step = Step::ForgetInstance {
        address: live::address(cluster, host),
        server_uuid: live::server(&context.world, host).map(|server| server.server_uuid),
        account: lost.account_user(),
    };
    let title = format!("remove {host} and its account from the metadata until it is back");
    builder.write(primary, step, title, after);
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
    let base = case.held.get(first).cloned().unwrap_or_default();
    builder.note(format!(
        "{first} has everything that any member holds: {}",
        recovery::shown(&base)
    ));
    let promised = promises(&mut builder, case);
    for host in without.iter().filter(|host| context.certain(host).is_ok()) {
        let title = format!("have {host}, which is given up, promise to stay out");
        builder.best_effort(host, Step::Promise {}, title, &[]);
    }
    for host in &case.taken_back {
        builder.note(format!(
            "{host} was given up before; nothing was written without it, so what it holds counts"
        ));
    }
    let memory = world
        .sight
        .get(first)
        .and_then(|seen| seen.host.as_ref())
        .map(|facts| facts.memory_bytes);
    let peers = group::peers(cluster, first, &[]);
    let config = settings::group(cluster, first, member, &peers, memory, world.issuer);
    let made = builder.step(
        first,
        Step::BootstrapGroup { group: config },
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
    draft.taken_back.clone_from(&case.taken_back);
    if !without.is_empty() {
        draft.given_up = Some(GivenUp {
            members: without.to_vec(),
            base: base.to_string(),
        });
    }
    Ok(draft)
}
