//! Two operators at once: each command ends well or is refused in plain words, and nothing is half-made.

use clusterctl_proto::failure::ExitClass;
use clusterctl_proto::ids::OperationId;

use super::stage::{Stage, join, prod};
use super::toy::name;
use crate::model::{MemberPhase, OperationKind, OperationState};

fn remove(host: &str) -> OperationKind {
    OperationKind::Remove {
        host: name(host),
        force: false,
    }
}

fn to_the_end(stage: &mut Stage, ids: &[OperationId]) {
    for _ in 0..60 {
        if ids.iter().all(|id| stage.model.operations[id].state.is_final()) {
            assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
            return;
        }
        stage.toy.now += 1000;
        stage.toy.look();
        stage.tick();
    }
    let states: Vec<_> = ids.iter().map(|id| &stage.model.operations[id].state).collect();
    panic!("they do not end: {states:?}");
}

fn done(stage: &Stage, id: OperationId) -> bool {
    matches!(stage.model.operations[&id].state, OperationState::Done { .. })
}

#[test]
fn a_host_is_not_removed_while_it_joins() {
    let mut stage = Stage::three();
    stage.toy.look();
    let joining = stage.submit(join("node4")).expect("stored");
    let refused = stage.submit(remove("node4")).expect_err("refused");
    assert_eq!(
        (refused.code.as_str(), refused.exit),
        ("operation_running", ExitClass::Conflict)
    );
    assert!(refused.hint.is_some_and(|hint| hint.contains("clusterctl ops watch")));
    stage.decide();
    assert!(stage.submit(remove("node4")).is_err(), "nor once its plan runs");
    to_the_end(&mut stage, &[joining]);
    assert!(done(&stage, joining));
    let leaving = stage.submit(remove("node4")).expect("stored");
    to_the_end(&mut stage, &[leaving]);
    assert!(done(&stage, leaving));
}

#[test]
fn a_host_does_not_join_while_it_is_removed() {
    let mut stage = Stage::three();
    stage.must(join("node4"));
    let leaving = stage.submit(remove("node4")).expect("stored");
    let refused = stage.submit(join("node4")).expect_err("refused");
    assert_eq!(
        (refused.code.as_str(), refused.exit),
        ("host_leaving", ExitClass::Conflict)
    );
    to_the_end(&mut stage, &[leaving]);
    assert!(done(&stage, leaving));
    stage.must(join("node4"));
}

/// Stored in either order: one plan of the cluster at a time, and each is judged by what the other left.
#[test]
fn one_joins_while_another_is_removed() {
    let mut stage = Stage::three();
    let ids = [
        stage.submit(join("node4")).expect("stored"),
        stage.submit(remove("node3")).expect("stored"),
    ];
    to_the_end(&mut stage, &ids);
    assert!(done(&stage, ids[0]) && done(&stage, ids[1]));
    let members = &stage.model.clusters[&prod()].members;
    assert_eq!(
        members.keys().map(|host| host.as_str()).collect::<Vec<_>>(),
        ["node1", "node2", "node4"]
    );

    let mut stage = Stage::three();
    let ids = [
        stage.submit(remove("node3")).expect("stored"),
        stage.submit(join("node4")).expect("stored"),
    ];
    to_the_end(&mut stage, &ids);
    // Without node3 two would be left at that moment: the operator was not told, so it stays (rule 5).
    let OperationState::Failed { failure } = &stage.model.operations[&ids[0]].state else {
        panic!("{:?}", stage.model.operations[&ids[0]].state);
    };
    assert_eq!(failure.code, "lower_tolerance");
    assert!(done(&stage, ids[1]));
    let members = &stage.model.clusters[&prod()].members;
    assert_eq!(members.len(), 4);
    assert!(members.values().all(|member| member.phase == MemberPhase::Member));
}
