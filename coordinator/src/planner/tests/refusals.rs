//! What is refused, waited for, or so already: each by its stable code.

mod hosts;
mod removal;

use clusterctl_proto::failure::ExitClass;
use clusterctl_proto::step::Step;

use super::stage::{Stage, add_router, create, join};
use super::toy::name;
use crate::model::{OperationKind, OperationState};
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
