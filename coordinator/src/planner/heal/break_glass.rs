//! What an operator is shown, and has to say, before a group is bootstrapped without everybody: refusals with what is known, what would
//! be risked and the exact command; and the approval, which counts for exactly what was shown, and for a while.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::HostName;

use super::holders::{self, Outage};
use super::{loss, unpromised};
use crate::model::{Cluster, OperationKind};
use crate::planner::builder::{are, listed};
use crate::planner::context::Context;
use crate::planner::recovery;
use crate::planner::world::{Planning, World};

/// Only members, and only those of which something is not known; or one side of a divergence.
pub(super) fn may_be_left_out(
    context: &Context<'_>,
    cluster: &Cluster,
    without: &[HostName],
    case: &Outage,
) -> Planning<()> {
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
        Some(host) if whole.best().is_some() => {
            let failure = Failure::refused(
                "not_lost",
                format!("{host} answers, and what it holds is known: it need not be left out"),
            );
            Err(match unpromised::why(&context.world, cluster, host) {
                Some(why) => failure.fact(why).hint(format!(
                    "mend that, then it is recovered by itself; or, {}",
                    unpromised::way_out(cluster, host)
                )),
                None => failure.hint(format!("clusterctl recover {}", cluster.name)),
            }
            .into())
        }
        Some(_) if case.best().is_none() => Err(Failure::refused(
            "not_lost",
            format!(
                "without {} none of the others is known to hold everything, too",
                listed(without)
            ),
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
pub(super) fn not_known(context: &Context<'_>, cluster: &Cluster, without: &[HostName], case: &Outage) -> Failure {
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
            let code = loss::code(context, cluster, &lost, &rest);
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
    if lost.is_empty() {
        return failure.fact(format!(
            "risk: what members that {} does not know hold beyond {first} is lost",
            cluster.name
        ));
    }
    let all = listed(lost);
    let has = rest
        .held
        .get(first)
        .map(|held| recovery::shown(&held.set))
        .unwrap_or_default();
    failure
        .fact(format!("risk: {first} would lead with {has}; what {all} alone may hold beyond that is lost, also if it was acknowledged"))
        .fact(format!(
            "risk: if {all} {} up and taking writes somewhere, {} would live twice: power off first",
            are(lost),
            cluster.name
        ))
}

pub(super) fn diverged(world: &World<'_>, cluster: &Cluster, without: &[HostName], case: &Outage) -> Failure {
    let name = &cluster.name;
    let what = match case.unmeasured() {
        Some((one, other)) => format!(
            "where the histories of {one} and {other} part is not recorded, so it cannot be told whether a member of {name} holds everything"
        ),
        None if case.only_copies() => {
            format!(
                "no member of {name} that may lead holds everything: what does is a copy that counts as half of one"
            )
        }
        None => format!("the members of {name} hold different transactions, and none holds them all"),
    };
    let mut failure = Failure::refused("diverged", what);
    for told in case.copies_told() {
        failure = failure.fact(format!("{told}: the group cannot be bootstrapped there"));
    }
    for (host, held) in &case.held {
        failure = failure.fact(format!(
            "{host} holds (lineage {}): {}",
            held.lineage,
            recovery::shown(&held.set)
        ));
        for (other, theirs) in case.held.iter().filter(|(other, _)| *other != host) {
            failure = match case.beyond(theirs, held) {
                None => failure.fact(format!("what {host} lacks of {other} cannot be told")),
                Some(lacks) if lacks.is_empty() => failure,
                Some(lacks) => failure.fact(format!("{host} lacks of {other}: {}", recovery::shown(&lacks))),
            };
        }
    }
    for (host, part) in &case.good_part {
        for (other, held) in &case.held {
            if let Some(lacks) = case.beyond(part, held).filter(|lacks| !lacks.is_empty()) {
                failure = failure.fact(format!(
                    "{host} holds what the cluster had and {other} lacks: {}; the rest of what it holds is of another history and does not count",
                    recovery::shown(&lacks)
                ));
            }
        }
    }
    // One without which the others agree; where three differ, one alone is not enough.
    let agree = |lost: &[HostName]| {
        let lost = [without, lost].concat();
        holders::examine(world, cluster, &lost).best().is_some()
    };
    let one = case
        .held
        .keys()
        .chain(case.good_part.keys())
        .map(|host| vec![host.clone()]);
    let all_but_one = case.held.keys().map(|stays| {
        let others = case.held.keys().filter(|host| *host != stays);
        others.cloned().collect::<Vec<HostName>>()
    });
    let look = "look what is in them (mysqlbinlog --include-gtids=SET BINLOG), then leave out the members whose transactions are given up";
    match one.chain(all_but_one).find(|lost| agree(lost)) {
        Some(lost) => failure.hint(format!(
            "{look}, e.g.: clusterctl recover {name} --without {}",
            without.iter().chain(&lost).map(HostName::as_str).collect::<Vec<_>>().join(",")
        )),
        None if case.only_copies() && !case.unvouched.is_empty() => failure.hint(format!(
            "bring back the agent of whoever gave {} its data: once it has vouched for the copy, the group can be recovered there",
            listed(case.unvouched.keys())
        )),
        None if case.only_copies() => failure.hint("bring back a member whose data are complete"),
        None => failure.hint(look),
    }
}

/// A break-glass counts for exactly what was shown, and for a while.
pub(super) fn approved(
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
    if without.is_empty() && !case.unlisted {
        return Ok(());
    }
    let code = loss::code(context, cluster, without, case);
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
    let message = if without.is_empty() {
        "no member shows its copy of the metadata: members that other tools have added may hold transactions that are lost then; nothing is done before that is accepted".to_owned()
    } else {
        format!(
            "without {}, transactions may be lost: nothing is done before that is accepted",
            listed(without)
        )
    };
    match accept_loss {
        None => Err(refused("loss_not_accepted", message).into()),
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
