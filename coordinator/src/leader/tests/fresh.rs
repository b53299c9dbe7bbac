//! Nothing is decided on what was seen before the last plan ended.

use clusterctl_proto::observe::{LedgerFacts, MysqlFacts, Observation, RouterFacts};
use clusterctl_proto::wire::agent::Answer as Told;

use super::*;

fn observation() -> Vec<u8> {
    let observation = Observation {
        boot_id: String::new(),
        agent_version: String::new(),
        ledger: LedgerFacts::default(),
        host: None,
        mysql: MysqlFacts::default(),
        router: RouterFacts::default(),
        own_deeds: Vec::new(),
    };
    serde_json::to_vec(&observation).expect("JSON")
}

/// The operation and its cluster stay.
fn later() -> StepResult {
    StepResult::Failed {
        failure: Failure::new("later", "later").transient(),
    }
}

/// Answers every question that came, the newest last.
fn answer(stage: &Stage, host: &str, orders: &mut mpsc::Receiver<ToAgent>) -> usize {
    let session = stage.leader.sessions().current(&name(host)).expect("a stream");
    let mut answered = 0;
    while let Ok(ToAgent { message }) = orders.try_recv() {
        if let Some(to_agent::Message::Question(question)) = message {
            let told = Told {
                id: question.id,
                observation_json: observation(),
            };
            stage.leader.answer(&name(host), session, &told).expect("taken");
            answered += 1;
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plan_did_is_seen_on_every_host_before_the_next_decision() {
    let stage = Stage::new().await;
    let (mut first, mut second) = (stage.connect("node1"), stage.connect("node2"));
    let cluster = "prod".parse().expect("name");
    let plan = stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    stage.dispatch(Instant::now()).await;
    assert!(stage.leader.unseen(Instant::now()).is_empty());
    stage.outcome("node1", outcome(plan, 1, later(), &[])).await;
    assert!(stage.leader.unseen(Instant::now()).contains(&cluster));
    assert_eq!(answer(&stage, "node1", &mut first), 1, "asked at once");
    assert!(
        stage.leader.unseen(Instant::now()).contains(&cluster),
        "node2 had no step in the plan, but may have changed"
    );
    let waits = tokio::time::timeout(Duration::from_millis(50), stage.leader.until_seen(&cluster));
    assert!(waits.await.is_err());
    assert_eq!(answer(&stage, "node2", &mut second), 1);
    stage.leader.until_seen(&cluster).await;
    assert!(stage.leader.unseen(Instant::now()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_host_holds_nobody_up_for_long() {
    let stage = Stage::new().await;
    let _streams = (stage.connect("node1"), stage.connect("node2"));
    let plan = stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    stage.dispatch(Instant::now()).await;
    stage.outcome("node1", outcome(plan, 1, later(), &[])).await;
    assert_eq!(stage.leader.unseen(Instant::now()).len(), 1);
    let later = Instant::now() + Duration::from_secs(4);
    assert!(stage.leader.unseen(later).is_empty());
}
