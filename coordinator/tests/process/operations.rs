//! Operations from `Submit` to their end, with and without SIGKILL in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use clusterctl_proto::wire::control as pb;
use clusterctl_proto::wire::control::submit_request::What;

use crate::agent::{Agent, done};
use crate::coordinator::{Coordinator, eventually, refusal};

pub fn create(request_id: &str, dry_run: bool) -> pb::SubmitRequest {
    let create = pb::CreateCluster {
        cluster: "prod".to_owned(),
        primary: "node1".to_owned(),
        ..Default::default()
    };
    pb::SubmitRequest {
        what: Some(What::Create(create)),
        dry_run,
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

pub async fn connected(coordinator: &Coordinator) {
    eventually("the agent is connected", || async {
        let hosts = coordinator
            .admin()
            .await
            .list_hosts(pb::ListHostsRequest {})
            .await
            .ok()?
            .into_inner()
            .hosts;
        hosts
            .iter()
            .all(|host| host.agent == "connected" && host.cpus > 0)
            .then_some(())
    })
    .await;
}

pub async fn ended(coordinator: &Coordinator, id: u64) -> pb::Operation {
    eventually("the operation ends", || async {
        let got = coordinator
            .admin()
            .await
            .get_operation(pb::GetOperationRequest { id })
            .await
            .ok()?
            .into_inner();
        (!got.ended_at.is_empty()).then_some(got)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn create_is_planned_carried_out_and_told() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::enrolled(&coordinator, "node1").await;
    let mut admin = coordinator.admin().await;
    let silent = refusal(admin.submit(create("early", false)).await);
    assert_eq!(silent.code, "host_silent", "{silent:?}");
    let _running = agent.start(&coordinator);
    connected(&coordinator).await;

    let checked = admin
        .check(pb::CheckRequest {
            hosts: vec!["node1".to_owned()],
            ignore: Vec::new(),
        })
        .await;
    let checked = checked.expect("checked").into_inner();
    assert_ne!(checked.verdict, "fail", "{checked:?}");

    let dry = admin.submit(create("dry", true)).await.expect("dry run").into_inner();
    assert!(
        dry.operation == 0
            && dry
                .plan
                .is_some_and(|plan| plan.steps.iter().any(|step| step.name == "bootstrap_group"))
    );
    assert!(agent.steps.lock().expect("lock").is_empty(), "nothing was touched");
    let none = admin
        .list_operations(pb::ListOperationsRequest::default())
        .await
        .expect("list")
        .into_inner();
    assert!(none.operations.is_empty());

    let started = std::time::Instant::now();
    let stored = admin.submit(create("one", false)).await.expect("stored").into_inner();
    assert!(stored.operation > 0 && !stored.already);
    let mut watch = admin
        .watch_operation(pb::WatchRequest { id: stored.operation })
        .await
        .expect("watch")
        .into_inner();
    let (mut last, mut lines) = (None, 0);
    while let Some(update) = watch.message().await.expect("update") {
        lines += update.progress.len();
        last = update.operation;
    }
    let elapsed = started.elapsed();
    let last = last.expect("an update");
    assert_eq!(last.state, "done", "{last:?}");
    assert!(lines > 0, "progress lines came");
    let steps = &last.plans.last().expect("plan").steps;
    assert!(steps.iter().all(|step| step.state == "changed"), "{steps:?}");
    assert_eq!(
        steps.len(),
        agent.steps.lock().expect("lock").len(),
        "each step was sent once"
    );
    // Nothing waits for a tick: a handful of commits for each step.
    assert!(elapsed < Duration::from_millis(300 * steps.len() as u64), "{elapsed:?}");

    let again = admin
        .submit(create("one", false))
        .await
        .expect("the same request")
        .into_inner();
    assert_eq!(again.operation, stored.operation);
    let other = pb::CreateCluster {
        cluster: "test".to_owned(),
        primary: "node1".to_owned(),
        ..Default::default()
    };
    let taken = refusal(
        admin
            .submit(pb::SubmitRequest {
                what: Some(What::Create(other)),
                ..Default::default()
            })
            .await,
    );
    assert_ne!(taken.code, "");
    let status = admin
        .get_status(pb::StatusRequest::default())
        .await
        .expect("status")
        .into_inner();
    assert_eq!(status.clusters.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_at_every_boundary_loses_nothing() {
    for point in [
        "create.submitted",
        "plan.adopted",
        "promise.sent",
        "server.sent",
        "bootstrap_group.outcome",
    ] {
        let mut coordinator = Coordinator::new().await;
        let agent = Agent::enrolled(&coordinator, "node1").await;
        let _running = agent.start(&coordinator);
        connected(&coordinator).await;
        let pause = coordinator.points().join(format!("coordinator.{point}.pause"));
        let reached = coordinator.points().join(format!("coordinator.{point}.reached"));
        std::fs::write(&pause, "").expect("written");
        let mut admin = coordinator.admin().await;
        let submit = tokio::spawn(async move { admin.submit(create("one", false)).await });
        eventually(point, || async { reached.exists().then_some(()) }).await;
        coordinator.kill();
        let _ = submit.await;
        std::fs::remove_file(&pause).expect("removed");
        coordinator.start().await;

        // The same request, as a client would that did not get its answer.
        connected(&coordinator).await;
        let stored = coordinator.admin().await.submit(create("one", false)).await;
        let stored = stored.unwrap_or_else(|status| panic!("{point}: {status}")).into_inner();
        let operation = ended(&coordinator, stored.operation).await;
        assert_eq!(operation.state, "done", "{point}: {operation:?}");
        assert_eq!(operation.plans.len(), 1, "{point}: one plan");
        let hosts = coordinator
            .admin()
            .await
            .list_hosts(pb::ListHostsRequest {})
            .await
            .expect("hosts")
            .into_inner()
            .hosts;
        assert_eq!(hosts.first().map(|host| host.cluster.as_str()), Some("prod"), "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_create_leaves_nothing() {
    let coordinator = Coordinator::new().await;
    let mut agent = Agent::enrolled(&coordinator, "node1").await;
    agent.doer = Arc::new(|step: &Step| {
        let failure = Failure::refused("foreign_data", "the data directory holds something")
            .hint("look")
            .fact("schemas: shop");
        let outcome = match step {
            Step::Server { .. } => StepOutcome {
                result: StepResult::Failed { failure },
                ..done()
            },
            _ => done(),
        };
        (outcome, HashMap::new())
    });
    let running = agent.start(&coordinator);
    connected(&coordinator).await;
    let mut admin = coordinator.admin().await;
    let stored = admin.submit(create("one", false)).await.expect("stored").into_inner();
    let operation = ended(&coordinator, stored.operation).await;
    assert_eq!(
        (operation.state.as_str(), operation.code.as_str(), operation.exit_code),
        ("failed", "foreign_data", 3)
    );
    assert_eq!(
        (operation.hint.as_str(), operation.facts.as_slice()),
        ("look", ["schemas: shop".to_owned()].as_slice())
    );
    let steps = &operation.plans.first().expect("plan").steps;
    assert!(steps.iter().any(|step| step.detail == "not run"));
    let status = admin
        .get_status(pb::StatusRequest::default())
        .await
        .expect("status")
        .into_inner();
    assert!(status.clusters.is_empty(), "nothing half-made");
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_operation_ends_and_frees_its_hosts() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::enrolled(&coordinator, "node1").await;
    let _running = agent.start(&coordinator);
    connected(&coordinator).await;
    let pause = coordinator.points().join("coordinator.create.submitted.pause");
    std::fs::write(&pause, "").expect("written");
    // The first step is on its way while nobody answers for it.
    let sent = coordinator.points().join("coordinator.plan.adopted.pause");
    std::fs::write(&sent, "").expect("written");
    let mut admin = coordinator.admin().await;
    let mut other = coordinator.admin().await;
    let submit = tokio::spawn(async move { admin.submit(create("one", false)).await });
    let adopted = coordinator.points().join("coordinator.plan.adopted.reached");
    eventually("adopted", || async { adopted.exists().then_some(()) }).await;
    std::fs::remove_file(&pause).expect("removed");
    let id = submit.await.expect("task").expect("stored").into_inner().operation;
    let cancelled = other
        .cancel_operation(pb::CancelOperationRequest { id })
        .await
        .expect("cancelled")
        .into_inner();
    assert_eq!(cancelled.state, "cancelled");
    std::fs::remove_file(&sent).expect("removed");
    eventually("nothing half-made", || async {
        let status = coordinator
            .admin()
            .await
            .get_status(pb::StatusRequest::default())
            .await
            .ok()?
            .into_inner();
        status.clusters.is_empty().then_some(())
    })
    .await;
    other
        .cancel_operation(pb::CancelOperationRequest { id })
        .await
        .expect("again is fine");
    let stored = other.submit(create("two", false)).await.expect("stored").into_inner();
    assert_eq!(ended(&coordinator, stored.operation).await.state, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_a_hint() {
    let coordinator = Coordinator::new().await;
    let _agent = Agent::enrolled(&coordinator, "node1").await;
    let mut admin = coordinator.admin().await;
    let mut code = async |what: What| {
        let refused = refusal(
            admin
                .submit(pb::SubmitRequest {
                    what: Some(what),
                    ..Default::default()
                })
                .await,
        );
        assert!(refused.hint.is_some() || refused.code == "bad_name", "{refused:?}");
        refused.code
    };
    let create = |cluster: &str, primary: &str| {
        What::Create(pb::CreateCluster {
            cluster: cluster.to_owned(),
            primary: primary.to_owned(),
            ..Default::default()
        })
    };
    assert_eq!(code(create("prod", "noed1")).await, "unknown_host");
    assert_eq!(code(create("1prod", "node1")).await, "bad_name");
    assert_eq!(code(create(&"x".repeat(64), "node1")).await, "bad_name");
    let join = |cluster: &str| {
        What::Join(pb::JoinMember {
            cluster: cluster.to_owned(),
            host: "node1".to_owned(),
            ..Default::default()
        })
    };
    assert_eq!(code(join("")).await, "no_cluster");
    assert_eq!(code(join("prod")).await, "unknown_cluster");
    let refused = refusal(admin.get_operation(pb::GetOperationRequest { id: 99 }).await);
    assert_eq!(refused.code, "operation_unknown");
}
