//! The agent's word meets what the leader wrote meanwhile.

use clusterctl_proto::wire::agent::NeverBegun;
use futures_util::future::BoxFuture;

use super::*;
use crate::machine::Command;
use crate::raft::{CommittedIndex, Consensus, Node, NodeId, no_quorum};

/// What happens to the next proposal.
enum Next {
    /// This change is applied before it.
    Before(Box<Change>),
    /// It is not stored.
    Lost,
}

/// A log in front of the stage's own.
struct Crowded {
    node: Node,
    next: Mutex<Option<Next>>,
}

impl Consensus for Crowded {
    fn id(&self) -> NodeId {
        self.node.id()
    }

    fn is_alone(&self) -> bool {
        self.node.is_alone()
    }

    fn leads(&self) -> Option<u64> {
        self.node.leads()
    }

    fn leader(&self) -> Option<NodeId> {
        self.node.leader()
    }

    fn confirm(&self) -> BoxFuture<'_, Result<CommittedIndex, Failure>> {
        Box::pin(self.node.ensure_linearizable())
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async move {
            let next = self.next.lock().unwrap().take();
            match next {
                Some(Next::Lost) => return Err(no_quorum()),
                Some(Next::Before(change)) => {
                    let first = Command {
                        change: *change,
                        ..command.clone()
                    };
                    self.node.propose(first).await?;
                }
                None => {}
            }
            self.node.propose(command).await
        })
    }
}

/// A promise that runs on node1, and its plan.
async fn running() -> (Stage, PlanId, mpsc::Receiver<ToAgent>, Arc<Crowded>) {
    let mut stage = Stage::new().await;
    let node = stage.leader.node.clone();
    let crowded = Arc::new(Crowded {
        node: node.clone(),
        next: Mutex::default(),
    });
    stage.leader = Leader::new(Node::of(crowded.clone(), node.state().clone()));
    let plan = stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    let mut one = stage.connect("node1");
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut one), ["1 promise"]);
    (stage, plan, one, crowded)
}

fn never_begun(plan: PlanId) -> NeverBegun {
    NeverBegun {
        plan: plan.0,
        step: 1,
        ..NeverBegun::default()
    }
}

fn is_busy(stage: &Stage) -> bool {
    let busy = |model: &Model| !plans::busy_hosts(model, &"prod".parse().expect("name")).is_empty();
    stage.leader.node.state().read(busy)
}

/// The agent answers in the moment in which the leader gives its step up: it is not asked again on the stream that stands.
#[tokio::test(flavor = "multi_thread")]
async fn the_agents_word_counts_although_its_step_was_given_up_while_it_was_stored() {
    for begun in [true, false] {
        let (stage, plan, _one, crowded) = running().await;
        *crowded.next.lock().unwrap() = Some(Next::Before(Box::new(Change::GiveUp {
            plan,
            step: 1,
            outcome: dispatch::failed(Failure::new("step_overdue", "overdue")),
            may_run: true,
        })));
        if begun {
            stage
                .outcome("node1", outcome(plan, 1, StepResult::Unchanged, &[]))
                .await;
        } else {
            let told = stage.leader.never_begun(&name("node1"), never_begun(plan)).await;
            told.expect("taken");
        }
        assert!(crowded.next.lock().unwrap().is_none(), "it was given up before");
        assert!(!is_busy(&stage), "its agent has said how it ended: {begun}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_agents_word_was_not_stored_is_cancelled_again() {
    for begun in [true, false] {
        let (stage, plan, mut one, crowded) = running().await;
        let operation = stage.operation;
        stage.own(Change::Cancel { operation }).await;
        stage.dispatch(Instant::now()).await;
        stage.dispatch(Instant::now()).await;
        assert_eq!(orders(&mut one), ["1 cancel"]);
        *crowded.next.lock().unwrap() = Some(Next::Lost);
        if begun {
            stage
                .outcome("node1", outcome(plan, 1, StepResult::Unchanged, &[]))
                .await;
        } else {
            let told = stage.leader.never_begun(&name("node1"), never_begun(plan)).await;
            told.expect("the agent is not at fault: its stream stays");
        }
        stage.dispatch(Instant::now()).await;
        assert_eq!(orders(&mut one), ["1 cancel"], "{begun}");
    }
}
