//! How members come back that a forced recovery has abandoned, or that it named in vain.

use clusterctl_proto::step::Step;

use super::{give_up_in_vain, more_on_node1_given_up_in_vain, nobody_is_left_out};
use crate::model::OperationKind;
use crate::planner::heal;
use crate::planner::tests::heal_stage::{NODES, inside, loss_code, node2_stays_away, not, of_host, recover, troubles};
use crate::planner::tests::stage::{Stage, join, prod};
use crate::planner::tests::toy::name;

/// node1 is abandoned, node2 goes on and is abandoned, too, while node1 is back: what node1 holds was never written past it, so it counts,
/// and only what node2 wrote alone is lost.
#[test]
fn what_was_abandoned_counts_again_where_nobody_is_left_who_went_on() {
    let mut stage = Stage::three();
    stage.toy.power_off("node3");
    (0..5).for_each(|_| stage.toy.write());
    let shared = stage.toy.host("node1").rows.clone();
    let give_up = |stage: &mut Stage, lost: &str, back: [&str; 2]| {
        NODES.iter().for_each(|node| stage.toy.power_off(node));
        back.iter().for_each(|node| stage.toy.power_on(node));
        stage.alone_for(2);
        let code = loss_code(stage, &[lost]);
        let id = stage.submit(recover(&[lost], Some(&code), stage)).unwrap();
        // Nobody else comes in meanwhile.
        while !stage.model.operations[&id].state.is_final() {
            stage.tick();
        }
    };
    give_up(&mut stage, "node1", ["node2", "node3"]);
    assert_eq!(inside(&stage), ["node2"]);
    give_up(&mut stage, "node2", ["node1", "node3"]);
    assert_eq!(inside(&stage), ["node1"]);
    (0..9).for_each(|_| stage.toy.write());
    NODES.iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(10);
    assert_eq!(inside(&stage), ["node1", "node3"]);
    assert_eq!(of_host(&stage, "node2").unwrap().code, "member_quarantined");
    let now = &stage.toy.host("node1").rows;
    assert!(shared.iter().all(|(number, which)| now.get(number) == Some(which)));
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

/// From the first step of its join it gets what the group has, and that is no proof against it.
#[test]
fn a_member_that_was_left_out_and_whose_join_broke_off_is_not_quarantined_for_good() {
    let (mut stage, code) = node2_stays_away();
    stage.must(recover(&["node2"], Some(&code), &stage));
    (0..10).for_each(|_| stage.toy.write());
    stage.toy.power_on("node2");
    // It receives everything, and its power is cut before it is done.
    let mut joins = 0;
    for _ in 0..5 {
        stage.toy.now += 1000;
        stage.toy.look();
        stage.heal();
        stage.decide();
        while stage.carry_out(|toy, host, step| {
            let breaks = matches!(step, Step::JoinGroup { .. }) && joins == 0;
            breaks.then(|| {
                joins += 1;
                toy.run(host, step);
                toy.restart(host);
                crate::planner::tests::sim::failed("thrown", true)
            })
        }) {}
    }
    assert_eq!(joins, 1);
    stage.alone_for(40);
    assert_eq!(inside(&stage), NODES);
    assert!(nobody_is_left_out(&stage) && stage.toy.alarms.is_empty());
}

/// Who was given up before need not be able to say what it holds.
#[test]
fn a_member_given_up_before_does_not_hold_up_the_next_recovery() {
    let mut stage = Stage::three();
    stage.toy.power_off("node2");
    stage.toy.write();
    ["node1", "node3"].iter().for_each(|node| stage.toy.power_off(node));
    ["node1", "node3"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(2);
    let code = loss_code(&stage, &["node2"]);
    stage.must(recover(&["node2"], Some(&code), &stage));
    let host = stage.toy.host("node2");
    host.up = false;
    host.data = clusterctl_proto::observe::DataDirectory::Absent;
    stage.toy.power_on("node2");
    stage.alone_for(3);
    ["node1", "node3"].iter().for_each(|node| stage.toy.power_off(node));
    ["node1", "node3"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(5);
    assert_eq!(inside(&stage), ["node1", "node3"]);
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

/// The break-glass was used, its bootstrap failed, and then the lost one came back with everything: nothing is lost after all.
#[test]
fn what_was_given_up_for_nothing_is_taken_back() {
    let mut stage = more_on_node1_given_up_in_vain();
    let written = stage.toy.host("node1").rows.clone();
    stage.toy.power_on("node1");
    stage.alone_for(10);
    assert_eq!(inside(&stage), NODES);
    assert_eq!(stage.toy.group.as_ref().unwrap().primary, name("node1"));
    let now = &stage.toy.host("node2").rows;
    assert!(written.iter().all(|(number, which)| now.get(number) == Some(which)));
    assert!(nobody_is_left_out(&stage));
}

/// Of two that were given up for nothing, one cannot say what it holds when the other is taken back: it comes in later.
#[test]
fn whoever_was_given_up_with_one_that_is_taken_back_shares_what_that_one_brings() {
    let mut stage = Stage::three();
    stage.toy.power_off("node3");
    stage.toy.write();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    stage.toy.power_on("node3");
    stage.alone_for(2);
    let lost = ["node1", "node2"];
    give_up_in_vain(&mut stage, &lost);
    let host = stage.toy.host("node2");
    (host.up, host.failed) = (false, true);
    NODES.iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(10);
    stage.alone_for(60);
    assert_eq!(inside(&stage), NODES);
    assert!(nobody_is_left_out(&stage) && stage.toy.alarms.is_empty());
}

/// An outage in which `lost` is given up for good.
fn without(lost: &str) -> Stage {
    let mut stage = Stage::three();
    let rest = NODES.into_iter().filter(|node| *node != lost);
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    rest.for_each(|node| stage.toy.power_on(node));
    stage.alone_for(2);
    let code = loss_code(&stage, &[lost]);
    stage.must(recover(&[lost], Some(&code), &stage));
    stage.alone_for(5);
    stage
}

/// It was given up though it lived: whichever side stays, nobody of the other is compared by numbers.
#[test]
fn nobody_enters_where_somebody_leads_who_was_given_up() {
    let mut stage = without("node1");
    ["node2", "node3"]
        .iter()
        .for_each(|node| stage.toy.restart(&name(node)));
    stage.toy.power_on("node1");
    stage.toy.by_hand(&["node1"]);
    (0..50).for_each(|_| stage.toy.write());
    stage.alone_for(5);
    assert_eq!(inside(&stage), ["node1"]);
    let trouble = troubles(&stage).remove(0);
    assert_eq!((trouble.code, not(&trouble).0), ("given_up_leads", "blocked"));
    assert_eq!(stage.refusal(join("node4")).code, "given_up_leads");
    assert!(stage.toy.alarms.is_empty());
    // Where `remove` is refused, no advice names it, whatever is wrong with the member.
    let mut sight = stage.toy.sight();
    sight.get_mut(&name("node2")).unwrap().observation_mut().mysql.installed = None;
    let found = stage.look(&sight, |world| heal::troubles(world, &world.model.clusters[&prod()]));
    let gone = found.iter().find(|trouble| trouble.code == "server_gone").unwrap();
    assert!(
        matches!(&gone.care, heal::Care::Not(not) if not.command == "clusterctl why -c prod"),
        "{gone:?}"
    );
    // The others have what was written since: nobody is told to take them out, nor does it work.
    ["node2", "node3"].iter().for_each(|node| stage.toy.power_off(node));
    stage.alone_for(5);
    for node in ["node2", "node3"] {
        let trouble = of_host(&stage, node).unwrap();
        assert!(
            matches!(&trouble.care, heal::Care::Not(not) if !not.command.contains("remove")),
            "{trouble:?}"
        );
        let remove = OperationKind::Remove {
            host: name(node),
            force: true,
        };
        assert_eq!(stage.refusal(remove).code, "given_up_leads");
    }
    let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
    ["node2", "node3"]
        .iter()
        .for_each(|node| drop(cluster.members.remove(&name(node))));
    let sight = stage.toy.sight();
    let told = stage.look(&sight, |world| crate::leader::status::clusters(world, None).remove(0));
    assert_eq!(told.state, "degraded", "{}", told.verdict);
    assert!(
        told.verdict.contains("in a history that was abandoned"),
        "{}",
        told.verdict
    );
    assert!(
        told.issues.iter().any(|issue| issue.starts_with("ALARM: node1 leads")),
        "{:?}",
        told.issues
    );
}

/// It came in by its agent, say, before it was forgotten.
#[test]
fn whoever_was_given_up_and_is_inside_is_told_and_stays_marked() {
    let mut stage = without("node2");
    stage.toy.power_on("node2");
    let held = stage
        .toy
        .held(&name("node2"))
        .of(crate::planner::tests::stage::GROUP)
        .count();
    stage.toy.server("node2").gtid_executed = format!("{}:1-{}", crate::planner::tests::stage::GROUP, held + 3);
    let lineage = stage.toy.group.as_ref().unwrap().lineage.clone();
    stage.toy.entered_unmeasured(&name("node2"), &lineage);
    stage.toy.group.as_mut().unwrap().members.insert(name("node2"));
    stage.alone_for(3);
    let trouble = of_host(&stage, "node2").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("given_up_inside", "blocked"));
    assert_eq!(stage.refusal(join("node2")).code, "given_up_inside");
    assert!(!nobody_is_left_out(&stage));
}

/// A host that is no member may have been taken out before the loss, with its data: it may hold what is given up with another.
#[test]
fn hosts_that_are_no_members_are_measured_like_one_that_was_given_up() {
    let mut stage = without("node2");
    let old_lineage = stage.toy.host("node2").lineage.clone();
    let before = stage.toy.held(&name("node2"));
    (0..50).for_each(|_| stage.toy.write());
    let mut old = stage.clone();
    stage.must(join("node4"));
    assert_eq!(inside(&stage), ["node1", "node3", "node4"], "a bare one holds nothing");

    let mut server = crate::planner::tests::toy::fresh_server(&name("node4"), uuid::Uuid::from_u128(4));
    server.gtid_executed = format!("{}:1-{}", crate::planner::tests::stage::GROUP, before.count() + 3);
    let host = old.toy.host("node4");
    host.lineage = old_lineage.map(|own| clusterctl_proto::lineage::MemberLineage {
        server_uuid: uuid::Uuid::from_u128(4),
        ..own
    });
    (host.server, host.up, host.mysql_installed) = (Some(server), true, true);
    host.data = clusterctl_proto::observe::DataDirectory::Ours { cluster: Some(prod()) };
    old.toy.look();
    assert_eq!(old.refusal(join("node4")).code, "errant_transactions");
    // With a ledger that does not know these data, nothing is proven either.
    old.toy.host("node4").lineage = None;
    old.toy.look();
    assert_eq!(old.refusal(join("node4")).code, "history_unknown");
}
