//! How operations end: tried again, stopped, not proven, trimmed; and what their intent becomes.

use super::*;
use crate::model::{PlanState, RouterPhase};

const UNCHANGED: StepResult = StepResult::Unchanged;

#[test]
fn what_may_pass_is_tried_again_for_ten_minutes() {
    let mut world = World::new(&["node1"]);
    let id = world.submitted(create_kind(&[]));
    let start = world.now;
    let mut pauses = Vec::new();
    while !world.state(id).is_final() {
        let plan = world.adopt(id, vec![step(1, "node1", Step::Promise {}, &[])]);
        world.end_step(plan, 1, failed(Failure::new("busy", "busy").transient()));
        let not_before = world.model.operations[&id].not_before;
        pauses.push(not_before - world.now);
        world.now = world.now.max(not_before);
    }
    assert_eq!(pauses[..7], [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    assert!(
        (570_000..=600_000).contains(&(world.now - start)),
        "{}",
        world.now - start
    );
    assert!(world.cluster().is_none());
}

#[test]
fn a_stopped_plan_lets_running_steps_end_and_cleans_up() {
    let mut world = World::formed(&["node1", "node2"]);
    let id = world.submitted(OperationKind::Verify);
    let mut clean = step(5, "node1", Step::DropSecret { name: "s".to_owned() }, &[1]);
    clean.finally = true;
    let steps = vec![
        step(1, "node1", Step::MakeSecret { name: "s".to_owned() }, &[]),
        step(2, "node1", Step::Promise {}, &[1]),
        step(3, "node2", Step::Promise {}, &[1]),
        step(4, "node2", Step::Promise {}, &[3]),
        clean,
    ];
    let plan = world.adopt(id, steps);
    let ready = |world: &World| {
        plans::ready_steps(&world.model.plans[&plan])
            .iter()
            .map(|step| step.number)
            .collect::<Vec<_>>()
    };
    world.end_step(plan, 1, outcome(UNCHANGED));
    assert_eq!(
        ready(&world),
        [2, 3, 5],
        "a clean-up step that waits for nothing else is ready"
    );
    world.end_step(plan, 2, failed(Failure::new("no", "no")));
    assert_eq!(world.model.plans[&plan].state, PlanState::Failed { step: 2 });
    assert_eq!(ready(&world), [3], "4 never runs, 5 waits until 3 has ended");
    assert_eq!(world.state(id), &OperationState::Running);
    world.end_step(plan, 3, outcome(UNCHANGED));
    assert_eq!(ready(&world), [5]);
    world.end_step(plan, 5, failed(Failure::new("clean", "clean")));
    assert!(matches!(world.state(id), OperationState::Failed { failure } if failure.code == "no"));
}

#[test]
fn a_best_effort_step_may_fail() {
    let mut world = World::formed(&["node1", "node2"]);
    let id = world.submitted(OperationKind::Verify);
    let mut may = step(1, "node2", Step::Promise {}, &[]);
    may.best_effort = true;
    let plan = world.adopt(id, vec![may, step(2, "node1", Step::Promise {}, &[1])]);
    world.end_step(plan, 1, failed(Failure::new("no", "no")));
    world.end_step(plan, 2, outcome(UNCHANGED));
    assert!(matches!(world.state(id), OperationState::Done { .. }));
}

#[test]
fn a_proof_that_does_not_hold_fails_the_operation() {
    let mut world = World::formed(&["node1"]);
    let id = world.submitted(OperationKind::Verify);
    let plan = world.adopt(id, vec![step(1, "node1", Step::Promise {}, &[])]);
    let proof = |passed| clusterctl_proto::step::StepData::Proof {
        step: 9,
        title: "metadata".to_owned(),
        passed,
        evidence: "a row is missing".to_owned(),
    };
    world.end_step(
        plan,
        1,
        StepOutcome {
            data: Some(proof(false)),
            ..outcome(UNCHANGED)
        },
    );
    assert!(
        matches!(world.state(id), OperationState::Failed { failure } if failure.code == "not_proven" && failure.facts.len() == 1)
    );
}

#[test]
fn plans_that_cannot_be_are_not_adopted() {
    let mut world = World::formed(&["node1"]);
    let id = world.submitted(OperationKind::Verify);
    for bad in [
        vec![step(2, "node1", Step::Promise {}, &[])],
        vec![step(1, "node1", Step::Promise {}, &[1])],
        vec![step(1, "node9", Step::Promise {}, &[])],
    ] {
        let draft = world.draft(id, bad);
        assert!(matches!(world.apply(Change::Adopt { draft }), Answer::Rejected(_)));
    }
    let draft = PlanDraft {
        parent: None,
        ..world.draft(id, Vec::new())
    };
    assert_eq!(code(&world.apply(Change::Adopt { draft })), "plan_not_current");
    assert!(world.model.operations[&id].plans.is_empty());
    world.adopt(id, Vec::new());
    assert!(
        matches!(world.state(id), OperationState::Done { .. }),
        "a plan without steps is done"
    );
}

#[test]
fn routers_and_accounts_follow_their_operations() {
    let mut world = World::formed(&["node1"]);
    world.apply(Change::Enrol {
        token: "t".to_owned(),
        host: host("router1", "key"),
    });
    let add = || OperationKind::AddRouter {
        host: name("router1"),
        ignore_checks: Vec::new(),
    };
    let id = world.submitted(add());
    world.apply(Change::EndOperation {
        operation: id,
        result: Err(Failure::new("no", "no")),
    });
    assert!(world.cluster().expect("cluster").routers.is_empty());
    let id = world.submitted(add());
    world.apply(Change::EndOperation {
        operation: id,
        result: Ok("there".to_owned()),
    });
    assert_eq!(
        world.cluster().expect("cluster").routers[&name("router1")].phase,
        RouterPhase::Router
    );
    let id = world.submitted(OperationKind::RemoveRouter {
        host: name("router1"),
        force: false,
    });
    world.apply(Change::EndOperation {
        operation: id,
        result: Ok("gone".to_owned()),
    });
    assert!(world.cluster().expect("cluster").routers.is_empty());

    let account = |kind| clusterctl_proto::step::Account {
        user: "app".to_owned(),
        from: "%".to_owned(),
        kind,
    };
    let monitor = account(clusterctl_proto::step::AccountKind::Monitor);
    let id = world.submitted(OperationKind::CreateAccount {
        account: monitor.clone(),
    });
    assert!(!world.cluster().expect("cluster").accounts["app@%"].made);
    let admin = account(clusterctl_proto::step::AccountKind::Admin);
    assert_eq!(
        code(&world.submit(OperationKind::CreateAccount { account: admin })),
        "account_exists"
    );
    world.apply(Change::EndOperation {
        operation: id,
        result: Ok("made".to_owned()),
    });
    assert!(world.cluster().expect("cluster").accounts["app@%"].made);
    let id = world.submitted(OperationKind::DropAccount {
        user: "app".to_owned(),
        from: "%".to_owned(),
    });
    world.apply(Change::EndOperation {
        operation: id,
        result: Ok("gone".to_owned()),
    });
    assert!(world.cluster().expect("cluster").accounts.is_empty());
}

#[test]
fn what_an_addition_cleaned_up_is_no_beginning_of_a_removal() {
    let mut world = World::formed(&["node1"]);
    world.apply(Change::Enrol {
        token: "t".to_owned(),
        host: host("router1", "key"),
    });
    let forget = || Step::ForgetRouter {
        address: name("router1"),
        keep_account: None,
    };
    let id = world.submitted(OperationKind::AddRouter {
        host: name("router1"),
        ignore_checks: Vec::new(),
    });
    let plan = world.adopt(id, vec![step(1, "node1", forget(), &[])]);
    world.end_step(plan, 1, outcome(UNCHANGED));
    let phase = |world: &World| world.cluster().expect("cluster").routers[&name("router1")].phase;
    let remove = |force| OperationKind::RemoveRouter {
        host: name("router1"),
        force,
    };
    let id = world.submitted(remove(false));
    assert_eq!(phase(&world), RouterPhase::Removing);
    world.apply(Change::EndOperation {
        operation: id,
        result: Err(Failure::refused("no", "no")),
    });
    assert_eq!(phase(&world), RouterPhase::Router, "nothing of the removal was begun");

    let id = world.submitted(remove(true));
    let plan = world.adopt(id, vec![step(1, "node1", forget(), &[])]);
    world.end_step(plan, 1, failed(Failure::new("no", "no")));
    assert_eq!(phase(&world), RouterPhase::Removing, "its rows may be gone");
}

#[test]
fn old_operations_and_events_are_trimmed() {
    let mut world = World::formed(&["node1"]);
    for _ in 0..crate::model::KEEP_OPERATIONS + 50 {
        let id = world.submitted(OperationKind::Verify);
        let plan = world.adopt(id, vec![step(1, "node1", Step::Promise {}, &[])]);
        world.end_step(plan, 1, outcome(UNCHANGED));
    }
    assert!(world.model.operations.len() <= crate::model::KEEP_OPERATIONS);
    assert!(world.model.plans.len() <= crate::model::KEEP_OPERATIONS);
    for n in 0..6000 {
        world.apply(Change::Note {
            kind: "n".to_owned(),
            cluster: None,
            host: None,
            text: n.to_string(),
        });
    }
    assert_eq!(world.model.events.len(), crate::model::KEEP_EVENTS);
    let ids: Vec<u64> = world.model.events.iter().map(|event| event.id.0).collect();
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

/// It waited an hour behind another one: what fails at its first attempt is tried again all the same.
#[test]
fn an_operation_has_its_patience_yet_when_its_turn_comes() {
    for raised in [true, false] {
        let mut world = World::formed(&["node1"]);
        if raised {
            world.raise();
        }
        let switchover = |host: &str| OperationKind::Switchover { to: Some(name(host)) };
        let first = world.submitted(switchover("node1"));
        let second = world.submitted(OperationKind::Verify);
        world.now += 3_600_000;
        let result = Ok("done".to_owned());
        world.apply(Change::EndOperation {
            operation: first,
            result,
        });
        // A later one that passes it changes nothing.
        let third = world.submitted(switchover("node1"));
        world.now += 60_000;
        world.apply(Change::Cancel { operation: third });
        let plan = world.adopt(second, vec![step(1, "node1", Step::Promise {}, &[])]);
        world.end_step(plan, 1, failed(Failure::new("busy", "busy").transient()));
        assert_eq!(!world.state(second).is_final(), raised);
        let began = operations::began_at(&world.model, &world.model.operations[&second]);
        assert_eq!(began == world.now - 60_000, raised);
    }
}
