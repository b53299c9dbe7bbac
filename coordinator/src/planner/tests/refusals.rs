//! What is refused, waited for, or so already: each by its stable code.

use clusterctl_proto::failure::ExitClass;
use clusterctl_proto::observe::{DataDirectory, MemberState, UnitState};
use clusterctl_proto::step::Step;

use super::heal_stage::{NODES, of_host};
use super::stage::{Stage, add_router, create, join, prod};
use super::toy::{fresh_server, name};
use crate::model::operation::RecoveryWish;
use crate::model::{OperationKind, OperationState};
use crate::planner::heal::Care;
use crate::planner::{Decision, Doubt, decide};

fn remove(host: &str, force: bool) -> OperationKind {
    OperationKind::Remove {
        host: name(host),
        force,
    }
}

fn switchover(to: &str) -> OperationKind {
    OperationKind::Switchover { to: Some(name(to)) }
}

#[track_caller]
pub fn refused(stage: &Stage, kind: OperationKind, code: &str) -> clusterctl_proto::failure::Failure {
    let failure = stage.refusal(kind);
    assert_eq!(failure.code, code, "{failure} {:?}", failure.facts);
    assert!(failure.hint.is_some(), "{code} says not what to do");
    assert!(
        !failure.message.ends_with('.')
            && failure
                .message
                .chars()
                .next()
                .is_some_and(|c| !c.is_uppercase() || failure.message.starts_with("MySQL"))
    );
    failure
}

#[track_caller]
pub fn already(stage: &Stage, kind: OperationKind) -> String {
    match stage.dry(kind) {
        Decision::Already(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_that_are_not_there() {
    let bare = Stage::new();
    let three = Stage::three();
    assert!(refused(&bare, create("node9", &[], &[]), "unknown_host").facts[0].contains("node1, node2"));
    refused(&bare, join("node2"), "no_such_cluster");
    refused(&three, join("node9"), "unknown_host");
    refused(&three, remove("node9", true), "unknown_host");
    refused(&three, switchover("node4"), "not_a_member");
    refused(&bare, OperationKind::Verify, "no_such_cluster");
}

#[test]
fn the_same_cluster_with_another_primary_is_no_repetition() {
    let three = Stage::three();
    already(&three, create("node1", &["node2", "node3"], &["router1"]));
    let failure = refused(
        &three,
        create("node2", &["node1", "node3"], &["router1"]),
        "cluster_exists",
    );
    assert_eq!(failure.exit, ExitClass::Conflict);
    assert!(
        failure
            .facts
            .iter()
            .any(|fact| fact.contains("create prod --primary node1")),
        "{:?}",
        failure.facts
    );
}

#[test]
fn a_router_is_not_removed_as_a_member() {
    let three = Stage::three();
    let hint = |kind, code| refused(&three, kind, code).hint.unwrap_or_default();
    assert!(hint(remove("router1", false), "other_kind").ends_with("clusterctl router remove router1"));
    let router = OperationKind::RemoveRouter {
        host: name("node1"),
        force: false,
    };
    assert!(hint(router, "other_kind").ends_with("clusterctl remove node1"));
    already(&three, remove("node4", false));
}

#[test]
fn roles_and_numbers() {
    let mut stage = Stage::new();
    let hint = refused(&stage, create("router1", &[], &[]), "wrong_role")
        .hint
        .unwrap_or_default();
    assert!(
        hint.contains("--role router,db") && hint.contains("enroll --force"),
        "{hint}"
    );
    refused(&stage, create("node1", &[], &["node2"]), "wrong_role");
    assert_eq!(
        refused(&stage, create("node1", &["node1"], &[]), "named_twice").exit,
        ExitClass::Usage
    );
    for number in 5..=11 {
        let host = format!("node{number}");
        stage.toy.add(&host);
        let enrolled = crate::model::Host {
            name: name(&host),
            ..stage.model.hosts[&name("node4")].clone()
        };
        stage.model.hosts.insert(name(&host), enrolled);
    }
    let with = [
        "node2", "node3", "node4", "node5", "node6", "node7", "node8", "node9", "node10",
    ];
    refused(&stage, create("node1", &with, &[]), "too_many_members");
}

#[test]
fn the_same_again_and_something_else() {
    let stage = Stage::three();
    assert!(already(&stage, create("node1", &["node2", "node3"], &["router1"])).contains("formed already"));
    already(&stage, create("node1", &[], &[]));
    assert_eq!(
        refused(&stage, create("node1", &["node4"], &[]), "cluster_exists").exit,
        ExitClass::Conflict
    );
    already(&stage, join("node2"));
    already(&stage, remove("node4", false));
    already(&stage, switchover("node1"));
    already(&stage, add_router("router1"));
    already(
        &stage,
        OperationKind::RemoveRouter {
            host: name("router2"),
            force: false,
        },
    );
    already(
        &stage,
        OperationKind::DropAccount {
            user: "app".to_owned(),
            from: "%".to_owned(),
        },
    );
}

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

#[test]
fn tolerance_is_told() {
    let stage = Stage::three();
    let failure = refused(&stage, remove("node3", false), "lower_tolerance");
    assert_eq!(failure.message, "without node3, prod survives 0 failures instead of 1");
    let mut operation = stage.operation(remove("node3", false));
    operation.accept_lower_tolerance = true;
    assert!(matches!(stage.ask(&operation), Decision::Plan(_)));
    let two = Stage::after(&[create("node1", &["node2"], &[])]);
    two.dry_plan(remove("node2", false));
    let one = Stage::after(&[create("node1", &[], &[])]);
    refused(&one, remove("node1", false), "last_member");
}

#[test]
fn silence_is_not_absence() {
    let mut stage = Stage::after(&[create("node1", &["node2", "node3", "node4"], &["router1"])]);
    stage.toy.host("node4").answers = false;
    stage.toy.now += 10_000;
    stage.toy.look();
    let failure = refused(&stage, remove("node4", false), "host_silent");
    assert!(failure.exit == ExitClass::Unreachable && failure.hint.unwrap().contains("--force"));
    refused(&stage, remove("node4", true), "still_in_group");
    stage.toy.restart(&name("node4"));
    stage.toy.look();
    stage.dry_plan(remove("node4", true));
    stage.toy.host("node1").answers = false;
    stage.toy.now += 10_000;
    stage.toy.look();
    refused(&stage, OperationKind::Verify, "no_primary");
    // Stored, the same is waited for.
    let mut stored = stage.operation(OperationKind::Verify);
    stored.id.0 = 77;
    assert!(matches!(stage.ask(&stored), Decision::Wait(_)));
    let mut bare = Stage::new();
    bare.toy.host("node2").answers = false;
    bare.toy.now += 10_000;
    bare.toy.look();
    refused(&bare, create("node1", &["node2"], &[]), "host_silent");
}

/// The group has not expelled it yet: until then it may be back, in a group whose metadata do not list it any more.
#[test]
fn who_is_silent_and_not_expelled_yet_is_not_forgotten() {
    let mut stage = Stage::after(&[create("node1", &["node2", "node3", "node4"], &[])]);
    stage.toy.host("node4").answers = false;
    stage.toy.now += 10_000;
    stage.toy.look();
    let mut sight = stage.toy.sight();
    for seen in sight.values_mut() {
        let view = seen
            .observation
            .mysql
            .server
            .as_mut()
            .and_then(|server| server.group.as_mut());
        for row in view.into_iter().flat_map(|view| &mut view.members) {
            if row.host == "node4" {
                row.state = MemberState::Unreachable;
            }
        }
    }
    let mut operation = stage.operation(remove("node4", true));
    let Decision::Refuse(failure) = stage.look(&sight, |world| decide(world, &operation)) else {
        panic!("a plan");
    };
    assert_eq!(failure.code, "still_in_group");
    assert!(failure.message.contains("has not expelled node4 yet"), "{failure}");
    operation.id.0 = 77;
    assert!(matches!(
        stage.look(&sight, |world| decide(world, &operation)),
        Decision::Wait(_)
    ));
}

/// A disk that is slow for a moment makes a member nobody else's.
#[test]
fn a_member_whose_data_directory_could_not_be_looked_through_is_made_to_leave() {
    let mut stage = Stage::after(&[create("node1", &["node2", "node3", "node4"], &[])]);
    stage.toy.host("node4").data = DataDirectory::Foreign {
        what: format!("{} in time", DataDirectory::UNSEEN),
    };
    stage.toy.look();
    let operation = stage.operation(remove("node4", false));
    assert!(matches!(stage.ask(&operation), Decision::Plan(draft)
        if draft.steps.iter().any(|step| matches!(step.step, Step::LeaveGroup { .. }))));
}

/// Its agent could only wait for it, and the operation would never end.
#[test]
fn a_member_whose_mysqld_hangs_is_forgotten_once_the_group_has_expelled_it() {
    let stage = Stage::after(&[create("node1", &["node2", "node3", "node4"], &[])]);
    let mut sight = stage.toy.sight();
    let mysql = &mut sight.get_mut(&name("node4")).unwrap().observation.mysql;
    (mysql.server, mysql.error) = (None, Some("it does not answer".to_owned()));
    assert_eq!(mysql.unit, UnitState::Running);
    let mut operation = stage.operation(remove("node4", true));
    let Decision::Refuse(failure) = stage.look(&sight, |world| decide(world, &operation)) else {
        panic!("a plan");
    };
    assert_eq!(failure.code, "still_in_group");
    assert!(failure.message.contains("mysqld on node4 does not answer"), "{failure}");
    operation.id.0 = 77;
    assert!(matches!(
        stage.look(&sight, |world| decide(world, &operation)),
        Decision::Wait(_)
    ));
    for seen in sight.values_mut() {
        if let Some(view) = seen
            .observation
            .mysql
            .server
            .as_mut()
            .and_then(|server| server.group.as_mut())
        {
            view.members.retain(|row| row.host != "node4");
        }
    }
    let Decision::Plan(draft) = stage.look(&sight, |world| decide(world, &operation)) else {
        panic!("no plan");
    };
    assert!(
        draft.steps.iter().all(|step| step.host != name("node4")),
        "its agent has nothing to do"
    );
    // Not forced, it is made to leave.
    let operation = stage.operation(remove("node4", false));
    assert!(
        matches!(stage.look(&sight, |world| decide(world, &operation)), Decision::Plan(draft)
        if draft.steps.iter().any(|step| matches!(step.step, Step::LeaveGroup { .. })))
    );
}

/// Its volume was replaced, or somebody put it into a group of their own: what runs there is not stopped.
#[test]
fn a_server_that_is_somebody_elses_is_forgotten_and_not_touched() {
    let foreign = || DataDirectory::Foreign {
        what: "schemas: shop".to_owned(),
    };
    let mut stage = Stage::after(&[create("node1", &["node2", "node3", "node4"], &[])]);
    stage.toy.host("node4").data = foreign();
    stage.toy.look();
    let failure = stage.refusal(remove("node4", false));
    assert_eq!(failure.code, "foreign_data", "still in the group: {failure}");
    assert!(failure.hint.unwrap().contains("STOP GROUP_REPLICATION"));
    stage.toy.restart(&name("node4"));
    let untouched = |stage: &Stage| {
        let draft = stage.dry_plan(remove("node4", false));
        let note = draft.report.iter().any(|note| note.contains("is left as it is"));
        note && draft.steps.iter().all(|step| step.host != name("node4"))
    };
    stage.toy.look();
    assert!(untouched(&stage), "foreign data");
    let group = stage.toy.server("node4").group_name.clone();
    stage.toy.host("node4").data = DataDirectory::Ours { cluster: Some(prod()) };
    stage.toy.server("node4").group_name = uuid::Uuid::from_u128(9).to_string();
    stage.toy.look();
    assert!(untouched(&stage), "another group");
    stage.toy.server("node4").group_name = group;
    stage.toy.look();
    assert!(!untouched(&stage), "its own");
    stage.toy.host("node4").data = foreign();
    stage.must(remove("node4", false));
    assert!(stage.toy.hosts[&name("node4")].up);

    // Back in the group before it is forgotten.
    let mut stage = Stage::after(&[create("node1", &["node2", "node3", "node4"], &[])]);
    stage.toy.restart(&name("node4"));
    stage.toy.host("node4").data = foreign();
    stage.toy.look();
    let operation = stage.operation(remove("node4", false));
    let Decision::Plan(draft) = stage.ask(&operation) else {
        panic!("no plan");
    };
    stage.toy.group.as_mut().unwrap().members.insert(name("node4"));
    stage.toy.look();
    let sight = stage.toy.sight();
    let failure = stage
        .look(&sight, |world| crate::check::check(world, &operation, &draft))
        .unwrap_err();
    assert_eq!(failure.code, "rule_4_certainty", "{failure}");
}

/// A person has bootstrapped, and the agent of the primary has not told yet with what: node3, which is out, may have what counts.
#[test]
fn a_member_that_is_out_is_not_removed_before_it_is_known_what_the_group_began_with() {
    let mut stage = Stage::after(&[create("node1", &["node2", "node3"], &[])]);
    NODES.iter().for_each(|node| stage.toy.restart(&name(node)));
    stage.toy.by_hand(&["node1", "node2"]);
    stage.toy.now += 1000;
    stage.toy.look();
    assert_eq!(stage.refusal(remove("node3", false)).code, "lineage_unknown");
    let trouble = of_host(&stage, "node3").unwrap();
    assert!(
        matches!(&trouble.care, Care::Not(not) if !not.command.contains("remove")),
        "{trouble:?}"
    );
    stage.dry_plan(remove("node2", false));
    let mut nothing = stage.clone();
    let server = nothing.toy.server("node3");
    (server.gtid_executed, server.gtid_received) = Default::default();
    nothing.toy.look();
    nothing.dry_plan(remove("node3", false));
    // Nobody will tell: then a person has compared the data, and nothing else would help.
    let mut untold = stage.clone();
    untold.toy.host("node1").lineage.as_mut().unwrap().branch = None;
    untold.toy.look();
    untold.dry_plan(remove("node3", false));
    stage.record();
    stage.dry_plan(remove("node3", false));
}

/// A copy that answers beside the original is another matter than silence, and so is what helps.
#[test]
fn two_machines_with_one_identity_get_no_order() {
    let stage = Stage::after(&[create("node1", &["node2"], &[])]);
    let mut sight = stage.toy.sight();
    let speakers = vec!["boot a".to_owned(), "boot b".to_owned()];
    sight.get_mut(&name("node2")).unwrap().doubt = Some(Doubt::Twins(speakers));
    let operation = stage.operation(switchover("node2"));
    let Decision::Refuse(failure) = stage.look(&sight, |world| decide(world, &operation)) else {
        panic!("a plan");
    };
    assert_eq!(failure.code, "two_machines", "{failure}");
    assert!(failure.message.contains("two machines speak as node2"), "{failure}");
    assert!(failure.hint.unwrap().contains("clusterctl why node2"));
}

#[test]
fn one_after_another() {
    let mut stage = Stage::three();
    let first = stage.submit(join("node4")).unwrap();
    match stage.dry(add_router("router2")) {
        Decision::Wait(why) => assert_eq!(why, format!("operation {first} (join node4) is not done yet")),
        other => panic!("{other:?}"),
    }
    // The same is the same operation, which the machine answers with.
    assert!(matches!(stage.dry(join("node4")), Decision::Wait(_)));
    let mut half = Stage::new();
    half.submit(create("node1", &["node2"], &[])).unwrap();
    assert!(matches!(half.dry(join("node3")), Decision::Wait(_)));
}

#[test]
fn a_cluster_that_is_not_formed() {
    let mut stage = Stage::new();
    let id = stage.submit(create("node1", &["node2"], &[])).unwrap();
    stage.decide();
    // The bootstrap, and then node2 fails for good.
    for _ in 0..20 {
        stage.carry_out(|_, host, step| match step {
            Step::JoinGroup { .. } if *host == name("node2") => {
                let failure = clusterctl_proto::failure::Failure::new("disk_full", "no room");
                let result = clusterctl_proto::step::StepResult::Failed { failure };
                Some(clusterctl_proto::step::StepOutcome {
                    result,
                    data: None,
                    elapsed_ms: 0,
                    spent_ms: Default::default(),
                })
            }
            _ => None,
        });
    }
    assert!(matches!(
        stage.model.operations[&id].state,
        OperationState::Failed { .. }
    ));
    stage.toy.now += 2000;
    stage.toy.look();
    refused(&stage, join("node3"), "not_formed");
    let failure = refused(&stage, create("node1", &["node3"], &[]), "cluster_exists");
    assert!(
        failure
            .hint
            .unwrap()
            .contains("clusterctl create prod --primary node1 --with node2")
    );
    refused(&stage, create("node2", &["node1"], &[]), "cluster_exists");
    // The same again goes on from where it stopped: no second bootstrap.
    let plan = stage.dry_plan(create("node1", &["node2"], &[]));
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| matches!(step.step, Step::BootstrapGroup { .. } | Step::Promise {}))
    );
    stage.must(create("node1", &["node2"], &[]));
    assert_eq!((stage.toy.bootstraps, stage.toy.alarms.len()), (1, 0));
}
