//! What a bootstrap relies on, looked at again before it is sent: no group lives, everyone is out, nothing is lost, the approval holds.
//!
//! Asked by `now`, before every sending and when the agent that is about to bootstrap has the leader ask again. Pure.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::LineageId;
use clusterctl_proto::observe::MemberState;

use super::now::{Safe, Unsafe, is_given_promise};
use super::{Case, evidence, group, wrong};
use crate::model::{OperationKind, Plan, PlannedStep};
use crate::planner::live::{self, Out};

/// An agent begins a bootstrap at most six seconds after the leader's word for it (its own deadline); this is longer.
const WORD_IS_GOOD_MS: i64 = 10_000;

/// The group that this host is in was made by this very step, whose outcome was lost: sent again it only answers.
fn is_its_work(case: &Case<'_>, plan: &Plan, step: &PlannedStep) -> bool {
    let Some(seen) = case.world.certain(&step.host) else {
        return false;
    };
    let server = seen.observation.mysql.server.as_ref();
    let inside = server.and_then(|server| live::view(server, case.cluster));
    let record = seen.observation.ledger.lineages.get(&case.cluster.name);
    let (Some(view), Some(record)) = (inside, record) else {
        return false;
    };
    let made = record.branch.as_ref().and_then(|branch| branch.generation) == Some(plan.generation);
    let lives = LineageId::of_view(&view.view_id).is_some_and(|(id, _)| id == record.id);
    made && lives && view.state == MemberState::Online
}

/// An abandoned member may still hold the leader's word for an older plan, which is good for some seconds: it has promised this plan to
/// act on none, has been silent for longer, or this plan is older than that.
fn older_words_are_spent(case: &Case<'_>, plan: &Plan) -> Safe {
    let world = &case.world;
    let plan_age = world.now.saturating_sub(plan.adopted_at);
    let spent = |age: i64| age >= WORD_IS_GOOD_MS;
    let abandoned = plan.draft.given_up.iter().flat_map(|lost| &lost.members);
    let promised = |host: &HostName| {
        let mut steps = plan.draft.steps.iter();
        steps.any(|step| step.host == *host && is_given_promise(step))
    };
    for host in abandoned.filter(|host| world.certain(host).is_none() || !promised(host)) {
        let silent = world
            .sight
            .get(host)
            .map(|seen| i64::try_from(seen.age_ms).unwrap_or(i64::MAX));
        if !spent(plan_age) && !silent.is_some_and(spent) {
            return Err(Unsafe::Missing(format!(
                "{host}, which is abandoned, may still act on an older order for some seconds"
            )));
        }
    }
    Ok(())
}

/// Rules 1 and 2 as they stand now. Whoever is certainly in a group is told first: that does not pass while others are waited for.
pub(super) fn bootstraps(case: &Case<'_>, plan: &Plan, step: &PlannedStep) -> Safe {
    let world = &case.world;
    if is_its_work(case, plan, step) {
        return Ok(());
    }
    approved(case)?;
    no_live_group(case)?;
    group::nothing_unsettled(case)?;
    let mut silent = Vec::new();
    for name in live::everyone(world, case.cluster) {
        let Ok(host) = name.parse::<HostName>() else { continue };
        if case.is_given_up(&host) {
            continue;
        }
        match live::out(world, &host) {
            Out::Yes if ledger_lost(case, &host) => {
                return Err(wrong(format!("the ledger of {host}, with its promise, is lost")).into());
            }
            Out::Yes => {}
            Out::No(why) => return Err(wrong(why).into()),
            Out::Unknown(why) => silent.push(why),
        }
    }
    // At the confirmation what is missing is weighed by the agent (`leader/confirm.rs`): so what is certainly wrong comes before it.
    evidence::abandoned_as_shown(case)?;
    if !silent.is_empty() {
        return Err(Unsafe::Missing(silent.join("; ")));
    }
    group::one_bootstrap(case)?;
    if case.cluster.formed {
        evidence::no_lost_transactions(case)?;
    } else if live::out(world, &step.host) != Out::Yes {
        return Err(Unsafe::Missing(format!(
            "{} is not certainly out of any group",
            step.host
        )));
    }
    older_words_are_spent(case, plan)
}

/// The approval of a forced recovery gates its first step that cannot be undone, which is the bootstrap.
fn approved(case: &Case<'_>) -> Safe {
    match &case.op.kind {
        OperationKind::Recover {
            without,
            accept_loss,
            expires_at,
        } if (accept_loss.is_some() || !without.is_empty()) && expires_at.is_none_or(|end| end <= case.world.now) => {
            Err(wrong("the approval of this forced recovery has ended").into())
        }
        _ => Ok(()),
    }
}

/// No host, a member or not, is certainly in a group of any name with a member of this cluster in it.
fn no_live_group(case: &Case<'_>) -> Safe {
    let everyone = live::everyone(&case.world, case.cluster);
    for (host, seen) in case.world.sight.iter().filter(|(_, seen)| seen.is_certain()) {
        let Some(server) = &seen.observation.mysql.server else {
            continue;
        };
        let view = server
            .group
            .as_ref()
            .filter(|view| !view.is_out() && matches!(view.state, MemberState::Online | MemberState::Recovering));
        let Some(view) = view else { continue };
        let ours = case.cluster.members.contains_key(host)
            || view
                .members
                .iter()
                .any(|row| everyone.contains(&row.host.to_ascii_lowercase()));
        if ours {
            return Err(wrong(format!("{host} is in a group, {}", server.group_name))
                .fact(format!("{host}: {}", live::describe(&case.world, case.cluster, host)))
                .into());
        }
    }
    Ok(())
}

fn ledger_lost(case: &Case<'_>, host: &HostName) -> bool {
    let seen = case.world.certain(host);
    seen.is_some_and(|seen| !seen.observation.ledger.known)
}
