//! What is looked at again before a step is sent: each test moves the world in one way after the plan was adopted.

use clusterctl_proto::ids::PlanId;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::Step;

use super::{EVIDENCE_MISSING, Reach, reach};
use crate::machine::plans;
use crate::model::{OperationKind, OperationState, PlannedStep};
use crate::planner::tests::heal_stage::{NODES, node2_stays_away, recover, recovery_submitted};
use crate::planner::tests::stage::{Stage, join};
use crate::planner::tests::toy::name;

/// The code with which the step is not sent now, empty if it is.
fn code(stage: &Stage, plan: PlanId, step: &PlannedStep) -> String {
    let safe = stage.still_safe(plan, step);
    safe.err().map(|failure| failure.code).unwrap_or_default()
}

/// Carries the newest plan out until a step of this reach could be sent.
#[track_caller]
fn until(stage: &mut Stage, wanted: Reach) -> (PlanId, PlannedStep) {
    for _ in 0..20 {
        let plan = stage.model.plans.values().next_back().unwrap();
        let ready = plans::ready_steps(plan).into_iter();
        let mut found = ready
            .filter(|step| reach(&step.step) == wanted)
            .map(|step| (plan.id, step.clone()));
        if let Some(found) = found.next_back() {
            stage.toy.now += 1000;
            stage.toy.look();
            return found;
        }
        stage.carry_out(|_, _, _| None);
    }
    panic!("no such step")
}

/// It gates the first step that cannot be undone: the bootstrap of a forced recovery, also where nobody is abandoned by it.
#[test]
fn a_bootstrap_is_not_sent_when_its_approval_has_ended() {
    let (mut stage, code_shown) = node2_stays_away();
    stage.submit(recover(&["node2"], Some(&code_shown), &stage)).unwrap();
    stage.decide();
    let (plan, step) = until(&mut stage, Reach::Bootstraps);
    stage.toy.now += 10_000;
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), "");
    for without in [vec![name("node2")], Vec::new()] {
        let mut stage = stage.clone();
        let operation = stage.model.operations.values_mut().next_back().unwrap();
        let OperationKind::Recover {
            expires_at,
            without: named,
            accept_loss,
        } = &mut operation.kind
        else {
            panic!("{operation:?}");
        };
        *expires_at = Some(stage.toy.now);
        accept_loss.get_or_insert_default();
        *named = without;
        let failure = stage.still_safe(plan, &step).unwrap_err();
        let told = format!("{failure} {:?}", failure.facts);
        assert!(
            told.contains("the approval of this forced recovery has ended"),
            "{told}"
        );
    }
}

fn submitted(kind: OperationKind) -> Stage {
    let mut stage = Stage::three();
    stage.toy.now += 1000;
    stage.toy.look();
    stage.submit(kind).unwrap();
    stage.decide();
    stage
}

/// All members are out; the coordinator's own recovery is about to bootstrap on node1.
fn recovering() -> (Stage, PlanId, PlannedStep) {
    let mut stage = recovery_submitted();
    stage.decide();
    let (plan, step) = until(&mut stage, Reach::Bootstraps);
    assert_eq!(code(&stage, plan, &step), "");
    (stage, plan, step)
}

#[test]
fn a_bootstrap_is_not_sent_when_a_member_leads_or_holds_more_or_lost_its_promise() {
    let (mut stage, plan, step) = recovering();
    stage.toy.by_hand(&["node3"]);
    stage.toy.group.as_mut().unwrap().name = uuid::Uuid::from_u128(9);
    stage.toy.look();
    assert_eq!(
        code(&stage, plan, &step),
        plans::EVIDENCE_CHANGED,
        "a group, of another name"
    );

    let (mut stage, plan, step) = recovering();
    stage.toy.write_alone("node2");
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), plans::EVIDENCE_CHANGED, "node2 holds more");

    let (mut stage, plan, step) = recovering();
    let (observation, _) = stage.toy.host("node2").seen.as_mut().unwrap();
    observation.ledger.known = false;
    assert_eq!(code(&stage, plan, &step), plans::EVIDENCE_CHANGED, "its ledger is lost");

    let (mut stage, plan, step) = recovering();
    stage.toy.now += 3_001;
    assert_eq!(code(&stage, plan, &step), EVIDENCE_MISSING, "nothing is certain");
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), "");

    let (mut stage, plan, step) = recovering();
    let promise = stage.model.plans[&plan]
        .draft
        .steps
        .iter()
        .position(|step| step.host == name("node2"))
        .unwrap();
    let steps = &mut stage.model.plans.get_mut(&plan).unwrap().draft.steps;
    steps[promise].state = crate::model::StepState::Pending;
    assert_eq!(
        code(&stage, plan, &step),
        plans::EVIDENCE_CHANGED,
        "a promise is missing"
    );
}

/// A host that is no member, in a group of whatever name, sees a member there.
#[test]
fn a_group_that_only_a_stranger_sees_is_a_group() {
    let (mut stage, plan, step) = recovering();
    let (mut observation, at) = stage.toy.hosts[&name("node3")].seen.clone().unwrap();
    let server = observation.mysql.server.as_mut().unwrap();
    server.group_name = uuid::Uuid::from_u128(9).to_string();
    server.group.as_mut().unwrap().state = MemberState::Online;
    stage.toy.host("node4").seen = Some((observation, at));
    assert_eq!(code(&stage, plan, &step), plans::EVIDENCE_CHANGED);
}

/// What a member told before the plan's own last step ended is not what is looked at.
#[test]
fn an_answer_that_is_older_than_the_plans_last_step_is_asked_again() {
    let (mut stage, plan, step) = recovering();
    stage.toy.now += 10;
    stage.model.plans.get_mut(&plan).unwrap().draft.steps[0].state =
        match &stage.model.plans[&plan].draft.steps[0].state {
            crate::model::StepState::Ended { outcome, .. } => crate::model::StepState::Ended {
                outcome: outcome.clone(),
                at: stage.toy.now,
            },
            pending => pending.clone(),
        };
    assert_eq!(code(&stage, plan, &step), EVIDENCE_MISSING);
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), "");
}

/// node3 is about to leave: its row and account are gone already.
fn leaving() -> (Stage, PlanId, PlannedStep) {
    let mut stage = Stage::three();
    let remove = OperationKind::Remove {
        host: name("node3"),
        force: false,
    };
    let operation = crate::model::Operation {
        accept_lower_tolerance: true,
        ..stage.operation(remove)
    };
    stage.submit_as(operation).unwrap();
    stage.toy.now += 1000;
    stage.toy.look();
    stage.decide();
    let (plan, step) = until(&mut stage, Reach::Leaves);
    assert_eq!(code(&stage, plan, &step), "");
    (stage, plan, step)
}

/// The others lose power before the member is told to leave: what it holds may be all that is left of the group's data.
#[test]
fn a_member_leaves_only_while_the_group_lives_on_without_it() {
    let is_member = |stage: &Stage| {
        stage
            .model
            .clusters
            .values()
            .any(|cluster| cluster.members.contains_key(&name("node3")))
    };
    let (mut stage, plan, step) = leaving();
    ["node1", "node2"]
        .iter()
        .for_each(|node| stage.toy.host(node).answers = false);
    stage.toy.now += 4000;
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), EVIDENCE_MISSING, "inside, and nobody leads");
    let shown = |stage: &mut Stage| {
        let (observation, _) = stage.toy.host("node3").seen.as_mut().unwrap();
        observation.mysql.server.as_mut().unwrap().group.take()
    };
    let mut without_majority = shown(&mut stage).unwrap();
    without_majority.state = MemberState::Error;
    NODES.iter().for_each(|node| stage.toy.restart(&name(node)));
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), EVIDENCE_MISSING, "out, and nobody leads");
    assert!(is_member(&stage));
    // They are back, and none is in the group: it is recovered, with node3 as one that counts, and then node3 leaves.
    NODES.iter().for_each(|node| stage.toy.power_on(node));
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), plans::EVIDENCE_CHANGED, "all are out");
    let (observation, _) = stage.toy.host("node3").seen.as_mut().unwrap();
    observation.mysql.server.as_mut().unwrap().group = Some(without_majority);
    assert_eq!(
        code(&stage, plan, &step),
        plans::EVIDENCE_CHANGED,
        "it has given up, in ERROR"
    );
    stage.toy.look();
    stage.alone_for(40);
    assert_eq!(crate::planner::tests::heal_stage::inside(&stage), ["node1", "node2"]);
    assert!(!is_member(&stage));

    let (mut stage, plan, step) = leaving();
    let (observation, _) = stage.toy.host("node1").seen.as_mut().unwrap();
    let view = observation.mysql.server.as_mut().unwrap().group.as_mut().unwrap();
    let node2 = view.members.iter_mut().find(|row| row.host == "node2").unwrap();
    node2.state = MemberState::Unreachable;
    assert!(view.has_quorum());
    assert_eq!(code(&stage, plan, &step), EVIDENCE_MISSING, "a majority only with it");

    let (mut stage, plan, step) = leaving();
    stage.toy.group.as_mut().unwrap().primary = name("node3");
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), plans::EVIDENCE_CHANGED, "it leads");
}

#[test]
fn nobody_is_forgotten_who_is_in_the_group_again() {
    let mut stage = Stage::three();
    stage.toy.power_off("node3");
    stage.toy.now += 4000;
    stage.toy.look();
    let kind = OperationKind::Remove {
        host: name("node3"),
        force: true,
    };
    stage
        .submit_as(crate::model::Operation {
            accept_lower_tolerance: true,
            ..stage.operation(kind)
        })
        .unwrap();
    stage.decide();
    let (plan, step) = until(&mut stage, Reach::Forgets);
    assert_eq!(code(&stage, plan, &step), "");
    // Back in the group, but its agent is silent still.
    stage.toy.group.as_mut().unwrap().members.insert(name("node3"));
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), plans::EVIDENCE_CHANGED);
}

/// Its data directory was replaced, so it is not made to leave; then the old one was mounted again, and it came in.
#[test]
fn a_member_that_does_not_leave_is_not_forgotten_while_it_is_in_the_group() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.host("node3").data = clusterctl_proto::observe::DataDirectory::Foreign {
        what: "schemas: shop".to_owned(),
    };
    stage.toy.now += 1000;
    stage.toy.look();
    let remove = OperationKind::Remove {
        host: name("node3"),
        force: false,
    };
    stage.submit(remove).unwrap();
    stage.decide();
    let (plan, step) = until(&mut stage, Reach::Forgets);
    assert_eq!(code(&stage, plan, &step), "");
    stage.toy.group.as_mut().unwrap().members.insert(name("node3"));
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), plans::EVIDENCE_CHANGED);
}

#[test]
fn a_member_joins_only_while_somebody_leads_and_only_with_what_the_group_has() {
    let mut stage = submitted(join("node4"));
    let (plan, step) = until(&mut stage, Reach::Joins);
    assert_eq!(code(&stage, plan, &step), "");
    stage.toy.write_alone("node4");
    stage.toy.server("node4").user_schemas = None;
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), plans::EVIDENCE_CHANGED);

    let mut stage = submitted(join("node4"));
    let (plan, step) = until(&mut stage, Reach::Joins);
    NODES.iter().for_each(|node| stage.toy.restart(&name(node)));
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), EVIDENCE_MISSING);
}

/// The coordinator has just restarted, and node2's agent is about to connect again: nobody knows yet whether node2's data are proven.
#[test]
fn a_join_waits_for_the_word_of_a_donor_whose_agent_is_silent() {
    let mut stage = submitted(join("node4"));
    let (plan, step) = until(&mut stage, Reach::Joins);
    let node2 = stage.toy.host("node2");
    (node2.answers, node2.seen) = (false, None);
    stage.toy.now += 1000;
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), EVIDENCE_MISSING);
    stage.toy.host("node2").answers = true;
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), "");
}

/// It recovers for hours, and the coordinator restarts: the step is sent again, to wait until the member is ONLINE.
#[test]
fn a_join_whose_member_is_inside_waits_for_no_data_directory() {
    let mut stage = submitted(join("node4"));
    let (plan, step) = until(&mut stage, Reach::Joins);
    stage.toy.host("node2").data = clusterctl_proto::observe::DataDirectory::Foreign {
        what: format!("{} in time", clusterctl_proto::observe::DataDirectory::UNSEEN),
    };
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), EVIDENCE_MISSING, "it is out");
    stage.toy.group.as_mut().unwrap().members.insert(name("node4"));
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), "");
}

/// Clean-up is sent whatever has changed, and what changes nothing is not held by evidence.
#[test]
fn harmless_steps_and_clean_up_need_no_evidence() {
    let (mut stage, plan, step) = recovering();
    stage.toy.now += 60_000;
    let clean = PlannedStep {
        finally: true,
        ..step.clone()
    };
    assert_eq!(code(&stage, plan, &clean), "");
    let promise = PlannedStep {
        step: Step::Promise {},
        ..step
    };
    assert_eq!(code(&stage, plan, &promise), "");
}

/// The plan that was stopped so is followed by one that starts from what is seen.
#[test]
fn the_next_plan_starts_from_what_is_seen() {
    let (mut stage, plan, _) = recovering();
    stage.toy.write_alone("node2");
    stage.toy.look();
    stage.carry_out(|_, _, _| None);
    assert!(plans::is_settled(&stage.model.plans[&plan]));
    let operation = &stage.model.operations[&stage.model.plans[&plan].draft.operation];
    assert!(matches!(operation.state, OperationState::Waiting { .. }));
    stage.alone_for(40);
    assert_eq!(
        stage.toy.group.as_ref().map(|group| group.primary.clone()),
        Some(name("node2"))
    );
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

/// The coordinator dies with the outcome: the group that is seen is the plan's own work, and the order that is sent again only answers.
#[test]
fn a_bootstrap_whose_outcome_was_lost_is_sent_again() {
    let (mut stage, plan, step) = recovering();
    stage.toy.generation = Some(stage.model.plans[&plan].generation);
    stage.toy.run(&step.host, &step.step);
    stage.toy.now += 1000;
    stage.toy.look();
    assert_eq!(code(&stage, plan, &step), "");

    let (mut stage, plan, step) = recovering();
    stage.toy.by_hand(&[step.host.as_str()]);
    stage.toy.now += 1000;
    stage.toy.look();
    assert_eq!(
        code(&stage, plan, &step),
        plans::EVIDENCE_CHANGED,
        "a person was faster"
    );
}
