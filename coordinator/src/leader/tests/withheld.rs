//! An old copy of the coordinator's disk: what an agent's ledger shows holds orders back.

use clusterctl_proto::ids::{ClusterName, Generation};
use clusterctl_proto::observe::{LedgerFacts, MysqlFacts, Observation, RouterFacts};
use clusterctl_proto::wire::agent::Answer as Told;

use super::*;

/// A leader, a plan with a step for each of both hosts, and node2's answer: its ledger holds an order that this log never gave.
async fn told(proofs: Proofs) -> (Stage, Arc<Leader>, [mpsc::Receiver<ToAgent>; 2]) {
    let mut stage = Stage::new().await;
    let leadership = Leadership::new(stage.leader.node.clone(), proofs);
    let leader = leadership.enter().await.expect("leads");
    stage
        .adopt(vec![
            step(1, "node1", Step::Promise {}, &[]),
            step(2, "node2", Step::Promise {}, &[]),
        ])
        .await;
    stage.leader = Leader::new(stage.leader.node.clone());
    let connect = |host: &str| {
        let (sender, receiver) = mpsc::channel(64);
        let peer = PeerFacts {
            key_sha256: host.to_owned(),
            serial: String::new(),
            not_after: i64::MAX,
        };
        leader.sessions().open(
            &name(host),
            peer,
            speaker(host),
            Instant::now(),
            sender,
            CancellationToken::new(),
        );
        receiver
    };
    let streams = [connect("node1"), connect("node2")];
    let id = leader
        .sessions()
        .ask(&name("node2"), Instant::now(), false, Vec::new(), None)
        .expect("asked");
    let later = Generation {
        epoch: 1,
        index: 100_000,
    };
    let observation = Observation {
        boot_id: String::new(),
        agent_version: String::new(),
        ledger: LedgerFacts {
            known: true,
            generations: BTreeMap::from([("prod".parse().expect("name"), later)]),
            ..LedgerFacts::default()
        },
        host: None,
        mysql: MysqlFacts::default(),
        router: RouterFacts::default(),
        own_deeds: Vec::new(),
    };
    let observation_json = serde_json::to_vec(&observation).expect("JSON");
    leader
        .answer(&name("node2"), 2, &Told { id, observation_json })
        .expect("taken");
    (stage, leader, streams)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proven_order_of_a_lost_log_holds_back_every_step_of_the_cluster() {
    let proven: Proofs =
        Arc::new(|ledger: &LedgerFacts, cluster: &ClusterName| ledger.generations.get(cluster).copied());
    let (_stage, leader, [mut one, mut two]) = told(proven).await;
    let now = Instant::now();
    assert!(leader.dispatch(now).await.is_empty());
    assert!(
        leader.dispatch(now + Duration::from_secs(900)).await.is_empty(),
        "nor is a step given up"
    );
    assert_eq!((orders(&mut one), orders(&mut two)), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_without_proof_holds_back_its_host_only() {
    let (_stage, leader, [mut one, mut two]) = told(restored::nothing_proven()).await;
    let now = Instant::now();
    assert!(leader.dispatch(now).await.is_empty());
    assert_eq!(
        (orders(&mut one), orders(&mut two)),
        (vec!["1 promise".to_owned()], vec![])
    );
    let mut given_up = leader.dispatch(now + Duration::from_secs(301)).await;
    given_up.retain(|change| matches!(change, Change::GiveUp { .. }));
    assert_eq!(
        given_up.len(),
        1,
        "the step of node2 does not block the cluster for ever"
    );
}
