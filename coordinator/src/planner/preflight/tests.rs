//! Tests of the checks: each condition found, by name.

use std::net::IpAddr;
use std::sync::Arc;

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::DataDirectory;

use super::{AT_CREATE, CheckResult, Verdict, check, worst};
use crate::planner::tests::stage::Stage;
use crate::planner::tests::toy::{ToyHost, fresh_server, name};

/// The check of this name on node1, after this was changed.
#[track_caller]
fn found(check_name: &str, change: impl FnOnce(&mut ToyHost)) -> CheckResult {
    let mut stage = Stage::new();
    change(stage.toy.host("node1"));
    stage.toy.look();
    one(&stage, check_name)
}

#[track_caller]
fn one(stage: &Stage, check_name: &str) -> CheckResult {
    let sight = stage.toy.sight();
    let hosts = [name("node1"), name("node2")];
    let mut all = stage.look(&sight, |world| check(world, &hosts, &[]));
    let result = all
        .remove(0)
        .checks
        .into_iter()
        .find(|result| result.name == check_name);
    result.unwrap_or_else(|| panic!("no check {check_name}"))
}

fn with_server(host: &mut ToyHost, data: DataDirectory) {
    let mut server = fresh_server(&name("node1"), uuid::Uuid::from_u128(u128::from(host.number)));
    server.tables_not_innodb = Some(vec!["shop.log".to_owned()]);
    server.foreign_channels = vec!["from_old".to_owned()];
    server.bootstrap_flag = true;
    (host.mysql_installed, host.up, host.data, host.server) = (true, true, data, Some(server));
}

#[test]
fn a_bare_host_passes_every_check() {
    let stage = Stage::new();
    let sight = stage.toy.sight();
    let hosts: Vec<HostName> = ["node1", "node2", "router1"].map(name).to_vec();
    let all = stage.look(&sight, |world| check(world, &hosts, &[]));
    for host in &all {
        let bad: Vec<_> = host
            .checks
            .iter()
            .filter(|check| check.verdict != Verdict::Pass)
            .collect();
        assert!(bad.is_empty(), "{}: {bad:?}", host.host);
        let names: std::collections::BTreeSet<&str> = host.checks.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), host.checks.len(), "names are not unique");
    }
    let made = all.iter().flat_map(|host| &host.checks).map(|check| check.name);
    let made: std::collections::BTreeSet<&str> = made.collect();
    let known: std::collections::BTreeSet<&str> = super::NAMES.into();
    // These two are made only where there is nothing else to look at.
    let rest: Vec<&&str> = known.difference(&made).collect();
    assert_eq!(rest, [&"enrolled", &"facts"]);
    assert!(made.is_subset(&known), "{made:?}");
    assert_eq!(worst(&all), "pass");
    assert!(all[0].checks.len() >= 20 && all[2].checks.len() < all[0].checks.len());
}

#[test]
fn what_fails() {
    type Change = fn(&mut ToyHost);
    let cases: [(&str, &str, Change); 17] = [
        ("systemd", "not process 1", |host| host.facts.systemd = false),
        ("package_manager", "neither", |host| host.facts.package_manager = None),
        ("packages_available", "mysql-server", |host| {
            drop(host.facts.candidates.insert("mysql-server".to_owned(), None))
        }),
        ("hostname", "\"debian\"", |host| {
            host.facts.hostname = "debian".to_owned()
        }),
        ("disk_free", "100 MiB", |host| host.facts.data_free_bytes = 100 << 20),
        ("memory", "512 MiB", |host| host.facts.memory_bytes = 512 << 20),
        ("ports_free", "33060 is taken by nginx", |host| {
            drop(host.facts.listeners.insert(33060, "nginx".to_owned()))
        }),
        ("data_directory", "schemas: shop", |host| {
            host.data = DataDirectory::Foreign {
                what: "schemas: shop".to_owned(),
            }
        }),
        ("mysql_version", "8.0.40", |host| {
            host.facts
                .candidates
                .insert("mysql-server".to_owned(), Some("8.0.40-1".to_owned()));
        }),
        ("storage_engines", "shop.log", |host| {
            with_server(host, DataDirectory::Pristine)
        }),
        ("replication_channels", "from_old", |host| {
            with_server(host, DataDirectory::Pristine)
        }),
        ("bootstrap_flag", "is ON", |host| {
            with_server(host, DataDirectory::Pristine)
        }),
        ("other_cluster", "metadata of cluster shop", |host| {
            with_server(host, DataDirectory::Pristine);
            host.server.as_mut().unwrap().metadata = Some(clusterctl_proto::observe::MetadataCopy {
                version: "2.4.0".to_owned(),
                cluster_name: "shop".to_owned(),
                cluster_id: String::new(),
                group_name: "aaaaaaaa-0000-4000-8000-000000000000".to_owned(),
                instances: Vec::new(),
                routers: Vec::new(),
            });
        }),
        ("server_uuid_unique", "node2", |host| {
            with_server(host, DataDirectory::Ours { cluster: None });
            host.server.as_mut().unwrap().server_uuid = uuid::Uuid::from_u128(2);
        }),
        ("clock", "60.0 s", |host| host.facts.clock_unix_ms = -1),
        ("address_conflict", "the address of node2, too", |_| {}),
        ("agent", "last answered", |host| host.answers = false),
    ];
    for (check_name, seen, change) in cases {
        let mut stage = Stage::new();
        if check_name == "server_uuid_unique" {
            with_server(stage.toy.host("node2"), DataDirectory::Pristine);
        }
        change(stage.toy.host("node1"));
        stage.toy.now += 5000;
        stage.toy.look();
        if check_name == "address_conflict" {
            stage.model.hosts.get_mut(&name("node1")).unwrap().addresses = vec![IpAddr::from([10, 0, 0, 2])];
        }
        let result = if check_name == "clock" {
            let mut sight = stage.toy.sight();
            let facts = sight.get_mut(&name("node1")).unwrap().host.as_mut().unwrap();
            Arc::make_mut(facts).clock_unix_ms -= 60_000;
            let mut all = stage.look(&sight, |world| check(world, &[name("node1")], &[]));
            all.remove(0)
                .checks
                .into_iter()
                .find(|result| result.name == check_name)
                .unwrap()
        } else {
            one(&stage, check_name)
        };
        assert_eq!(result.verdict, Verdict::Fail, "{result:?}");
        assert!(result.seen.contains(seen) && !result.fix.is_empty(), "{result:?}");
    }
}

#[test]
fn what_clusterctl_repairs_itself_only_warns() {
    let loopback = |host: &mut ToyHost| {
        host.facts
            .resolves
            .insert("node1".to_owned(), vec![IpAddr::from([127, 0, 1, 1])]);
        host.facts.resolves.insert("node2".to_owned(), Vec::new());
    };
    for check_name in ["own_name_resolution", "peer_resolution"] {
        let result = found(check_name, loopback);
        assert_eq!(
            (result.verdict, result.fix.as_str()),
            (Verdict::Warn, AT_CREATE),
            "{result:?}"
        );
    }
    let result = found("machine_id_unique", |host| {
        host.facts.machine_id = "machine-2".to_owned()
    });
    assert_eq!((result.verdict, result.fix.as_str()), (Verdict::Warn, AT_CREATE));
    let mut stage = Stage::new();
    with_server(stage.toy.host("node1"), DataDirectory::Pristine);
    with_server(stage.toy.host("node2"), DataDirectory::Pristine);
    stage.toy.server("node1").server_uuid = uuid::Uuid::from_u128(2);
    stage.toy.look();
    assert_eq!(one(&stage, "server_uuid_unique").fix, AT_CREATE);
}

#[test]
fn what_is_ours_already_is_no_conflict() {
    let stage = Stage::three();
    let sight = stage.toy.sight();
    let hosts = [name("node1"), name("router1")];
    let all = stage.look(&sight, |world| check(world, &hosts, &[]));
    assert!(all.iter().all(|host| host.failed().count() == 0), "{all:?}");
    let listening = found("ports_free", |host| {
        drop(host.facts.listeners.insert(3306, "mysqld".to_owned()))
    });
    assert_eq!(listening.verdict, Verdict::Pass);
}

#[test]
fn ignored_checks_are_shown_but_do_not_count() {
    let mut stage = Stage::new();
    stage.toy.host("node1").facts.data_free_bytes = 1;
    stage.toy.look();
    let sight = stage.toy.sight();
    let all = stage.look(&sight, |world| {
        check(world, &[name("node1")], &["disk_free".to_owned(), "agent".to_owned()])
    });
    let disk = all[0].checks.iter().find(|check| check.name == "disk_free").unwrap();
    assert_eq!((disk.verdict, worst(&all)), (Verdict::Ignored, "warn"));
    let unknown = stage.look(&sight, |world| check(world, &[name("node9")], &["enrolled".to_owned()]));
    assert_eq!((unknown[0].checks[0].name, worst(&unknown)), ("enrolled", "fail"));
}
