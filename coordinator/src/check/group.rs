//! Rules about the group: who makes it, who enters and leaves, who writes.

use std::collections::BTreeSet;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{BootstrapPeer, Step, Vouched};

use super::evidence::donor_of;
use super::{Case, is_primarys, wrong};
use crate::machine::plans;
use crate::model::{OperationKind, PlannedStep};
use crate::planner::live::{self, Out};

/// Rule 1: a group is bootstrapped once, by `create` for a cluster that was never formed or by `recover` for one that was, while
/// everyone who may be in it is certainly out and has promised to stay out; but for those whom a break-glass names that counts now.
pub(super) fn one_bootstrap(case: &Case<'_>) -> Result<(), Failure> {
    let mut all = case
        .steps()
        .filter(|(step, _)| matches!(step.step, Step::BootstrapGroup { .. }));
    let Some((step, before)) = all.next() else {
        return Ok(());
    };
    if all.next().is_some() {
        return Err(wrong("the plan bootstraps twice"));
    }
    let wanted = match case.op.kind {
        OperationKind::Create { .. } => !case.cluster.formed,
        OperationKind::Recover { .. } => case.cluster.formed,
        _ => false,
    };
    if !wanted {
        return Err(wrong(format!(
            "the group of {} is not made again by {}",
            case.cluster.name,
            case.op.kind.name()
        )));
    }
    if !case.cluster.members.contains_key(&step.host) {
        return Err(wrong(format!("{} is no member", step.host)));
    }
    let Step::BootstrapGroup { group, peers, .. } = &step.step else {
        return Ok(());
    };
    if group.group_name != case.cluster.group_name {
        return Err(wrong("the group has another name than the cluster's"));
    }
    for name in live::everyone(&case.world, case.cluster) {
        let host: HostName = name
            .parse()
            .map_err(|_| wrong(format!("{name:?} may be a member and cannot be asked")))?;
        if case.is_given_up(&host) {
            not_inside(case, &host)?;
            asked_by_the_agent(case, &step.host, &host, peers)?;
            continue;
        }
        match live::out(&case.world, &host) {
            Out::Yes => {}
            Out::No(why) | Out::Unknown(why) => return Err(wrong(why)),
        }
        let promised = case
            .surely_before(before)
            .any(|step| step.host == host && matches!(step.step, Step::Promise {}));
        if !promised {
            return Err(wrong(format!("{host} does not promise before the bootstrap")));
        }
        asked_by_the_agent(case, &step.host, &host, peers)?;
    }
    Ok(())
}

/// The agent that bootstraps asks everybody else itself; silence passes only for whom a break-glass names.
fn asked_by_the_agent(
    case: &Case<'_>,
    first: &HostName,
    host: &HostName,
    peers: &[BootstrapPeer],
) -> Result<(), Failure> {
    if host == first {
        return Ok(());
    }
    let vouched = if case.is_given_up(host) {
        Vouched::Abandoned
    } else {
        Vouched::Promised
    };
    let asked = |peer: &BootstrapPeer| {
        peer.host == *host && peer.address == live::address(case.cluster, host) && peer.vouched == vouched
    };
    if peers.iter().filter(|peer| peer.host == *host).all(asked) && peers.iter().any(asked) {
        return Ok(());
    }
    Err(wrong(format!(
        "the agent of {first} is not to ask {host}, directly before the bootstrap, whether it is in a group"
    )))
}

/// Its agent counts on a promise that is fresh: it is given after all else that the bootstrap waits for.
pub(super) fn promises_last(case: &Case<'_>) -> Result<(), Failure> {
    let found = case
        .steps()
        .find(|(step, _)| matches!(step.step, Step::BootstrapGroup { .. }));
    let Some((bootstrap, before)) = found else {
        return Ok(());
    };
    let last = case.steps().any(|(step, earlier)| {
        step.host == bootstrap.host
            && matches!(step.step, Step::Promise {})
            && !step.best_effort
            && before
                .iter()
                .all(|number| *number == step.number || earlier.contains(number))
            && before.contains(&step.number)
    });
    if last {
        return Ok(());
    }
    Err(wrong(format!(
        "{} does not promise right before the bootstrap",
        bootstrap.host
    )))
}

/// Rule 1: nothing of an earlier plan may run unseen on a host that can be in the group, but on one that a forced recovery names.
pub(super) fn nothing_unsettled(case: &Case<'_>) -> Result<(), Failure> {
    if case.bootstrap().is_none() {
        return Ok(());
    }
    let model = case.world.model;
    let busy = plans::busy_hosts(model, &case.cluster.name);
    let member = |host: &HostName| case.cluster.members.contains_key(host);
    let in_the_way = busy
        .into_iter()
        .find(|(host, _)| member(host) && !case.is_given_up(host));
    match in_the_way {
        None => Ok(()),
        Some((host, step)) => Err(wrong(plans::busy_text(model, host, step))),
    }
}

/// Whoever is given up may be silent, or hold what the others have not; it is not in a group that would live twice then.
fn not_inside(case: &Case<'_>, host: &HostName) -> Result<(), Failure> {
    let server = case
        .world
        .certain(host)
        .and_then(|seen| seen.observation.mysql.server.as_ref());
    let view = server.and_then(|server| live::view(server, case.cluster));
    match view.map(|view| view.state) {
        Some(MemberState::Online | MemberState::Recovering) => {
            Err(wrong(format!("{host} is given up, but is in the group")))
        }
        _ => Ok(()),
    }
}

/// Rule 5: the group survives as many failures afterwards as before, or the operator has agreed.
pub(super) fn tolerance(case: &Case<'_>) -> Result<(), Failure> {
    let leaving: Vec<&HostName> = case
        .steps()
        .filter_map(|(step, _)| match &step.step {
            Step::LeaveGroup { .. } => Some(&step.host),
            Step::ForgetInstance { address, .. } => {
                let name = live::host_part(address);
                case.cluster.members.keys().find(|host| host.as_str() == name)
            }
            _ => None,
        })
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let Some(primary) = live::primary(&case.world, case.cluster) else {
        return Ok(());
    };
    let counts = |state| matches!(state, Some(MemberState::Online | MemberState::Recovering));
    let lost = leaving
        .iter()
        .filter(|host| counts(primary.state(&case.world, host)))
        .count();
    let now = live::voters(primary.view);
    let (before, after) = (live::tolerance(now), live::tolerance(now.saturating_sub(lost)));
    if lost > 0 && now <= lost {
        return Err(wrong("no member would be left"));
    }
    if after < before && !case.op.accept_lower_tolerance {
        return Err(wrong(format!(
            "the cluster would survive {after} failures instead of {before}, and nobody agreed"
        )));
    }
    Ok(())
}

/// Rule 6: members enter and leave one after another.
pub(super) fn one_at_a_time(case: &Case<'_>) -> Result<(), Failure> {
    let moves = |step: &Step| {
        matches!(
            step,
            Step::BootstrapGroup { .. } | Step::JoinGroup { .. } | Step::LeaveGroup { .. }
        )
    };
    let mut last: Option<u32> = None;
    for (step, before) in case.steps().filter(|(step, _)| moves(&step.step)) {
        if let Some(earlier) = last
            && !before.contains(&earlier)
        {
            return Err(wrong(format!(
                "steps {earlier} and {} change the group side by side",
                step.number
            )));
        }
        last = Some(step.number);
    }
    Ok(())
}

/// Rule 6: what is carried out beside other plans is one copy onto a member that is certainly out, and enters no group. A copy for a formed
/// cluster is made only so: it takes hours, and nothing else would be done meanwhile.
pub(super) fn copies_apart(case: &Case<'_>) -> Result<(), Failure> {
    for (step, _) in case.steps() {
        let copies = matches!(step.step, Step::CloneData { .. });
        if copies != case.draft.side {
            return Err(wrong(format!(
                "step {} ({}): a copy, and nothing else, is carried out beside other plans",
                step.number,
                step.step.name()
            )));
        }
        if !copies && donor_of(&step.step).is_some() && !matches!(case.op.kind, OperationKind::Create { .. }) {
            return Err(wrong(format!(
                "step {} copies and enters the group in one",
                step.number
            )));
        }
        if copies && !(case.cluster.formed && case.cluster.members.contains_key(&step.host)) {
            return Err(wrong(format!("{} is no member of a formed cluster", step.host)));
        }
        if copies && live::out_of_service(&case.world, &step.host) != Out::Yes {
            return Err(wrong(format!("{} is not certainly out of service", step.host)));
        }
    }
    if case.draft.side && (case.draft.steps.len() != 1 || !case.draft.goes_on) {
        return Err(wrong(
            "a plan beside others is one copy, after which its operation goes on",
        ));
    }
    Ok(())
}

/// Accounts and joins keep apart. A change of accounts on the primary that waits for the group's certification holds the lock that
/// every login needs, and with communication stack MYSQL members enter by a login: side by side, both wait for ever (seen live).
pub(super) fn accounts_and_joins_apart(case: &Case<'_>) -> Result<(), Failure> {
    let changes_accounts = |step: &Step| {
        matches!(
            step,
            Step::MemberAccounts { .. }
                | Step::Account { .. }
                | Step::DropAccount { .. }
                | Step::ForgetInstance { .. }
                | Step::ForgetRouter { .. }
                | Step::RouterBootstrap { .. }
        )
    };
    let joins = |step: &Step| matches!(step, Step::JoinGroup { .. });
    let all: Vec<_> = case.steps().filter(|(step, _)| !step.finally).collect();
    for (join, before_join) in all.iter().filter(|(step, _)| joins(&step.step)) {
        let beside = all.iter().find(|(step, before)| {
            changes_accounts(&step.step) && !before.contains(&join.number) && !before_join.contains(&step.number)
        });
        if let Some((step, _)) = beside {
            return Err(wrong(format!(
                "step {} changes accounts beside the join of step {}",
                step.number, join.number
            )));
        }
    }
    Ok(())
}

/// Rule 6, on the primary: what writes metadata or accounts does so one after another (AdminAPI's lock is taken without
/// waiting; accounts alone share it).
pub(super) fn one_writer(case: &Case<'_>) -> Result<(), Failure> {
    let shares = |step: &Step| matches!(step, Step::Account { .. } | Step::DropAccount { .. });
    let writes = |step: &Step| is_primarys(step) && !matches!(step, Step::Prove { .. });
    let mut earlier: Vec<&PlannedStep> = Vec::new();
    for (step, before) in case.steps().filter(|(step, _)| writes(&step.step) && !step.finally) {
        let clash = earlier.iter().find(|other| {
            other.host == step.host && !before.contains(&other.number) && !(shares(&other.step) && shares(&step.step))
        });
        if let Some(other) = clash {
            return Err(wrong(format!(
                "steps {} and {} write on {} side by side",
                other.number, step.number, step.host
            )));
        }
        earlier.push(step);
    }
    Ok(())
}

/// Rule 7: rows, accounts and grants are written by the agent of the primary only; a member joins only a group that lives.
pub(super) fn only_the_primary_writes(case: &Case<'_>) -> Result<(), Failure> {
    for (step, before) in case.steps() {
        let leader = case.leader(before);
        if matches!(step.step, Step::JoinGroup { .. } | Step::CloneData { .. }) && leader.is_none() {
            return Err(wrong(format!("step {}: there is no group to join", step.number)));
        }
        if !is_primarys(&step.step) {
            continue;
        }
        // What cleans up runs after a failure, too: then the bootstrap may not have come to pass.
        let leader = if step.finally {
            leader.or_else(|| case.bootstrap().map(|step| &step.host))
        } else {
            leader
        };
        if leader != Some(&step.host) {
            let leader = leader.map_or("nobody", |host| host.as_str());
            return Err(wrong(format!(
                "step {} ({}) is for the primary: {} is not, {leader} is",
                step.number,
                step.step.name(),
                step.host
            )));
        }
    }
    Ok(())
}
