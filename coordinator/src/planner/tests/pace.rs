//! What fails or does not last is tried again, after pauses that grow and are told.

use clusterctl_proto::ids::OperationId;
use clusterctl_proto::step::Step;

use super::heal_stage::{NODES, healings, inside, not, of_host};
use super::stage::Stage;
use super::toy::name;

fn fail(stage: &mut Stage, retry: bool) {
    stage.toy.now += 1000;
    stage.toy.look();
    stage.heal();
    stage.decide();
    while stage.carry_out(|_, _, step| {
        matches!(step, Step::JoinGroup { .. }).then(|| super::sim::failed("group_start", retry))
    }) {}
}

#[test]
fn what_fails_is_tried_after_pauses_that_grow_and_are_told() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.server("node3").uptime_seconds = 1_000_000;
    let mut attempts = 0;
    for _ in 0..300 {
        let before = stage.model.plans.len();
        fail(&mut stage, false);
        attempts += stage.model.plans.len() - before;
    }
    assert_eq!(attempts, 4, "at once, and after 30, 60 and 120 s");
    let trouble = of_host(&stage, "node3").unwrap();
    let (state, why) = not(&trouble);
    assert!(
        state == "waiting" && why.contains("failed 4 times") && why.contains("next attempt"),
        "{why}"
    );

    // A clock that was set back holds nobody up.
    stage.toy.now -= 86_400_000;
    stage.toy.hosts.values_mut().for_each(|host| host.seen = None);
    stage.alone_for(2);
    assert_eq!(inside(&stage), NODES);
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_an_operation_waiting() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    fail(&mut stage, true);
    let id: OperationId = healings(&stage)[0].id;
    assert!(stage.model.operations[&id].not_before > stage.toy.now);
    stage.toy.now -= 3_600_000;
    stage.toy.hosts.values_mut().for_each(|host| host.seen = None);
    stage.alone_for(2);
    assert_eq!(inside(&stage), NODES);
}

#[test]
fn a_server_that_has_started_since_is_tried_at_once_but_not_for_ever() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.server("node3").uptime_seconds = 1;
    for attempts in [1, 2, 3, 3] {
        stage.toy.now += 2000;
        fail(&mut stage, false);
        assert_eq!(healings(&stage).len(), attempts);
    }
}

/// mysqld that fails seconds after each start, a member that does not stay in: mended, but not without pause.
#[test]
fn what_does_not_last_is_paced() {
    let mut stage = Stage::three();
    let mut mended = Vec::new();
    for second in 0..240 {
        stage.toy.restart(&name("node3"));
        let before = healings(&stage).len();
        stage.alone();
        if healings(&stage).len() > before {
            mended.push(second);
        }
    }
    assert!(
        mended.len() <= 16 && mended[..5].iter().all(|second| *second < 20),
        "{mended:?}"
    );
    let trouble = of_host(&stage, "node3");
    let told = trouble.as_ref().map(not);
    assert!(told.is_some_and(|(_, why)| why.contains("does not last")), "{told:?}");
}

/// Between failures the member looks better for a moment: the operation ends as not needed, which has mended nothing.
#[test]
fn what_was_not_needed_for_a_moment_does_not_end_a_pause() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.server("node3").uptime_seconds = 1_000_000;
    (0..40).for_each(|_| fail(&mut stage, false));
    let operations = healings(&stage).len();
    assert_eq!(operations, 2);
    let kind = healings(&stage)[0].kind.clone();
    let by = "coordinator/1".to_owned();
    let operation = crate::model::Operation {
        by,
        ..stage.operation(kind)
    };
    let id = stage.submit_as(operation).unwrap();
    stage.apply(crate::machine::Change::EndOperation {
        operation: id,
        result: Ok("not needed any more".to_owned()),
    });
    fail(&mut stage, false);
    assert_eq!(healings(&stage).len(), operations + 1, "no attempt");
    let trouble = of_host(&stage, "node3").unwrap();
    assert!(not(&trouble).1.contains("failed 2 times"), "{trouble:?}");

    // An hour later that is forgotten.
    stage.toy.now += 2 * 3_600_000;
    fail(&mut stage, false);
    let trouble = of_host(&stage, "node3").unwrap();
    assert!(not(&trouble).1.contains("failed once"), "{trouble:?}");
}
