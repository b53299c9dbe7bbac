//! Orders that slept: in the book behind another step, on a stream that is gone, in a socket buffer.

use clusterctl_proto::clock::BootInstant;
use clusterctl_proto::ids::Generation;

use super::order::{FRESH, Received, check_fresh, read};
use super::*;

fn received(what: &Step, received: Received) -> order::Order {
    let run = RunStep {
        cluster: "prod".to_owned(),
        step_json: serde_json::to_vec(what).unwrap(),
        ..RunStep::default()
    };
    read(run, received).unwrap().1
}

#[test]
fn what_starts_group_replication_is_begun_at_once_or_not_at_all() {
    let at = BootInstant::now();
    let later = |age| {
        let order = received(
            &bootstrap(),
            Received {
                stream: 3,
                at: at.before(age),
            },
        );
        check_fresh(&order, 3, at).map_err(|failure| (failure.code, failure.retry))
    };
    let outdated = Err(("order_outdated".to_owned(), true));
    assert_eq!(later(Duration::ZERO), Ok(()));
    assert_eq!(later(FRESH), Ok(()));
    assert_eq!(later(FRESH + Duration::from_millis(1)), outdated);
    for (came, stands) in [(3, 4), (3, 0), (0, 0)] {
        let order = received(&bootstrap(), Received { stream: came, at });
        assert!(
            check_fresh(&order, stands, at).is_err(),
            "came on {came}, {stands} stands"
        );
    }
    // What may be done at any time is done.
    let old = Received {
        stream: 3,
        at: at.before(FRESH * 9),
    };
    assert_eq!(check_fresh(&received(&secret("a"), old), 4, at), Ok(()));
}

#[tokio::test]
async fn a_waiting_step_asks_the_ledger_again_before_it_runs() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let (ledger, runner) = (Arc::clone(&session.runner.tools.ledger), Arc::clone(&session.runner));
    let task = tokio::spawn(session.run());
    let mut stream = opened(&mut streams).await;
    let entrance = ledger.entrance().await;
    let prod = "prod".parse().unwrap();
    let look = || Ledger::look(dir.path());
    stream.order(7, 1, 7, &Step::Promise {}).await;
    until(|| look().promises.contains_key(&prod)).await;
    stream.order(8, 1, 8, &secret("a")).await;
    until(|| runner.book.lock().unwrap().waiting_count() == 1).await;
    // While it waits a newer plan is obeyed.
    ledger
        .accept(&prod, Generation { epoch: 1, index: 9 }, None)
        .await
        .unwrap();
    drop(entrance);
    assert_eq!(stream.outcome().await.0.plan, 7);
    let (which, outcome) = stream.outcome().await;
    assert_eq!((which.plan, code(&outcome).as_str()), (8, "stale_generation"));
    task.abort();
}

#[tokio::test]
async fn a_bootstrap_that_waited_while_its_stream_broke_is_not_begun() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let ledger = Arc::clone(&session.runner.tools.ledger);
    let runner = Arc::clone(&session.runner);
    let task = tokio::spawn(session.run());
    for ordered_again in [false, true] {
        let plan = 7 + u64::from(ordered_again);
        let stream = opened(&mut streams).await;
        let entrance = ledger.entrance().await;
        stream.order(plan, 1, plan, &Step::Promise {}).await;
        stream.order(plan, 2, plan, &bootstrap()).await;
        until(|| runner.book.lock().unwrap().waiting_count() == 1).await;
        drop(stream);
        let mut stream = opened(&mut streams).await;
        if ordered_again {
            stream.order(plan, 2, plan, &bootstrap()).await;
            // The answer to a question comes after it: the order has been read.
            stream.send(to_agent::Message::Question(Question::default())).await;
            assert!(matches!(stream.next().await, from_agent::Message::Answer(_)));
        }
        drop(entrance);
        assert_eq!(stream.outcome().await.0.step, 1);
        // One that is begun waits for its server, longer than this test.
        let told = tokio::time::timeout(Duration::from_millis(300), stream.outcome()).await;
        let outdated = told.is_ok_and(|(which, outcome)| which.step == 2 && code(&outcome) == "order_outdated");
        assert_eq!(outdated, !ordered_again);
    }
    task.abort();
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .expect("in time");
}

/// The coordinator, or the network, or this process slept: what comes then may have been sent before.
#[tokio::test]
async fn after_a_silence_nothing_more_of_a_stream_is_obeyed() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let task = tokio::spawn(session.run());
    let stream = opened(&mut streams).await;
    tokio::time::sleep(FRESH + Duration::from_millis(200)).await;
    stream.order(7, 1, 7, &secret("a")).await;
    let mut next = opened(&mut streams).await;
    assert!(
        Ledger::look(dir.path()).generations.is_empty(),
        "the old order was obeyed"
    );
    next.order(8, 1, 8, &secret("a")).await;
    assert_eq!(next.outcome().await.0.plan, 8);
    task.abort();
}
