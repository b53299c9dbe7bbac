//! Which order is the same; signatures of orders.

use clusterctl_proto::ids::Generation;
use clusterctl_proto::order_proof::OrderProof;

use super::*;

/// The coordinator was restored from an old copy of its disk, or a second one runs from the same copy: its plan 7 is another.
#[tokio::test]
async fn an_order_of_another_plan_with_a_known_number_is_not_answered_from_memory() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    stream.order(7, 1, 7, &secret("a")).await;
    assert!(matches!(stream.outcome().await.1.result, StepResult::Changed { .. }));
    stream.order(900, 1, 900, &secret("b")).await;
    assert!(matches!(stream.outcome().await.1.result, StepResult::Changed { .. }));
    // Restored: log index 7 again, another step, and the epoch raised as rule 7 wants it.
    let mut told = Vec::new();
    for epoch in [1, 2] {
        let run = RunStep {
            plan: 7,
            step: 1,
            cluster: "prod".to_owned(),
            epoch,
            index: 7,
            step_json: serde_json::to_vec(&Step::Promise {}).unwrap(),
            ..RunStep::default()
        };
        stream.send(to_agent::Message::Run(run)).await;
        let (which, outcome) = stream.outcome().await;
        assert_eq!((which.epoch, which.cluster.as_str()), (epoch, "prod"));
        let promises = Ledger::look(dir.path()).promises;
        told.push(format!(
            "epoch {epoch}: {:?}, promises on disk: {promises:?}",
            outcome.result
        ));
    }
    task.abort();
    assert!(
        told[0].contains("stale_generation") && told[1].contains("prod: 2.7"),
        "{told:#?}"
    );
}

#[tokio::test]
async fn the_ledger_is_asked_before_what_is_remembered() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    stream.order(7, 1, 7, &secret("a")).await;
    let (first, _) = stream.outcome().await;
    stream.order(7, 1, 7, &secret("a")).await;
    assert_eq!(
        stream.outcome().await.0,
        first,
        "the very same order, and it is current"
    );
    stream.order(8, 1, 8, &secret("a")).await;
    stream.outcome().await;
    stream.order(7, 1, 7, &secret("a")).await;
    assert_eq!(code(&stream.outcome().await.1), "stale_generation");
    // Another step with the number of a known one, in the very same generation; and the same step with another secret.
    stream.order(8, 1, 8, &secret("b")).await;
    assert!(matches!(stream.outcome().await.1.result, StepResult::Changed { .. }));
    let mut run = RunStep {
        plan: 8,
        step: 2,
        cluster: "prod".to_owned(),
        epoch: 1,
        index: 8,
        step_json: serde_json::to_vec(&secret("c")).unwrap(),
        ..RunStep::default()
    };
    for (value, answer) in [("0x01", "Changed"), ("0x01", "Changed"), ("0x02", "Unchanged")] {
        run.secrets = [("c".to_owned(), value.to_owned())].into();
        stream.send(to_agent::Message::Run(run.clone())).await;
        assert!(code(&stream.outcome().await.1).starts_with(answer), "{value}");
    }
    task.abort();
}

#[tokio::test]
async fn a_promise_looks_again_each_time() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    stream.order(7, 1, 7, &Step::Promise {}).await;
    assert!(matches!(stream.outcome().await.1.result, StepResult::Changed { .. }));
    stream.order(7, 1, 7, &Step::Promise {}).await;
    assert_eq!(
        stream.outcome().await.1.result,
        StepResult::Unchanged,
        "it has looked: memory would say changed"
    );
    task.abort();
}

#[tokio::test]
async fn a_signed_generation_is_verified_and_kept() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    let leader = pki.credentials("clusterctl://g1/coordinator/1");
    let agent = pki.credentials("clusterctl://g1/agent/node2");
    let signed = |by: &Credentials, index: u64, of: u64| {
        let prod = "prod".parse().unwrap();
        let proof = OrderProof::sign(by, "g1", &prod, Generation { epoch: 1, index: of }).unwrap();
        RunStep {
            plan: index,
            step: 1,
            cluster: "prod".to_owned(),
            epoch: 1,
            index,
            step_json: serde_json::to_vec(&secret("a")).unwrap(),
            signature: Some(proof.to_wire().unwrap()),
            ..RunStep::default()
        }
    };
    for refused in [signed(&leader, 8, 7), signed(&agent, 8, 8)] {
        stream.send(to_agent::Message::Run(refused)).await;
        assert_eq!(code(&stream.outcome().await.1), "bad_signature");
        assert!(Ledger::look(dir.path()).generations.is_empty(), "and it is not obeyed");
    }
    stream.send(to_agent::Message::Run(signed(&leader, 8, 8))).await;
    assert!(matches!(stream.outcome().await.1.result, StepResult::Changed { .. }));
    let facts = Ledger::look(dir.path());
    let prod = "prod".parse().unwrap();
    let signer = facts.proofs[&prod].verify(leader.ca(), "g1", &prod, facts.generations[&prod]);
    assert_eq!(signer, Ok(1));
    // From a coordinator of the version before: obeyed, and nothing is proven of it.
    stream.order(9, 1, 9, &secret("a")).await;
    stream.outcome().await;
    let facts = Ledger::look(dir.path());
    assert_eq!((facts.generations[&prod].index, facts.proofs.len()), (9, 0));
    task.abort();
}
