//! Whether a step may still be sent: what its plan relied on is looked at again, each time that it is sent.
//!
//! A plan may sleep for hours between its adoption and its next step: its host was off, the coordinator restarted, an approval ended,
//! a person worked by hand. So the leader asks here before every sending, with what is certain at that moment, and an agent that is
//! about to start Group Replication has the leader ask again. What a bootstrap and a removal rely on is in `bootstrap` and `removal`. Pure,
//! as the rest of `check`.

use std::collections::BTreeSet;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::Step;

use super::reach::{self, Reach};
use super::{Case, bootstrap, evidence, removal, wrong};
use crate::machine::plans::{self, EVIDENCE_CHANGED, PAUSED};
use crate::model::{Cluster, Operation, Plan, PlanDraft, PlannedStep, StepState};
use crate::planner::lineage::Known;
use crate::planner::live::{self, Out};
use crate::planner::{Seen, World, heal, lineage, vouch};

/// Code of a failure that passes when the hosts that it names have answered: the step waits.
pub const EVIDENCE_MISSING: &str = "evidence_missing";

/// Ok if the step may be sent now. Else a failure with the code [`EVIDENCE_MISSING`] (the step waits), [`EVIDENCE_CHANGED`] or
/// [`PAUSED`] (its plan ends).
pub fn still_safe(world: &World<'_>, operation: &Operation, plan: &Plan, step: &PlannedStep) -> Result<(), Failure> {
    let Some(cluster) = world.model.clusters.get(&plan.draft.cluster) else {
        return Err(changed(
            plan,
            step,
            wrong(format!("there is no cluster {}", plan.draft.cluster)),
        ));
    };
    if step.finally {
        return Ok(());
    }
    if let Some(said) = cluster.holds_back(operation, world.now)
        && !reach::needed(plan).contains(&step.number)
    {
        return Err(paused(cluster, step, &heal::told(said)));
    }
    let draft = still_to_do(world, cluster, plan, step);
    let before = draft.steps.iter().map(|earlier| {
        let itself = earlier.number == step.number;
        let promises = plan_promises(&draft, step);
        if itself { promises } else { BTreeSet::new() }
    });
    let case = Case {
        world: *world,
        op: operation,
        draft: &draft,
        cluster,
        before: before.collect(),
    };
    let seen = || newer_than_the_plan(&case, plan);
    match reach::reach(&step.step) {
        Reach::Harmless => Ok(()),
        Reach::Restarts => restarts(&case, step),
        Reach::Joins => seen().and_then(|()| joins(&case, plan, step)),
        Reach::Destroys => seen().and_then(|()| destroys(&case, plan, step)),
        Reach::Leads => seen().and_then(|()| leads(&case, step)),
        Reach::Leaves => seen().and_then(|()| removal::leaves(&case, plan, step)),
        Reach::Bootstraps => seen().and_then(|()| bootstrap::bootstraps(&case, plan, step)),
        Reach::Forgets => seen().and_then(|()| removal::forgets(&case, plan, step)),
    }
    .map_err(|unsafe_now| match unsafe_now {
        Unsafe::Missing(why) => missing(step, why),
        Unsafe::Changed(failure) => changed(plan, step, failure),
    })
}

/// What this step copies is certainly not the group's any more: the donor's data are of a lineage that the group that the copy is for does not
/// descend from, or nobody will vouch for them. The copy would end as half of one: it is stopped at once. While that is not known yet it goes
/// on: when it ends its donor has to vouch.
pub fn copy_is_void(world: &World<'_>, plan: &Plan, step: &PlannedStep) -> bool {
    let Step::CloneData { donor, history, .. } = &step.step else {
        return false;
    };
    let (Some(cluster), Some(seen)) = (world.model.clusters.get(&plan.draft.cluster), world.certain(donor)) else {
        return false;
    };
    if unproven(cluster, donor, seen) && !is_undecided(world, cluster, step, seen) {
        return true;
    }
    match (history, lineage::of_member(cluster, seen)) {
        (Some(into), Known::Of(id) | Known::Unverified(id)) => !cluster.lineages.descends(&id, &into.group),
        _ => false,
    }
}

/// Not by its data directory: an agent that could not look through it in time says that it is not ours.
fn unproven(cluster: &Cluster, donor: &HostName, seen: &Seen) -> bool {
    heal::foreign_inside(cluster, donor, seen) || lineage::is_unmeasured(cluster, seen)
}

/// The data of this copy's donor may be proven yet, and nobody takes the copy for the group's before they are. An agent of a release before
/// asks for nobody's word.
fn is_undecided(world: &World<'_>, cluster: &Cluster, step: &PlannedStep, seen: &Seen) -> bool {
    let Step::CloneData {
        history: Some(into), ..
    } = &step.step
    else {
        return false;
    };
    let here = world.sight.get(&step.host);
    let asks = here.is_none_or(|here| here.observation.ledger.copies_are_vouched);
    asks && vouch::is_undecided(world, cluster, seen, &into.group)
}

/// Why a step may not be sent.
pub(super) enum Unsafe {
    /// Something is not certain: it may be so again in a moment.
    Missing(String),
    /// It is certain that something is not so any more.
    Changed(Failure),
}

impl From<Failure> for Unsafe {
    fn from(failure: Failure) -> Self {
        Self::Changed(failure)
    }
}

pub(super) type Safe = Result<(), Unsafe>;

/// The plan as the rules are to see it now: this step, and the promises that were given for it.
fn still_to_do(world: &World<'_>, cluster: &Cluster, plan: &Plan, step: &PlannedStep) -> PlanDraft {
    let before = reach::before(plan, step.number);
    let promised = |earlier: &&PlannedStep| before.contains(&earlier.number) && is_given_promise(earlier);
    let promises = plan.draft.steps.iter().filter(promised);
    let mut step = step.clone();
    if let Step::JoinGroup { history, .. } = &mut step.step
        && history.is_none()
        && bootstrapped(plan)
    {
        // The group was made by this very plan, so its history is that of the plan.
        let primary = live::primary(world, cluster);
        let group = primary.and_then(|primary| lineage::of_group(world, cluster, &primary));
        *history = lineage::history(cluster, group.as_ref());
    }
    PlanDraft {
        steps: promises.chain([&step]).cloned().collect(),
        ..plan.draft.clone()
    }
}

pub(super) fn is_given_promise(step: &PlannedStep) -> bool {
    matches!(step.step, Step::Promise {}) && plans::has_ended(step) && plans::failure_of(step).is_none()
}

/// This plan has made the group.
fn bootstrapped(plan: &Plan) -> bool {
    plan.draft.steps.iter().any(|step| {
        matches!(step.step, Step::BootstrapGroup { .. }) && plans::has_ended(step) && plans::failure_of(step).is_none()
    })
}

fn plan_promises(draft: &PlanDraft, step: &PlannedStep) -> BTreeSet<u32> {
    let others = draft.steps.iter().map(|earlier| earlier.number);
    others.filter(|number| *number != step.number).collect()
}

/// What members said before this plan's last step ended may contradict what the plan itself has done. Times of steps are the leader's
/// wall clock; one in the future says nothing.
fn newer_than_the_plan(case: &Case<'_>, plan: &Plan) -> Safe {
    let ended = plan.draft.steps.iter().filter_map(|step| match &step.state {
        StepState::Ended { at, .. } => Some(*at).filter(|at| *at <= case.world.now),
        StepState::Pending => None,
    });
    let Some(last) = ended.max() else { return Ok(()) };
    let older = |host: &&HostName| {
        let seen = case.world.certain(host);
        seen.is_some_and(|seen| {
            case.world
                .now
                .saturating_sub(i64::try_from(seen.age_ms).unwrap_or(i64::MAX))
                < last
        })
    };
    match case.cluster.members.keys().find(older) {
        None => Ok(()),
        Some(host) => Err(Unsafe::Missing(format!(
            "{host} is asked again, as something was done since it answered"
        ))),
    }
}

pub(super) fn certain(case: &Case<'_>, host: &HostName) -> Safe {
    match case.world.certain(host) {
        Some(_) => Ok(()),
        None => Err(Unsafe::Missing(format!("the agent of {host} has not answered in time"))),
    }
}

/// Somebody leads the group, certainly; nobody does for the moment of an election.
pub(super) fn led<'a>(case: &'a Case<'_>) -> Result<live::Primary<'a>, Unsafe> {
    let primaries = live::primaries(&case.world, case.cluster);
    match primaries.as_slice() {
        [one] => Ok(*one),
        [] => Err(Unsafe::Missing(format!(
            "{} has no primary that answers",
            case.cluster.name
        ))),
        _ => Err(wrong(format!("{} has more than one primary", case.cluster.name)).into()),
    }
}

fn restarts(case: &Case<'_>, step: &PlannedStep) -> Safe {
    match live::out(&case.world, &step.host) {
        Out::Yes => Ok(()),
        Out::No(why) => Err(wrong(why).into()),
        // A server that is starting is out: it was when this was planned, and nobody is let in meanwhile.
        Out::Unknown(_) if case.world.certain(&step.host).is_some() => Ok(()),
        Out::Unknown(why) => Err(Unsafe::Missing(why)),
    }
}

fn joins(case: &Case<'_>, plan: &Plan, step: &PlannedStep) -> Safe {
    certain(case, &step.host)?;
    let primary = led(case)?;
    // A member that is inside already has its data from somebody: its step only waits until it is ONLINE.
    if live::out_of_service(&case.world, &step.host) == Out::Yes {
        looked_through(case, &primary)?;
        // One whose agent is silent may be back in a second, as all are after a restart of the coordinator: the step waits for its word.
        match heal::unproven_inside(&case.world, case.cluster, &primary) {
            Some(heal::Unproven::Silent(donor)) => certain(case, donor)?,
            Some(donor @ (heal::Unproven::Pending(_) | heal::Unproven::Unheard(..))) => {
                return Err(Unsafe::Missing(donor.told()));
            }
            Some(heal::Unproven::Told(_) | heal::Unproven::Stranger(_)) | None => {}
        }
    }
    if made_here(case, plan, step) && holds_nothing(case, step) {
        return Ok(());
    }
    Ok(evidence::nothing_discarded(case)?)
}

fn leads(case: &Case<'_>, step: &PlannedStep) -> Safe {
    certain(case, &step.host)?;
    Ok(evidence::leads_with_proven_data(case)?)
}

fn destroys(case: &Case<'_>, plan: &Plan, step: &PlannedStep) -> Safe {
    if live::server(&case.world, &step.host).is_none() {
        return Err(Unsafe::Missing(format!("mysqld on {} does not answer yet", step.host)));
    }
    if let Step::CloneData { donor, .. } = &step.step {
        match live::out_of_service(&case.world, &step.host) {
            Out::Yes => {}
            Out::No(why) => return Err(wrong(why).into()),
            Out::Unknown(why) => return Err(Unsafe::Missing(why)),
        }
        // Before anything is waited for.
        if copy_is_void(&case.world, plan, step) {
            return Err(wrong(format!("the data of the donor {donor} are not the group's any more")).into());
        }
        let seen = case.world.certain(donor);
        if seen.is_some_and(|seen| {
            unproven(case.cluster, donor, seen) && is_undecided(&case.world, case.cluster, step, seen)
        }) {
            return Err(Unsafe::Missing(heal::Unproven::Pending(donor).told()));
        }
    }
    looked_through(case, &led(case)?)?;
    donor(case, step)?;
    joins(case, plan, step)
}

/// An agent under load may not get through its data directory in time, and says that it is not ours. That passes: a copy of hours, which is
/// sent again after a reconnect, does not end by it.
fn looked_through(case: &Case<'_>, primary: &live::Primary<'_>) -> Safe {
    let unseen = |host: &&HostName| {
        let seen = case.world.certain(host);
        seen.is_some_and(|seen| seen.observation.mysql.data.is_unseen())
    };
    match live::online(&case.world, case.cluster, primary)
        .into_iter()
        .find(unseen)
    {
        None => Ok(()),
        Some(host) => Err(Unsafe::Missing(format!(
            "the agent of {host} has not looked through its data directory in time"
        ))),
    }
}

/// This very plan made the server there, and its schemas, which are asked for once a minute, are not known yet.
fn made_here(case: &Case<'_>, plan: &Plan, step: &PlannedStep) -> bool {
    let made = |earlier: &&PlannedStep| {
        earlier.host == step.host && matches!(earlier.step, Step::Server { .. }) && plans::has_ended(earlier)
    };
    let server = live::server(&case.world, &step.host);
    plan.draft.steps.iter().any(|earlier| made(&earlier)) && server.is_none_or(|server| server.user_schemas.is_none())
}

/// Nothing has been written there: what is compared with the group would be nothing. A server that was not seen since it was made is
/// looked at by its agent before it joins.
fn holds_nothing(case: &Case<'_>, step: &PlannedStep) -> bool {
    live::server(&case.world, &step.host).is_none()
        || evidence::held(case, &step.host).is_ok_and(|held| held.is_empty())
}

/// The donor is a member that certainly serves.
fn donor(case: &Case<'_>, step: &PlannedStep) -> Safe {
    let Some(donor) = evidence::donor_of(&step.step) else {
        return Ok(());
    };
    certain(case, donor)?;
    evidence::donor_is_proven(case, donor)?;
    match led(case)?.state(&case.world, donor) {
        Some(MemberState::Online) => Ok(()),
        state => {
            let state = state.map_or("not in the group", live::state);
            Err(wrong(format!("the donor {donor} is {state}")).into())
        }
    }
}

fn missing(step: &PlannedStep, why: String) -> Failure {
    Failure::new(EVIDENCE_MISSING, format!("waiting before \"{}\": {why}", step.title))
        .exit(ExitClass::Unreachable)
        .transient()
}

fn changed(plan: &Plan, step: &PlannedStep, failure: Failure) -> Failure {
    let message = format!(
        "\"{}\" was not done, since it is not as it was when this was planned: {}",
        step.title, failure.message
    );
    Failure {
        facts: failure.facts,
        ..Failure::new(EVIDENCE_CHANGED, message)
            .hint(format!(
                "nothing is to be done: it is planned anew from what is seen; see: clusterctl why -c {}",
                plan.draft.cluster
            ))
            .exit(ExitClass::Refused)
            .transient()
    }
}

fn paused(cluster: &Cluster, step: &PlannedStep, said: &str) -> Failure {
    Failure::new(
        PAUSED,
        format!("{} is paused, {said}: stopped before \"{}\"", cluster.name, step.title),
    )
    .hint(format!("go on: clusterctl resume {}", cluster.name))
    .exit(ExitClass::Refused)
    .transient()
}
