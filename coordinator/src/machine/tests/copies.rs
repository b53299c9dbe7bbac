//! A copy is a plan beside others: what may be adopted beside what, and what becomes of its operation.

use super::*;
use crate::model::PlanState;

fn copy_step(donor: &str) -> Step {
    Step::CloneData {
        donor: name(donor),
        port: 3306,
        group_name: Uuid::nil(),
        account: account(),
        group_gtid: String::new(),
        history: None,
    }
}

fn rejoin(host: &str) -> OperationKind {
    OperationKind::Rejoin { host: name(host) }
}

impl World {
    fn copy_draft(&self, operation: OperationId, host: &str) -> PlanDraft {
        PlanDraft {
            side: true,
            goes_on: true,
            ..self.draft(operation, vec![step(1, host, copy_step("node1"), &[])])
        }
    }

    fn copies(&mut self, operation: OperationId, host: &str) -> PlanId {
        let draft = self.copy_draft(operation, host);
        match self.apply(Change::Adopt { draft }) {
            Answer::Plan(id) => id,
            other => panic!("not adopted: {other:?}"),
        }
    }

    fn rejected(&mut self, draft: PlanDraft) -> String {
        code(&self.apply(Change::Adopt { draft })).to_owned()
    }
}

fn three() -> World {
    World::formed(&["node1", "node2", "node3"])
}

#[test]
fn plans_that_leave_the_host_alone_are_adopted_beside_a_copy() {
    let mut world = three();
    let copying = world.submitted(rejoin("node3"));
    let chain = world.cluster().unwrap().last_plan;
    let copy = world.copies(copying, "node3");
    assert_eq!(world.cluster().unwrap().last_plan, chain, "it is none of the chain");
    assert_eq!(world.cluster().unwrap().last_copy, Some(copy));
    assert_eq!(world.state(copying), &OperationState::Running);

    let moving = world.submitted(OperationKind::Switchover {
        to: Some(name("node2")),
    });
    let moves = |on: &str| step(1, on, Step::SetPrimary { timeout_seconds: 9 }, &[]);
    // A newer order there would raise its ledger, and the copy's would be refused.
    let there = world.draft(moving, vec![moves("node2"), step(2, "node3", Step::Promise {}, &[1])]);
    assert_eq!(world.rejected(there), "host_busy");
    let plan = world.adopt(moving, vec![moves("node2")]);
    assert_eq!(world.cluster().unwrap().last_plan, Some(plan));
    // Both go on, each by its own outcomes.
    world.end_step(plan, 1, outcome(StepResult::Unchanged));
    assert!(matches!(world.state(moving), OperationState::Done { .. }));
    assert_eq!(world.model.plans[&copy].state, PlanState::Running);
    world.end_step(copy, 1, outcome(StepResult::Unchanged));
    assert_eq!(
        world.state(copying),
        &OperationState::Waiting {
            why: "its next plan follows".to_owned()
        }
    );
    // The entry is of the chain.
    let entry = world.adopt(copying, vec![step(1, "node3", join_step(), &[])]);
    assert_eq!(world.cluster().unwrap().last_plan, Some(entry));
    world.end_step(entry, 1, outcome(StepResult::Unchanged));
    assert!(matches!(world.state(copying), OperationState::Done { .. }));
}

#[test]
fn an_entry_is_never_beside_another_plan() {
    let mut world = three();
    let (two, three) = (world.submitted(rejoin("node2")), world.submitted(rejoin("node3")));
    // As a plan beside others it is refused, alone or with a copy.
    for steps in [
        vec![step(1, "node3", join_step(), &[])],
        vec![
            step(1, "node3", copy_step("node1"), &[]),
            step(2, "node3", join_step(), &[1]),
        ],
        Vec::new(),
    ] {
        let draft = PlanDraft {
            side: true,
            goes_on: true,
            ..world.draft(three, steps)
        };
        assert_eq!(world.rejected(draft), "bad_plan");
    }
    let ends_it = PlanDraft {
        goes_on: false,
        ..world.copy_draft(three, "node3")
    };
    assert_eq!(
        world.rejected(ends_it),
        "bad_plan",
        "the operation goes on after its copy"
    );
    // While one enters nothing else is adopted, not even a copy.
    let entry = world.adopt(two, vec![step(1, "node2", join_step(), &[])]);
    let copy = world.copy_draft(three, "node3");
    assert_eq!(world.rejected(copy), "plan_not_current");
    let other = world.draft(three, vec![step(1, "node3", join_step(), &[])]);
    assert_eq!(world.rejected(other), "plan_not_current");
    world.end_step(entry, 1, outcome(StepResult::Unchanged));
    world.copies(three, "node3");
}

#[test]
fn a_copy_made_of_an_older_state_or_of_a_busy_host_is_not_adopted() {
    let mut world = three();
    let (one, other) = (world.submitted(rejoin("node3")), world.submitted(rejoin("node2")));
    let stale = world.copy_draft(one, "node3");
    let plan = world.adopt(other, vec![step(1, "node2", Step::StartServer {}, &[])]);
    world.end_step(plan, 1, outcome(StepResult::Unchanged));
    assert_eq!(world.rejected(stale), "plan_not_current");
    let copy = world.copies(one, "node3");
    let third = world.submitted(join_kind("node3"));
    let again = world.copy_draft(third, "node3");
    assert_eq!(world.rejected(again), "host_busy");
    // It was given up, and its agent has not said that it ended.
    let outcome = failed(Failure::new("host_silent", "away"));
    world.apply(Change::GiveUp {
        plan: copy,
        step: 1,
        outcome,
        may_run: true,
    });
    let again = world.copy_draft(third, "node3");
    assert_eq!(world.rejected(again), "host_busy");
    world.apply(Change::Settle {
        plan: copy,
        step: 1,
        outcome: None,
    });
    world.copies(third, "node3");
}

#[test]
fn nothing_is_bootstrapped_while_a_member_is_copied() {
    let mut world = three();
    let copying = world.submitted(rejoin("node3"));
    let copy = world.copies(copying, "node3");
    let recovery = world.submitted(OperationKind::Recover {
        without: Vec::new(),
        accept_loss: None,
        expires_at: None,
    });
    let bootstrap = || Step::BootstrapGroup {
        group: group(),
        holds: Default::default(),
        lineage: None,
        peers: Vec::new(),
    };
    let draft = world.draft(recovery, vec![step(1, "node1", bootstrap(), &[])]);
    assert_eq!(world.rejected(draft), "host_busy");
    // The leader stops it for that, and the agent says so: its operation is planned anew later.
    world.end_step(
        copy,
        1,
        failed(Failure::new(plans::STEP_CANCELLED, "the step was cancelled")),
    );
    assert!(
        matches!(world.state(copying), OperationState::Waiting { .. }),
        "{:?}",
        world.state(copying)
    );
    world.adopt(recovery, vec![step(1, "node1", bootstrap(), &[])]);
}

#[test]
fn a_cancelled_copy_keeps_its_host_until_its_agent_has_spoken() {
    let mut world = three();
    let copying = world.submitted(rejoin("node3"));
    let copy = world.copies(copying, "node3");
    world.apply(Change::Cancel { operation: copying });
    assert!(matches!(world.state(copying), OperationState::Cancelled { .. }));
    let other = world.submitted(rejoin("node3"));
    let draft = world.draft(other, vec![step(1, "node3", join_step(), &[])]);
    assert_eq!(world.rejected(draft), "host_busy");
    world.end_step(
        copy,
        1,
        failed(Failure::new(plans::STEP_CANCELLED, "the step was cancelled")),
    );
    assert!(matches!(world.state(copying), OperationState::Cancelled { .. }));
    world.adopt(other, vec![step(1, "node3", join_step(), &[])]);
}

#[test]
fn what_ended_hours_ago_gets_its_time_from_the_copy_on() {
    let mut world = three();
    let copying = world.submitted(rejoin("node3"));
    let copy = world.copies(copying, "node3");
    world.now += 5 * 3_600_000;
    world.end_step(copy, 1, outcome(StepResult::Unchanged));
    let entry = world.adopt(copying, vec![step(1, "node3", join_step(), &[])]);
    let later = Failure::new("group_start", "not now").transient();
    world.end_step(entry, 1, failed(later.clone()));
    assert!(
        matches!(world.state(copying), OperationState::Waiting { .. }),
        "{:?}",
        world.state(copying)
    );
    world.now += operations::RETRY_FOR_MS;
    let entry = world.adopt(copying, vec![step(1, "node3", join_step(), &[])]);
    world.end_step(entry, 1, failed(later));
    assert!(matches!(world.state(copying), OperationState::Failed { .. }));
}

/// The donor was restarted in the middle of it: the join of an operator does not end with that. In a log of a release before it does.
#[test]
fn a_copy_that_breaks_off_after_hours_is_tried_again() {
    for level in [2, 3] {
        let mut world = three();
        assert_eq!(world.apply(Change::RaiseFeatureLevel { to: level }), Answer::Applied);
        let copying = world.submitted(rejoin("node3"));
        let mut tries = 0;
        loop {
            let copy = world.copies(copying, "node3");
            world.now += 5 * 3_600_000;
            world.end_step(copy, 1, failed(Failure::new("clone", "the donor is gone").transient()));
            tries += 1;
            match world.state(copying) {
                OperationState::Waiting { .. } => world.now += 60_000,
                OperationState::Failed { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(tries, if level < 3 { 1 } else { 9 }, "what always breaks is given up");
    }
}
