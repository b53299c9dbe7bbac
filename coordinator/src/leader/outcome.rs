//! What agents say about steps: progress to the watchers, outcomes to raft, secrets into memory.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, HostName, PlanId};
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use clusterctl_proto::test_point;
use clusterctl_proto::wire::agent;
use tokio::time::Instant;

use super::Leader;
use super::dispatch::failed;
use super::orders::Claim;
use crate::machine::{Change, plans};
use crate::model::{Model, Plan};

/// What is known of the step that an outcome is of.
struct Known {
    cluster: ClusterName,
    name: &'static str,
    ended: bool,
    /// It was given up without the agent's word.
    unsettled: bool,
    /// Request and name of the secret that it makes.
    secret: Option<(String, String)>,
}

impl Leader {
    /// A progress line.
    pub fn progress(&self, host: &HostName, progress: agent::Progress) {
        let plan = PlanId(progress.plan);
        let ours = self.node.state().read(|model| {
            model
                .plans
                .get(&plan)
                .and_then(|plan| plans::find(plan, progress.step))
                .is_some_and(|step| step.host == *host && !plans::has_ended(step))
        });
        if ours {
            self.progress.sign(plan, progress.step, Instant::now());
            let text: String = progress.text.chars().take(500).collect();
            self.progress
                .tell(plan, progress.step, host, text, progress.done, progress.total);
        }
    }

    /// A step ended.
    pub async fn outcome(&self, host: &HostName, message: agent::Outcome) -> Result<(), Failure> {
        let (plan, number) = (PlanId(message.plan), message.step);
        let known = self.node.state().read(|model| {
            // One of another epoch is the outcome of another order with the same numbers.
            let ours = |plan: &&Plan| message.epoch == 0 || message.epoch == plan.generation.epoch;
            let found = model.plans.get(&plan).filter(ours)?;
            let step = plans::find(found, number).filter(|step| step.host == *host)?;
            if !Claim::from(&message).is_of(found, step) {
                return None;
            }
            let operation = model.operations.get(&found.draft.operation);
            Some(Known {
                cluster: found.draft.cluster.clone(),
                name: step.step.name(),
                ended: plans::has_ended(step),
                unsettled: found.unsettled.contains(&number),
                // Only who is to make a secret may bring one.
                secret: match &step.step {
                    Step::MakeSecret { name } => operation.map(|op| (op.request_id.clone(), name.clone())),
                    _ => None,
                },
            })
        });
        let Some(Known {
            cluster,
            name,
            ended,
            unsettled,
            secret,
        }) = known
        else {
            tracing::warn!(%plan, step = number, node = %host, "ignored an outcome of the agent of {host}: its plan has no such step, or it is of another order");
            return Ok(());
        };
        let mut outcome: StepOutcome = serde_json::from_slice(&message.outcome_json)
            .map_err(|error| Failure::new("bad_outcome", format!("the agent's outcome cannot be read: {error}")))?;
        if let Some((request, secret)) = secret {
            let made = message.secrets.into_iter().filter(|(name, _)| *name == secret);
            self.secrets().keep(&request, made);
        }
        if let StepResult::Failed { failure } = &mut outcome.result
            && failure.code == plans::NOT_RUN
        {
            // That word is the machine's own: it means that nothing has to be looked at.
            "step_not_run".clone_into(&mut failure.code);
        }
        if unsettled {
            return self.settle(host, (plan, number), Some(outcome)).await;
        }
        if ended {
            // Answered again, perhaps for its secret.
            self.wake();
            return Ok(());
        }
        tracing::info!(%plan, step = number, node = %host, %cluster, action = name, ms = outcome.elapsed_ms, result = short(&outcome), "step ended");
        let stored = self
            .proposer
            .own(Change::Outcome {
                plan,
                step: number,
                outcome: outcome.clone(),
            })
            .await;
        match stored {
            Ok(_) => {
                self.ask_after(plan);
                test_point::reach(&format!("coordinator.{name}.outcome")).await;
            }
            Err(failure) if failure.code == "step_ended" => {
                if self.is_unsettled((plan, number)) {
                    return self.settle(host, (plan, number), Some(outcome)).await;
                }
            }
            Err(failure) => {
                tracing::warn!(%plan, step = number, node = %host, "the outcome was not stored, the step is sent or cancelled again: {failure}");
                let mut sessions = self.sessions();
                sessions.unsend(host, (plan, number));
                sessions.uncancel(host, (plan, number));
            }
        }
        self.wake();
        Ok(())
    }

    /// The agent has never begun a step that was cancelled, and never will.
    pub async fn never_begun(&self, host: &HostName, message: agent::NeverBegun) -> Result<(), Failure> {
        let (plan, number) = (PlanId(message.plan), message.step);
        let found = self.node.state().read(|model| {
            let found = model.plans.get(&plan)?;
            let ours = message.epoch == 0 || message.epoch == found.generation.epoch;
            let step = plans::find(found, number).filter(|step| ours && step.host == *host)?;
            Some((
                plans::has_ended(step),
                found.unsettled.contains(&number),
                step.title.clone(),
            ))
        });
        let Some((ended, unsettled, title)) = found else {
            tracing::warn!(%plan, step = number, node = %host, "ignored word of a step that is not this host's");
            return Ok(());
        };
        tracing::info!(%plan, step = number, node = %host, "step never begun");
        if unsettled {
            return self.settle(host, (plan, number), None).await;
        }
        if ended {
            return Ok(());
        }
        let failure = Failure::new(plans::NOT_RUN, format!("\"{title}\" was cancelled before it began")).transient();
        let change = Change::GiveUp {
            plan,
            step: number,
            outcome: failed(failure),
            may_run: false,
        };
        match self.proposer.own(change).await {
            Ok(_) => self.ask_after(plan),
            Err(failure) if failure.code == "step_ended" => {
                if self.is_unsettled((plan, number)) {
                    return self.settle(host, (plan, number), None).await;
                }
            }
            Err(failure) => {
                tracing::warn!(%plan, step = number, node = %host, "the agent's word was not stored, the step is cancelled again: {failure}");
                self.sessions().uncancel(host, (plan, number));
            }
        }
        self.wake();
        Ok(())
    }

    /// The step was given up without its agent's word: perhaps by an entry that was applied while that word was on its way into the log.
    fn is_unsettled(&self, (plan, number): plans::StepKey) -> bool {
        let read = |model: &Model| {
            model
                .plans
                .get(&plan)
                .is_some_and(|plan| plan.unsettled.contains(&number))
        };
        self.node.state().read(read)
    }

    /// How a step ended that was given up: its host is not busy any more.
    async fn settle(
        &self,
        host: &HostName,
        (plan, step): plans::StepKey,
        outcome: Option<StepOutcome>,
    ) -> Result<(), Failure> {
        match self.proposer.own(Change::Settle { plan, step, outcome }).await {
            Ok(_) => self.ask_after(plan),
            Err(failure) if failure.code == "step_ended" => {}
            Err(failure) => {
                tracing::warn!(%plan, step, node = %host, "the agent's word was not stored, it is asked again: {failure}");
                self.sessions().uncancel(host, (plan, step));
            }
        }
        self.wake();
        Ok(())
    }
}

fn short(outcome: &StepOutcome) -> &'static str {
    match outcome.result {
        StepResult::Unchanged => "unchanged",
        StepResult::Changed { .. } => "changed",
        StepResult::Failed { .. } => "failed",
    }
}
