//! Forced recoveries: what an approval covers, how long it holds, and what is abandoned. How such members come back is in `returns`.

mod returns;

use clusterctl_proto::step::Step;

use super::heal_stage::{
    NODES, code_of, inside, loss_code, node2_stays_away, not, of_host, power_cut, recover, recovery_submitted,
};
use super::stage::{Stage, join, prod};
use super::toy::name;
use crate::model::{OperationKind, OperationState};

/// The break-glass is used, and its bootstrap fails for good.
fn give_up_in_vain(stage: &mut Stage, lost: &[&str]) {
    let code = loss_code(stage, lost);
    stage.submit(recover(lost, Some(&code), stage)).unwrap();
    stage.decide();
    while stage.carry_out(|_, _, _| None) {}
    older_words_are_spent(stage);
    while stage.carry_out(|_, _, step| {
        matches!(step, Step::BootstrapGroup { .. }).then(|| super::sim::failed("group_start", false))
    }) {}
}

/// A forced recovery waits until an abandoned member cannot act on an older plan any more.
fn older_words_are_spent(stage: &mut Stage) {
    stage.toy.now += 10_000;
    stage.toy.look();
}

/// node1 holds more than the others and does not answer; it is given up, and that fails.
fn more_on_node1_given_up_in_vain() -> Stage {
    let mut stage = Stage::three();
    ["node2", "node3"].iter().for_each(|node| stage.toy.power_off(node));
    stage.toy.write();
    power_cut(&mut stage, &["node2", "node3"]);
    stage.alone_for(2);
    give_up_in_vain(&mut stage, &["node1"]);
    stage
}

/// Every member's data are of the lineage in which the cluster lives.
fn nobody_is_left_out(stage: &Stage) -> bool {
    let cluster = &stage.model.clusters[&prod()];
    let of = |host| stage.toy.hosts[host].lineage.as_ref().and_then(|own| own.verified());
    cluster.members.keys().all(|host| of(host) == cluster.lineage.as_ref())
}

/// Seed 133920: node2 had everything and bootstrapped, and is lost. node3 has all that it had but what came since, and a row of its own: it is
/// quarantined. node1 lacks what node3 has of the cluster's history, so it leads only where node3 is given up by name.
#[test]
fn what_a_quarantined_member_has_of_the_clusters_history_is_not_given_up_unasked() {
    for writes_alone in [false, true] {
        let mut stage = Stage::three();
        stage.toy.power_off("node1");
        stage.alone_for(2);
        stage.toy.write();
        power_cut(&mut stage, &NODES);
        let mut ticks = 0;
        while inside(&stage).is_empty() && ticks < 20 {
            stage.alone();
            ticks += 1;
        }
        assert_eq!(inside(&stage), ["node2"]);
        stage.toy.power_off("node2");
        if writes_alone {
            stage.toy.write_alone("node3");
        }
        stage.alone_for(3);
        let refused = stage.refusal(recover(&["node2"], None, &stage));
        if !writes_alone {
            assert_eq!(refused.code, "loss_not_accepted", "node3 leads");
            continue;
        }
        assert_eq!(refused.code, "diverged", "{refused:?}");
        let told = "node3 holds what the cluster had and node1 lacks: ";
        assert!(refused.facts.iter().any(|fact| fact.starts_with(told)), "{refused:?}");
        let hint = refused.hint.unwrap_or_default();
        let keeps_all = "clusterctl recover prod --without node2,node1";
        assert!(hint.ends_with(keeps_all), "node3 alone has everything: {hint}");
        for other in ["node1", "node3"] {
            let both = stage.refusal(recover(&["node2", other], None, &stage));
            assert_eq!(both.code, "loss_not_accepted", "{both:?}");
        }
    }
}

#[test]
fn the_break_glass_counts_for_what_was_shown_only() {
    let mut stage = Stage::three();
    power_cut(&mut stage, &["node1", "node3"]);
    stage.alone_for(5);
    let plain = stage.refusal(recover(&[], None, &stage));
    assert_eq!((plain.code.as_str(), plain.exit.code()), ("members_unknown", 3));
    assert!(plain.facts.iter().any(|fact| fact.starts_with("risk: ")), "{plain:?}");
    let code = code_of(plain.hint.as_ref());
    let asked = stage.refusal(recover(&["node2"], None, &stage));
    assert_eq!(
        (asked.code.as_str(), code_of(asked.hint.as_ref())),
        ("loss_not_accepted", code.clone())
    );
    let other = stage.refusal(recover(&["node2"], Some("00000000"), &stage));
    assert_eq!(other.code, "loss_changed");
    assert_eq!(stage.refusal(recover(&["node3"], None, &stage)).code, "not_lost");
    let late = OperationKind::Recover {
        without: vec![name("node2")],
        accept_loss: Some(code.clone()),
        expires_at: Some(stage.toy.now),
    };
    assert_eq!(stage.refusal(late).code, "approval_expired");

    stage.must(recover(&["node2"], Some(&code), &stage));
    stage.alone_for(5);
    assert_eq!(inside(&stage), ["node1", "node3"]);
    let rows = &stage.toy.server("node1").metadata.clone().unwrap().instances;
    assert_eq!(rows.len(), 2, "{rows:?}");

    // It held nothing more: back as if nothing had been.
    stage.toy.power_on("node2");
    stage.alone_for(5);
    assert_eq!(inside(&stage), NODES);
    assert_eq!(stage.toy.server("node1").metadata.clone().unwrap().instances.len(), 3);
    assert!(nobody_is_left_out(&stage));
    assert!(stage.toy.alarms.is_empty());
}

/// The lost one held more, and the group has used the same numbers for other transactions since.
#[test]
fn what_was_given_up_never_comes_in_unseen() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    let group = stage.model.clusters[&prod()].group_name;
    let more: clusterctl_proto::gtid::GtidSet = {
        let held = &stage.toy.server("node2").gtid_executed;
        let count = held
            .parse::<clusterctl_proto::gtid::GtidSet>()
            .unwrap()
            .of(group)
            .count();
        format!("{group}:1-{}", count + 3).parse().unwrap()
    };
    stage.toy.server("node2").gtid_executed = more.to_string();
    ["node1", "node3"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(2);
    let code = loss_code(&stage, &["node2"]);
    stage.must(recover(&["node2"], Some(&code), &stage));
    (0..10).for_each(|_| stage.toy.write());
    stage.toy.power_on("node2");
    stage.alone_for(5);
    let trouble = of_host(&stage, "node2").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("member_quarantined", "blocked"));
    assert_eq!(inside(&stage), ["node1", "node3"]);
    assert_eq!(
        stage.refusal(join("node2")).code,
        "errant_transactions",
        "nor by an operator's word"
    );

    // Given up a second time: it is still measured against what the group had the first time.
    power_cut(&mut stage, &["node1", "node3"]);
    stage.alone_for(2);
    if stage.toy.group.is_none() {
        let code = loss_code(&stage, &["node2"]);
        stage.must(recover(&["node2"], Some(&code), &stage));
    }
    stage.toy.power_on("node2");
    stage.alone_for(5);
    assert_eq!(of_host(&stage, "node2").unwrap().code, "member_quarantined");
    assert_eq!(inside(&stage), ["node1", "node3"]);
}

/// The approval was given while the coordinator's own recovery waited for node1; that went on, and the group lives there now.
#[test]
fn an_approval_does_not_outlive_a_bootstrap_on_whom_it_gives_up() {
    let mut stage = recovery_submitted();
    stage.decide();
    stage.carry_out(|_, _, _| None);
    stage.toy.host("node1").answers = false;
    stage.toy.now += 10_000;
    stage.toy.look();
    let code = loss_code(&stage, &["node1"]);
    let id = stage.submit(recover(&["node1"], Some(&code), &stage)).unwrap();
    stage.toy.host("node1").answers = true;
    while stage.carry_out(|_, _, _| None) {}
    assert_eq!(inside(&stage), ["node1"]);
    // Nobody has looked since at node1, which is silent again.
    stage.toy.host("node1").answers = false;
    stage.toy.look();
    stage.decide();
    let OperationState::Failed { failure } = &stage.model.operations[&id].state else {
        panic!("{:?}", stage.model.operations[&id].state);
    };
    assert_eq!(failure.code, "loss_changed");
    assert!(stage.toy.alarms.is_empty() && inside(&stage) == ["node1"]);
}

/// node2, which held more, is back between the approval and the bootstrap.
#[test]
fn a_member_that_comes_back_with_more_is_not_abandoned_by_a_word_about_what_nobody_knew() {
    let bootstrap_waits = |diverges: bool| {
        let mut stage = Stage::three();
        ["node1", "node3"].iter().for_each(|node| stage.toy.power_off(node));
        stage.toy.write();
        NODES.iter().for_each(|node| stage.toy.power_off(node));
        if diverges {
            stage.toy.write_alone("node1");
        }
        ["node1", "node3"].iter().for_each(|node| stage.toy.power_on(node));
        stage.alone_for(2);
        let code = loss_code(&stage, &["node2"]);
        let id = stage.submit(recover(&["node2"], Some(&code), &stage)).unwrap();
        stage.decide();
        while stage.carry_out(|_, _, _| None) {}
        assert!(stage.toy.group.is_none(), "older words are waited for");
        stage.toy.power_on("node2");
        older_words_are_spent(&mut stage);
        (0..3).for_each(|_| stage.tick());
        let OperationState::Failed { failure } = &stage.model.operations[&id].state else {
            panic!("{:?}", stage.model.operations[&id].state);
        };
        let code = failure.code.clone();
        (stage, code)
    };
    let (mut stage, code) = bootstrap_waits(false);
    assert_eq!(code, "not_lost");
    let written = stage.toy.host("node2").rows.clone();
    stage.alone_for(10);
    assert_eq!(inside(&stage), NODES);
    let now = &stage.toy.host("node1").rows;
    assert!(written.iter().all(|(number, which)| now.get(number) == Some(which)));
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);

    // It and another hold what the other has not: the operator sees that first, and may say it again.
    let (mut stage, code) = bootstrap_waits(true);
    assert_eq!(code, "loss_changed");
    assert!(stage.toy.group.is_none());
    let shown = stage.refusal(recover(&["node2"], None, &stage));
    let code = code_of(shown.hint.as_ref());
    stage.must(recover(&["node2"], Some(&code), &stage));
    assert!(inside(&stage).contains(&"node1".to_owned()));
}

/// Old metadata lists a host that nobody knows any more: the break-glass may name it.
#[test]
fn a_name_that_only_old_metadata_know_can_be_given_up() {
    let mut stage = Stage::three();
    let row = super::toy::instance_row("gone7", uuid::Uuid::from_u128(77), clusterctl_proto::ids::ServerId(77));
    for node in NODES {
        let copy = stage.toy.server(node).metadata.as_mut().unwrap();
        copy.instances.push(row.clone());
    }
    power_cut(&mut stage, &NODES);
    stage.alone_for(3);
    assert!(stage.toy.group.is_none());
    let plain = stage.refusal(recover(&[], None, &stage));
    assert_eq!(plain.code, "members_unknown");
    let code = code_of(plain.hint.as_ref());
    assert_eq!(stage.refusal(recover(&["other7"], None, &stage)).code, "not_a_member");
    stage.must(recover(&["gone7"], Some(&code), &stage));
    stage.alone_for(5);
    assert_eq!(inside(&stage), NODES);
}

/// The break-glass failed and its approval is over; the lost one is back, but its mysqld is not yet.
#[test]
fn a_spent_approval_gives_nobody_up() {
    let mut stage = more_on_node1_given_up_in_vain();
    stage.toy.now += 3_600_000;
    stage.toy.host("node1").up = false;
    stage.toy.power_on("node1");
    stage.alone_for(10);
    assert!(
        stage.toy.group.is_none(),
        "nobody bootstraps before node1 says what it holds"
    );
    stage.toy.host("node1").up = true;
    stage.alone_for(10);
    assert_eq!(inside(&stage), NODES);
    assert_eq!(stage.toy.group.as_ref().unwrap().primary, name("node1"));
}

/// The plan gave node2 up and bootstrapped; then its operation is cancelled. What was given up stays so, and typing it again finishes.
#[test]
fn what_was_given_up_stays_so_however_its_operation_ends() {
    let (mut stage, code) = node2_stays_away();
    let id = stage.submit(recover(&["node2"], Some(&code), &stage)).unwrap();
    stage.decide();
    while stage.carry_out(|_, _, _| None) {}
    older_words_are_spent(&mut stage);
    stage.carry_out(|_, _, _| None);
    stage.carry_out(|_, _, _| Some(super::sim::failed("thrown", false)));
    assert!(matches!(
        stage.model.operations[&id].state,
        OperationState::Failed { .. }
    ));
    stage.record();
    let cluster = &stage.model.clusters[&prod()];
    let last = cluster.lineages.get(cluster.lineage.as_ref().unwrap()).unwrap();
    assert!(last.abandoned.contains(&name("node2")));
    let rows = |stage: &mut Stage| stage.toy.server("node1").metadata.clone().unwrap().instances.len();
    assert_eq!(rows(&mut stage), 3);
    stage.must(recover(&["node2"], Some(&code), &stage));
    assert_eq!(rows(&mut stage), 2);
}

/// Its mysqld has failed, and its agent has not said what became of an earlier step: the forced recovery that names it sends it nothing.
#[test]
fn a_forced_recovery_goes_on_although_whom_it_names_is_busy_and_answers() {
    let mut stage = Stage::three();
    power_cut(&mut stage, &NODES);
    let node2 = stage.toy.host("node2");
    (node2.up, node2.failed) = (false, true);
    let last = stage.model.clusters[&prod()].last_plan.unwrap();
    let plan = stage.model.plans.get_mut(&last).unwrap();
    let step = plan.draft.steps.iter().find(|step| step.host == name("node2")).unwrap();
    plan.unsettled.insert(step.number);
    stage.alone_for(2);
    let code = loss_code(&stage, &["node2"]);
    stage.submit(recover(&["node2"], Some(&code), &stage)).unwrap();
    stage.decide();
    while stage.carry_out(|_, _, _| None) {}
    assert!(
        stage.toy.group.is_none(),
        "it may act on an older word for some seconds"
    );
    stage.alone_for(12);
    assert_eq!(inside(&stage), ["node1", "node3"]);
}
