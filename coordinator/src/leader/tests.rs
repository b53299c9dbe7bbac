//! Sending, giving up, secrets: a real log in a temporary directory, streams that are only channels.

mod fresh;
mod late;
mod orders;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, HostRole, OperationId, PlanId, ServerId, StepNumber};
use clusterctl_proto::step::{Account, AccountKind, Step, StepOutcome, StepResult};
use clusterctl_proto::wire::agent::{Outcome, ToAgent, to_agent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::sessions::{PeerFacts, SessionId};
use super::twins::Speaker;
use super::*;
use crate::machine::{Answer, Change, plans};
use crate::model::{Host, Operation, OperationKind, OperationState, PlanDraft, PlannedStep, StepState, Token};
use crate::raft::Voter;

mod secrets;
mod sending;
mod terms;
mod twins;
mod withheld;

/// The process of an agent that booted so.
fn speaker(boot_id: &str) -> Speaker {
    Speaker {
        boot_id: boot_id.to_owned(),
        instance: boot_id.to_owned(),
        peer: ([192, 0, 2, 1], 1000).into(),
    }
}

struct Stage {
    _directory: tempfile::TempDir,
    leader: Leader,
    voter: Voter,
    operation: OperationId,
}

fn name(text: &str) -> HostName {
    text.parse().expect("host name")
}

fn step(number: StepNumber, host: &str, step: Step, after: &[StepNumber]) -> PlannedStep {
    let title = step.name().to_owned();
    let (after, state) = (after.to_vec(), StepState::Pending);
    PlannedStep {
        number,
        host: name(host),
        step,
        title,
        after,
        best_effort: false,
        finally: false,
        state,
    }
}

fn account(secret: &str) -> Step {
    let account = Account {
        user: "u".to_owned(),
        from: "%".to_owned(),
        kind: AccountKind::Monitor,
    };
    Step::Account {
        account,
        secret: secret.to_owned(),
    }
}

fn make(secret: &str) -> Step {
    Step::MakeSecret {
        name: secret.to_owned(),
    }
}

fn outcome(plan: PlanId, step: StepNumber, result: StepResult, secrets: &[(&str, &str)]) -> Outcome {
    let outcome = StepOutcome {
        result,
        data: None,
        elapsed_ms: 1,
        spent_ms: BTreeMap::new(),
    };
    let secrets = secrets
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let outcome_json = serde_json::to_vec(&outcome).expect("JSON");
    Outcome {
        plan: plan.0,
        step,
        outcome_json,
        secrets,
        ..Outcome::default()
    }
}

fn failed(code: &str) -> StepResult {
    StepResult::Failed {
        failure: Failure::new(code, code),
    }
}

impl Stage {
    /// A group with the hosts node1 and node2, and an operation that waits.
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let group = Uuid::new_v4();
        let voter = Voter::start(directory.path(), group, 1).await.expect("starts");
        voter.found().await.expect("founds");
        voter.wait_for_leader(Duration::from_secs(5)).await.expect("leads");
        let mut stage = Self {
            _directory: directory,
            leader: Leader::new(voter.node().clone()),
            voter,
            operation: OperationId(0),
        };
        stage.own(Change::Found { group }).await;
        let token = Token {
            id: "t".to_owned(),
            secret_sha256: String::new(),
            roles: BTreeSet::from([HostRole::Db]),
            host: None,
            replace: false,
            expires_at: i64::MAX,
            uses_left: 9,
            failures: 0,
            revoked: false,
            created_by: String::new(),
            created_at: 0,
        };
        stage.own(Change::AddToken { token }).await;
        for text in ["node1", "node2"] {
            let host = Host {
                name: name(text),
                roles: BTreeSet::new(),
                addresses: Vec::new(),
                enrolled_at: 0,
                key_sha256: text.to_owned(),
                certificate_expires: 0,
            };
            stage
                .own(Change::Enrol {
                    token: "t".to_owned(),
                    host,
                })
                .await;
        }
        let kind = OperationKind::Create {
            primary: name("node1"),
            with: vec![name("node2")],
            routers: Vec::new(),
            ignore_checks: Vec::new(),
            buffer_pool_bytes: None,
        };
        let prod = "prod".parse().expect("name");
        let operation = Operation::wanted("r".to_owned(), prod, kind, "operator/admin", 0);
        let ids = (1..9).map(ServerId).collect();
        let change = Change::Submit {
            operation,
            cluster_id: Uuid::nil(),
            group_name: Uuid::nil(),
            server_ids: ids,
        };
        match stage.own(change).await {
            Answer::Operation(id) => stage.operation = id,
            other => panic!("{other:?}"),
        }
        stage
    }

    async fn own(&self, change: Change) -> Answer {
        self.leader.proposer.own(change).await.expect("stored")
    }

    async fn adopt(&self, steps: Vec<PlannedStep>) -> PlanId {
        self.adopt_as(steps, false).await
    }

    async fn adopt_as(&self, steps: Vec<PlannedStep>, side: bool) -> PlanId {
        let draft = PlanDraft {
            cluster: "prod".parse().expect("name"),
            operation: self.operation,
            parent: None,
            steps,
            report: Vec::new(),
            done_message: "done".to_owned(),
            goes_on: side,
            side,
            given_up: None,
            taken_back: None,
        };
        match self.own(Change::Adopt { draft }).await {
            Answer::Plan(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// As after a restart: the log stays, the memory does not.
    fn forget(&mut self) {
        self.leader = Leader::new(self.leader.node.clone());
    }

    fn connect(&self, host: &str) -> mpsc::Receiver<ToAgent> {
        self.connect_as(host, "boot").1
    }

    /// An agent of a machine with this boot id opens a stream.
    fn connect_as(&self, host: &str, boot_id: &str) -> (SessionId, mpsc::Receiver<ToAgent>) {
        let (sender, receiver) = mpsc::channel(64);
        let peer = PeerFacts {
            key_sha256: host.to_owned(),
            serial: String::new(),
            not_after: i64::MAX,
        };
        let speaker = speaker(boot_id);
        let id = self
            .leader
            .opened(&name(host), peer, speaker, sender, CancellationToken::new());
        (id, receiver)
    }

    async fn outcome(&self, host: &str, message: Outcome) {
        self.leader.outcome(&name(host), message).await.expect("read");
    }

    /// What was given up, as `step code`.
    async fn dispatch(&self, now: Instant) -> Vec<String> {
        let changes = self.leader.dispatch(now).await;
        let mut given_up = Vec::new();
        for change in changes {
            if let Change::Outcome { step, outcome, .. } | Change::GiveUp { step, outcome, .. } = &change
                && let StepResult::Failed { failure } = &outcome.result
            {
                given_up.push(format!("{step} {}", failure.code));
            }
            self.own(change).await;
        }
        given_up
    }

    fn state(&self) -> OperationState {
        self.leader
            .node
            .state()
            .read(|model| model.operations[&self.operation].state.clone())
    }
}

/// Orders that came, as `step name secrets`.
fn orders(receiver: &mut mpsc::Receiver<ToAgent>) -> Vec<String> {
    let mut list = Vec::new();
    while let Ok(ToAgent { message }) = receiver.try_recv() {
        match message {
            Some(to_agent::Message::Run(run)) => {
                let step: Step = serde_json::from_slice(&run.step_json).expect("a step");
                let secrets: HashMap<String, String> = run.secrets;
                let values: Vec<String> = secrets.into_values().collect();
                list.push(
                    format!("{} {} {}", run.step, step.name(), values.join(","))
                        .trim_end()
                        .to_owned(),
                );
            }
            Some(to_agent::Message::Cancel(cancel)) => list.push(format!("{} cancel", cancel.step)),
            _ => {}
        }
    }
    list
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_when_a_plan_stops_is_not_sent_any_more() {
    let stage = Stage::new().await;
    let mut clean = step(4, "node1", Step::DropSecret { name: "s".to_owned() }, &[]);
    clean.finally = true;
    clean.after = vec![1];
    let promise = || Step::Promise {};
    let plan = stage
        .adopt(vec![
            step(1, "node1", promise(), &[]),
            step(2, "node2", promise(), &[]),
            step(3, "node1", promise(), &[2]),
            clean,
        ])
        .await;
    // node2 is away: its step cannot be sent.
    let mut one = stage.connect("node1");
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut one), ["1 promise"]);
    stage
        .outcome("node2", outcome(plan, 1, StepResult::Unchanged, &[]))
        .await;
    assert!(
        stage.dispatch(Instant::now()).await.is_empty(),
        "an outcome from another host is left alone"
    );
    stage.outcome("node1", outcome(plan, 1, failed("not_run"), &[])).await;
    let mut two = stage.connect("node2");
    assert_eq!(stage.dispatch(Instant::now()).await, ["2 not_run"]);
    stage.dispatch(Instant::now()).await;
    assert!(orders(&mut two).is_empty());
    assert_eq!(orders(&mut one), ["4 drop_secret"]);
    stage
        .outcome("node1", outcome(plan, 4, StepResult::Unchanged, &[]))
        .await;
    assert!(matches!(stage.state(), OperationState::Failed { failure } if failure.code == "step_not_run"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_step_is_told_so_once_and_waited_for() {
    let stage = Stage::new().await;
    let plan = stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    let mut one = stage.connect("node1");
    stage.dispatch(Instant::now()).await;
    stage
        .own(Change::Cancel {
            operation: stage.operation,
        })
        .await;
    stage.dispatch(Instant::now()).await;
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut one), ["1 promise", "1 cancel"]);
    let settled = |stage: &Stage| {
        stage
            .leader
            .node
            .state()
            .read(|model| plans::is_settled(&model.plans[&plan]))
    };
    assert!(!settled(&stage));
    stage.outcome("node1", outcome(plan, 1, failed("cancelled"), &[])).await;
    assert!(settled(&stage));
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_wait_for_their_host_and_not_for_ever() {
    let stage = Stage::new().await;
    let mut little = step(2, "node2", Step::Promise {}, &[]);
    little.best_effort = true;
    stage.adopt(vec![step(1, "node1", Step::Promise {}, &[]), little]).await;
    let now = Instant::now();
    assert!(stage.dispatch(now).await.is_empty());
    assert_eq!(stage.dispatch(now + Duration::from_secs(31)).await, ["2 host_silent"]);
    // It came, and went again: the time counts anew.
    let mut one = stage.connect("node1");
    assert!(stage.dispatch(now + Duration::from_secs(200)).await.is_empty());
    assert_eq!(orders(&mut one), ["1 promise"]);
    drop(one);
    stage.leader.sessions().end_all();
    assert!(stage.dispatch(now + Duration::from_secs(299)).await.is_empty());
    assert!(stage.dispatch(now + Duration::from_secs(590)).await.is_empty());
    assert_eq!(stage.dispatch(now + Duration::from_secs(600)).await, ["1 host_silent"]);
    assert!(matches!(stage.state(), OperationState::Failed { failure } if failure.code == "host_silent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_stream_of_a_host_counts_and_gets_everything_again() {
    let stage = Stage::new().await;
    stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    let mut old = stage.connect("node1");
    stage.dispatch(Instant::now()).await;
    let mut new = stage.connect("node1");
    stage.dispatch(Instant::now()).await;
    assert_eq!(
        (orders(&mut old), orders(&mut new)),
        (vec!["1 promise".to_owned()], vec!["1 promise".to_owned()])
    );
    let (first, second) = (1, 2);
    assert_eq!(stage.leader.sessions().current(&name("node1")), Some(second));
    stage.leader.sessions().close(&name("node1"), first);
    assert_eq!(
        stage.leader.sessions().current(&name("node1")),
        Some(second),
        "the old one's end is not the new one's"
    );
}
