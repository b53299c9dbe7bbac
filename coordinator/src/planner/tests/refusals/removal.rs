//! Removals: what is refused or waited for, and what a removal does to a server that does not answer or is not the cluster's.

use clusterctl_proto::observe::{DataDirectory, MemberState, UnitState};
use clusterctl_proto::step::Step;

use super::{refused, remove};
use crate::planner::heal::Care;
use crate::planner::tests::heal_stage::{NODES, of_host};
use crate::planner::tests::stage::{Stage, create, prod};
use crate::planner::tests::toy::name;
use crate::planner::{Decision, decide};

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
            .observation_mut()
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
    let mysql = &mut sight.get_mut(&name("node4")).unwrap().observation_mut().mysql;
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
            .observation_mut()
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
