//! A member that answers and keeps a recovery from happening: whose promise fails, or whose agent does not say whether a step ended.

use clusterctl_proto::step::Step;

use super::heal_stage::{
    NODES, code_of, healings, inside, loss_code, not, power_cut, recover, recovery_submitted, said, troubles,
};
use super::stage::{Stage, prod};
use super::toy::name;
use crate::machine::Change;
use crate::planner::heal::{Care, Trouble};
/// Everybody lost power; node2 answers again, and its ledger cannot be written. So many attempts to recover have been made.
fn node2_cannot_promise(attempts: usize) -> Stage {
    node2_cannot_promise_on(Stage::three(), attempts)
}

fn node2_cannot_promise_on(mut stage: Stage, attempts: usize) -> Stage {
    power_cut(&mut stage, &NODES);
    while healings(&stage).iter().filter(|op| op.state.is_final()).count() < attempts {
        stage.toy.now += 10_000;
        stage.toy.look();
        stage.heal();
        stage.decide();
        while stage.carry_out(|_, host, step| {
            let promises = *host == name("node2") && matches!(step, Step::Promise {});
            promises.then(|| super::sim::failed("ledger_write", true))
        }) {}
    }
    stage.toy.now += 1000;
    stage.toy.look();
    stage
}

/// It answers, so it cannot be abandoned, and nobody bootstraps without its promise: what to do about it is told, and it works.
#[test]
fn a_member_that_answers_and_cannot_promise_is_told_with_the_way_out() {
    let mut stage = node2_cannot_promise(1);
    assert!(inside(&stage).is_empty());
    let trouble = troubles(&stage).remove(0);
    let (standing, why) = not(&trouble);
    assert_eq!(standing, "waiting");
    assert!(
        why.contains("node2 cannot promise") && why.contains("thrown by the dice"),
        "{why}"
    );
    let Care::Not(told) = &trouble.care else {
        panic!("{trouble:?}")
    };
    assert!(
        told.unlock.contains("power it off or stop its agent"),
        "{}",
        told.unlock
    );
    assert_eq!(told.command, "clusterctl recover prod --without node2");
    let named = |stage: &Stage| stage.refusal(recover(&["node2"], None, stage));
    let refused = named(&stage);
    assert_eq!(refused.code, "not_lost");
    assert!(refused.facts[0].contains("node2 cannot promise"), "{:?}", refused.facts);
    let hint = refused.hint.as_deref().unwrap_or_default();
    assert!(hint.contains("on node2: systemctl stop clusterctl-agent"), "{hint}");

    stage.toy.host("node2").answers = false;
    stage.toy.now += 10_000;
    stage.toy.look();
    let code = code_of(named(&stage).hint.as_ref());
    stage.must(recover(&["node2"], Some(&code), &stage));
    stage.alone_for(20);
    assert_eq!(inside(&stage), ["node1", "node3"]);
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

/// It is seen which member is in the way, and no other is told to be.
#[test]
fn of_whom_a_promise_failed_is_seen_with_the_outage() {
    let stage = node2_cannot_promise(1);
    let trouble = troubles(&stage).remove(0);
    let said = |text: &str| text.contains("cannot promise") && text.contains("thrown by the dice");
    let told: Vec<_> = trouble.evidence.iter().filter(|seen| said(&seen.text)).collect();
    assert!(told.len() == 1 && told[0].host == name("node2"), "{told:?}");
    let other = stage.refusal(recover(&["node3"], None, &stage));
    assert_eq!(
        other.hint.as_deref(),
        Some("clusterctl recover prod"),
        "node3 can promise"
    );
}

/// Its agent does not say whether a step ended: named in one hint and refused in the other, it went in a circle.
#[test]
fn a_busy_member_that_answers_is_told_with_the_way_out() {
    let mut stage = recovery_submitted();
    stage.decide();
    let plan = *stage.model.plans.last_key_value().unwrap().0;
    let promise = &stage.model.plans[&plan].draft.steps;
    let step = promise.iter().find(|step| step.host == name("node2")).unwrap().number;
    stage.apply(Change::GiveUp {
        plan,
        step,
        outcome: super::sim::failed("step_overdue", false),
        may_run: true,
    });
    while stage.carry_out(|_, _, _| None) {}
    stage.toy.now += 1000;
    stage.toy.look();
    let out = "on node2: systemctl stop clusterctl-agent; then: clusterctl recover prod --without node2";
    for (lost, code) in [(vec![], "host_busy"), (vec!["node2"], "not_lost")] {
        let refused = stage.refusal(recover(&lost, None, &stage));
        assert_eq!(refused.code, code);
        assert!(refused.hint.is_some_and(|hint| hint.contains(out)));
    }
    let trouble = troubles(&stage).remove(0);
    assert!(
        matches!(&trouble.care, Care::Not(not) if not.unlock.contains(out)),
        "{trouble:?}"
    );
    stage.toy.host("node2").answers = false;
    stage.toy.look();
    let silent = stage.refusal(recover(&[], None, &stage));
    assert!(silent.hint.is_some_and(|hint| hint.starts_with("bring node2 back")));
    let code = loss_code(&stage, &["node2"]);
    stage.must(recover(&["node2"], Some(&code), &stage));
}

fn tells_of_a_promise(trouble: &Trouble) -> bool {
    let in_why = matches!(&trouble.care, Care::Not(not) if not.why.contains("cannot promise"));
    in_why || trouble.evidence.iter().any(|seen| seen.text.contains("cannot promise"))
}

/// node2 could not promise; then a person bootstrapped, and the group lived for a while. In the next outage node3 is away, so no plan has
/// asked node2 to promise. A plan in between tells the outages apart; without one, in a cluster that was paused, only the entry by which the
/// cluster went on in the new group does, from feature level 3.
#[test]
fn a_promise_that_failed_in_an_earlier_outage_does_not_count_in_this_one() {
    for planned_since in [true, false] {
        let mut stage = Stage::three();
        if !planned_since {
            let to = crate::model::FEATURE_LEVEL;
            stage.apply(Change::RaiseFeatureLevel { to });
        }
        let mut stage = node2_cannot_promise_on(stage, 1);
        assert!(tells_of_a_promise(&troubles(&stage)[0]), "it is of this outage");
        let paused = |stage: &mut Stage, said| stage.model.clusters.get_mut(&prod()).unwrap().paused = said;
        if !planned_since {
            let said = said(&stage, None);
            paused(&mut stage, said);
        }
        let plans = stage.model.plans.len();
        stage.toy.by_hand(&NODES);
        stage.alone_for(3);
        assert_eq!(
            stage.model.plans.len() > plans,
            planned_since,
            "its members are seen to"
        );
        paused(&mut stage, None);
        power_cut(&mut stage, &["node1", "node2"]);
        stage.alone_for(5);
        let trouble = troubles(&stage).remove(0);
        assert_eq!(trouble.code, "outage");
        assert!(!tells_of_a_promise(&trouble), "{trouble:?}");
        let refused = stage.refusal(recover(&["node2"], None, &stage));
        assert!(!format!("{refused:?}").contains("cannot promise"), "{refused:?}");
    }
}
