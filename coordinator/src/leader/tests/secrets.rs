//! Secrets between the host that makes them and the step that needs them.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_from_host_to_host_and_is_made_again_when_it_is_lost() {
    let mut stage = Stage::new().await;
    let plan = stage
        .adopt(vec![
            step(1, "node2", make("s"), &[]),
            step(2, "node1", account("s"), &[1]),
        ])
        .await;
    let (mut one, mut two) = (stage.connect("node1"), stage.connect("node2"));
    stage.dispatch(Instant::now()).await;
    assert_eq!(
        (orders(&mut one), orders(&mut two)),
        (vec![], vec!["1 make_secret".to_owned()])
    );
    stage.dispatch(Instant::now()).await;
    assert!(orders(&mut two).is_empty(), "sent once");
    stage
        .outcome(
            "node2",
            outcome(plan, 1, StepResult::Unchanged, &[("s", "0xAA"), ("other", "0xBB")]),
        )
        .await;
    assert_eq!(
        stage.leader.secrets().find("r", "other"),
        None,
        "nobody brings what was not asked for"
    );

    stage.forget();
    let (mut one, mut two) = (stage.connect("node1"), stage.connect("node2"));
    stage.dispatch(Instant::now()).await;
    stage.dispatch(Instant::now()).await;
    assert_eq!(
        (orders(&mut one), orders(&mut two)),
        (vec![], vec!["1 make_secret".to_owned()])
    );
    stage
        .outcome("node2", outcome(plan, 1, StepResult::Unchanged, &[("s", "0xCC")]))
        .await;
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut one), ["2 account 0xCC"]);
    stage
        .outcome("node1", outcome(plan, 2, StepResult::Unchanged, &[]))
        .await;
    assert!(matches!(stage.state(), OperationState::Done { .. }));
    let log = stage
        .leader
        .node
        .state()
        .read(|model| serde_json::to_string(model).expect("JSON"));
    assert!(!log.contains("0xAA") && !log.contains("0xCC"), "never in raft");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_typed_and_lost_is_asked_for_again() {
    let stage = Stage::new().await;
    stage.adopt(vec![step(1, "node1", account("account:u@%"), &[])]).await;
    let mut one = stage.connect("node1");
    assert_eq!(stage.dispatch(Instant::now()).await, ["1 secret_lost"]);
    assert!(orders(&mut one).is_empty());
    assert!(
        matches!(stage.state(), OperationState::Failed { failure } if failure.hint.as_deref() == Some("type the command again"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_plans_secrets_stay_until_its_steps_have_ended() {
    let stage = Stage::new().await;
    let plan = stage
        .adopt(vec![
            step(1, "node1", make("s"), &[]),
            step(2, "node2", account("s"), &[1]),
        ])
        .await;
    let (_one, mut two) = (stage.connect("node1"), stage.connect("node2"));
    stage.dispatch(Instant::now()).await;
    let made = outcome(plan, 1, StepResult::Unchanged, &[("s", "0xAB")]);
    stage.outcome("node1", made).await;
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut two), ["2 account 0xAB"]);
    let operation = stage.operation;
    stage.own(Change::Cancel { operation }).await;
    stage.leader.tidy();
    assert!(!stage.leader.secrets().requests().is_empty(), "clean-up may need it");
    // node2 lost its stream in the middle of the step: it is only told that the step is not wanted any more.
    let mut two = stage.connect("node2");
    stage.dispatch(Instant::now()).await;
    assert_eq!(orders(&mut two), ["2 cancel"]);
    stage.outcome("node2", outcome(plan, 2, failed("cancelled"), &[])).await;
    stage.leader.tidy();
    assert!(stage.leader.secrets().requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_its_host_does_not_make_again_is_waited_for_but_not_for_ever() {
    let mut stage = Stage::new().await;
    let plan = stage
        .adopt(vec![
            step(1, "node1", make("s"), &[]),
            step(2, "node2", account("s"), &[1]),
        ])
        .await;
    let one = stage.connect("node1");
    stage.dispatch(Instant::now()).await;
    let made = outcome(plan, 1, StepResult::Unchanged, &[("s", "0xAB")]);
    stage.outcome("node1", made).await;
    drop(one);
    stage.forget();
    // node1 stays away.
    let mut two = stage.connect("node2");
    let now = Instant::now();
    assert!(stage.dispatch(now).await.is_empty());
    assert!(stage.dispatch(now + Duration::from_secs(200)).await.is_empty());
    assert_eq!(stage.dispatch(now + Duration::from_secs(301)).await, ["2 secret_lost"]);
    assert!(orders(&mut two).is_empty());
    assert!(matches!(stage.state(), OperationState::Failed { .. }));
}
