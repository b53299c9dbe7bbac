//! Sends every step that is ready, if it is still safe; gives up those whose host stays away; cancels what is not wanted any more.
//!
//! Level-triggered: computed from the plans in raft and from what was sent on the streams that stand. After a restart every
//! step of a running plan without an outcome is sent again, after `check::still_safe` has looked at it anew; agents answer from their
//! memory or do it once more. Of a plan that has stopped nothing is sent but its clean-up and cancels: a step ends when its agent says
//! that it ended or was never begun.

use std::cell::OnceCell;
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::identity::CA_ISSUER;
use clusterctl_proto::ids::{ClusterName, HostName};
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use clusterctl_proto::test_point;
use clusterctl_proto::wire::agent::{CancelStep, OrderSignature, RunStep, to_agent};
use tokio::time::Instant;

use super::patience::{CANCELLED, LITTLE_PATIENCE, deadline, patience};
use super::{Leader, orders};
use crate::check;
use crate::machine::plans::StepKey;
use crate::machine::{Change, plans};
use crate::model::{Model, Plan, PlanState, PlannedStep};
use crate::planner::{self, Sight, World, live};

/// A step for the primary waits so long for a primary that is away, once another leads: the next plan asks that one.
const PRIMARY_AWAY: Duration = Duration::from_secs(5);

/// How long a step has waited is noted in the log each time that it has waited so much longer.
const NOTED: Duration = Duration::from_secs(15);

/// Hosts whose answers are missing are not asked more often.
const ASKED_AGAIN: Duration = Duration::from_millis(300);

/// What is to be done about one step.
enum Todo {
    Send {
        host: HostName,
        key: StepKey,
        cluster: ClusterName,
        name: &'static str,
        message: to_agent::Message,
    },
    GiveUp {
        key: StepKey,
        failure: Failure,
        /// It was sent, or may have been.
        may_run: bool,
    },
    Cancel {
        host: HostName,
        key: StepKey,
        message: to_agent::Message,
    },
    Waited {
        key: StepKey,
        ms: u64,
    },
    /// These hosts are to answer at once.
    Ask(Vec<HostName>),
}

/// One look at everything that is open.
struct Pass<'a> {
    model: &'a Model,
    now: Instant,
    sight: OnceCell<Sight>,
    waiting: Vec<StepKey>,
    todo: Vec<Todo>,
}

impl Leader {
    /// Sends what is ready. Answers changes to propose: steps that are given up, how long others have waited.
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
                        self.progress.sign(key.0, key.1, now);
                        self.sent.send_modify(|count| *count = count.wrapping_add(1));
                        tracing::info!(plan = %key.0, step = key.1, node = %host, %cluster, action = name, "step sent");
                        test_point::reach(&format!("coordinator.{name}.sent")).await;
                    }
                }
                Todo::Cancel { host, key, message } => self.sessions().send_cancel(&host, key, message),
                Todo::GiveUp { key, failure, may_run } => {
                    tracing::warn!(plan = %key.0, step = key.1, code = failure.code, may_run, "step given up: {failure}");
                    changes.push(Change::GiveUp {
                        plan: key.0,
                        step: key.1,
                        outcome: failed(failure),
                        may_run,
                    });
                }
                Todo::Waited { key, ms } => changes.push(Change::Waited {
                    plan: key.0,
                    step: key.1,
                    ms,
                }),
                Todo::Ask(hosts) => self.ask_again(&hosts, now),
            }
        }
        changes
    }

    fn todo(&self, model: &Model, now: Instant) -> Vec<Todo> {
        let withheld = self.withheld(model);
        let mut pass = Pass {
            model,
            now,
            sight: OnceCell::new(),
            waiting: Vec::new(),
            todo: Vec::new(),
        };
        let led = |plan: &&Plan| !withheld.clusters.contains(&plan.draft.cluster);
        for plan in model.plans.values().filter(led) {
            for step in plan.unsettled.iter().filter_map(|number| plans::find(plan, *number)) {
                self.cancel(&mut pass, plan, step);
            }
            if plans::is_settled(plan) {
                continue;
            }
            for step in plans::ready_steps(plan) {
                let stopped = plan.state != PlanState::Running && !step.finally;
                if stopped || self.makes_way(&pass, plan) || self.is_void(&pass, plan, step) {
                    self.stopped(&mut pass, plan, step);
                } else if self.sessions().current(&step.host).is_none() || withheld.hosts.contains(&step.host) {
                    self.away(&mut pass, plan, step);
                } else if !self.sessions().is_sent(&step.host, (plan.id, step.number)) {
                    self.ready(&mut pass, plan, step);
                } else {
                    self.running(&mut pass, plan, step);
                }
            }
        }
        let waiting = pass.waiting;
        self.stuck().retain(|key, _| waiting.contains(key));
        pass.todo
    }

    /// It was never sent: the plan is of this leader's term, which knows every step that it sent.
    fn never_sent(&self, plan: &Plan, step: &PlannedStep) -> bool {
        plan.id.0 > self.led_from && !self.sessions().was_ever_sent((plan.id, step.number))
    }

    /// It is a copy for which an operation does not wait.
    fn makes_way(&self, pass: &Pass<'_>, plan: &Plan) -> bool {
        planner::copy_makes_way(pass.model, plan, || self.world(pass))
    }

    /// A copy that may run, and whose donor's data are not the group's any more. An agent copies on while its stream is broken and the
    /// coordinator restarts; a copy that was never sent is refused by what is asked before every sending.
    fn is_void(&self, pass: &Pass<'_>, plan: &Plan, step: &PlannedStep) -> bool {
        matches!(step.step, Step::CloneData { .. })
            && !self.never_sent(plan, step)
            && check::copy_is_void(&self.world(pass), plan, step)
    }

    /// A step of a plan that has stopped: it may run, and is never sent again. Cancelled, unless it runs undisturbed.
    fn stopped(&self, pass: &mut Pass<'_>, plan: &Plan, step: &PlannedStep) {
        let key = (plan.id, step.number);
        if self.never_sent(plan, step) {
            let failure = Failure::new(plans::NOT_RUN, "not run: the plan had stopped before its turn");
            pass.todo.push(Todo::GiveUp {
                key,
                failure,
                may_run: false,
            });
            return;
        }
        // Its plan failed elsewhere: what runs on the stream that stands is not broken off in the middle.
        let failed = matches!(plan.state, PlanState::Failed { .. });
        if failed && self.sessions().is_sent(&step.host, key) {
            return self.running(pass, plan, step);
        }
        let connected = self.cancel(pass, plan, step);
        let longest = if connected { CANCELLED } else { LITTLE_PATIENCE };
        if self.waited(pass, plan, step) >= longest {
            // A copy that the leader stops, and whose end its agent still waits for: its operation goes on when the host is free.
            let is_copy = plan.draft.side && plan.state == PlanState::Running;
            let failure = if is_copy {
                Failure::new(
                    plans::STEP_CANCELLED,
                    format!("the copy onto {} was stopped", step.host),
                )
            } else {
                silent(&step.host)
            };
            self.give_up(pass, plan, step, failure);
        }
    }

    /// A step whose host has no stream.
    fn away(&self, pass: &mut Pass<'_>, plan: &Plan, step: &PlannedStep) {
        let waited = self.waited(pass, plan, step);
        let heals = heals(pass.model, plan);
        if waited >= patience(heals, plan, step) {
            self.give_up(pass, plan, step, silent(&step.host));
        } else if waited >= PRIMARY_AWAY
            && check::is_primarys(&step.step)
            && let Some(other) = self.leads_instead(pass, plan, step)
        {
            self.give_up(pass, plan, step, moved(&step.host, &other));
        }
    }

    /// A step that could be sent on the stream that stands: if it is still safe.
    fn ready(&self, pass: &mut Pass<'_>, plan: &Plan, step: &PlannedStep) {
        let key = (plan.id, step.number);
        match self.still_safe(pass, plan, step) {
            Ok(()) => {}
            Err(failure) if failure.code == check::EVIDENCE_MISSING => {
                if self.waited(pass, plan, step) >= patience(heals(pass.model, plan), plan, step) {
                    self.give_up(pass, plan, step, failure);
                } else {
                    let cluster = pass.model.clusters.get(&plan.draft.cluster);
                    let members = cluster.into_iter().flat_map(|cluster| cluster.members.keys());
                    pass.todo
                        .push(Todo::Ask(members.chain([&step.host]).cloned().collect()));
                }
                return;
            }
            Err(failure) => return self.give_up(pass, plan, step, failure),
        }
        match self.send(pass.model, plan, step) {
            Some(send) => {
                pass.todo.push(send);
                if plan.waited_ms.contains_key(&step.number) {
                    pass.todo.push(Todo::Waited { key, ms: 0 });
                }
            }
            // Its secret is to be made again, on a host that may be away or unable to.
            None => {
                if self.waited(pass, plan, step) >= patience(heals(pass.model, plan), plan, step) {
                    self.give_up(pass, plan, step, secret_not_made(step));
                }
            }
        }
    }

    /// A step that was sent and has not ended: cancelled when nothing was heard of it for long.
    fn running(&self, pass: &mut Pass<'_>, plan: &Plan, step: &PlannedStep) {
        let Some(sign) = self.progress.last_sign(plan.id, step.number) else {
            return;
        };
        let quiet = pass.now.saturating_duration_since(sign);
        let longest = deadline(&step.step);
        if quiet < longest {
            return;
        }
        self.cancel(pass, plan, step);
        if quiet >= longest + CANCELLED {
            self.give_up(pass, plan, step, overdue(step, quiet));
        }
    }

    fn give_up(&self, pass: &mut Pass<'_>, plan: &Plan, step: &PlannedStep, failure: Failure) {
        pass.todo.push(Todo::GiveUp {
            key: (plan.id, step.number),
            failure,
            may_run: !self.never_sent(plan, step),
        });
    }

    /// Tells the host that the step is not wanted, once on each stream. Answers whether there is one.
    fn cancel(&self, pass: &mut Pass<'_>, plan: &Plan, step: &PlannedStep) -> bool {
        if self.sessions().current(&step.host).is_none() {
            return false;
        }
        let message = CancelStep {
            plan: plan.id.0,
            step: step.number,
            epoch: plan.generation.epoch,
            cluster: plan.draft.cluster.to_string(),
            digest: orders::digest(plan, step)
                .map(|digest| digest.to_vec())
                .unwrap_or_default(),
        };
        pass.todo.push(Todo::Cancel {
            host: step.host.clone(),
            key: (plan.id, step.number),
            message: to_agent::Message::Cancel(message),
        });
        true
    }

    /// How long the step has waited, under earlier leaders included.
    fn waited(&self, pass: &mut Pass<'_>, plan: &Plan, step: &PlannedStep) -> Duration {
        let key = (plan.id, step.number);
        pass.waiting.push(key);
        let noted = Duration::from_millis(plan.waited_ms.get(&step.number).copied().unwrap_or(0));
        let begun = pass.now.checked_sub(noted).unwrap_or(pass.now);
        let since = *self.stuck().entry(key).or_insert(begun);
        let waited = pass.now.saturating_duration_since(since);
        if waited >= noted + NOTED {
            let ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            pass.todo.push(Todo::Waited { key, ms });
        }
        waited
    }

    fn still_safe(&self, pass: &Pass<'_>, plan: &Plan, step: &PlannedStep) -> Result<(), Failure> {
        let Some(operation) = pass.model.operations.get(&plan.draft.operation) else {
            return Ok(());
        };
        check::still_safe(&self.world(pass), operation, plan, step)
    }

    /// What is seen at this moment, looked at once a pass. Not to be called while holding a lock.
    fn world<'a>(&self, pass: &'a Pass<'_>) -> World<'a> {
        World {
            model: pass.model,
            sight: pass.sight.get_or_init(|| self.sight()),
            now: super::proposer::now(),
            issuer: CA_ISSUER,
        }
    }

    fn ask_again(&self, hosts: &[HostName], now: Instant) {
        for host in hosts {
            let due = self.sessions().due(host, now, ASKED_AGAIN, Duration::MAX);
            for (id, _) in due.into_iter().filter(|(_, full)| !full) {
                let hands_off = self.hands_off(host);
                self.sessions()
                    .ask_on(host, id, now, false, Vec::new(), hands_off, None);
            }
        }
    }

    /// Another member certainly leads the plan's cluster.
    fn leads_instead(&self, pass: &Pass<'_>, plan: &Plan, step: &PlannedStep) -> Option<HostName> {
        let world = self.world(pass);
        let cluster = pass.model.clusters.get(&plan.draft.cluster)?;
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
                            may_run: !self.never_sent(plan, step),
                        });
                    };
                    let again = (plan.id, maker.number);
                    if self.sessions().current(&maker.host).is_none() || self.sessions().is_sent(&maker.host, again) {
                        return None;
                    }
                    return run(plan, maker, secrets, self.signature(plan));
                }
            }
        }
        run(plan, step, secrets, self.signature(plan))
    }
}

fn run(
    plan: &Plan,
    step: &PlannedStep,
    secrets: std::collections::HashMap<String, String>,
    signature: Option<OrderSignature>,
) -> Option<Todo> {
    let key = (plan.id, step.number);
    let step_json = match serde_json::to_vec(&step.step) {
        Ok(json) => json,
        Err(error) => {
            let failure = Failure::new("bad_step", format!("the step cannot be written as JSON: {error}"));
            return Some(Todo::GiveUp {
                key,
                failure,
                may_run: false,
            });
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
        signature,
    });
    Some(Todo::Send {
        host: step.host.clone(),
        key,
        cluster: plan.draft.cluster.clone(),
        name: step.step.name(),
        message,
    })
}

fn heals(model: &Model, plan: &Plan) -> bool {
    let operation = model.operations.get(&plan.draft.operation);
    operation.is_some_and(|op| op.kind.heals())
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

fn overdue(step: &PlannedStep, quiet: Duration) -> Failure {
    Failure::new(
        "step_overdue",
        format!(
            "nothing was heard of \"{}\" for {} s, and the agent of {} does not say that it ended",
            step.title,
            quiet.as_secs(),
            step.host
        ),
    )
    .hint(format!(
        "nothing else is done on {0} before its agent answers; on {0}: journalctl -u clusterctl-agent -n 50",
        step.host
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
