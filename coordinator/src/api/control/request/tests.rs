//! Bad names, each with its code and a hint.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use clusterctl_proto::ids::OperationId;
use uuid::Uuid;

use super::{ClusterName, ExitClass, Failure, Model, OperationKind, What, checks, pb, secrets};
use crate::model::{Cluster, Host};

fn model(clusters: &[&str]) -> Model {
    let mut model = Model::new(Uuid::nil());
    for name in ["node1", "node2", "router1"] {
        let host = Host {
            name: name.parse().expect("name"),
            roles: BTreeSet::new(),
            addresses: Vec::new(),
            enrolled_at: 0,
            key_sha256: String::new(),
            certificate_expires: 0,
        };
        model.hosts.insert(host.name.clone(), host);
    }
    for name in clusters {
        let cluster = Cluster {
            name: name.parse().expect("name"),
            cluster_id: Uuid::nil(),
            group_name: Uuid::nil(),
            formed: true,
            gtid_set_is_complete: true,
            members: BTreeMap::new(),
            routers: BTreeMap::new(),
            accounts: BTreeMap::new(),
            buffer_pool_bytes: None,
            last_plan: None,
            last_copy: None,
            created_by: OperationId(1),
            paused: None,
            lineages: Default::default(),
            lineage: None,
            led_at: 0,
            left_out: BTreeMap::new(),
            duties: BTreeMap::new(),
            accounts_dropped: BTreeSet::new(),
        };
        model.clusters.insert(cluster.name.clone(), cluster);
    }
    model
}

fn create(primary: &str, with: &[&str], routers: &[&str]) -> Option<What> {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Some(What::Create(pb::CreateCluster {
        cluster: "prod".to_owned(),
        primary: primary.to_owned(),
        with: texts(with),
        routers: texts(routers),
        ..Default::default()
    }))
}

fn wanted(model: &Model, what: Option<What>) -> Result<(ClusterName, OperationKind), Failure> {
    super::wanted(model, what, 0)
}

fn code(model: &Model, what: Option<What>) -> String {
    wanted(model, what)
        .err()
        .map(|failure| failure.code)
        .unwrap_or_default()
}

#[test]
fn hosts_are_known_and_named_once() {
    let model = model(&[]);
    assert!(wanted(&model, create("node1", &["node2"], &["router1"])).is_ok());
    assert_eq!(code(&model, create("nodd1", &[], &[])), "unknown_host");
    assert_eq!(code(&model, create("db-17", &[], &[])), "host_not_enrolled");
    assert_eq!(code(&model, create("node 1", &[], &[])), "bad_name");
    assert_eq!(code(&model, create("node1", &["node2", "node2"], &[])), "named_twice");
    assert_eq!(code(&model, create("node1", &["NODE1"], &[])), "named_twice");
    assert_eq!(code(&model, create("node1", &[], &["node1"])), "named_twice");
    assert_eq!(code(&model, None), "bad_request");
    let hint = wanted(&model, create("nodd1", &[], &[]))
        .err()
        .and_then(|failure| failure.hint)
        .unwrap_or_default();
    assert!(
        hint.contains("did you mean node1") && hint.contains("clusterctl-agent enroll"),
        "{hint}"
    );
}

#[test]
fn the_only_cluster_needs_no_name() {
    let join = |cluster: &str| {
        Some(What::Join(pb::JoinMember {
            cluster: cluster.to_owned(),
            host: "node1".to_owned(),
            ..Default::default()
        }))
    };
    assert_eq!(code(&model(&[]), join("")), "no_cluster");
    assert!(wanted(&model(&["prod"]), join("")).is_ok_and(|(name, _)| name.as_str() == "prod"));
    assert_eq!(code(&model(&["prod", "test"]), join("")), "which_cluster");
    assert_eq!(code(&model(&["prod"]), join("prid")), "unknown_cluster");
    assert_eq!(code(&model(&["prod"]), join("1prod")), "bad_name");
}

#[test]
fn accounts_cannot_smuggle_sql_or_take_our_names() {
    let model = model(&["prod"]);
    let make = |user: &str, from: &str, kind: &str, database: &str| {
        Some(What::CreateAccount(pb::CreateAccount {
            cluster: String::new(),
            user: user.to_owned(),
            from: from.to_owned(),
            kind: kind.to_owned(),
            database: database.to_owned(),
        }))
    };
    assert!(wanted(&model, make("app", "", "application", "appdb")).is_ok());
    assert!(wanted(&model, make("mon", "10.0.0.%", "monitor", "")).is_ok());
    for (user, from, kind, database, expected) in [
        ("", "", "monitor", "", "bad_user"),
        ("a'b", "", "monitor", "", "bad_user"),
        ("mysql_innodb_cluster_1", "", "monitor", "", "reserved_user"),
        ("app", "a'b", "monitor", "", "bad_from"),
        ("app", "", "boss", "", "bad_kind"),
        ("app", "", "monitor", "appdb", "bad_kind"),
        ("app", "", "application", "", "bad_database"),
        ("app", "", "application", "mysql", "bad_database"),
        ("app", "", "application", "a`; DROP", "bad_database"),
    ] {
        assert_eq!(
            code(&model, make(user, from, kind, database)),
            expected,
            "{user:?} {from:?} {kind:?} {database:?}"
        );
    }
}

#[test]
fn secrets_are_hashes() {
    let one = |name: &str, value: &str| secrets(HashMap::from([(name.to_owned(), value.to_owned())]));
    assert!(one("account:app@%", "0x244124").is_ok());
    for (name, value) in [
        ("account:app@%", "hunter2"),
        ("other", "0x00"),
        ("account:app@%", "0x"),
        ("account:a", "0xzz"),
    ] {
        assert!(one(name, value).is_err_and(|failure| !failure.message.contains(value)));
    }
}

#[test]
fn names_of_checks_are_known_ones() {
    let given = |text: &str| checks(vec![text.to_owned()]);
    assert!(given("disk_free").is_ok());
    let hint = |text: &str| given(text).expect_err("refused").hint.unwrap_or_default();
    assert!(hint("disk").starts_with("did you mean disk_free?"));
    assert!(hint("clokc").starts_with("did you mean clock?"));
    assert!(hint("all").starts_with("names stand in"), "{}", hint("all"));
    assert_eq!(given("").expect_err("refused").exit, ExitClass::Usage);
}

#[test]
fn what_is_to_go_is_no_reason_to_enrol() {
    let remove = |host: &str| {
        Some(What::Remove(pb::RemoveMember {
            host: host.to_owned(),
            ..Default::default()
        }))
    };
    let failure = wanted(&model(&["prod"]), remove("nosuch")).expect_err("refused");
    assert_eq!(failure.facts, ["enrolled: node1, node2, router1"]);
    assert!(!failure.hint.unwrap_or_default().contains("token create"));
}
