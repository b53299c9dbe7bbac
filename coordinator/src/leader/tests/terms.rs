//! Nothing that a leader knows or waits for outlives its term.

use clusterctl_proto::observe::{LedgerFacts, MysqlFacts, Observation, RouterFacts};
use clusterctl_proto::wire::agent::Answer as Told;

use super::*;

/// A stream of this host with that leader.
fn connect(leader: &Leader, host: &str) -> (mpsc::Receiver<ToAgent>, CancellationToken) {
    let (sender, receiver) = mpsc::channel(64);
    let peer = PeerFacts {
        key_sha256: host.to_owned(),
        serial: String::new(),
        not_after: i64::MAX,
    };
    let ended = CancellationToken::new();
    leader
        .sessions()
        .open(&name(host), peer, speaker(host), Instant::now(), sender, ended.clone());
    (receiver, ended)
}

/// The stage's node, and a leadership of it that has entered the current term.
async fn leading() -> (Stage, Leadership, Arc<Leader>) {
    let stage = Stage::new().await;
    let leadership = Leadership::new(stage.leader.node.clone(), restored::nothing_proven());
    let leader = leadership.enter().await.expect("leads");
    (stage, leadership, leader)
}

fn codes(changes: &[Change]) -> Vec<String> {
    let code = |change: &Change| match change {
        Change::GiveUp {
            step,
            outcome:
                StepOutcome {
                    result: StepResult::Failed { failure },
                    ..
                },
            ..
        } => Some(format!("{step} {}", failure.code)),
        _ => None,
    };
    changes.iter().filter_map(code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn patience_counts_anew_when_leading_again() {
    let (stage, leadership, leader) = leading().await;
    stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    let now = Instant::now();
    assert!(leader.dispatch(now).await.is_empty());
    stage.voter.lead_anew().await;
    let leader = leadership.enter().await.expect("leads again");
    let later = now + Duration::from_secs(600);
    assert_eq!(
        codes(&leader.dispatch(later).await),
        Vec::<String>::new(),
        "given up in the first moment of the new term"
    );
    let much_later = later + Duration::from_secs(301);
    assert_eq!(codes(&leader.dispatch(much_later).await), ["1 host_silent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_leader_does_not_call_a_sent_step_not_run() {
    let (stage, leadership, leader) = leading().await;
    stage.adopt(vec![step(1, "node1", Step::Promise {}, &[])]).await;
    let (mut one, _) = connect(&leader, "node1");
    leader.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut one), ["1 promise"], "the leader of that term has sent it");
    stage.voter.lead_anew().await;
    let leader = leadership.enter().await.expect("leads again");
    let operation = stage.operation;
    stage.own(Change::Cancel { operation }).await;
    let changes = leader.dispatch(Instant::now()).await;
    assert_eq!(
        codes(&changes),
        Vec::<String>::new(),
        "a step that runs is stored as certainly never run"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_observations_secrets_and_back_offs_end_with_the_term() {
    let (stage, leadership, leader) = leading().await;
    let (mut one, stream) = connect(&leader, "node1");
    let id = leader
        .sessions()
        .ask(&name("node1"), Instant::now(), false, Vec::new(), None)
        .expect("asked");
    while one.try_recv().is_ok() {}
    let observation = Observation {
        boot_id: String::new(),
        agent_version: String::new(),
        ledger: LedgerFacts::default(),
        host: None,
        mysql: MysqlFacts::default(),
        router: RouterFacts::default(),
        own_deeds: Vec::new(),
    };
    let observation_json = serde_json::to_vec(&observation).expect("JSON");
    leader
        .answer(&name("node1"), 1, &Told { id, observation_json })
        .expect("taken");
    leader.secrets().keep("r", [("s".to_owned(), "0xAA".to_owned())]);
    leader.hold(stage.operation, Instant::now());
    assert!(leader.sight().contains_key(&name("node1")));
    let watched = {
        let leader = Arc::clone(&leader);
        tokio::spawn(async move { leader.ended().await })
    };

    stage.voter.lead_anew().await;
    let refused = leadership
        .current()
        .map(|leader| leader.term())
        .map_err(|failure| failure.code);
    assert_eq!(refused, Err("not_leader".to_owned()), "before the loop has noticed");
    assert!(leader.still_leads().is_err());
    assert_eq!(
        leader.ensure_linearizable().await.map_err(|failure| failure.code),
        Err("not_leader".to_owned()),
        "the node leads, but not in this term"
    );
    let end = Change::EndOperation {
        operation: stage.operation,
        result: Ok("seen in the old term".to_owned()),
    };
    leader.propose(end, Instant::now()).await;
    assert!(
        matches!(stage.state(), OperationState::Waiting { .. }),
        "{:?}",
        stage.state()
    );

    let next = leadership.enter().await.expect("leads again");
    assert!(next.term() > leader.term());
    assert!(stream.is_cancelled(), "the stream of the old term has ended");
    tokio::time::timeout(Duration::from_secs(5), watched)
        .await
        .expect("told")
        .expect("watched");
    assert!(next.sight().is_empty() && next.sessions().hosts().is_empty());
    assert_eq!(next.secrets().find("r", "s"), None);
    assert!(next.held().is_empty());
    let same = leadership.enter().await.expect("leads");
    assert!(Arc::ptr_eq(&same, &next), "one leader for each term");
}
