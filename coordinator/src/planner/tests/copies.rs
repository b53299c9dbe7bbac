//! A copy is a plan of its own: others of the cluster are carried out beside it, entries into the group never; what follows is planned
//! anew.

mod donors;
mod half;
mod stops;

use clusterctl_proto::ids::{HostName, OperationId, PlanId};
use clusterctl_proto::lineage::{Before, LineageId, MemberLineage, Span, Trust};
use clusterctl_proto::observe::DataDirectory;
use clusterctl_proto::step::{Recovery, Step};

use super::heal_stage::{NODES, inside, of_host, recover, troubles};
use super::stage::{Stage, join, prod};
use super::toy::name;
use crate::check::{self, Halt, halt};
use crate::machine::{Answer, Change, plans};
use crate::model::operation::RecoveryWish;
use crate::model::{HandsOff, Model, OperationKind, OperationState, Plan, PlanDraft, PlanState};
use crate::planner::Decision;
use crate::planner::heal::Care;

fn join_by_copy(host: &str) -> OperationKind {
    OperationKind::Join {
        host: name(host),
        recovery: RecoveryWish::Clone,
        ignore_checks: Vec::new(),
    }
}

fn remove(host: &str) -> OperationKind {
    OperationKind::Remove {
        host: name(host),
        force: false,
    }
}

fn switchover(to: &str) -> OperationKind {
    OperationKind::Switchover { to: Some(name(to)) }
}

fn state(stage: &Stage, id: OperationId) -> &OperationState {
    &stage.model.operations[&id].state
}

fn is_done(stage: &Stage, id: OperationId) -> bool {
    matches!(state(stage, id), OperationState::Done { .. })
}

/// Plans of an operation, in order: a short word for each.
fn plans_of(stage: &Stage, id: OperationId) -> Vec<&'static str> {
    let plans = stage.model.operations[&id].plans.iter();
    plans.map(|plan| word(&stage.model.plans[plan].draft)).collect()
}

fn word(draft: &PlanDraft) -> &'static str {
    let enters = |step: &Step| matches!(step, Step::JoinGroup { .. } | Step::BootstrapGroup { .. });
    let all: Vec<&str> = draft.steps.iter().map(|step| step.step.name()).collect();
    match (draft.side, draft.steps.iter().any(|step| enters(&step.step))) {
        (true, false) if all == ["clone_data"] => "copy",
        (false, true) => "entry",
        (false, false) => "other",
        _ => panic!("{all:?}"),
    }
}

fn open(stage: &Stage) -> Vec<&Plan> {
    let plans = stage.model.plans.values();
    plans.filter(|plan| !plans::is_settled(plan)).collect()
}

fn copying(stage: &Stage) -> Vec<HostName> {
    plans::copies(&stage.model, &prod()).into_keys().cloned().collect()
}

/// At most one plan that is no copy is carried out, and no plan of the others touches a host that is copied.
pub fn in_order(stage: &Stage) {
    let open = open(stage);
    assert!(open.iter().filter(|plan| !plan.draft.side).count() <= 1);
    let copied = copying(stage);
    for plan in open.iter().filter(|plan| !plan.draft.side) {
        assert!(plan.draft.steps.iter().all(|step| !copied.contains(&step.host)));
    }
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

/// node3 is out and lacks what no member has in its binary logs: it is being copied.
fn node3_is_copied() -> (Stage, OperationId) {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.write();
    stage.toy.purge();
    stage.copies_last = true;
    stage.alone_for(3);
    assert_eq!(copying(&stage), [name("node3")]);
    let rejoin = stage.model.active_operations().next().expect("a healing").id;
    assert_eq!(plans_of(&stage, rejoin), ["copy"]);
    (stage, rejoin)
}

/// Another new member needs no copy.
fn keeps_logs(stage: &mut Stage) {
    for node in ["node1", "node2"] {
        stage.toy.server(node).gtid_purged = String::new();
    }
}

fn until_done(stage: &mut Stage, id: OperationId) {
    for _ in 0..60 {
        if is_done(stage, id) {
            return;
        }
        stage.alone();
        in_order(stage);
    }
    panic!("{:?}", state(stage, id));
}

#[test]
fn a_join_by_copy_is_three_plans_and_goes_on_until_the_last_has_ended() {
    let mut stage = Stage::three();
    stage.copies_last = true;
    let id = stage.submit(join_by_copy("node4")).unwrap();
    (0..4).for_each(|_| stage.tick());
    assert_eq!(plans_of(&stage, id), ["other", "copy"]);
    assert_eq!(state(&stage, id), &OperationState::Running);
    let last = stage.model.clusters[&prod()].last_plan;
    assert_eq!(
        last,
        Some(stage.model.operations[&id].plans[0]),
        "a copy is none of the chain"
    );
    assert_eq!(inside(&stage), NODES);
    stage.copies_last = false;
    until_done(&mut stage, id);
    assert_eq!(
        plans_of(&stage, id),
        ["other", "copy", "entry"],
        "copied once, as was asked"
    );
    assert_eq!(inside(&stage), ["node1", "node2", "node3", "node4"]);
    let entry = &stage.model.plans[stage.model.operations[&id].plans.last().unwrap()];
    let incremental = |step: &Step| {
        matches!(
            step,
            Step::JoinGroup {
                recovery: Recovery::Incremental,
                ..
            }
        )
    };
    assert!(entry.draft.steps.iter().any(|step| incremental(&step.step)));
}

#[test]
fn the_primary_moves_while_a_member_is_copied_and_the_entry_is_planned_with_fresh_evidence() {
    let (mut stage, rejoin) = node3_is_copied();
    let before = stage.toy.server("node1").gtid_executed.clone();
    keeps_logs(&mut stage);
    let moved = stage.submit(switchover("node2")).unwrap();
    for _ in 0..5 {
        stage.alone();
        in_order(&stage);
        assert_eq!(copying(&stage), [name("node3")]);
    }
    assert!(is_done(&stage, moved), "{:?}", state(&stage, moved));
    assert_eq!(state(&stage, rejoin), &OperationState::Running);
    stage.toy.write();
    let id = stage.submit(join("node4")).unwrap();
    until_done(&mut stage, id);
    assert_eq!(copying(&stage), [name("node3")], "another member has entered meanwhile");

    stage.copies_last = false;
    until_done(&mut stage, rejoin);
    assert_eq!(plans_of(&stage, rejoin), ["copy", "entry"]);
    let entry = &stage.model.plans[stage.model.operations[&rejoin].plans.last().unwrap()];
    let has = entry.draft.steps.iter().find_map(|step| match &step.step {
        Step::JoinGroup { group_gtid, .. } => Some(group_gtid.clone()),
        _ => None,
    });
    let (has, before): (clusterctl_proto::gtid::GtidSet, clusterctl_proto::gtid::GtidSet) =
        (has.unwrap().parse().unwrap(), before.parse().unwrap());
    assert!(
        has.contains(&before) && has != before,
        "{has} is what the group had before: {before}"
    );
    // It knows the host that came while it was copied.
    let hosts = entry.draft.steps.iter().find_map(|step| match &step.step {
        Step::HostsFile { entries } if step.host == name("node3") => Some(entries.len()),
        _ => None,
    });
    assert!(hosts.is_some_and(|hosts| hosts >= 4), "{hosts:?}");
}

/// What was told before the copy ended is older than what is there.
#[test]
fn the_entry_is_not_planned_of_what_was_seen_before_the_copy_ended() {
    let (mut stage, rejoin) = node3_is_copied();
    stage.copies_last = false;
    stage.toy.host("node3").half_copied = false;
    stage.toy.look();
    stage.carry_out(|_, _, _| None);
    assert_eq!(plans_of(&stage, rejoin), ["copy"]);
    stage.decide();
    assert!(
        matches!(state(&stage, rejoin), OperationState::Waiting { why } if why.contains("node3 is asked again")),
        "{:?}",
        state(&stage, rejoin)
    );
    stage.toy.now += 1000;
    stage.toy.look();
    stage.decide();
    assert_eq!(plans_of(&stage, rejoin), ["copy", "entry"]);
}

#[test]
fn a_host_that_is_copied_gets_no_order_of_another_plan() {
    let (mut stage, rejoin) = node3_is_copied();
    let copy = *stage.model.operations[&rejoin].plans.last().unwrap();
    let newest = |stage: &Stage| {
        let plans = stage.model.plans.values();
        let touching = plans.filter(|plan| plan.draft.steps.iter().any(|step| step.host == name("node3")));
        touching.map(|plan| plan.id).max()
    };
    keeps_logs(&mut stage);
    let moved = stage.submit(switchover("node2")).unwrap();
    let joined = stage.submit(join("node4")).unwrap();
    until_done(&mut stage, moved);
    until_done(&mut stage, joined);
    // A newer order would raise its ledger, and what is left of the copy would be refused.
    assert_eq!(newest(&stage), Some(copy));
    let removed = stage.submit(remove("node3")).unwrap();
    stage.toy.now += 1000;
    stage.toy.look();
    stage.decide();
    assert!(
        matches!(state(&stage, removed), OperationState::Waiting { why } if why.contains("node3 is being copied from node2 by operation")),
        "{:?}",
        state(&stage, removed)
    );
    assert_eq!(newest(&stage), Some(copy));
}

/// A plan that breaks a rule is made of one that breaks none.
fn broken(stage: &Stage, id: OperationId, change: impl Fn(&mut PlanDraft)) -> String {
    broken_later(stage, stage, id, change)
}

/// The same where the world has changed since.
fn broken_later(stage: &Stage, now: &Stage, id: OperationId, change: impl Fn(&mut PlanDraft)) -> String {
    let operation = &stage.model.operations[&id];
    let Decision::Plan(mut draft) = stage.ask(operation) else {
        panic!("no plan")
    };
    change(&mut draft);
    let sight = now.toy.sight();
    let failure = now.look(&sight, |world| check::check(world, operation, &draft));
    failure.expect_err("a plan that breaks a rule").code
}

#[test]
fn what_is_beside_other_plans_is_one_copy_and_enters_nothing() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.write();
    stage.toy.purge();
    stage.toy.now += 1000;
    stage.toy.look();
    stage.heal();
    let id = stage.model.active_operations().next().unwrap().id;
    assert_eq!(broken(&stage, id, |draft| draft.side = false), "rule_6_copies_apart");
    assert_eq!(broken(&stage, id, |draft| draft.goes_on = false), "rule_6_copies_apart");
    let entry = |draft: &mut PlanDraft| {
        let Step::CloneData {
            account,
            group_gtid,
            history,
            donor,
            port,
            ..
        } = draft.steps[0].step.clone()
        else {
            panic!("no copy")
        };
        let group = crate::planner::settings::group(
            &stage.model.clusters[&prod()],
            &name("node3"),
            &stage.model.clusters[&prod()].members[&name("node3")],
            &[],
            None,
            super::toy::ISSUER,
        );
        draft.steps[0].step = Step::JoinGroup {
            group,
            recovery: Recovery::Clone { donor, port },
            account,
            group_gtid,
            history,
        };
    };
    assert_eq!(broken(&stage, id, entry), "rule_6_copies_apart");
    // As one plan it is no better.
    let in_one = |draft: &mut PlanDraft| {
        entry(draft);
        (draft.side, draft.goes_on) = (false, false);
    };
    assert_eq!(broken(&stage, id, in_one), "rule_6_copies_apart");
    // One whose data nobody has measured gives nothing.
    let mut unproven = stage.clone();
    unproven.toy.host("node2").lineage.as_mut().unwrap().trust = Trust::Unverified;
    unproven.toy.look();
    let to = |donor: &str| {
        let donor = name(donor);
        move |draft: &mut PlanDraft| match &mut draft.steps[0].step {
            Step::CloneData { donor: from, .. } => *from = donor.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        broken_later(&stage, &unproven, id, to("node2")),
        "rule_3_nothing_discarded"
    );
    // The entry after the copy could get data from it, too: nothing is begun.
    assert!(!matches!(
        unproven.ask(&unproven.model.operations[&id]),
        Decision::Plan(_)
    ));
}
