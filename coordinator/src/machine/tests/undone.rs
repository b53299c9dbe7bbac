//! What becomes of the intent of operations that were cancelled or failed: taken back where nothing was begun, and nobody wants it again.

use super::*;
use crate::model::PlanState;

const UNCHANGED: StepResult = StepResult::Unchanged;

fn at_newest_level(hosts: &[&str]) -> World {
    let mut world = World::formed(hosts);
    world.raise();
    world
}

fn joining(world: &World, host: &str) -> bool {
    world
        .cluster()
        .is_some_and(|cluster| cluster.members.contains_key(&name(host)))
}

/// A plan with a step on each of these hosts, of which the first has failed and the second runs.
fn half_failed(world: &mut World, operation: OperationId, hosts: [&str; 2], last: Step) -> PlanId {
    let steps = vec![
        step(1, hosts[0], Step::Promise {}, &[]),
        step(2, hosts[1], Step::Promise {}, &[]),
        step(3, hosts[1], last, &[1, 2]),
    ];
    let plan = world.adopt(operation, steps);
    world.end_step(plan, 1, failed(Failure::new("no", "no")));
    assert_eq!(world.model.plans[&plan].state, PlanState::Failed { step: 1 });
    plan
}

/// The planner refuses a join of this host.
fn refuse_join(world: &mut World, host: &str) {
    let operation = world.submitted(join_kind(host));
    let result = Err(Failure::refused("no", "no"));
    world.apply(Change::EndOperation { operation, result });
}

/// The accounts on the primary failed while the packages on node4 were installed for minutes, and the operator cancelled.
#[test]
fn an_operation_cancelled_while_its_failed_plan_ends_is_rolled_back_when_that_has_ended() {
    let mut world = at_newest_level(&["node1"]);
    world.enrol("node4");
    let id = world.submitted(join_kind("node4"));
    let plan = half_failed(&mut world, id, ["node1", "node4"], join_step());
    assert_eq!(world.apply(Change::Cancel { operation: id }), Answer::Applied);
    assert!(joining(&world, "node4"), "its step runs");
    world.end_step(plan, 2, outcome(UNCHANGED));
    assert!(!joining(&world, "node4"), "nothing of its entry was begun");
    assert!(matches!(world.state(id), OperationState::Cancelled { .. }));

    let mut world = World::new(&["node1", "node2"]);
    world.raise();
    let id = world.submitted(create_kind(&["node2"]));
    let plan = half_failed(&mut world, id, ["node1", "node2"], join_step());
    world.apply(Change::Cancel { operation: id });
    world.end_step(plan, 2, outcome(UNCHANGED));
    assert!(world.cluster().is_none(), "its group was never bootstrapped");
}

/// Entries of before level 4 keep what they meant: the plans after them were made of it.
#[test]
fn a_cancel_before_level_4_leaves_the_intent_that_it_left() {
    let mut world = World::formed(&["node1"]);
    world.enrol("node4");
    let id = world.submitted(join_kind("node4"));
    let plan = half_failed(&mut world, id, ["node1", "node4"], join_step());
    world.apply(Change::Cancel { operation: id });
    world.end_step(plan, 2, outcome(UNCHANGED));
    assert!(joining(&world, "node4"));
}

#[test]
fn a_cancelled_operation_leaves_the_intent_to_one_that_wants_the_same_again() {
    let mut world = at_newest_level(&["node1"]);
    world.enrol("node4");
    let first = world.submitted(join_kind("node4"));
    let plan = half_failed(&mut world, first, ["node1", "node4"], join_step());
    world.apply(Change::Cancel { operation: first });
    let second = world.submitted(join_kind("node4"));
    world.end_step(plan, 2, outcome(UNCHANGED));
    assert!(joining(&world, "node4"), "the second join brings it in");
    world.apply(Change::Cancel { operation: second });
    assert!(!joining(&world, "node4"));
}

/// The group lives already, so the plan of the repeated create makes none; it lets node2 in, and fails.
#[test]
fn a_create_that_went_on_with_a_living_group_is_not_taken_back() {
    for raised in [true, false] {
        let mut world = World::new(&["node1", "node2"]);
        if raised {
            world.raise();
        }
        let id = world.submitted(create_kind(&["node2"]));
        let plan = world.adopt(id, vec![step(1, "node2", join_step(), &[])]);
        world.end_step(plan, 1, failed(Failure::new("no", "no")));
        assert!(matches!(world.state(id), OperationState::Failed { .. }));
        assert_eq!(world.cluster().is_some(), raised);
    }
}

/// Plans are forgotten with their operations; a member that is ONLINE, and whose join failed after it had entered, is one all the same.
#[test]
fn a_refused_join_leaves_a_member_that_entered_by_a_plan_that_is_not_kept() {
    let mut world = at_newest_level(&["node1"]);
    world.enrol("node2");
    let joins = |world: &mut World| {
        let id = world.submitted(join_kind("node2"));
        let steps = vec![
            step(1, "node2", join_step(), &[]),
            step(2, "node1", Step::Promise {}, &[1]),
        ];
        (id, world.adopt(id, steps))
    };
    let (_, plan) = joins(&mut world);
    world.end_step(plan, 1, outcome(UNCHANGED));
    world.end_step(plan, 2, failed(Failure::new("no", "no")));
    world.model.operations.clear();
    world.model.plans.clear();
    refuse_join(&mut world, "node2");
    assert!(joining(&world, "node2"), "it is in the group");

    // Removed and joined again it is another member.
    let operation = world.submitted(OperationKind::Remove {
        host: name("node2"),
        force: false,
    });
    let result = Ok("gone".to_owned());
    world.apply(Change::EndOperation { operation, result });
    let (id, plan) = joins(&mut world);
    world.apply(Change::GiveUp {
        plan,
        step: 1,
        outcome: failed(Failure::new("host_silent", "away")),
        may_run: false,
    });
    assert!(world.state(id).is_final() && !joining(&world, "node2"), "never begun");
}

/// The join was given up while the agent of node2 was silent; later the agent says what became of the step. Never begun, nothing was let
/// in, and the next join that is refused takes node2 back. Ended, it may have entered, also when the plan is not kept any more.
#[test]
fn a_step_that_was_given_up_marks_its_member_when_its_agent_says_that_it_ran() {
    for ran in [false, true] {
        let mut world = at_newest_level(&["node1"]);
        world.enrol("node2");
        let id = world.submitted(join_kind("node2"));
        let plan = world.adopt(id, vec![step(1, "node2", join_step(), &[])]);
        let outcome = failed(Failure::new("host_silent", "away"));
        world.apply(Change::GiveUp {
            plan,
            step: 1,
            outcome: outcome.clone(),
            may_run: true,
        });
        assert!(world.state(id).is_final() && joining(&world, "node2"), "it may run");
        refuse_join(&mut world, "node2");
        assert!(joining(&world, "node2"), "it may run still");
        world.apply(Change::Settle {
            plan,
            step: 1,
            outcome: ran.then_some(outcome),
        });
        if ran {
            world.model.operations.clear();
            world.model.plans.clear();
        }
        refuse_join(&mut world, "node2");
        assert_eq!(joining(&world, "node2"), ran);
    }
}
