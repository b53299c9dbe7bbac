//! Answers an agent that asks, directly before a deed that cannot be taken back, whether its step is still wanted (safety rules 1, 4).
//!
//! Called by `api::agent` for each question, in a task of its own. What is answered rests on a quorum that confirms, after the
//! question came, that this node leads, and on certain observations. It changes nothing. An answer goes out on the stream on which
//! it was asked, or not at all.

use std::sync::Arc;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, Generation, HostName, PlanId};
use clusterctl_proto::machine;
use clusterctl_proto::step::{Step, Vouched};
use clusterctl_proto::wire::agent::{Confirm, Confirmed, to_agent};

use super::Leader;
use super::sessions::SessionId;
use crate::check;
use crate::machine::plans;
use crate::model::{Cluster, OperationKind, Plan, PlanState, PlannedStep};
use crate::planner::World;
use crate::planner::live::{self, Out};

impl Leader {
    /// Answers in a task of its own: the stream is read on meanwhile.
    pub fn confirm(self: &Arc<Self>, host: &HostName, session: SessionId, asked: Confirm) {
        let (leader, host) = (Arc::clone(self), host.clone());
        machine::spawn(async move {
            let verdict = leader.still_wanted(&host, &asked).await;
            let (plan, step) = (asked.plan, asked.step);
            match &verdict {
                Ok(vouched) => tracing::info!(plan, step, node = %host, ?vouched, "step confirmed to {host}"),
                Err(failure) => tracing::warn!(plan, step, node = %host, "step not confirmed to {host}: {failure}"),
            }
            let answer = to_agent::Message::Confirmed(reply(asked.id, verdict));
            let mut sessions = leader.sessions();
            if sessions.current(&host) == Some(session) {
                sessions.send(&host, answer);
            }
        });
    }

    async fn still_wanted(&self, host: &HostName, asked: &Confirm) -> Result<Vec<HostName>, Failure> {
        self.ensure_linearizable().await?;
        self.look(|world| allowed(world, host, asked))
    }
}

fn reply(id: u64, verdict: Result<Vec<HostName>, Failure>) -> Confirmed {
    match verdict {
        Ok(vouched) => Confirmed {
            id,
            allowed: true,
            why: String::new(),
            vouched: vouched.iter().map(ToString::to_string).collect(),
        },
        Err(failure) => Confirmed {
            id,
            allowed: false,
            why: failure.message,
            vouched: Vec::new(),
        },
    }
}

fn no(why: impl Into<String>) -> Failure {
    Failure::refused("not_confirmed", why)
}

/// Whether this host may carry out this step now; answers the hosts that certainly are out and hold this generation's promise.
pub(super) fn allowed(world: &World<'_>, host: &HostName, asked: &Confirm) -> Result<Vec<HostName>, Failure> {
    let plan = world
        .model
        .plans
        .get(&PlanId(asked.plan))
        .ok_or_else(|| no("there is no such plan"))?;
    let generation = Generation {
        epoch: asked.epoch,
        index: asked.index,
    };
    let named = asked.cluster.parse::<ClusterName>().ok();
    if named.as_ref() != Some(&plan.draft.cluster) || plan.generation != generation {
        return Err(no("the plan is of another cluster or generation"));
    }
    let cluster = world.model.clusters.get(&plan.draft.cluster);
    let cluster = cluster.ok_or_else(|| no(format!("there is no cluster {}", plan.draft.cluster)))?;
    if plan.state != PlanState::Running || cluster.last_plan != Some(plan.id) {
        return Err(no("the plan has ended"));
    }
    let ready = plans::ready_steps(plan);
    let step = ready.into_iter().find(|step| step.number == asked.step);
    let step = step.ok_or_else(|| no("the step has ended already, or is not ready"))?;
    if step.host != *host {
        return Err(no("the step is another host's"));
    }
    still_safe(world, cluster, plan, step)
}

/// The world has not become another than the plan counts on.
fn still_safe(world: &World<'_>, cluster: &Cluster, plan: &Plan, step: &PlannedStep) -> Result<Vec<HostName>, Failure> {
    let operation = world.model.operations.get(&plan.draft.operation);
    let operation = operation.ok_or_else(|| no("the operation has ended"))?;
    if operation.by_itself()
        && let Some(said) = cluster.hands_off(&step.host, world.now)
    {
        let what = match cluster.paused_now(world.now) {
            Some(_) => cluster.name.to_string(),
            None => step.host.to_string(),
        };
        return Err(no(format!("{} wants {what} left alone", said.by)));
    }
    if let OperationKind::Recover {
        without, expires_at, ..
    } = &operation.kind
        && !without.is_empty()
        && !expires_at.is_some_and(|end| end > world.now)
    {
        return Err(no("the approval of the forced recovery has expired"));
    }
    match check::still_safe(world, operation, plan, step) {
        Ok(()) => {}
        // Who is silent is not vouched for below, which is for the agent to weigh.
        Err(failure) if failure.code == check::EVIDENCE_MISSING => {}
        Err(failure) => return Err(no(failure.message)),
    }
    let Step::BootstrapGroup { peers, .. } = &step.step else {
        return Err(no(format!("step {} is none that is confirmed", step.step.name())));
    };
    let abandoned = |host: &HostName| {
        peers
            .iter()
            .any(|peer| peer.host == *host && peer.vouched == Vouched::Abandoned)
    };
    let mut vouched = Vec::new();
    for name in live::everyone(world, cluster) {
        let host: HostName = name
            .parse()
            .map_err(|_| no(format!("{name:?} may be a member and cannot be asked")))?;
        if host != step.host && !peers.iter().any(|peer| peer.host == host) {
            return Err(no(format!("{host} may be a member, and the plan does not know it")));
        }
        match live::out(world, &host) {
            Out::No(why) if !(abandoned(&host) && live::serves_nobody(world, &host)) => return Err(no(why)),
            Out::Yes if holds_promise(world, cluster, plan, &host) => vouched.push(host),
            Out::Yes | Out::No(_) | Out::Unknown(_) => {}
        }
    }
    Ok(vouched)
}

/// The host's agent certainly says that it holds the promise of this plan, and nobody bootstraps there.
fn holds_promise(world: &World<'_>, cluster: &Cluster, plan: &Plan, host: &HostName) -> bool {
    let Some(seen) = world.certain(host) else {
        return false;
    };
    let (ledger, server) = (&seen.observation.ledger, &seen.observation.mysql.server);
    ledger.known
        && ledger.promises.get(&cluster.name) == Some(&plan.generation)
        && !server.as_ref().is_some_and(|server| server.bootstrap_flag)
}

#[cfg(test)]
mod tests;
