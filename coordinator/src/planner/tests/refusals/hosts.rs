//! Hosts that do not fit: of another cluster, not passing the pre-flight checks, with other versions.

use clusterctl_proto::failure::ExitClass;
use clusterctl_proto::observe::DataDirectory;

use super::refused;
use crate::model::OperationKind;
use crate::model::operation::RecoveryWish;
use crate::planner::tests::stage::{Stage, create, join, prod};
use crate::planner::tests::toy::{fresh_server, name};

#[test]
fn a_host_of_another_cluster() {
    let mut stage = Stage::three();
    let mut other = stage.model.clusters[&prod()].clone();
    other.name = "blog".parse().unwrap();
    other.members.retain(|host, _| *host == name("node1"));
    let node4 = other.members.remove(&name("node1")).unwrap();
    other.members.insert(name("node4"), node4);
    other.routers.clear();
    stage.model.clusters.insert(other.name.clone(), other);
    assert_eq!(
        refused(&stage, join("node4"), "host_in_other_cluster").exit,
        ExitClass::Conflict
    );

    let mut stage = Stage::three();
    stage.toy.host("node4").data = DataDirectory::Ours {
        cluster: Some("blog".parse().unwrap()),
    };
    stage.toy.look();
    refused(&stage, join("node4"), "other_cluster");
}

#[test]
fn pre_flight_is_demanded() {
    let mut stage = Stage::three();
    stage.toy.host("node4").data = DataDirectory::Foreign {
        what: "schemas: shop".to_owned(),
    };
    stage.toy.look();
    let failure = refused(&stage, join("node4"), "data_directory");
    assert!(failure.facts[0].contains("schemas: shop") && failure.exit == ExitClass::Refused);
    // Not to be waved through.
    let waved = OperationKind::Join {
        host: name("node4"),
        recovery: RecoveryWish::Auto,
        ignore_checks: vec!["data_directory".to_owned()],
    };
    refused(&stage, waved, "data_directory");

    let mut stage = Stage::new();
    stage
        .toy
        .host("node1")
        .facts
        .listeners
        .insert(3306, "postgres".to_owned());
    stage.toy.look();
    assert!(refused(&stage, create("node1", &[], &[]), "ports_free").facts[0].contains("3306 is taken by postgres"));
    stage.toy.host("node2").facts.data_free_bytes = 1;
    stage.toy.look();
    assert_eq!(
        refused(&stage, create("node1", &["node2"], &[]), "preflight_failed")
            .facts
            .len(),
        2
    );
    let mut kind = create("node1", &["node2"], &[]);
    if let OperationKind::Create { ignore_checks, .. } = &mut kind {
        ignore_checks.extend(["ports_free".to_owned(), "disk_free".to_owned()]);
    }
    stage.dry_plan(kind);

    let mut stage = Stage::three();
    let mut server = fresh_server(&name("node4"), uuid::Uuid::from_u128(99));
    server.tables_without_key = Some(vec!["shop.orders".to_owned()]);
    let host = stage.toy.host("node4");
    (host.mysql_installed, host.up, host.data, host.server) =
        (true, true, DataDirectory::Ours { cluster: None }, Some(server));
    stage.toy.look();
    assert!(refused(&stage, join("node4"), "primary_keys").facts[0].contains("shop.orders"));
}

#[test]
fn versions_that_do_not_fit() {
    let mut stage = Stage::new();
    stage
        .toy
        .host("node2")
        .facts
        .candidates
        .insert("mysql-server".to_owned(), Some("8.4.6-0ubuntu1".to_owned()));
    stage.toy.look();
    assert_eq!(
        refused(&stage, create("node1", &["node2"], &[]), "version_mismatch")
            .facts
            .len(),
        2
    );
    stage
        .toy
        .host("node2")
        .facts
        .candidates
        .insert("mysql-server".to_owned(), Some("8.0.40".to_owned()));
    stage.toy.look();
    refused(&stage, create("node2", &[], &[]), "mysql_version");

    let mut stage = Stage::three();
    for older in ["9.7.3-1", "9.6.0", "9.8.0"] {
        stage
            .toy
            .host("node4")
            .facts
            .candidates
            .insert("mysql-server".to_owned(), Some(older.to_owned()));
        stage.toy.look();
        refused(&stage, join("node4"), "version_mismatch");
    }
}
