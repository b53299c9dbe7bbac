//! A cluster of the release before, which recorded no lineages: nobody wrong comes in after the upgrade, and nobody right stays out.
//!
//! The two documents in `fixtures` are models that commit 4264567 itself has written, in its own toy world and by the story of
//! [`node2_given_up`]: node2 with three transactions more was given up by a forced recovery.

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::lineage::{Lineages, MemberLineage, Trust};

use super::heal_stage::{NODES, inside, loss_code, of_host, power_cut, recover};
use super::stage::{GROUP, Stage, prod};
use super::toy::name;
use crate::model::{LeftOut, Model};

/// Then node3 lost power, and the group went on in node1.
pub(crate) const NODE3_OFF: &str = include_str!("fixtures/of_4264567_node3_off.json");
/// Then node1 did, too; all came back, and the recovery's promises were given.
pub(crate) const RECOVERING: &str = include_str!("fixtures/of_4264567_recovering.json");

/// Everything that has to do with lineages is forgotten, as the release before had it; members that are in the group are recorded by
/// their upgraded agents as soon as these see them there.
fn of_the_release_before(stage: &mut Stage) {
    let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
    (cluster.lineages, cluster.lineage) = (Lineages::default(), None);
    let group = stage.toy.group.clone();
    for (host, toy) in &mut stage.toy.hosts {
        (toy.lineages, toy.adopts, toy.lineage) = (Lineages::default(), true, None);
        let group = group.iter().find(|group| group.members.contains(host));
        toy.lineage = group.map(|group| MemberLineage {
            id: group.lineage.clone(),
            trust: Trust::Verified,
            server_uuid: toy.server.as_ref().unwrap().server_uuid,
            branch: None,
            before: None,
            counter: 0,
            span: None,
            donors: Default::default(),
            copy_of: None,
            past: Vec::new(),
        });
    }
}

fn rest_without(away: &str) -> Stage {
    let mut stage = Stage::three();
    (0..5).for_each(|_| stage.toy.write());
    stage.toy.power_off(away);
    (0..5).for_each(|_| stage.toy.write());
    of_the_release_before(&mut stage);
    stage
}

#[test]
fn who_was_merely_off_comes_in() {
    let mut stage = rest_without("node3");
    stage.alone_for(3);
    stage.toy.power_on("node3");
    stage.alone_for(5);
    assert_eq!(inside(&stage), NODES);
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

#[test]
fn who_was_abandoned_stays_out_though_its_numbers_are_used_again() {
    let mut stage = rest_without("node3");
    let held = stage.toy.held(&name("node3"));
    let count = held.of(GROUP).count();
    let more: GtidSet = format!("{GROUP}:1-{}", count + 3).parse().unwrap();
    stage.toy.server("node3").gtid_executed = more.to_string();
    for number in count + 1..=count + 3 {
        stage
            .toy
            .host("node3")
            .rows
            .insert(number, 1_000_000 + u64::try_from(number).unwrap());
    }
    let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
    let by = *stage.model.operations.keys().next().unwrap();
    cluster.left_out.insert(name("node3"), LeftOut { base: held, by });
    stage.alone_for(3);
    (0..20).for_each(|_| stage.toy.write());
    stage.toy.power_on("node3");
    stage.alone_for(30);
    assert_eq!(inside(&stage), ["node1", "node2"]);
    assert_eq!(of_host(&stage, "node3").unwrap().code, "member_quarantined");
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

/// The lights are out while the packages are upgraded, and a recovery had begun.
#[test]
fn an_outage_in_the_middle_of_the_upgrade_is_recovered() {
    let mut stage = Stage::three();
    (0..5).for_each(|_| stage.toy.write());
    power_cut(&mut stage, &NODES);
    of_the_release_before(&mut stage);
    stage.toy.now += 1000;
    stage.toy.look();
    stage.heal();
    stage.decide();
    assert!(stage.carry_out(|_, _, _| None), "promises");
    stage.alone_for(5);
    assert_eq!(inside(&stage), NODES);
    let cluster = &stage.model.clusters[&prod()];
    assert!(cluster.lineage.is_some(), "recorded from now on");
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

/// The coordinator and one agent are upgraded; a member whose agent is not yet has numbers of the time after, and leaves the group.
#[test]
fn who_leaves_in_the_middle_of_the_upgrade_is_not_away_since_before() {
    let mut stage = Stage::three();
    of_the_release_before(&mut stage);
    let upgraded = stage.toy.host("node3").lineage.take();
    stage.alone_for(3);
    assert!(
        stage.model.clusters[&prod()].lineages.is_empty(),
        "node3's agent records nothing yet"
    );
    (0..5).for_each(|_| stage.toy.write());
    stage.toy.power_off("node3");
    stage.toy.power_on("node3");
    stage.alone_for(5);
    assert_eq!(inside(&stage), NODES);
    stage.toy.host("node3").lineage = upgraded;
    stage.alone_for(3);
    assert!(!stage.model.clusters[&prod()].lineages.is_empty());
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

/// The same story in this release's world: the hosts are as they were when the release before wrote its model.
fn node2_given_up() -> Stage {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    let held = stage.toy.held(&name("node2"));
    let count = held.of(GROUP).count();
    stage.toy.server("node2").gtid_executed = format!("{GROUP}:1-{}", count + 3);
    for number in count + 1..=count + 3 {
        let own = 1_000_000 + u64::try_from(number).unwrap();
        stage.toy.host("node2").rows.insert(number, own);
    }
    ["node1", "node3"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(2);
    let code = loss_code(&stage, &["node2"]);
    stage.must(recover(&["node2"], Some(&code), &stage));
    (0..10).for_each(|_| stage.toy.write());
    stage.toy.power_off("node3");
    (0..5).for_each(|_| stage.toy.write());
    stage
}

/// The coordinator's new release starts on what the old one wrote.
fn upgraded(mut stage: Stage, written: &str) -> Stage {
    of_the_release_before(&mut stage);
    stage.model = serde_json::from_str::<Model>(written).unwrap();
    stage.index = stage.index.max(stage.model.operations.keys().max().unwrap().0 + 100);
    stage.toy.look();
    stage
}

fn numbers_are_used_again(stage: &mut Stage) {
    (0..20).for_each(|_| stage.toy.write());
}

#[test]
fn the_frozen_state_of_the_release_before_goes_on() {
    let mut stage = upgraded(node2_given_up(), NODE3_OFF);
    assert!(stage.model.clusters[&prod()].left_out.contains_key(&name("node2")));
    stage.alone_for(3);
    numbers_are_used_again(&mut stage);
    stage.toy.power_on("node2");
    stage.toy.power_on("node3");
    stage.alone_for(30);
    assert_eq!(inside(&stage), ["node1", "node3"], "node3 was merely off");
    assert_eq!(of_host(&stage, "node2").unwrap().code, "member_quarantined");
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

#[test]
fn its_half_run_recovery_is_ended_and_who_was_given_up_stays_out() {
    let mut stage = node2_given_up();
    stage.toy.power_off("node1");
    NODES.iter().for_each(|node| stage.toy.power_on(node));
    for node in NODES {
        stage.toy.host(node).promised = true;
    }
    let mut stage = upgraded(stage, RECOVERING);
    assert!(
        stage
            .model
            .plans
            .values()
            .any(|plan| !crate::machine::plans::is_settled(plan)),
        "a recovery runs"
    );
    stage.alone_for(30);
    assert_eq!(inside(&stage), ["node1", "node3"]);
    numbers_are_used_again(&mut stage);
    stage.alone_for(30);
    assert_eq!(inside(&stage), ["node1", "node3"]);
    assert_eq!(of_host(&stage, "node2").unwrap().code, "member_quarantined");
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}
