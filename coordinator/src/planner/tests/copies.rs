//! A copy is a plan of its own: others of the cluster are carried out beside it, entries into the group never; what follows is planned
//! anew; half of a copy is never entered with, bootstrapped from or copied from.

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

/// The copy holds what its donor holds at its end.
#[test]
fn a_copy_is_void_when_its_donor_certainly_holds_other_data_than_the_groups() {
    let (mut stage, _) = node3_is_copied();
    let plan = open(&stage).into_iter().find(|plan| plan.draft.side).unwrap().clone();
    let step = plan.draft.steps[0].clone();
    let Step::CloneData { donor, .. } = &step.step else {
        panic!("{step:?}")
    };
    stage.toy.look();
    assert!(!stage.copy_is_void(plan.id, &step));
    let own = stage.toy.hosts[donor].lineage.clone().unwrap();
    // A person bootstrapped it; a person forced its membership; it entered the group again past its agent.
    let other = |id: LineageId, trust| MemberLineage {
        id,
        trust,
        ..own.clone()
    };
    for lineage in [
        other("7".parse().unwrap(), Trust::Verified),
        other(own.id.forced(9), Trust::Verified),
        other(own.id.clone(), Trust::Unverified),
    ] {
        stage.toy.host(donor.as_str()).lineage = Some(lineage.clone());
        assert!(!stage.copy_is_void(plan.id, &step), "nobody has told it yet");
        stage.toy.look();
        assert!(stage.copy_is_void(plan.id, &step), "{lineage:?}");
        stage.toy.now += 3_001;
        assert!(!stage.copy_is_void(plan.id, &step), "it is not certain any more");
        stage.toy.host(donor.as_str()).lineage = Some(own.clone());
        stage.toy.look();
        assert!(!stage.copy_is_void(plan.id, &step));
    }
}

/// The agent of the one who gave the donor something was restarted: an hour's copy is not thrown away for that.
#[test]
fn a_copy_goes_on_until_it_is_certain_that_nobody_vouches_for_its_donor() {
    let (mut stage, _) = node3_is_copied();
    let plan = open(&stage).into_iter().find(|plan| plan.draft.side).unwrap().clone();
    let step = plan.draft.steps[0].clone();
    let Step::CloneData { donor, .. } = &step.step else {
        panic!("{step:?}")
    };
    let giver = if donor.as_str() == "node1" { "node2" } else { "node1" };
    let own = stage.toy.hosts[donor].lineage.clone().unwrap();
    let look = |stage: &mut Stage| {
        stage.toy.now += 1000;
        stage.toy.look();
    };
    let gift = (format!("{giver}:3306"), Span { since: 5, until: 5 });
    stage
        .toy
        .host(donor.as_str())
        .lineage
        .as_mut()
        .unwrap()
        .donors
        .extend([gift]);
    look(&mut stage);
    assert!(!stage.copy_is_void(plan.id, &step), "it is asked");
    let again = stage.still_safe(plan.id, &step).unwrap_err();
    assert_eq!(again.code, check::EVIDENCE_MISSING, "{again}");
    stage.toy.host(giver).answers = false;
    (0..60).for_each(|_| look(&mut stage));
    assert!(!stage.copy_is_void(plan.id, &step), "silence is no answer");
    // An agent of a release before takes the copy for the group's when it ends.
    stage.toy.asks_no_donors = true;
    look(&mut stage);
    assert!(stage.copy_is_void(plan.id, &step));
    stage.toy.asks_no_donors = false;
    stage.toy.host(giver).answers = true;
    let theirs = stage.toy.hosts[&name(giver)].lineage.clone().unwrap();
    let before = |id: &str| {
        Some(Before {
            id: Some(id.parse().unwrap()),
            held: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap(),
        })
    };
    let unproven = |before| MemberLineage {
        trust: Trust::Unverified,
        before,
        ..theirs.clone()
    };
    for (lineage, void) in [
        (unproven(None), true),
        (unproven(before("4711")), false),
        (unproven(before(theirs.id.as_str())), false),
        // It is in the group again, and its agent has not looked since.
        (
            MemberLineage {
                id: "77".parse().unwrap(),
                ..theirs.clone()
            },
            false,
        ),
    ] {
        stage.toy.host(giver).lineage = Some(lineage.clone());
        look(&mut stage);
        assert_eq!(stage.copy_is_void(plan.id, &step), void, "{lineage:?}");
    }
    stage.toy.host(giver).lineage = Some(theirs);
    // The same of the donor itself: how its data came into the group may be told yet.
    for (before, void) in [(None, true), (before("4711"), false)] {
        stage.toy.host(donor.as_str()).lineage = Some(MemberLineage {
            trust: Trust::Unverified,
            before,
            ..own.clone()
        });
        look(&mut stage);
        assert_eq!(stage.copy_is_void(plan.id, &step), void);
    }
    // It came into the group a moment ago, and its agent has not looked since.
    for (record, void) in [("77", true), (own.id.as_str(), false)] {
        stage.toy.host(donor.as_str()).lineage = Some(MemberLineage {
            id: record.parse().unwrap(),
            ..own.clone()
        });
        look(&mut stage);
        assert_eq!(stage.copy_is_void(plan.id, &step), void, "{record}");
    }
}

/// node3's copy is complete; the agent of its donor has not told yet that its data were proven.
fn node3_waits_for_its_donor() -> (Stage, OperationId, String) {
    let (mut stage, rejoin) = node3_is_copied();
    let plan = open(&stage).into_iter().find(|plan| plan.draft.side).unwrap();
    let Step::CloneData { donor, .. } = plan.draft.steps[0].step.clone() else {
        panic!("{plan:?}")
    };
    stage.copies_last = false;
    stage.toy.unvouched = true;
    let record = stage.toy.host(donor.as_str()).lineage.as_mut().unwrap();
    record.span = Some(Span { since: 0, until: 5 });
    for _ in 0..5 {
        stage.alone();
        in_order(&stage);
    }
    (stage, rejoin, donor.to_string())
}

#[test]
fn a_member_enters_with_a_copy_when_its_donor_has_vouched_for_it() {
    let (mut stage, rejoin, _) = node3_waits_for_its_donor();
    assert_eq!(
        plans_of(&stage, rejoin),
        ["copy"],
        "neither entered with nor made again"
    );
    assert!(!inside(&stage).contains(&"node3".to_owned()));
    stage.toy.vouch_for("node3");
    until_done(&mut stage, rejoin);
    assert_eq!(plans_of(&stage, rejoin), ["copy", "entry"], "one operation");
    assert_eq!(inside(&stage), NODES);
}

/// Why says for whom it waits, and what ends that.
#[test]
fn a_copy_whose_donor_is_silent_waits_until_it_answers() {
    let (mut stage, _, donor) = node3_waits_for_its_donor();
    stage.toy.host(&donor).answers = false;
    stage.alone_for(900);
    assert!(!inside(&stage).contains(&"node3".to_owned()));
    let trouble = of_host(&stage, "node3").unwrap();
    let Care::Not(care) = &trouble.care else {
        panic!("{trouble:?}")
    };
    assert_eq!((trouble.code, trouble.patient), ("member_out", true));
    assert_eq!(care.command, "clusterctl join node3 --recovery clone");
    let told = format!("{donor}:3306 (its agent does not answer)");
    assert!(care.why.contains(&told), "{}", care.why);
    // A person copies the data of another one.
    let mut other = stage.clone();
    other.copies_last = true;
    let id = other.submit(join_by_copy("node3")).unwrap();
    other.alone_for(3);
    assert_eq!(plans_of(&other, id), ["other", "copy"]);
    stage.toy.host(&donor).answers = true;
    stage.alone_for(1);
    stage.toy.vouch_for("node3");
    stage.alone_for(5);
    assert_eq!(inside(&stage), NODES);
}

/// The donor's agent answers, and by what it tells nobody vouches for the copy: why says so, and what ends it.
#[test]
fn a_copy_whose_donor_answers_and_does_not_vouch_is_told() {
    let late = Span { since: 0, until: 4 };
    let cases = [
        (None, true, "its agent cannot tell now"),
        (Some(late), true, "it vouches only for what it held before"),
        (Some(late), false, "it is out of the group"),
    ];
    for (span, up, reason) in cases {
        let (mut stage, rejoin, donor) = node3_waits_for_its_donor();
        let care = of_host(&stage, "node3").unwrap().care;
        assert!(matches!(care, Care::Act(_)), "it vouches: {care:?}");
        stage.toy.host(&donor).lineage.as_mut().unwrap().span = span;
        if !up {
            let said = super::heal_stage::said(&stage, None);
            let member = name(&donor);
            stage.apply(Change::HandsOff {
                cluster: prod(),
                host: Some(member.clone()),
                said,
                only: None,
            });
            stage.toy.restart(&member);
        }
        stage.alone_for(30);
        assert_eq!(
            plans_of(&stage, rejoin),
            ["copy"],
            "neither entered with nor made again"
        );
        let trouble = of_host(&stage, "node3").unwrap();
        let Care::Not(care) = &trouble.care else {
            panic!("{trouble:?}")
        };
        assert_eq!((trouble.code, trouble.patient), ("member_out", true));
        assert!(care.why.contains(&format!("{donor}:3306 ({reason}")), "{}", care.why);
        assert_eq!(care.command, "clusterctl join node3 --recovery clone");
        // It can vouch again.
        let record = stage.toy.host(&donor).lineage.as_mut().unwrap();
        record.span = Some(Span { since: 0, until: 5 });
        stage.alone_for(1);
        stage.toy.vouch_for("node3");
        stage.alone_for(20);
        assert!(inside(&stage).contains(&"node3".to_owned()), "{:?}", inside(&stage));
    }
}

/// Nothing else is left: it is not called incomplete, nor the members different, and nothing is begun there all the same.
#[test]
fn a_complete_copy_that_nobody_vouched_for_is_not_called_half_of_one() {
    for complete in [true, false] {
        let (mut stage, _, donor) = node3_waits_for_its_donor();
        if !complete {
            stage.toy.host("node3").lineage.as_mut().unwrap().copy_of = None;
        }
        stage.toy.power_off("node1");
        stage.toy.power_off("node2");
        stage.alone_for(60);
        let Decision::Refuse(refused) = stage.dry(recover(&["node1", "node2"], None, &stage)) else {
            panic!("not refused")
        };
        let told = format!("{refused:?}");
        assert!(
            !told.contains("different transactions") && !told.contains("--accept-loss"),
            "{told}"
        );
        assert_eq!(told.contains("is not known to be complete"), !complete, "{told}");
        let copy = format!("node3 holds a complete copy of the data of {donor}:3306 (its agent does not answer)");
        assert_eq!(told.contains(&copy), complete, "{told}");
        // Nor is a forced recovery named as the way out.
        let outage = troubles(&stage).into_iter().find(|trouble| trouble.code == "outage");
        let Some(Care::Not(care)) = outage.map(|trouble| trouble.care) else {
            panic!("no outage")
        };
        assert_eq!(care.why.contains(&copy), complete, "{}", care.why);
        assert_eq!(care.command, "clusterctl status prod", "{care:?}");
        assert!(care.unlock.contains("bring node1 and node2 back"), "{}", care.unlock);
        assert_eq!((stage.toy.bootstraps, inside(&stage).len()), (1, 0));
    }
}

/// It has turned out that its data are not the group's: what was copied from it is copied over again, from another one.
#[test]
fn a_copy_for_which_nobody_will_vouch_is_made_again() {
    let (mut stage, rejoin, donor) = node3_waits_for_its_donor();
    stage.toy.host(&donor).lineage.as_mut().unwrap().span = Some(Span { since: 99, until: 99 });
    stage.copies_last = true;
    for _ in 0..5 {
        stage.alone();
        in_order(&stage);
    }
    assert_eq!(plans_of(&stage, rejoin), ["copy", "copy"]);
}

/// The agent of a busy donor did not get through its data directory in time: what the donor holds is known by its lineage.
#[test]
fn a_copy_of_hours_goes_on_although_its_donors_data_directory_was_not_seen_in_time() {
    let (mut stage, rejoin) = node3_is_copied();
    let plan = open(&stage).into_iter().find(|plan| plan.draft.side).unwrap().clone();
    let step = plan.draft.steps[0].clone();
    let Step::CloneData { donor, .. } = &step.step else {
        panic!("{step:?}")
    };
    stage.toy.look();
    assert!(stage.still_safe(plan.id, &step).is_ok());
    stage.toy.host(donor.as_str()).data = DataDirectory::Foreign {
        what: format!("{} in time", DataDirectory::UNSEEN),
    };
    stage.toy.look();
    assert!(!stage.copy_is_void(plan.id, &step));
    // After a reconnect it is sent again, once the directory was looked through.
    let again = stage.still_safe(plan.id, &step).unwrap_err();
    assert_eq!(again.code, check::EVIDENCE_MISSING, "{again}");
    stage.alone_for(3);
    assert_eq!(copying(&stage), [name("node3")]);
    assert_eq!(state(&stage, rejoin), &OperationState::Running);
}

/// A copy that is void does not wait for a directory: it may go on meanwhile, and end as proven.
#[test]
fn a_void_copy_is_not_sent_again_although_a_data_directory_was_not_seen_in_time() {
    let (mut stage, _) = node3_is_copied();
    let plan = open(&stage).into_iter().find(|plan| plan.draft.side).unwrap().clone();
    let step = plan.draft.steps[0].clone();
    let Step::CloneData { donor, .. } = &step.step else {
        panic!("{step:?}")
    };
    for node in ["node1", "node2"] {
        stage.toy.host(node).data = DataDirectory::Foreign {
            what: format!("{} in time", DataDirectory::UNSEEN),
        };
    }
    let own = stage.toy.hosts[donor].lineage.clone().unwrap();
    stage.toy.host(donor.as_str()).lineage = Some(MemberLineage {
        trust: Trust::Unverified,
        ..own
    });
    stage.toy.look();
    assert!(stage.copy_is_void(plan.id, &step));
    let failure = stage.still_safe(plan.id, &step).unwrap_err();
    assert_eq!(failure.code, plans::EVIDENCE_CHANGED, "{failure}");
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

#[test]
fn one_donor_gives_to_one_host() {
    let (mut stage, _) = node3_is_copied();
    let copy = |stage: &Stage, host: &str| {
        let copies = plans::copies(&stage.model, &prod());
        copies.get(&name(host)).map(|plan| match &plan.draft.steps[0].step {
            Step::CloneData { donor, .. } => donor.to_string(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(copy(&stage, "node3").as_deref(), Some("node2"));
    let second = stage.submit(join_by_copy("node4")).unwrap();
    stage.alone_for(5);
    assert_eq!(copy(&stage, "node4").as_deref(), Some("node1"), "two copies at once");
    in_order(&stage);
    stage.copies_last = false;
    until_done(&mut stage, second);
    stage.alone_for(10);
    assert_eq!(inside(&stage), ["node1", "node2", "node3", "node4"]);
}

#[test]
fn a_copy_that_power_interrupts_is_made_again() {
    for short in [true, false] {
        let (mut stage, _) = node3_is_copied();
        stage.toy.power_off("node3");
        if !short {
            // It is given up, and its host is busy no longer once the agent has said so.
            let (plan, step) = plans::busy_hosts(&stage.model, &prod())[&name("node3")];
            let failure = clusterctl_proto::failure::Failure::new("host_silent", "away");
            let outcome = super::sim::failed(&failure.code, false);
            stage.apply(Change::GiveUp {
                plan,
                step,
                outcome,
                may_run: true,
            });
            assert!(copying(&stage).is_empty());
            assert!(plans::busy_hosts(&stage.model, &prod()).contains_key(&name("node3")));
            stage.apply(Change::Settle {
                plan,
                step,
                outcome: None,
            });
        }
        stage.alone_for(5);
        stage.toy.power_on("node3");
        assert!(stage.toy.held(&name("node3")).is_empty() && stage.toy.hosts[&name("node3")].half_copied);
        stage.alone_for(40);
        assert_eq!(copying(&stage), [name("node3")], "{:?}", of_host(&stage, "node3"));
        assert_eq!(inside(&stage), ["node1", "node2"]);
        stage.copies_last = false;
        stage.alone_for(40);
        assert_eq!(inside(&stage), NODES);
        assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
        assert!(!stage.toy.hosts[&name("node3")].half_copied);
    }
}

#[test]
fn half_of_a_copy_is_not_entered_with_although_it_would_suffice() {
    let mut stage = Stage::three();
    // Nothing is purged: what it holds is a part of what the group has.
    stage.toy.restart(&name("node3"));
    stage.toy.host("node3").half_copied = true;
    stage.toy.now += 1000;
    stage.toy.look();
    stage.heal();
    let id = stage.model.active_operations().next().unwrap().id;
    let Decision::Plan(draft) = stage.ask(&stage.model.operations[&id]) else {
        panic!("no plan")
    };
    assert_eq!(word(&draft), "copy");
    let refused = stage.refusal(OperationKind::Join {
        host: name("node3"),
        recovery: RecoveryWish::Incremental,
        ignore_checks: Vec::new(),
    });
    assert_eq!(refused.code, "incremental_not_possible");
    // A person starts it all the same: an alarm.
    let group = stage.toy.group.as_mut().unwrap();
    group.members.insert(name("node3"));
    stage.toy.look();
    assert_eq!(of_host(&stage, "node3").expect("a trouble").code, "given_up_inside");
}

#[test]
fn half_of_a_copy_is_not_bootstrapped_from() {
    // By its numbers node1 holds as much as the others, and comes first by name.
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.restart(&name(node)));
    stage.toy.host("node1").half_copied = true;
    stage.alone_for(30);
    assert_eq!(stage.toy.bootstraps, 2);
    assert_ne!(stage.toy.group.as_ref().unwrap().primary, name("node1"));
    stage.alone_for(60);
    assert_eq!(inside(&stage), NODES, "it is copied again");
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);

    // It alone is left: not even a forced recovery begins there.
    let (mut stage, _) = node3_is_copied();
    stage.toy.power_off("node1");
    stage.toy.power_off("node2");
    stage.alone_for(60);
    assert_eq!((stage.toy.bootstraps, inside(&stage).len()), (1, 0));
    let Decision::Refuse(refused) = stage.dry(recover(&["node1", "node2"], None, &stage)) else {
        panic!("not refused")
    };
    assert!(
        !refused.hint.as_ref().is_some_and(|hint| hint.contains("--accept-loss")),
        "{refused:?}"
    );
    // The others have everything.
    stage.copies_last = false;
    stage.toy.power_on("node1");
    stage.toy.power_on("node2");
    stage.alone_for(120);
    assert_eq!(
        (stage.toy.bootstraps, inside(&stage)),
        (2, NODES.map(str::to_owned).to_vec())
    );
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

#[test]
fn a_recovery_comes_before_a_copy_and_is_not_made_beside_it() {
    let (mut stage, _) = node3_is_copied();
    for node in ["node1", "node2"] {
        stage.toy.restart(&name(node));
    }
    stage.toy.now += 1000;
    stage.toy.look();
    stage.heal();
    let recovers = |op: &&crate::model::Operation| matches!(op.kind, OperationKind::Recover { .. });
    let recovery = stage.model.active_operations().find(recovers).expect("submitted").id;
    stage.decide();
    assert!(
        matches!(state(&stage, recovery), OperationState::Waiting { why } if why.contains("node3 is being copied")),
        "{:?}",
        state(&stage, recovery)
    );
    // Neither is a plan that bootstraps adopted beside the copy.
    let bootstraps = |plan: &&Plan| word(&plan.draft) == "entry";
    let old = stage.model.plans.values().find(bootstraps).unwrap().draft.clone();
    let draft = PlanDraft {
        operation: recovery,
        parent: stage.model.clusters[&prod()].last_plan,
        ..old
    };
    assert!(matches!(stage.apply(Change::Adopt { draft }), Answer::Rejected(failure) if failure.code == "host_busy"));
    stage.carry_out(|_, _, _| None);
    assert!(copying(&stage).is_empty(), "it made way");
    stage.copies_last = false;
    stage.alone_for(60);
    assert_eq!(
        (stage.toy.bootstraps, inside(&stage)),
        (2, NODES.map(str::to_owned).to_vec())
    );
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

#[test]
fn a_coordinator_that_restarts_goes_on_where_the_log_is() {
    for copied in [false, true] {
        let mut stage = Stage::three();
        stage.copies_last = true;
        let id = stage.submit(join_by_copy("node4")).unwrap();
        (0..4).for_each(|_| stage.tick());
        if copied {
            stage.copies_last = false;
            stage.toy.host("node4").half_copied = false;
            stage.carry_out(|_, _, _| None);
            assert!(matches!(state(&stage, id), OperationState::Waiting { .. }));
        }
        // All that it knows is its log; what it has seen is asked for again.
        let log = serde_json::to_string(&stage.model).unwrap();
        stage.model = serde_json::from_str::<Model>(&log).unwrap();
        stage.toy.hosts.values_mut().for_each(|host| host.seen = None);
        stage.decide();
        stage.copies_last = false;
        stage.toy.host("node4").half_copied = false;
        until_done(&mut stage, id);
        assert_eq!(plans_of(&stage, id), ["other", "copy", "entry"]);
        assert_eq!(inside(&stage).len(), 4);
    }
}

#[test]
fn a_pause_lets_a_copy_end_and_nobody_enters() {
    assert_eq!(
        halt(&Step::CloneData {
            donor: name("node1"),
            port: 3306,
            group_name: super::stage::GROUP,
            account: crate::planner::settings::account(
                &name("node3"),
                &Stage::three().model.clusters[&prod()].members[&name("node3")],
                super::toy::ISSUER
            ),
            group_gtid: String::new(),
            history: None,
        }),
        Halt::MayStop
    );
    let (mut stage, rejoin) = node3_is_copied();
    let said = HandsOff {
        by: "operator/alice".to_owned(),
        at: stage.toy.now,
        reason: String::new(),
        until: None,
        everything: false,
    };
    let pause = |said| Change::HandsOff {
        cluster: prod(),
        host: None,
        said,
        only: None,
    };
    stage.apply(pause(Some(said)));
    stage.copies_last = false;
    stage.toy.host("node3").half_copied = true;
    stage.alone_for(20);
    assert!(copying(&stage).is_empty());
    assert_eq!(inside(&stage), ["node1", "node2"]);
    stage.apply(pause(None));
    stage.alone_for(60);
    assert_eq!(inside(&stage), NODES);
    assert!(state(&stage, rejoin).is_final());
}

#[test]
fn a_cancel_ends_the_copy() {
    let mut stage = Stage::three();
    stage.copies_last = true;
    let id = stage.submit(join_by_copy("node4")).unwrap();
    (0..4).for_each(|_| stage.tick());
    assert_eq!(copying(&stage), [name("node4")]);
    stage.apply(Change::Cancel { operation: id });
    stage.tick();
    assert!(open(&stage).is_empty() && copying(&stage).is_empty());
    assert!(matches!(state(&stage, id), OperationState::Cancelled { .. }));
    // It has begun, so the host stays in the intent; the same command finishes it.
    assert!(stage.model.clusters[&prod()].members.contains_key(&name("node4")));
    stage.copies_last = false;
    stage.must(join("node4"));
    assert_eq!(inside(&stage).len(), 4);
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

/// Hours after it was stored an operation has still its ten minutes for what passes by itself.
#[test]
fn what_follows_a_copy_of_hours_is_waited_for() {
    let (mut stage, rejoin) = node3_is_copied();
    stage.toy.now += 5 * 3_600_000;
    stage.copies_last = false;
    stage.toy.look();
    stage.carry_out(|_, _, _| None);
    assert_eq!(plans_of(&stage, rejoin), ["copy"]);
    // Its first entry fails for once.
    stage.toy.now += 1000;
    stage.toy.look();
    stage.decide();
    let mut failed = false;
    for _ in 0..20 {
        stage.carry_out(|_, _, step| {
            let fails = matches!(step, Step::JoinGroup { .. }) && !std::mem::replace(&mut failed, true);
            fails.then(|| super::sim::failed("group_start", true))
        });
    }
    assert!(matches!(state(&stage, rejoin), OperationState::Waiting { why } if why.contains("follows in")));
    until_done(&mut stage, rejoin);
    assert_eq!(inside(&stage), NODES);
}

/// A plan of the release before copies and enters in one: it is finished as it was.
#[test]
fn an_old_plan_with_a_copy_in_it_is_finished() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.write();
    stage.toy.purge();
    stage.toy.now += 1000;
    stage.toy.look();
    stage.heal();
    let id = stage.model.active_operations().next().unwrap().id;
    let Decision::Plan(mut draft) = stage.ask(&stage.model.operations[&id]) else {
        panic!("no plan")
    };
    let cluster = stage.model.clusters[&prod()].clone();
    let Step::CloneData {
        donor,
        port,
        account,
        group_gtid,
        history,
        ..
    } = draft.steps[0].step.clone()
    else {
        panic!("no copy")
    };
    let member = &cluster.members[&name("node3")];
    let group = crate::planner::settings::group(&cluster, &name("node3"), member, &[], None, super::toy::ISSUER);
    draft.steps[0].step = Step::JoinGroup {
        group,
        recovery: Recovery::Clone { donor, port },
        account,
        group_gtid,
        history,
    };
    (draft.side, draft.goes_on) = (false, false);
    let json = serde_json::to_string(&draft).unwrap();
    assert!(!json.contains("side"), "it is written as before");
    let draft = serde_json::from_str(&json).unwrap();
    assert!(matches!(stage.apply(Change::Adopt { draft }), Answer::Plan(PlanId(_))));
    stage.carry_out(|_, _, _| None);
    assert!(is_done(&stage, id), "{:?}", state(&stage, id));
    assert_eq!(inside(&stage), NODES);
    assert!(stage.model.plans.values().all(|plan| plan.state == PlanState::Done));
}

/// It gave up, and what it lacks is not in any binary log: the copy that is asked for is made.
#[test]
fn who_gave_up_is_copied_where_that_is_asked_for() {
    let mut stage = Stage::three();
    stage.alone_for(2);
    stage.toy.restart(&name("node3"));
    stage.toy.host("node3").stuck = true;
    stage.toy.now += 1000;
    stage.toy.look();
    let id = stage.submit(join_by_copy("node3")).unwrap();
    stage.alone_for(10);
    assert!(is_done(&stage, id), "{:?}", state(&stage, id));
    assert_eq!(plans_of(&stage, id), ["other", "copy", "entry"]);
    assert_eq!(inside(&stage), NODES);
}

/// A second newcomer waits for the only donor, for hours: what has nothing to do with it is done meanwhile.
#[test]
fn a_join_that_waits_for_a_donor_keeps_nobody_waiting() {
    let mut stage = Stage::three();
    // Nobody brings them back meanwhile.
    stage.model.clusters.get_mut(&prod()).unwrap().paused = super::heal_stage::said(&stage, None);
    for node in ["node2", "node3"] {
        stage.toy.restart(&name(node));
    }
    stage.copies_last = true;
    let first = stage.submit(join_by_copy("node4")).unwrap();
    stage.alone_for(4);
    assert_eq!(copying(&stage), [name("node4")], "{:?}", state(&stage, first));
    let second = stage.submit(join_by_copy("node3")).unwrap();
    stage.alone_for(4);
    assert!(
        matches!(state(&stage, second), OperationState::Waiting { why } if why.contains("gives it to somebody else")),
        "{:?}",
        state(&stage, second)
    );
    let verify = stage.submit(OperationKind::Verify).unwrap();
    stage.alone_for(4);
    assert!(state(&stage, verify).is_final(), "{:?}", state(&stage, verify));
}

/// The only proven donor gives its data to another one: that passes, and is no reason to refuse.
#[test]
fn who_waits_for_a_proven_donor_is_not_told_that_none_is_proven() {
    let (mut stage, _) = node3_is_copied();
    stage.toy.host("node1").lineage.as_mut().unwrap().trust = Trust::Unverified;
    let id = stage.submit(join_by_copy("node4")).unwrap();
    stage.alone_for(4);
    assert!(
        matches!(state(&stage, id), OperationState::Waiting { why } if why.contains("gives it to somebody else")),
        "{:?}",
        state(&stage, id)
    );
    // Without any, it is said who is not, and not waited for for ever.
    stage.toy.host("node2").lineage.as_mut().unwrap().trust = Trust::Unverified;
    stage.alone_for(4);
    assert!(
        matches!(state(&stage, id), OperationState::Waiting { why } if why.contains("is proven to hold the group's")),
        "{:?}",
        state(&stage, id)
    );
}

fn remove(host: &str) -> OperationKind {
    OperationKind::Remove {
        host: name(host),
        force: false,
    }
}

/// The copy would last for hours, and nobody needs it any more.
#[test]
fn a_removal_does_not_wait_for_the_copy_onto_its_host() {
    let (mut stage, rejoin) = node3_is_copied();
    let id = stage.submit(remove("node3")).unwrap();
    until_done(&mut stage, id);
    assert!(copying(&stage).is_empty());
    assert_eq!(inside(&stage), ["node1", "node2"]);
    stage.alone_for(10);
    assert!(state(&stage, rejoin).is_final(), "{:?}", state(&stage, rejoin));
    assert!(open(&stage).is_empty(), "it is not copied again");
}

/// A removal that stands in line, or is paused, may be cancelled yet: the copy is stopped when the removal waits for nothing else.
#[test]
fn a_removal_that_cannot_be_carried_out_yet_stops_no_copy() {
    let paused = |stage: &mut Stage, on: bool| {
        let said = super::heal_stage::said(stage, None).filter(|_| on);
        let said = said.map(|said| HandsOff {
            everything: true,
            ..said
        });
        stage.model.clusters.get_mut(&prod()).unwrap().paused = said;
    };
    let in_line = |stage: &mut Stage, on: bool| {
        stage.toy.host("router2").answers = !on;
        if on {
            stage.submit(super::stage::add_router("router2")).unwrap();
        }
    };
    for hold in [paused as fn(&mut Stage, bool), in_line] {
        for cancelled in [false, true] {
            let (mut stage, rejoin) = node3_is_copied();
            hold(&mut stage, true);
            let removal = stage.submit(remove("node3")).unwrap();
            stage.alone_for(5);
            assert!(matches!(state(&stage, removal), OperationState::Waiting { .. }));
            assert_eq!(copying(&stage), [name("node3")]);
            assert_eq!(plans_of(&stage, rejoin), ["copy"]);
            if cancelled {
                stage.apply(Change::Cancel { operation: removal });
                hold(&mut stage, false);
                stage.copies_last = false;
                until_done(&mut stage, rejoin);
                assert_eq!(plans_of(&stage, rejoin), ["copy", "entry"]);
            } else {
                hold(&mut stage, false);
                until_done(&mut stage, removal);
                assert!(copying(&stage).is_empty());
                assert_eq!(inside(&stage), ["node1", "node2"]);
            }
        }
    }
}

/// A removal whose host is busy waits ten minutes for the agent there, and meanwhile keeps nobody waiting who is about other hosts.
#[test]
fn an_operation_that_waits_for_a_busy_host_keeps_nobody_waiting_and_ends() {
    let (mut stage, _) = node3_is_copied();
    let (plan, step) = plans::busy_hosts(&stage.model, &prod())[&name("node3")];
    stage.apply(Change::GiveUp {
        plan,
        step,
        outcome: super::sim::failed("step_overdue", false),
        may_run: true,
    });
    let removal = stage.submit(remove("node3")).unwrap();
    stage.alone_for(4);
    assert!(
        matches!(state(&stage, removal), OperationState::Waiting { why } if why.contains("has not said yet")),
        "{:?}",
        state(&stage, removal)
    );
    let moved = stage.submit(switchover("node2")).unwrap();
    stage.alone_for(4);
    assert!(is_done(&stage, moved), "{:?}", state(&stage, moved));
    let about_it = stage.dry(join_by_copy("node3"));
    assert!(!matches!(about_it, Decision::Plan(_)), "it is about the same host");

    stage.toy.now += 600_000;
    stage.alone_for(2);
    let OperationState::Failed { failure } = state(&stage, removal) else {
        panic!("{:?}", state(&stage, removal))
    };
    assert_eq!(failure.code, "host_busy");
    let hint = failure.hint.as_deref().unwrap_or_default();
    assert!(hint.contains("on node3: systemctl restart clusterctl-agent"), "{hint}");
    let phase = stage.model.clusters[&prod()].members[&name("node3")].phase;
    assert_eq!(phase, crate::model::MemberPhase::Member, "nothing of it was begun");
    stage.apply(Change::Settle {
        plan,
        step,
        outcome: None,
    });
    let again = stage.submit(remove("node3")).unwrap();
    until_done(&mut stage, again);
}
