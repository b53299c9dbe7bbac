//! Who may call: roles, programs, strangers.

use clusterctl_proto::failure::ExitClass;
use clusterctl_proto::identity::new_key_and_request;
use clusterctl_proto::tls::Credentials;
use clusterctl_proto::wire::control as pb;
use clusterctl_proto::wire::control::submit_request::What;

use crate::agent::Agent;
use crate::coordinator::{Coordinator, eventually, init, refusal};

fn create() -> pb::SubmitRequest {
    let create = pb::CreateCluster {
        cluster: "prod".to_owned(),
        primary: "node1".to_owned(),
        ..Default::default()
    };
    pb::SubmitRequest {
        what: Some(What::Create(create)),
        ..Default::default()
    }
}

pub async fn operator(coordinator: &Coordinator, name: &str, role: &str) -> Credentials {
    let key = new_key_and_request().expect("key");
    let request = pb::CreateOperatorRequest {
        name: name.to_owned(),
        role: role.to_owned(),
        csr_der: key.csr_der.clone(),
        ttl_seconds: 3600,
    };
    let made = coordinator
        .admin()
        .await
        .create_operator(request)
        .await
        .expect("operator")
        .into_inner();
    Credentials::from_pem(&made.ca_pem, &made.certificate_pem, &key.key_pem).expect("credentials")
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_enforced() {
    let coordinator = Coordinator::new().await;
    let mut viewer = coordinator
        .client(operator(&coordinator, "vera", "viewer").await)
        .await
        .expect("connected");
    let version = viewer
        .version(pb::VersionRequest {})
        .await
        .expect("version")
        .into_inner();
    assert_eq!(
        (version.caller.as_str(), version.role.as_str()),
        ("operator/vera", "viewer")
    );
    viewer
        .list_hosts(pb::ListHostsRequest {})
        .await
        .expect("a viewer reads");
    let refused = refusal(viewer.submit(create()).await);
    assert_eq!(
        (refused.code.as_str(), refused.exit),
        ("role_too_low", ExitClass::Denied)
    );
    assert!(
        refused.message.contains("needs role operator") && refused.hint.is_some(),
        "{refused:?}"
    );

    let mut worker = coordinator
        .client(operator(&coordinator, "otto", "operator").await)
        .await
        .expect("connected");
    assert_eq!(
        refusal(worker.create_token(pb::CreateTokenRequest::default()).await).code,
        "role_too_low"
    );
    assert_eq!(refusal(worker.submit(create()).await).code, "host_not_enrolled");

    let agent = Agent::enrolled(&coordinator, "node1").await;
    let mut client = coordinator.client(agent.credentials()).await.expect("connected");
    assert_eq!(
        refusal(client.list_hosts(pb::ListHostsRequest {}).await).code,
        "not_an_operator"
    );
    let events = viewer
        .list_events(pb::ListEventsRequest::default())
        .await
        .expect("events");
    let mut events = events.into_inner();
    let mut kinds = Vec::new();
    while let Some(event) = events.message().await.expect("event") {
        kinds.push(format!("{} {}", event.who, event.kind));
    }
    let expected = [
        "coordinator/1 group_founded",
        "operator/admin operator_created",
        "operator/admin token_created",
        "agent/node1 host_enrolled",
    ];
    assert!(
        expected.iter().all(|line| kinds.contains(&(*line).to_owned())),
        "{kinds:?}"
    );
}

/// A copied machine: the same key and certificate, another process.
#[tokio::test(flavor = "multi_thread")]
async fn two_machines_with_one_identity_raise_an_alarm_while_both_answer() {
    let coordinator = Coordinator::new().await;
    let original = Agent::enrolled(&coordinator, "node1").await;
    let mut copy = original.clone();
    copy.instance = "the copy's process".to_owned();
    let node1 = async || {
        let mut admin = coordinator.admin().await;
        let hosts = admin.list_hosts(pb::ListHostsRequest {}).await.ok()?.into_inner().hosts;
        hosts.into_iter().find(|host| host.name == "node1")
    };
    let runs = original.start(&coordinator);
    eventually("the original is connected", || async {
        node1().await.filter(|host| host.agent == "connected")
    })
    .await;
    let also_runs = copy.start(&coordinator);
    let host = eventually("an alarm", || async {
        node1().await.filter(|host| host.agent == "doubtful")
    })
    .await;
    assert!(
        host.health.starts_with("ALARM: two machines speak as node1 (boot ") && host.health.contains(" at 127.0.0.1:"),
        "{}",
        host.health
    );
    eventually("it is in the journal", || async {
        let mut admin = coordinator.admin().await;
        let events = admin.list_events(pb::ListEventsRequest::default()).await.ok()?;
        let mut events = events.into_inner();
        while let Ok(Some(event)) = events.message().await {
            if event.kind == "two_machines" && event.text.contains("two machines speak as node1") {
                return Some(());
            }
        }
        None
    })
    .await;
    drop(also_runs);
    eventually("the copy is gone", || async {
        node1().await.filter(|host| host.agent == "connected")
    })
    .await;
    drop(runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_ca_is_refused_on_both_sides() {
    let coordinator = Coordinator::new().await;
    let other = tempfile::tempdir().expect("temporary directory");
    assert!(init(other.path(), &["--address", "127.0.0.1"]).status.success());
    let foreign = other.path().join("etc/operator");
    let stranger = Credentials::load(&foreign).expect("credentials");
    let refused = coordinator.client(stranger).await.expect_err("its CA is not ours");
    assert_eq!(refused.exit, ExitClass::Denied, "{refused:?}");

    // Trusts our CA, but shows a certificate of the other.
    let text = |path: std::path::PathBuf| std::fs::read_to_string(path).expect("file");
    let both = format!(
        "{}{}",
        text(foreign.join("ca.pem")),
        text(coordinator.operator_folder().join("ca.pem"))
    );
    let mixed = Credentials::from_pem(&both, &text(foreign.join("cert.pem")), &text(foreign.join("key.pem")))
        .expect("credentials");
    let refused = coordinator.client(mixed).await.expect_err("refused");
    assert_eq!(refused.exit, ExitClass::Denied, "{refused:?}");
}
