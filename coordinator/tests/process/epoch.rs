//! `raise-epoch`: refused while the coordinator runs, explained without --yes, in the journal afterwards.

use std::process::{Command, Output};

use clusterctl_proto::wire::control as pb;

use crate::coordinator::{Coordinator, PROGRAM, text};

fn raise(coordinator: &Coordinator, more: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("raise-epoch")
        .args([
            "--config-dir".as_ref(),
            coordinator.folder.path().join("etc").as_os_str(),
        ])
        .args(more)
        .output()
        .expect("starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_epoch_is_raised_offline_and_the_journal_shows_it() {
    let mut coordinator = Coordinator::new().await;
    let refused = raise(&coordinator, &["--yes"]);
    assert_eq!(refused.status.code(), Some(8), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("systemctl stop clusterctl-coordinator"));

    assert!(coordinator.terminate().await, "SIGTERM ends it well");
    let asked = raise(&coordinator, &[]);
    assert_eq!(asked.status.code(), Some(2), "{}", text(&asked.stderr));
    let said = text(&asked.stderr);
    assert!(
        said.contains("the recovery epoch is 1") && said.contains("raise-epoch --yes"),
        "{said}"
    );

    let done = raise(&coordinator, &["--yes"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stdout).contains("from 1 to 2"), "{}", text(&done.stdout));

    coordinator.start().await;
    let mut client = coordinator.admin().await;
    let mut events = client
        .list_events(pb::ListEventsRequest::default())
        .await
        .expect("events")
        .into_inner();
    let mut kinds = Vec::new();
    while let Some(event) = events.message().await.expect("event") {
        kinds.push((event.kind, event.who));
    }
    let raised: Vec<_> = kinds.iter().filter(|(kind, _)| kind == "epoch_raised").collect();
    assert_eq!(
        raised,
        [&("epoch_raised".to_owned(), "coordinator/1".to_owned())],
        "{kinds:?}"
    );
}

#[test]
fn help_names_it() {
    let help = Command::new(PROGRAM)
        .args(["raise-epoch", "--help"])
        .output()
        .expect("starts");
    let said = text(&help.stdout);
    assert!(
        help.status.success() && said.contains("--yes") && said.contains("old copy"),
        "{said}"
    );
}
