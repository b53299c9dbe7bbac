//! What a removal relies on, looked at again before its steps are sent: the group lives on without the member that leaves, and only a member
//! that is out, or leaves by the same plan, is forgotten.
//!
//! Asked by `now`, before every sending of a step that takes a member out of the group or its row out of the metadata. Pure.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::Step;

use super::now::{Safe, Unsafe, certain, led};
use super::{Case, evidence, group, wrong};
use crate::model::{Plan, PlannedStep};
use crate::planner::live::{self, Out};

/// A member that has left is asked no more what it holds: the group must live on without it, whether the member is inside or out already.
/// Where no group ever came to life (`planner/remove.rs` `unformed`), nothing has to.
pub(super) fn leaves(case: &Case<'_>, plan: &Plan, step: &PlannedStep) -> Safe {
    certain(case, &step.host)?;
    group::tolerance(case)?;
    let forgets = |other: &PlannedStep| matches!(other.step, Step::ForgetInstance { .. });
    if case.cluster.formed || plan.draft.steps.iter().any(forgets) {
        lives_without(case, &step.host)?;
    }
    Ok(())
}

/// Another member leads, and hears a majority of those that stay.
fn lives_without(case: &Case<'_>, host: &HostName) -> Safe {
    let mut members = case.cluster.members.keys();
    if members.all(|member| live::out_of_service(&case.world, member) == Out::Yes) {
        // That does not pass by waiting: the recovery comes first.
        return Err(wrong(format!("no member of {} is in the group", case.cluster.name)).into());
    }
    let primary = led(case)?;
    if primary.host == host {
        return Err(wrong(format!("{host} leads the group")).into());
    }
    let gone = primary.row(&case.world, host).map(|row| row.server_uuid);
    let stay = primary.view.members.iter();
    let stay = stay.filter(|row| Some(row.server_uuid) != gone);
    let (heard, lost): (Vec<_>, Vec<_>) = stay.partition(|row| row.state != MemberState::Unreachable);
    if heard.len() > lost.len() {
        return Ok(());
    }
    let lost: Vec<&str> = lost.iter().map(|row| row.host.as_str()).collect();
    Err(Unsafe::Missing(format!(
        "without {host} the group has no majority: {} does not reach {}",
        primary.host,
        lost.join(", ")
    )))
}

/// The member that is forgotten is not in the group, unless it answers and is to leave by this plan.
pub(super) fn forgets(case: &Case<'_>, plan: &Plan, step: &PlannedStep) -> Safe {
    let Step::ForgetInstance { address, .. } = &step.step else {
        return Ok(());
    };
    let name = live::host_part(address);
    let Some(host) = case.cluster.members.keys().find(|host| host.as_str() == name) else {
        return Ok(());
    };
    let primary = led(case)?;
    if *primary.host != step.host {
        return Err(wrong(format!("{} leads instead of {}", primary.host, step.host)).into());
    }
    if evidence::will_leave(&plan.draft, host) && case.world.certain(host).is_some() {
        return Ok(());
    }
    match primary.state(&case.world, host) {
        Some(state @ (MemberState::Online | MemberState::Recovering)) => {
            Err(wrong(format!("{host} is {} in the group", live::state(state))).into())
        }
        _ => Ok(()),
    }
}
