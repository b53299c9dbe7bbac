//! Plans that slept between their adoption and their next step: the world has moved meanwhile.

use clusterctl_proto::step::{GroupConfig, MemberAccount, Recovery, Step};

use super::heal_stage::{NODES, loss_code, node2_stays_away, power_cut, recover, recovery_submitted, troubles};
use super::stage::{GROUP, Stage, prod};
use super::toy::name;
use crate::machine::{Change, plans};
use crate::model::{MemberPhase, OperationKind, OperationState};

/// Plans the recovery and has the promises given; the bootstrap is not sent: the coordinator's host (node1) dies.
pub fn promised_and_dead() -> Stage {
    let mut stage = recovery_submitted();
    stage.decide();
    assert!(stage.carry_out(|_, _, _| None), "promises");
    assert!(stage.carry_out(|_, _, _| None), "the promise of who bootstraps");
    stage.toy.power_off("node1");
    stage
}

/// What a DBA does with no coordinator there: bootstraps on node2, joins node3.
pub fn by_hand(stage: &mut Stage) {
    stage.toy.by_hand(&["node2", "node3"]);
    for _ in 0..5 {
        stage.toy.write();
    }
}

#[test]
fn a_plan_that_slept_makes_no_second_group() {
    let mut stage = promised_and_dead();
    by_hand(&mut stage);
    stage.toy.now += 7_200_000;
    stage.toy.power_on("node1");
    stage.alone_for(3);
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

#[test]
fn a_plan_that_slept_loses_nothing_that_was_acknowledged() {
    let mut stage = promised_and_dead();
    by_hand(&mut stage);
    let written = stage.toy.hosts[&name("node2")].rows.clone();
    // the power is cut again, for all
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    stage.toy.now += 7_200_000;
    NODES.iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(3);
    let leads = stage.toy.group.as_ref().map(|group| group.primary.clone()).unwrap();
    let now = &stage.toy.hosts[&leads].rows;
    let lost = written
        .iter()
        .filter(|(number, which)| now.get(*number) != Some(*which))
        .count();
    let quiet = troubles(&stage).iter().map(|t| t.code).collect::<Vec<_>>();
    assert_eq!(lost, 0, "{leads} leads, {:?}; troubles {quiet:?}", stage.toy.alarms);
}

/// Without node1, whose power is off, the group was bootstrapped on node2; the coordinator dies before node1 is forgotten.
fn recovered_without_node1() -> (Stage, clusterctl_proto::ids::OperationId) {
    let mut stage = Stage::three();
    ["node2", "node3"].iter().for_each(|node| stage.toy.power_off(node));
    stage.toy.write();
    stage.toy.write();
    power_cut(&mut stage, &["node2", "node3"]);
    stage.alone_for(2);
    let code = loss_code(&stage, &["node1"]);
    let operation = stage.submit(recover(&["node1"], Some(&code), &stage)).unwrap();
    stage.decide();
    // Promises and accounts, the last promise, then the bootstrap: not before older words are spent.
    stage.carry_out(|_, _, _| None);
    stage.carry_out(|_, _, _| None);
    stage.carry_out(|_, _, _| None);
    assert!(stage.toy.group.is_none(), "node1 may still act on an older order");
    stage.toy.now += 10_000;
    stage.toy.look();
    stage.carry_out(|_, _, _| None);
    assert_eq!(stage.toy.group.as_ref().unwrap().primary, name("node2"));
    for _ in 0..10 {
        stage.toy.write();
    }
    (stage, operation)
}

/// node1 comes back alone, its agent has promised nothing, and the group has used its numbers since.
#[test]
fn who_was_given_up_cannot_come_in_before_it_is_forgotten() {
    let (mut stage, _) = recovered_without_node1();
    stage.toy.power_on("node1");
    let node1 = stage.toy.hosts[&name("node1")].clone();
    let user = format!("mysql_innodb_cluster_{}", node1.server.as_ref().unwrap().server_id);
    let known = stage.toy.hosts[&name("node2")].accounts.contains(&user);
    let account = MemberAccount {
        user,
        from: "%".into(),
        subject: "s".into(),
        issuer: "i".into(),
    };
    let join = Step::JoinGroup {
        group: GroupConfig {
            group_name: GROUP,
            variables: Vec::new(),
            account: account.clone(),
        },
        recovery: Recovery::Incremental,
        account,
        group_gtid: String::new(),
        history: None,
    };
    let outcome = stage.toy.run(&name("node1"), &join);
    assert!(
        stage.toy.alarms.is_empty() && !known,
        "account known: {known}; {:?}; {:?}",
        outcome.result,
        stage.toy.alarms
    );
}

fn is_listed(stage: &Stage, host: &str) -> bool {
    let server = stage.toy.hosts[&name("node2")].server.as_ref().unwrap();
    let rows = &server.metadata.as_ref().unwrap().instances;
    rows.iter().any(|row| row.address == format!("{host}:3306"))
}

#[test]
fn who_was_abandoned_is_forgotten_although_the_recovery_was_cancelled() {
    let (mut stage, operation) = recovered_without_node1();
    assert!(is_listed(&stage, "node1"));
    stage.apply(Change::Cancel { operation });
    assert!(stage.model.clusters[&prod()].duties.contains_key(&name("node1")));
    stage.toy.now += 1000;
    stage.toy.look();
    let told: Vec<_> = troubles(&stage).iter().map(|trouble| trouble.code).collect();
    assert!(told.contains(&"abandoned_not_forgotten"), "{told:?}");
    stage.alone_for(3);
    assert!(!is_listed(&stage, "node1"));
    assert!(stage.model.clusters[&prod()].duties.is_empty());
    let forgot = |op: &crate::model::Operation| {
        matches!(op.kind, OperationKind::Forget { .. }) && matches!(op.state, OperationState::Done { .. })
    };
    assert!(stage.model.operations.values().any(forgot));
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

/// Its removal or its join was given up half-way: nobody else forgets it.
#[test]
fn who_was_abandoned_is_forgotten_also_while_it_joins_or_leaves() {
    for phase in [MemberPhase::Joining, MemberPhase::Leaving] {
        let (mut stage, operation) = recovered_without_node1();
        stage.apply(Change::Cancel { operation });
        let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
        cluster.members.get_mut(&name("node1")).unwrap().phase = phase;
        stage.toy.now += 1000;
        stage.toy.look();
        let told: Vec<_> = troubles(&stage).iter().map(|trouble| trouble.code).collect();
        assert!(told.contains(&"abandoned_not_forgotten"), "{told:?}");
        stage.alone_for(3);
        assert!(!is_listed(&stage, "node1"));
        assert!(stage.model.clusters[&prod()].duties.is_empty());
    }
}

/// The accounts of the abandoned were dropped, then the approval ended: who comes back after all gets its account again.
#[test]
fn an_account_that_was_dropped_for_nothing_is_made_again() {
    let (mut stage, code) = node2_stays_away();
    let operation = stage.submit(recover(&["node2"], Some(&code), &stage)).unwrap();
    stage.decide();
    stage.carry_out(|_, _, _| None);
    stage.apply(Change::Cancel { operation });
    assert!(stage.model.clusters[&prod()].accounts_dropped.contains(&name("node2")));
    // A person bootstraps by hand.
    stage.toy.by_hand(&["node1", "node3"]);
    stage.toy.power_on("node2");
    stage.alone_for(5);
    assert_eq!(super::heal_stage::inside(&stage), NODES);
    assert!(stage.model.clusters[&prod()].accounts_dropped.is_empty());
}

/// What is not certain is waited for: a bootstrap is neither sent nor given up while a member is silent.
#[test]
fn a_bootstrap_waits_for_a_member_that_went_silent() {
    let mut stage = recovery_submitted();
    stage.decide();
    assert!(stage.carry_out(|_, _, _| None), "promises");
    assert!(stage.carry_out(|_, _, _| None), "the last promise");
    stage.toy.host("node3").answers = false;
    let before = stage.toy.bootstraps;
    assert!(!stage.carry_out(|_, _, _| None));
    assert_eq!(stage.toy.bootstraps, before);
    stage.toy.host("node3").answers = true;
    stage.toy.now += 1000;
    stage.toy.look();
    assert!(stage.carry_out(|_, _, _| None));
    assert_eq!(stage.toy.bootstraps, before + 1);
}

/// The approval lasts 15 minutes; its plan is adopted, then the coordinator is off for two days.
#[test]
fn an_approval_that_has_ended_bootstraps_nothing() {
    let (mut stage, code) = node2_stays_away();
    stage.submit(recover(&["node2"], Some(&code), &stage)).unwrap();
    stage.decide();
    // Everything before the bootstrap has ended: it would be sent next.
    let bootstrap = |stage: &Stage| {
        let plan = stage.model.plans.values().next_back().unwrap();
        let ready = plans::ready_steps(plan);
        ready
            .iter()
            .any(|step| matches!(step.step, Step::BootstrapGroup { .. }))
    };
    for _ in 0..10 {
        if !bootstrap(&stage) {
            stage.carry_out(|_, _, _| None);
        }
    }
    assert!(bootstrap(&stage));
    let before = stage.toy.bootstraps;
    stage.toy.now += 2 * 24 * 3_600_000;
    stage.toy.power_on("node2");
    stage.toy.look();
    stage.carry_out(|_, _, _| None);
    assert_eq!(
        stage.toy.bootstraps, before,
        "bootstrapped without node2, which is there, two days after the approval ended"
    );
}
