//! How a joiner gets its data, and when it may not: the table in docs/metadata.md, Recovery.

use clusterctl_proto::lineage::{MemberLineage, Trust};
use clusterctl_proto::observe::DataDirectory;
use clusterctl_proto::step::{Recovery, Step};

use super::refusals::refused;
use super::stage::{GROUP, Stage, create, join};
use super::toy::{fresh_server, name};
use crate::model::operation::RecoveryWish;
use crate::model::{OperationKind, PlanDraft};

const ELSEWHERE: &str = "aaaaaaaa-0000-4000-8000-000000000000";

fn join_by(host: &str, recovery: RecoveryWish) -> OperationKind {
    OperationKind::Join {
        host: name(host),
        recovery,
        ignore_checks: Vec::new(),
    }
}

fn recovery_of(plan: &PlanDraft) -> Recovery {
    // The copy is a plan of its own, which follows.
    if let Some(copy) = plan.report.iter().find_map(|line| line.split(" by a copy of ").nth(1)) {
        assert!(plan.goes_on, "{:?}", plan.report);
        let donor = copy.split(':').next().unwrap();
        return Recovery::Clone {
            donor: name(donor),
            port: 3306,
        };
    }
    let mut joins = plan.steps.iter().filter_map(|step| match &step.step {
        Step::JoinGroup { recovery, .. } => Some(recovery.clone()),
        _ => None,
    });
    joins.next().unwrap()
}

/// node4 with an own server that holds this.
fn holding(stage: &mut Stage, executed: &str, purged_by_all: Option<&str>) {
    let mut server = fresh_server(&name("node4"), uuid::Uuid::from_u128(4));
    server.gtid_executed = executed.to_owned();
    let host = stage.toy.host("node4");
    (host.mysql_installed, host.up, host.data) = (
        true,
        true,
        DataDirectory::Ours {
            cluster: Some(super::stage::prod()),
        },
    );
    host.server = Some(server);
    // It was a member before.
    let id = stage.model.clusters[&super::stage::prod()].lineage.clone().unwrap();
    stage.toy.host("node4").lineage = Some(MemberLineage {
        id,
        trust: Trust::Verified,
        server_uuid: uuid::Uuid::from_u128(4),
        branch: None,
        before: None,
        counter: 0,
        span: None,
        donors: Default::default(),
        copy_of: None,
        past: Vec::new(),
    });
    if let Some(purged) = purged_by_all {
        for host in ["node1", "node2", "node3"] {
            stage.toy.server(host).gtid_purged = purged.to_owned();
        }
    }
    stage.toy.look();
}

#[test]
fn recovery_by_the_table() {
    use RecoveryWish::{Auto, Clone, Incremental};
    let clone = |host: &str| Recovery::Clone {
        donor: name(host),
        port: 3306,
    };
    let mut stage = Stage::three();
    let all = stage.toy.server("node1").gtid_executed.clone();

    assert_eq!(
        recovery_of(&stage.dry_plan(join_by("node4", Auto))),
        Recovery::Incremental,
        "empty, nothing purged"
    );
    assert_eq!(
        recovery_of(&stage.dry_plan(join_by("node4", Clone))),
        clone("node2"),
        "as asked for; a secondary gives"
    );
    holding(&mut stage, &all, None);
    assert_eq!(
        recovery_of(&stage.dry_plan(join_by("node4", Auto))),
        Recovery::Incremental,
        "identical"
    );
    holding(&mut stage, &format!("{GROUP}:1-2"), Some(&format!("{GROUP}:1-2")));
    assert_eq!(
        recovery_of(&stage.dry_plan(join_by("node4", Auto))),
        Recovery::Incremental,
        "lacks what is not purged"
    );
    holding(&mut stage, &format!("{GROUP}:1-2"), Some(&format!("{GROUP}:1-4")));
    assert_eq!(
        recovery_of(&stage.dry_plan(join_by("node4", Auto))),
        clone("node2"),
        "purged everywhere"
    );
    refused(&stage, join_by("node4", Incremental), "incremental_not_possible");
    stage.toy.server("node3").gtid_purged = String::new();
    stage.toy.look();
    assert_eq!(
        recovery_of(&stage.dry_plan(join_by("node4", Auto))),
        Recovery::Incremental,
        "node3 has it still"
    );
    holding(&mut stage, "", Some(&format!("{GROUP}:1-4")));
    assert_eq!(
        recovery_of(&stage.dry_plan(join_by("node4", Auto))),
        clone("node2"),
        "empty, purged"
    );
    refused(&stage, join_by("node4", Incremental), "incremental_not_possible");

    let mut stage = Stage::three();
    stage
        .model
        .clusters
        .get_mut(&super::stage::prod())
        .unwrap()
        .gtid_set_is_complete = false;
    assert_eq!(
        recovery_of(&stage.dry_plan(join_by("node4", Auto))),
        clone("node2"),
        "not made empty"
    );
    refused(&stage, join_by("node4", Incremental), "incremental_not_possible");
    // No secondary: the primary gives.
    let stage = Stage::after(&[create("node1", &[], &[])]);
    assert_eq!(recovery_of(&stage.dry_plan(join_by("node2", Clone))), clone("node1"));
}

#[test]
fn errant_transactions_with_the_sets() {
    let mut stage = Stage::three();
    holding(&mut stage, &format!("{GROUP}:1-2,{ELSEWHERE}:1-3"), None);
    for wish in [RecoveryWish::Auto, RecoveryWish::Incremental, RecoveryWish::Clone] {
        let failure = refused(&stage, join_by("node4", wish), "errant_transactions");
        assert_eq!(failure.facts[0], format!("only on node4: {ELSEWHERE}:1-3"));
        assert!(failure.facts.iter().any(|fact| fact.starts_with("node4 holds:")) && failure.facts.len() == 3);
        assert!(failure.message.contains("3 transactions"));
    }
    // What was only received counts, too.
    holding(&mut stage, "", None);
    stage.toy.server("node4").gtid_received = format!("{ELSEWHERE}:7");
    stage.toy.look();
    refused(&stage, join("node4"), "errant_transactions");
    // Data without transactions is seen.
    holding(&mut stage, "", None);
    stage.toy.server("node4").user_schemas = Some(vec!["shop".to_owned()]);
    stage.toy.look();
    refused(&stage, join_by("node4", RecoveryWish::Clone), "foreign_data");
    // What was not told yet is not "none".
    stage.toy.server("node4").user_schemas = None;
    stage.toy.look();
    refused(&stage, join_by("node4", RecoveryWish::Clone), "no_facts");
    stage.dry_plan(join_by("node4", RecoveryWish::Incremental));
    // A server that is down cannot be judged.
    stage.toy.host("node4").up = false;
    stage.toy.look();
    refused(&stage, join("node4"), "server_down");
}
