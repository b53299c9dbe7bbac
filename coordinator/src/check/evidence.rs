//! Rules about what is known, and what would be lost.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{Recovery, Step};

use super::{Case, wrong};
use crate::planner::live;

/// Rule 2: who bootstraps has everything that anyone has, applied or only received.
pub(super) fn no_lost_transactions(case: &Case<'_>) -> Result<(), Failure> {
    let Some(step) = case.bootstrap() else { return Ok(()) };
    let back = case.draft.taken_back.as_ref();
    if back.is_some() {
        nothing_since(case)?;
    }
    // What they hold counts as long as nothing was written without them.
    let may_come_back = case.draft.given_up.is_none() && nothing_since(case).is_ok();
    if left_out(case, &step.host) {
        return Err(wrong(format!(
            "{} was left out of the group: what it holds beyond it was given up",
            step.host
        )));
    }
    let first = held(case, &step.host)?;
    if let Step::BootstrapGroup { holds, .. } = &step.step
        && case.cluster.formed
        && *holds != first
    {
        return Err(wrong(format!(
            "{} is not held to what it holds when it bootstraps",
            step.host
        )));
    }
    for name in live::everyone(&case.world, case.cluster) {
        let host: HostName = name
            .parse()
            .map_err(|_| wrong(format!("{name:?} may hold transactions and cannot be asked")))?;
        // What it holds beyond the group was given up before, by a break-glass that was accepted then.
        if case.is_given_up(&host) {
            continue;
        }
        let seen = case.world.sight.get(&host);
        if left_out(case, &host) {
            if may_come_back && seen.is_some_and(|seen| live::data_known(case.cluster, &host, seen)) {
                return Err(wrong(format!(
                    "{host} was given up and nothing was written since, but what it holds is not asked"
                )));
            }
            continue;
        }
        if case.cluster.formed && !seen.is_some_and(|seen| live::data_known(case.cluster, &host, seen)) {
            return Err(wrong(format!(
                "the data that {host} had in the group are not there any more"
            )));
        }
        let missing = held(case, &host)?.subtract(&first);
        if !missing.is_empty() {
            return Err(wrong(format!("{host} holds transactions that {} has not", step.host))
                .fact(format!("only on {host}: {missing}")));
        }
    }
    Ok(())
}

/// It was given up before, and this plan does not take it back.
fn left_out(case: &Case<'_>, host: &HostName) -> bool {
    let back = case.draft.taken_back.as_ref();
    case.cluster.left_out.contains_key(host) && !back.is_some_and(|back| back.members.contains(host))
}

/// Whoever is taken back was left out of a group that has numbered nothing since, as everyone who was in it certainly shows.
fn nothing_since(case: &Case<'_>) -> Result<(), Failure> {
    let left_out = &case.cluster.left_out;
    // A host that was taken out is none that could be in the group.
    let members = |host: &&HostName| case.cluster.members.contains_key(*host);
    let mut all = left_out
        .iter()
        .filter(|(host, _)| members(host))
        .map(|(_, left_out)| left_out);
    let first = all
        .next()
        .ok_or_else(|| wrong("nobody was left out who could be taken back"))?;
    if all.any(|other| other != first) {
        return Err(wrong(
            "members were left out at different times: their transactions may share numbers",
        ));
    }
    if case.draft.given_up.is_some() {
        return Err(wrong("one plan gives members up and takes others back"));
    }
    for host in case.cluster.members.keys().filter(|host| !left_out.contains_key(*host)) {
        let since = held(case, host)?.subtract(&first.base);
        if !since.is_empty() {
            return Err(wrong(format!(
                "{host} holds transactions that were made without those that are taken back"
            ))
            .fact(format!("since then on {host}: {since}")));
        }
    }
    Ok(())
}

/// Rule 3: a clone overwrites nothing that the group has not; and nobody who was given up comes in with what was given up.
pub(super) fn nothing_discarded(case: &Case<'_>) -> Result<(), Failure> {
    for (step, before) in case.steps() {
        if matches!(step.step, Step::JoinGroup { .. }) {
            nothing_given_up(case, &step.host)?;
            if let Some(leader) = case.leader(before).filter(|leader| left_out(case, leader)) {
                return Err(wrong(format!(
                    "{leader} leads, though it was given up: nobody enters there"
                )));
            }
        }
        let Step::JoinGroup {
            recovery: Recovery::Clone { .. },
            ..
        } = &step.step
        else {
            continue;
        };
        let leader = case
            .leader(before)
            .ok_or_else(|| wrong(format!("step {}: there is no group to clone", step.number)))?;
        let held = held(case, &step.host)?;
        let lost = held.subtract(&self::held(case, leader)?);
        if !lost.is_empty() {
            return Err(wrong(format!("a clone would discard transactions of {}", step.host))
                .fact(format!("only on {}: {lost}", step.host)));
        }
        let server = live::server(&case.world, &step.host);
        let schemas = server.and_then(|server| server.user_schemas.as_ref());
        if held.is_empty() && server.is_some() && schemas.is_none() {
            return Err(wrong(format!("what schemas {} holds is not known", step.host)));
        }
        if held.is_empty() && schemas.is_some_and(|schemas| !schemas.is_empty()) {
            return Err(wrong(format!(
                "a clone would discard schemas of {} that no transaction stands for",
                step.host
            )));
        }
    }
    Ok(())
}

/// The group has used the same numbers since: what it holds is compared with what the group had then.
fn nothing_given_up(case: &Case<'_>, host: &HostName) -> Result<(), Failure> {
    let Some(left_out) = case.cluster.left_out.get(host) else {
        return Ok(());
    };
    let more = held(case, host)?.subtract(&left_out.base);
    if more.is_empty() {
        return Ok(());
    }
    Err(wrong(format!("{host} still holds transactions that were given up")).fact(format!("only on {host}: {more}")))
}

/// Rule 4: where something is made, joined, left or forgotten, it was looked at a moment ago; silence is not absence.
pub(super) fn certainty(case: &Case<'_>) -> Result<(), Failure> {
    if let Some(host) = live::outdated(&case.world, case.cluster) {
        return Err(wrong(format!(
            "what {host} told is older than what the last plan did there"
        )));
    }
    let certain = |host: &HostName| case.world.certain(host).is_some();
    for (step, _) in case.steps() {
        let needs = matches!(
            step.step,
            Step::BootstrapGroup { .. }
                | Step::JoinGroup { .. }
                | Step::LeaveGroup {}
                | Step::SetPrimary { .. }
                | Step::Server { .. }
                | Step::RouterGone { .. }
        );
        if needs && !certain(&step.host) {
            return Err(wrong(format!(
                "step {} ({}): {} has not answered in time",
                step.number,
                step.step.name(),
                step.host
            )));
        }
        if let Step::JoinGroup {
            recovery: Recovery::Clone { donor, .. },
            ..
        } = &step.step
            && !certain(donor)
        {
            return Err(wrong(format!(
                "step {}: the donor {donor} has not answered in time",
                step.number
            )));
        }
        if let Step::ForgetInstance { address, .. } = &step.step {
            forgotten(case, step.number, address, certain)?;
        }
    }
    Ok(())
}

/// A member is forgotten only if it answers (and will leave), or the group has lost it, too.
fn forgotten(case: &Case<'_>, number: u32, address: &str, certain: impl Fn(&HostName) -> bool) -> Result<(), Failure> {
    let name = live::host_part(address);
    let Some(host) = case.cluster.members.keys().find(|host| host.as_str() == name) else {
        return Ok(());
    };
    if certain(host) {
        return Ok(());
    }
    let state = live::primary(&case.world, case.cluster).and_then(|primary| primary.state(&case.world, host));
    match state {
        Some(MemberState::Online | MemberState::Recovering) => Err(wrong(format!(
            "step {number}: {host} is silent, but the group still sees it"
        ))),
        _ => Ok(()),
    }
}

fn held(case: &Case<'_>, host: &HostName) -> Result<GtidSet, Failure> {
    let seen = case.world.certain(host);
    let seen = seen.ok_or_else(|| wrong(format!("what {host} holds is not certain")))?;
    let (executed, received) = live::holds(seen, "")
        .ok_or_else(|| wrong(format!("what {host} holds is not known: its mysqld does not run")))?;
    let parse = |text: &str| {
        text.parse::<GtidSet>()
            .map_err(|error| wrong(format!("{host}: {error}")))
    };
    Ok(parse(executed)?.union(&parse(received)?))
}
