//! A lost ledger over a whole session: what rebuilds it, and what does not.

use clusterctl_proto::observe::Observation;

use super::*;

async fn asked(stream: &mut Opened, committed_index: u64) -> Observation {
    let question = Question {
        id: committed_index,
        committed_epoch: u64::from(committed_index > 0),
        committed_index,
        // Of a coordinator that knows more.
        last_words_json: b"[1]".to_vec(),
        ..Question::default()
    };
    stream.send(to_agent::Message::Question(question)).await;
    match stream.next().await {
        from_agent::Message::Answer(answer) => serde_json::from_slice(&answer.observation_json).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Promised 500, the ledger is lost. A deposed leader sends what it has, and asks, but cannot have a quorum confirm its index.
#[tokio::test]
async fn a_lost_ledger_obeys_nothing_until_a_leader_tells_its_committed_index() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    drop(session);
    std::fs::write(dir.path().join("ledger.json"), "{").unwrap();
    let session = self::session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    assert!(asked(&mut stream, 0).await.ledger.is_lost());
    for index in [400, 450, 499] {
        stream.order(index, 1, index, &bootstrap()).await;
        let outcome = stream.outcome().await.1;
        assert_eq!(code(&outcome), "ledger_lost");
        assert!(matches!(outcome.result, StepResult::Failed { failure } if failure.retry));
    }
    assert!(asked(&mut stream, 0).await.ledger.is_lost(), "orders rebuild nothing");
    // The leader of now, on the next stream.
    drop(stream);
    let mut stream = opened(&mut streams).await;
    let ledger = asked(&mut stream, 503).await.ledger;
    assert!(ledger.known && ledger.generations.is_empty());
    for index in [400, 450, 499, 500] {
        stream.order(index, 1, index, &bootstrap()).await;
        assert_eq!(code(&stream.outcome().await.1), "stale_generation", "{index}");
    }
    stream.order(504, 1, 504, &secret("a")).await;
    assert!(matches!(stream.outcome().await.1.result, StepResult::Changed { .. }));
    // A later index changes nothing in a ledger that is known.
    assert!(asked(&mut stream, 900).await.ledger.known);
    stream.order(504, 2, 504, &secret("b")).await;
    assert!(matches!(stream.outcome().await.1.result, StepResult::Changed { .. }));
    task.abort();
}
