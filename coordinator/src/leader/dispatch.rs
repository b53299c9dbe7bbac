//! Sends every step that is ready, gives up those whose host stays away.
//!
//! Level-triggered: computed from the plans in raft and from what was sent on the streams that stand. After a restart every
//! step without an outcome is sent again; agents answer from their ledger or do it once more.

use std::time::{Duration, Instant};

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::identity::CA_ISSUER;
use clusterctl_proto::ids::{ClusterName, HostName, PlanId, StepNumber};
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use clusterctl_proto::test_point;
use clusterctl_proto::wire::agent::{CancelStep, RunStep, to_agent};

use super::Leader;
use crate::check;
use crate::machine::{Change, plans};
use crate::model::{Model, Plan, PlanState, PlannedStep};
use crate::planner::{World, live};

/// A step waits so long for a host that is away.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// One whose failure ends nothing, or that only cleans up, waits less.
const LITTLE_PATIENCE: Duration = Duration::from_secs(30);

/// A step for the primary waits so long for a primary that is away, once another leads: the next plan asks that one.
const PRIMARY_AWAY: Duration = Duration::from_secs(5);

/// What is to be done about one step.
enum Todo {
    Send {
        host: HostName,
        key: (PlanId, StepNumber),
        cluster: ClusterName,
        name: &'static str,
        message: to_agent::Message,
    },
    GiveUp {
        key: (PlanId, StepNumber),
        failure: Failure,
    },
    Cancel {
        host: HostName,
        key: (PlanId, StepNumber),
    },
}

impl Leader {
    /// Sends what is ready. Answers changes to propose: steps that are given up.
    pub(super) async fn dispatch(&self, now: Instant) -> Vec<Change> {
        let todo = self.node.state().read(|model| self.todo(model, now));
        let mut changes = Vec::new();
        for todo in todo {
            match todo {
                Todo::Send {
                    host,
                    key,
                    cluster,
                    name,
                    message,
                } => {
                    if self.sessions().send_step(&host, key, message) {
                        self.sent.send_modify(|count| *count = count.wrapping_add(1));
                        tracing::info!(plan = %key.0, step = key.1, node = %host, %cluster, action = name, "step sent");
                        test_point::reach(&format!("coordinator.{name}.sent")).await;
                    }
                }
                Todo::Cancel { host, key } => {
                    let message = to_agent::Message::Cancel(CancelStep {
                        plan: key.0.0,
                        step: key.1,
                        ..CancelStep::default()
                    });
                    self.sessions().send_cancel(&host, key, message);
                }
                Todo::GiveUp { key, failure } => {
                    tracing::warn!(plan = %key.0, step = key.1, code = failure.code, "step given up: {failure}");
                    changes.push(Change::Outcome {
                        plan: key.0,
                        step: key.1,
                        outcome: failed(failure),
                    });
                }
            }
        }
        changes
    }

    fn todo(&self, model: &Model, now: Instant) -> Vec<Todo> {
        let mut todo = Vec::new();
        let mut waiting = Vec::new();
        for plan in model.plans.values().filter(|plan| !plans::is_settled(plan)) {
            let operation = model.operations.get(&plan.draft.operation);
            let heals = operation.is_some_and(|op| op.kind.heals());
            for step in plans::ready_steps(plan) {
                let key = (plan.id, step.number);
                let stopped = plan.state != PlanState::Running && !step.finally;
                if stopped && plan.id.0 > self.led_from && !self.sessions().was_ever_sent(key) {
                    let failure = Failure::new(plans::NOT_RUN, "not run: the plan had stopped before its turn");
                    todo.push(Todo::GiveUp { key, failure });
                } else if self.sessions().current(&step.host).is_none() {
                    waiting.push(key);
                    let since = *self.stuck().entry(key).or_insert(now);
                    let waited = now.saturating_duration_since(since);
                    if waited >= patience(heals, plan, step) {
                        todo.push(Todo::GiveUp {
                            key,
                            failure: silent(&step.host),
                        });
                    } else if waited >= PRIMARY_AWAY
                        && check::is_primarys(&step.step)
                        && let Some(other) = self.leads_instead(model, plan, step)
                    {
                        todo.push(Todo::GiveUp {
                            key,
                            failure: moved(&step.host, &other),
                        });
                    }
                } else if !self.sessions().is_sent(&step.host, key) {
                    let send = self.send(model, plan, step);
                    if send.is_none() {
                        // Its secret is to be made again, on a host that may be away or unable to.
                        waiting.push(key);
                        let since = *self.stuck().entry(key).or_insert(now);
                        if now.saturating_duration_since(since) >= patience(heals, plan, step) {
                            let failure = secret_not_made(step);
                            todo.push(Todo::GiveUp { key, failure });
                        }
                    }
                    todo.extend(send);
                } else if stopped && plan.state == PlanState::Cancelled {
                    todo.push(Todo::Cancel {
                        host: step.host.clone(),
                        key,
                    });
                }
            }
        }
        self.stuck().retain(|key, _| waiting.contains(key));
        todo
    }

    /// Another member certainly leads the plan's cluster. Not to be called by who holds a lock.
    fn leads_instead(&self, model: &Model, plan: &Plan, step: &PlannedStep) -> Option<HostName> {
        let sight = self.sight();
        let world = World {
            model,
            sight: &sight,
            now: super::proposer::now(),
            issuer: CA_ISSUER,
        };
        let cluster = model.clusters.get(&plan.draft.cluster)?;
        let leads = live::primary(&world, cluster)?.host;
        (*leads != step.host).then(|| leads.clone())
    }

    /// The step, or the one that must be done again before it because its secret was lost with an earlier leader.
    fn send(&self, model: &Model, plan: &Plan, step: &PlannedStep) -> Option<Todo> {
        let key = (plan.id, step.number);
        let mut secrets = std::collections::HashMap::new();
        if let Step::Account { secret, .. } = &step.step {
            let request = model
                .operations
                .get(&plan.draft.operation)
                .map_or("", |op| op.request_id.as_str());
            let found = self.secrets().find(request, secret).map(str::to_owned);
            match found {
                Some(value) => {
                    secrets.insert(secret.clone(), value);
                }
                None => {
                    let makes =
                        |other: &&PlannedStep| matches!(&other.step, Step::MakeSecret { name } if name == secret);
                    let Some(maker) = plan.draft.steps.iter().find(makes) else {
                        return Some(Todo::GiveUp {
                            key,
                            failure: secret_lost(secret),
                        });
                    };
                    let again = (plan.id, maker.number);
                    if self.sessions().current(&maker.host).is_none() || self.sessions().is_sent(&maker.host, again) {
                        return None;
                    }
                    return run(plan, maker, secrets);
                }
            }
        }
        run(plan, step, secrets)
    }
}

fn run(plan: &Plan, step: &PlannedStep, secrets: std::collections::HashMap<String, String>) -> Option<Todo> {
    let key = (plan.id, step.number);
    let step_json = match serde_json::to_vec(&step.step) {
        Ok(json) => json,
        Err(error) => {
            let failure = Failure::new("bad_step", format!("the step cannot be written as JSON: {error}"));
            return Some(Todo::GiveUp { key, failure });
        }
    };
    let message = to_agent::Message::Run(RunStep {
        plan: plan.id.0,
        step: step.number,
        cluster: plan.draft.cluster.to_string(),
        epoch: plan.generation.epoch,
        index: plan.generation.index,
        step_json,
        secrets,
        signature: None,
    });
    Some(Todo::Send {
        host: step.host.clone(),
        key,
        cluster: plan.draft.cluster.clone(),
        name: step.step.name(),
        message,
    })
}

fn patience(heals: bool, plan: &Plan, step: &PlannedStep) -> Duration {
    // What heals must not hold up what else is to be healed; but whether a bootstrap ran is waited for.
    if heals && !matches!(step.step, Step::BootstrapGroup { .. }) {
        return LITTLE_PATIENCE;
    }
    if step.best_effort || step.finally || plan.state != PlanState::Running {
        LITTLE_PATIENCE
    } else {
        PATIENCE
    }
}

/// An outcome that the leader itself writes.
pub(super) fn failed(failure: Failure) -> StepOutcome {
    StepOutcome {
        result: StepResult::Failed { failure },
        data: None,
        elapsed_ms: 0,
        spent_ms: std::collections::BTreeMap::new(),
    }
}

fn silent(host: &HostName) -> Failure {
    Failure::new(
        "host_silent",
        format!("the agent of {host} is away; its step may have run, or not"),
    )
    .hint(format!(
        "is the host up? on {host}: systemctl status clusterctl-agent; then type the command again"
    ))
    .exit(ExitClass::Unreachable)
}

fn moved(host: &HostName, leads: &HostName) -> Failure {
    Failure::new(
        "not_primary",
        format!("{host}, the primary when this was planned, is away, and {leads} leads now"),
    )
    .hint("nothing is to be done: the coordinator plans anew")
    .exit(ExitClass::Unreachable)
    .transient()
}

fn secret_not_made(step: &PlannedStep) -> Failure {
    let name = match &step.step {
        Step::Account { secret, .. } => secret.as_str(),
        _ => "",
    };
    Failure::new(
        "secret_lost",
        format!("the password {name} was in the memory of a coordinator that was restarted, and its host did not make it again"),
    )
    .hint("is that host up? then type the command again")
    .exit(ExitClass::Partial)
}

fn secret_lost(name: &str) -> Failure {
    Failure::new(
        "secret_lost",
        format!(
            "the password of {} was in the memory of a coordinator that was restarted",
            name.trim_start_matches("account:")
        ),
    )
    .hint("type the command again")
    .exit(ExitClass::Partial)
}
