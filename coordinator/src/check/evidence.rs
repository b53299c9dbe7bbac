//! Rules about what is known, and what would be lost.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::{LineageId, Measure, Shared};
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{Recovery, Step};

use super::{Case, wrong};
use crate::model::{PlanDraft, PlannedStep};
use crate::planner::lineage::{self, Known};
use crate::planner::{heal, live};

/// Rule 2: who bootstraps has everything that anyone has, applied or only received, within the cluster's history.
pub(super) fn no_lost_transactions(case: &Case<'_>) -> Result<(), Failure> {
    let Some(step) = case.bootstrap() else { return Ok(()) };
    if half_copied(case, &step.host) {
        return Err(wrong(format!(
            "the data of {} were being replaced by a copy that is not known to be complete, or for which nobody has vouched",
            step.host
        )));
    }
    let first = data(case, &step.host)?;
    if case.cluster.formed {
        held_to_its_data(case, step, &first)?;
        if !live::metadata_known(&case.world, case.cluster) && !case.is_approved() {
            return Err(wrong(
                "no member shows its copy of the metadata: who else is a member is not known",
            ));
        }
    }
    for name in live::everyone(&case.world, case.cluster) {
        let host: HostName = name
            .parse()
            .map_err(|_| wrong(format!("{name:?} may hold transactions and cannot be asked")))?;
        if host == step.host {
            continue;
        }
        // What it holds beyond the group is given up, as an operator accepted now.
        if case.is_given_up(&host) {
            given_up_as_shown(case, &host, &first)?;
            continue;
        }
        if went_on_without(case, &host, &first) {
            continue;
        }
        let seen = case.world.sight.get(&host);
        if case.cluster.formed && !seen.is_some_and(|seen| live::data_known(&case.world, case.cluster, &host, seen)) {
            return Err(wrong(format!(
                "the data that {host} had in the group are not there any more"
            )));
        }
        let other = data(case, &host)?;
        match case
            .cluster
            .lineages
            .measure(&other.lineage, &other.set, &first.lineage, &first.set)
        {
            Measure::Inside => {}
            Measure::Beyond(missing) => {
                return Err(wrong(format!("{host} holds transactions that {} has not", step.host))
                    .fact(format!("only on {host}: {missing}")));
            }
            Measure::Unknown => {
                return Err(wrong(format!(
                    "how the data of {host} (lineage {}) and of {} (lineage {}) hang together is not known",
                    other.lineage, step.host, first.lineage
                )));
            }
        }
    }
    Ok(())
}

/// Whoever is abandoned by this bootstrap holds no more than was shown; what cannot be told yet is no objection here.
pub(super) fn abandoned_as_shown(case: &Case<'_>) -> Result<(), Failure> {
    let first = case.bootstrap().and_then(|step| data(case, &step.host).ok());
    let Some(first) = first else { return Ok(()) };
    let mut abandoned = case.cluster.members.keys().filter(|host| case.is_given_up(host));
    abandoned.try_for_each(|host| given_up_as_shown(case, host, &first))
}

/// An operator abandons what nobody can tell, or what was shown. A member that has come back since, and shows transactions that would be
/// lost, is not abandoned by that word.
fn given_up_as_shown(case: &Case<'_>, host: &HostName, first: &Data) -> Result<(), Failure> {
    let seen = case.world.certain(host);
    let there = seen.is_some_and(|seen| live::data_known(&case.world, case.cluster, host, seen));
    let Some(held) = data(case, host).ok().filter(|_| there) else {
        return Ok(());
    };
    let lineages = &case.cluster.lineages;
    let measured = lineages.measure(&held.lineage, &held.set, &first.lineage, &first.set);
    let shown = case.draft.given_up.iter().find_map(|lost| lost.known.get(host));
    if measured == Measure::Inside
        || shown.is_some_and(|shown| shown.contains(&held.set))
        || went_on_without(case, host, first)
    {
        return Ok(());
    }
    let failure = wrong(format!(
        "{host}, which is abandoned, answers and holds transactions that would be lost"
    ));
    Err(match measured {
        Measure::Beyond(more) => failure.fact(format!("only on {host}: {more}")),
        Measure::Inside | Measure::Unknown => failure.fact(format!("{host} holds: {}", held.set)),
    })
}

fn half_copied(case: &Case<'_>, host: &HostName) -> bool {
    let seen = case.world.sight.get(host);
    seen.is_some_and(|seen| lineage::half_copied(case.cluster, seen))
}

/// The host whose data replace those of the step's host.
pub(super) fn donor_of(step: &Step) -> Option<&HostName> {
    match step {
        Step::JoinGroup {
            recovery: Recovery::Clone { donor, .. },
            ..
        }
        | Step::CloneData { donor, .. } => Some(donor),
        _ => None,
    }
}

/// A donor's data are the group's: measured by its agent, and whole.
pub(super) fn donor_is_proven(case: &Case<'_>, donor: &HostName) -> Result<(), Failure> {
    match case.world.sight.get(donor) {
        Some(seen) if heal::is_unproven(&case.world, case.cluster, donor, seen) => {
            Err(wrong(format!("the donor {donor} holds data of an unproven history")))
        }
        _ => Ok(()),
    }
}

/// A member's data: which bootstrap they descend from, and what they are.
struct Data {
    lineage: LineageId,
    set: GtidSet,
}

fn data(case: &Case<'_>, host: &HostName) -> Result<Data, Failure> {
    let set = held(case, host)?;
    let seen = case.world.certain(host);
    let seen = seen.ok_or_else(|| wrong(format!("what {host} holds is not certain")))?;
    match lineage::of_member(case.cluster, seen) {
        Known::Of(id) => Ok(Data {
            lineage: lineage::as_of_last(case.cluster, id, &set),
            set,
        }),
        Known::No | Known::Unverified(_) if set.is_empty() || !case.cluster.formed => Ok(Data {
            lineage: LineageId::origin(),
            set,
        }),
        Known::No => Err(wrong(format!(
            "nothing tells which bootstrap the data of {host} descend from"
        ))),
        Known::Unverified(_) => Err(wrong(format!("the data of {host} entered the group past its agent"))),
    }
}

/// The bootstrap is bound to the data by which its member was chosen.
fn held_to_its_data(case: &Case<'_>, step: &PlannedStep, first: &Data) -> Result<(), Failure> {
    let Step::BootstrapGroup { holds, lineage, .. } = &step.step else {
        return Ok(());
    };
    if *holds == first.set && *lineage == lineage::recorded_as(&case.world, case.cluster, &step.host) {
        return Ok(());
    }
    Err(wrong(format!(
        "{} is not held to what it holds when it bootstraps",
        step.host
    )))
}

/// The cluster's history went on without this member: it was abandoned, or a person bootstrapped without it; and something was
/// written since, so that there is no way back to what it holds.
fn went_on_without(case: &Case<'_>, host: &HostName, first: &Data) -> bool {
    let cluster = case.cluster;
    let Some(seen) = case.world.certain(host) else {
        return false;
    };
    if cluster.lineages.is_empty() {
        return cluster
            .left_out
            .get(host)
            .is_some_and(|left_out| !left_out.base.contains(&first.set));
    }
    let (Known::Of(id), Some(last)) = (lineage::of_member(cluster, seen), &cluster.lineage) else {
        return false;
    };
    let lineages = &cluster.lineages;
    let named = lineage::is_abandoned(lineages, &id, last, host);
    let after = named || (lineages.descends(&id, last) && held(case, host).is_ok());
    let leads_on = lineages.descends(last, &first.lineage) && !lineages.descends(last, &id);
    // With members abandoned now nobody can tell what they have written.
    let written_since = match lineages.shared(&first.lineage, &id) {
        Shared::Base(base) => everyone_else(case, host).any(|set| !base.contains(&set)),
        Shared::Same | Shared::Unknown => false,
    };
    after && leads_on && (written_since || case.draft.given_up.is_some())
}

/// What members hold whose data go on in the cluster's last lineage.
fn everyone_else<'a>(case: &'a Case<'_>, host: &'a HostName) -> impl Iterator<Item = GtidSet> + 'a {
    let others = case.cluster.members.keys().filter(move |other| *other != host);
    others.filter_map(move |other| {
        let data = data(case, other).ok()?;
        let last = case.cluster.lineage.as_ref()?;
        case.cluster.lineages.descends(last, &data.lineage).then_some(data.set)
    })
}

/// Rule 3: a clone overwrites nothing that the group has not; and nobody comes in with data that are not the group's.
pub(super) fn nothing_discarded(case: &Case<'_>) -> Result<(), Failure> {
    for (step, before) in case.steps() {
        if matches!(step.step, Step::JoinGroup { .. } | Step::CloneData { .. }) {
            its_history(case, step)?;
        }
        let Some(donor) = donor_of(&step.step) else { continue };
        donor_is_proven(case, donor)?;
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

/// Whoever is made the primary holds the group's data, by its agent's own word.
pub(super) fn leads_with_proven_data(case: &Case<'_>) -> Result<(), Failure> {
    let leads = case
        .steps()
        .filter(|(step, _)| matches!(step.step, Step::SetPrimary { .. }));
    for (step, _) in leads {
        let host = &step.host;
        let seen = case.world.certain(host);
        if seen.is_some_and(|seen| heal::is_unproven(&case.world, case.cluster, host, seen)) {
            return Err(wrong(format!("{host} would lead with data of an unproven history")));
        }
    }
    Ok(())
}

/// Whoever enters a live group holds only what the group has, measured by lineages; and the group goes on from the cluster's history.
fn its_history(case: &Case<'_>, step: &PlannedStep) -> Result<(), Failure> {
    let host = &step.host;
    let (Step::JoinGroup { history, .. } | Step::CloneData { history, .. }) = &step.step else {
        return Ok(());
    };
    let Some(primary) = live::primary(&case.world, case.cluster) else {
        return Ok(());
    };
    if !lineage::goes_on(&case.world, case.cluster, &primary) {
        return Err(wrong(format!(
            "{} leads in a history that was abandoned: nobody enters there",
            primary.host
        )));
    }
    let group = lineage::of_group(&case.world, case.cluster, &primary);
    if *history != lineage::history(case.cluster, group.as_ref()) {
        return Err(wrong(format!("{host} is not told the history that it is measured by")));
    }
    // ERROR and a try of its own are no way in: it is started anew, and measured anew.
    let enters = live::out_of_service(&case.world, host) == live::Out::Yes;
    if matches!(step.step, Step::JoinGroup { .. })
        && enters
        && let Some(donor) = heal::unproven_inside(&case.world, case.cluster, &primary)
    {
        return Err(wrong(format!("{}, and could give {host} what it lacks", donor.told())));
    }
    // One that is inside already is on its way in: its agent has measured it.
    let copies = matches!(step.step, Step::CloneData { .. });
    if !copies && !enters {
        return Ok(());
    }
    let seen = case.world.certain(host);
    let seen = seen.ok_or_else(|| wrong(format!("what {host} holds is not certain")))?;
    if half_copied(case, host) && donor_of(&step.step).is_none() {
        return Err(wrong(format!(
            "{host} would enter with data that a copy was replacing, which is not known to be complete, or for which nobody has vouched"
        )));
    }
    let (held, has) = (held(case, host)?, held(case, primary.host)?);
    match lineage::measure(case.cluster, host, seen, &held, (group.as_ref(), &has)) {
        Measure::Inside => Ok(()),
        Measure::Beyond(more) => Err(wrong(format!("{host} holds transactions that are not the group's"))
            .fact(format!("only on {host}: {more}"))),
        Measure::Unknown => Err(wrong(format!("nothing proves that the data of {host} are the group's"))),
    }
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
                | Step::CloneData { .. }
                | Step::LeaveGroup { .. }
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
        if let Some(donor) = donor_of(&step.step)
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

/// The plan takes this host out of the group.
pub(super) fn will_leave(draft: &PlanDraft, host: &HostName) -> bool {
    let mut steps = draft.steps.iter();
    steps.any(|step| step.host == *host && matches!(step.step, Step::LeaveGroup { .. }))
}

/// A member is forgotten only if it answers and will leave, or the group has lost it, too.
fn forgotten(case: &Case<'_>, number: u32, address: &str, certain: impl Fn(&HostName) -> bool) -> Result<(), Failure> {
    let name = live::host_part(address);
    let Some(host) = case.cluster.members.keys().find(|host| host.as_str() == name) else {
        return Ok(());
    };
    let answers = certain(host);
    if answers && will_leave(case.draft, host) {
        return Ok(());
    }
    let state = live::primary(&case.world, case.cluster).and_then(|primary| primary.state(&case.world, host));
    match state {
        Some(MemberState::Online | MemberState::Recovering) => Err(wrong(format!(
            "step {number}: {host} {}, but the group still sees it",
            if answers {
                "does not leave by this plan"
            } else {
                "is silent"
            }
        ))),
        _ => Ok(()),
    }
}

pub(super) fn held(case: &Case<'_>, host: &HostName) -> Result<GtidSet, Failure> {
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
