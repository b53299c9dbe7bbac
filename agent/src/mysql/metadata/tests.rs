//! The documents and the cut of the .sql files; the schema itself is compared with the real one on the lab.

use clusterctl_proto::step::MetadataMember;
use serde_json::json;

use super::rows::{addresses, differing, lacking};
use super::schema::{PARTS, statements};

#[test]
fn sql_files_are_cut_into_statements() {
    let counts: Vec<usize> = PARTS.iter().map(|part| statements(part).len()).collect();
    assert_eq!(counts, [11, 12, 12, 1], "tables, procedures, views, version");
    for part in PARTS {
        for statement in statements(part) {
            assert!(statement.starts_with("CREATE "), "{statement}");
            assert!(!statement.contains("DELIMITER"));
            assert!(
                statement.contains("IF NOT EXISTS") || statement.starts_with("CREATE OR REPLACE"),
                "may be run again: {statement}"
            );
        }
    }
}

#[test]
fn an_instances_addresses_are_adminapis() {
    let member = MetadataMember {
        host: "node1".parse().unwrap(),
        port: 3306,
        x_port: Some(33060),
        attributes: json!({}),
        joined: false,
    };
    assert_eq!(
        addresses(&member),
        json!({"mysqlX": "node1:33060", "grLocal": "node1:3306", "mysqlClassic": "node1:3306"})
    );
    let without = MetadataMember { x_port: None, ..member };
    assert_eq!(
        addresses(&without),
        json!({"grLocal": "node1:3306", "mysqlClassic": "node1:3306"})
    );
}

#[test]
fn only_our_keys_are_compared() {
    let there = json!({"server_id": 7.0, "joinTime": "then", "tags": {"a": 1}});
    assert!(differing(&there, &json!({"server_id": 7})).is_empty());
    assert_eq!(
        differing(&there, &json!({"server_id": 8, "opt_certSubject": ""})),
        ["opt_certSubject", "server_id"]
    );
    assert_eq!(
        lacking(
            &json!({"tags": {"mine": 1}}),
            &json!({"tags": {}, "read_only_targets": "secondaries", "guideline": null})
        ),
        ["read_only_targets"]
    );
}
