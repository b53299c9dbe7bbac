//! Pause, maintenance, why and the break-glass over the wire: who may, what is told, what is refused.

use clusterctl_proto::failure::ExitClass;
use clusterctl_proto::wire::control as pb;
use clusterctl_proto::wire::control::submit_request::What;

use crate::agent::Agent;
use crate::coordinator::{Coordinator, refusal};
use crate::operations::{connected, create, ended};
use crate::trust::operator;

fn pause(on: bool, reason: &str) -> pb::HandsOffRequest {
    pb::HandsOffRequest {
        on,
        reason: reason.to_owned(),
        ..Default::default()
    }
}

fn recover(without: &[&str], code: &str) -> pb::SubmitRequest {
    let recover = pb::RecoverCluster {
        without: without.iter().map(|host| (*host).to_owned()).collect(),
        accept_loss: code.to_owned(),
        ..Default::default()
    };
    pb::SubmitRequest {
        what: Some(What::Recover(recover)),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_left_alone_and_says_so() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::enrolled(&coordinator, "node1").await;
    let _running = agent.start(&coordinator);
    connected(&coordinator).await;
    let mut admin = coordinator.admin().await;
    let none = refusal(admin.set_hands_off(pause(true, "")).await);
    assert_eq!((none.code.as_str(), none.exit), ("no_cluster", ExitClass::Usage));
    let stored = admin.submit(create("one", false)).await.expect("stored").into_inner();
    ended(&coordinator, stored.operation).await;

    let said = admin
        .set_hands_off(pause(true, "new disks"))
        .await
        .expect("said")
        .into_inner();
    assert!(
        !said.already && said.message.contains("clusterctl resume prod"),
        "{said:?}"
    );
    let again = admin
        .set_hands_off(pause(true, "new disks"))
        .await
        .expect("said")
        .into_inner();
    assert!(again.already);
    let status = admin
        .get_status(pb::StatusRequest::default())
        .await
        .expect("status")
        .into_inner();
    let paused = &status.clusters[0].paused;
    assert!(
        paused.starts_with("paused by operator/admin since ") && paused.ends_with(": new disks"),
        "{paused}"
    );
    let why = admin
        .explain(pb::ExplainRequest::default())
        .await
        .expect("why")
        .into_inner();
    let trouble = &why.clusters[0].troubles[0];
    assert!(!trouble.evidence.is_empty() && !trouble.doing.is_empty(), "{trouble:?}");
    let said = admin.set_hands_off(pause(false, "")).await.expect("said").into_inner();
    assert!(!said.already);

    let strange = pb::ExplainRequest {
        host: "nodd1".to_owned(),
        ..Default::default()
    };
    assert_eq!(refusal(admin.explain(strange).await).exit, ExitClass::Usage);
    let long = pb::HandsOffRequest {
        for_seconds: u64::MAX,
        ..pause(true, "")
    };
    assert_eq!(refusal(admin.set_hands_off(long).await).code, "too_long");
    let strange = pb::HandsOffRequest {
        host: "node9".to_owned(),
        ..pause(true, "")
    };
    assert_eq!(refusal(admin.set_hands_off(strange).await).code, "unknown_host");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_glass_is_an_admins() {
    let coordinator = Coordinator::new().await;
    let agent = Agent::enrolled(&coordinator, "node1").await;
    let _running = agent.start(&coordinator);
    connected(&coordinator).await;
    let mut admin = coordinator.admin().await;
    let stored = admin.submit(create("one", false)).await.expect("stored").into_inner();
    ended(&coordinator, stored.operation).await;

    let bob = operator(&coordinator, "bob", "operator").await;
    let mut bob = coordinator.client(bob).await.expect("connected");
    let denied = refusal(bob.submit(recover(&["node1"], "00000000")).await);
    assert_eq!((denied.code.as_str(), denied.exit), ("role_too_low", ExitClass::Denied));
    let eve = operator(&coordinator, "eve", "viewer").await;
    let mut eve = coordinator.client(eve).await.expect("connected");
    assert_eq!(
        refusal(eve.set_hands_off(pause(true, "")).await).exit,
        ExitClass::Denied
    );
    assert!(eve.explain(pb::ExplainRequest::default()).await.is_ok());
    let strange = refusal(admin.submit(recover(&["node7"], "")).await);
    assert_eq!(
        (strange.code.as_str(), strange.exit),
        ("not_a_member", ExitClass::Usage),
        "{strange:?}"
    );
}
