//! Outages of all members: who bootstraps, what is waited for, what is refused.

use clusterctl_proto::step::Step;

use super::heal_stage::{
    NODES, code_of, healings, inside, loss_code, not, of_host, power_cut, recover, said, troubles,
};
use super::stage::{Stage, join, prod};
use super::toy::name;
use crate::model::OperationKind;
use crate::planner::heal::Care;

#[test]
fn an_outage_ends_as_soon_as_everybody_answers_and_not_before() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    for back in ["node2", "node3"] {
        stage.toy.power_on(back);
        stage.alone_for(5);
        assert!(stage.toy.group.is_none());
    }
    let trouble = troubles(&stage).remove(0);
    assert_eq!((trouble.code, not(&trouble).0), ("outage", "blocked"));
    assert!(not(&trouble).1.contains("node1"), "{trouble:?}");
    stage.toy.power_on("node1");
    stage.alone_for(8);
    assert_eq!(inside(&stage), NODES);
    assert_eq!((stage.toy.bootstraps, stage.toy.alarms.len()), (2, 0));
    assert!(troubles(&stage).is_empty());
}

#[test]
fn whoever_has_most_bootstraps() {
    for most in NODES {
        let mut stage = Stage::three();
        let rest: Vec<&str> = NODES.into_iter().filter(|node| *node != most).collect();
        rest.iter().for_each(|node| stage.toy.power_off(node));
        stage.toy.write();
        stage.toy.power_off(most);
        NODES.iter().for_each(|node| stage.toy.power_on(node));
        stage.alone_for(2);
        assert_eq!(stage.toy.group.as_ref().unwrap().primary.as_str(), most);
        stage.alone_for(6);
        assert_eq!(inside(&stage), NODES);
    }
}

/// What was received and not applied yet counts as held.
#[test]
fn received_counts() {
    let mut stage = Stage::three();
    let before = stage.toy.server("node2").gtid_executed.clone();
    stage.toy.write();
    let after = stage.toy.server("node2").gtid_executed.clone();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    for node in ["node1", "node2"] {
        stage.toy.server(node).gtid_executed.clone_from(&before);
    }
    stage.toy.server("node3").gtid_executed = before;
    stage.toy.server("node3").gtid_received = after;
    NODES.iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(2);
    assert_eq!(stage.toy.group.as_ref().unwrap().primary.as_str(), "node3");
}

#[test]
fn members_in_error_are_stopped_before_anybody_bootstraps() {
    let mut stage = Stage::three();
    power_cut(&mut stage, &NODES);
    stage.toy.host("node2").stuck = true;
    stage.alone_for(10);
    assert_eq!(inside(&stage), NODES);
    let recoveries: Vec<_> = stage
        .model
        .plans
        .values()
        .filter(|plan| {
            let op = &stage.model.operations[&plan.draft.operation];
            matches!(op.kind, OperationKind::Recover { .. })
        })
        .collect();
    assert_eq!(recoveries.len(), 2);
    assert_eq!(recoveries[0].draft.operation, recoveries[1].draft.operation);
    let only_promises = |step: &crate::model::PlannedStep| matches!(step.step, Step::Promise {});
    assert!(recoveries[0].draft.steps.iter().all(only_promises));
}

/// A group of one whose joiner died when it was let in: ONLINE, PRIMARY, with a majority, and every commit waits.
#[test]
fn a_group_that_agrees_on_nothing_is_told_and_ends_when_it_never_will_again() {
    let mut stage = Stage::three();
    power_cut(&mut stage, &NODES);
    stage.alone_for(1);
    while inside(&stage).is_empty() {
        stage.alone_for(1);
    }
    let alone = name("node1");
    let group = stage.toy.group.as_mut().unwrap();
    (group.primary, group.members) = (alone.clone(), std::collections::BTreeSet::from([alone.clone()]));
    let stands = |stage: &mut Stage, ms: u64| {
        stage.toy.group.as_mut().unwrap().standstill_ms = ms;
        stage.toy.look();
    };
    // Told, and waited for: whom it let in may still be back.
    stands(&mut stage, 12_000);
    let bootstraps = stage.toy.bootstraps;
    stage.alone_for(3);
    let trouble = troubles(&stage).remove(0);
    assert_eq!((trouble.code, not(&trouble).0), ("no_quorum", "waiting"));
    assert!(trouble.wrong.contains("agreed on nothing for 12"), "{trouble:?}");
    assert_eq!((inside(&stage).len(), stage.toy.bootstraps), (1, bootstraps));
    let refused = stage.refusal(recover(&[], None, &stage));
    assert!(refused.message.contains("agreed on nothing"), "{refused:?}");
    // Never again: it is stopped, and made anew of what it holds.
    stands(&mut stage, 40_000);
    let trouble = troubles(&stage).remove(0);
    assert_eq!(trouble.code, "outage");
    assert!(trouble.wrong.contains("never will again"), "{trouble:?}");
    assert!(
        matches!(trouble.care, Care::Act(OperationKind::Recover { .. })),
        "{trouble:?}"
    );
    stage.alone_for(10);
    assert_eq!(
        (inside(&stage).as_slice(), stage.toy.alarms.len()),
        (NODES.map(str::to_owned).as_slice(), 0)
    );
    assert_eq!(stage.toy.bootstraps, bootstraps + 1);
}

/// A recovery that ended half-way may have dropped the accounts of members that come in by this one.
#[test]
fn every_recovery_sees_to_the_accounts_before_it_bootstraps() {
    let mut stage = Stage::three();
    power_cut(&mut stage, &NODES);
    stage.alone_for(10);
    let steps = stage.model.plans.values().map(|plan| &plan.draft.steps);
    let recovery = steps.into_iter().find(|steps| {
        let mut steps = steps.iter();
        steps.any(|step| matches!(step.step, Step::BootstrapGroup { .. }) && step.host == name("node1"))
            && steps.all(|step| !matches!(step.step, Step::Metadata { .. }))
    });
    let recovery = recovery.expect("a recovery");
    let bootstrap = recovery
        .iter()
        .position(|step| matches!(step.step, Step::BootstrapGroup { .. }));
    let accounts = recovery.iter().position(|step| {
        matches!(&step.step, Step::LocalMemberAccounts { accounts } if accounts.len() == 3)
            && step.host == name("node1")
    });
    assert!(accounts.is_some() && accounts < bootstrap, "{accounts:?} {bootstrap:?}");
}

/// Among equals a member leads, not one that is on its way out.
#[test]
fn whoever_is_leaving_does_not_lead_among_equals() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
    cluster.members.get_mut(&name("node1")).unwrap().phase = crate::model::MemberPhase::Leaving;
    NODES.iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(2);
    assert_eq!(stage.toy.group.as_ref().unwrap().primary, name("node2"));
}

#[test]
fn diverged_members_are_quarantined_and_shown() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.write_alone("node3");
    stage.alone_for(5);
    let trouble = of_host(&stage, "node3").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("member_quarantined", "blocked"));
    assert!(trouble.evidence.iter().any(|seen| seen.text.starts_with("only here: ")));
    assert!(healings(&stage).is_empty() && inside(&stage) == ["node1", "node2"]);
    stage.toy.write();

    // In an outage nobody has everything: which is given up is said by a person.
    ["node1", "node2"].iter().for_each(|node| stage.toy.power_off(node));
    ["node1", "node2"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(5);
    assert!(stage.toy.group.is_none() && healings(&stage).is_empty());
    assert_eq!(stage.refusal(recover(&[], None, &stage)).code, "diverged");
    let code = loss_code(&stage, &["node3"]);
    stage.must(recover(&["node3"], Some(&code), &stage));
    stage.alone_for(5);
    assert_eq!(inside(&stage), ["node1", "node2"]);
}

/// A member whose disk was replaced held something, and nobody knows what.
#[test]
fn data_that_are_gone_are_not_nothing() {
    use clusterctl_proto::observe::DataDirectory;
    for (lost, server) in [
        (DataDirectory::Absent, false),
        (DataDirectory::Pristine, true),
        (DataDirectory::Pristine, false),
    ] {
        let mut stage = Stage::three();
        NODES.iter().for_each(|node| stage.toy.power_off(node));
        let host = stage.toy.host("node3");
        host.data = lost;
        host.up = server;
        host.failed = !server;
        if let Some(server) = &mut host.server {
            server.gtid_executed.clear();
            server.metadata = None;
        }
        NODES.iter().for_each(|node| stage.toy.power_on(node));
        stage.toy.host("node3").up = server;
        stage.toy.look();
        let refused = stage.refusal(recover(&[], None, &stage));
        assert_eq!(refused.code, "members_unknown");
        assert!(
            refused.facts.iter().any(|fact| fact.contains("not there any more")),
            "{refused:?}"
        );
        let code = code_of(refused.hint.as_ref());
        stage.must(recover(&["node3"], Some(&code), &stage));
        stage.alone_for(4);
        assert_eq!(inside(&stage), ["node1", "node2"]);
    }
}

#[test]
fn silence_of_all_is_no_outage_and_offers_no_break_glass() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.host(node).answers = false);
    stage.toy.now += 10_000;
    stage.toy.look();
    let trouble = troubles(&stage).remove(0);
    assert_eq!((trouble.code, not(&trouble).0), ("all_silent", "waiting"));
    assert!(matches!(&trouble.care, Care::Not(not) if not.command.is_empty()));
}

/// Its hardware died while it was in the group, and that is the last that was heard of it.
#[test]
fn a_host_that_was_taken_out_does_not_stand_in_the_way_of_a_recovery() {
    let mut stage = Stage::three();
    stage.must(join("node4"));
    stage.alone_for(2);
    stage.toy.power_off("node4");
    stage.alone_for(5);
    stage.must(OperationKind::Remove {
        host: name("node4"),
        force: true,
    });
    NODES.iter().for_each(|node| stage.toy.restart(&name(node)));
    stage.alone_for(8);
    assert_eq!(inside(&stage), NODES, "{:?}", troubles(&stage));
}

/// It was not reached when it was taken out, lived on, and is the last one that takes writes: the group was not seen without it.
#[test]
fn a_host_that_was_taken_out_counts_until_the_group_was_seen_without_it() {
    let mut stage = Stage::three();
    stage.must(join("node4"));
    stage.alone_for(2);
    stage.toy.host("node4").answers = false;
    let refused = stage.refusal(OperationKind::Remove {
        host: name("node4"),
        force: true,
    });
    assert_eq!(refused.code, "still_in_group");
    let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
    cluster.members.remove(&name("node4"));
    for node in NODES {
        let copy = stage.toy.server(node).metadata.as_mut().unwrap();
        copy.instances.retain(|instance| !instance.address.starts_with("node4"));
    }
    NODES.iter().for_each(|node| stage.toy.restart(&name(node)));
    stage.alone_for(8);
    assert_eq!(inside(&stage), ["node4"], "a second group");
    let trouble = troubles(&stage).remove(0);
    assert_eq!((trouble.code, not(&trouble).0), ("outage", "blocked"));
    assert!(not(&trouble).1.contains("lists node4"), "{}", not(&trouble).1);
}

/// Nobody bootstraps by itself on a host that is to be left alone; it is told, and ends with the maintenance.
#[test]
fn who_alone_holds_everything_and_is_in_maintenance_is_left_alone() {
    let mut stage = Stage::three();
    for node in ["node2", "node3"] {
        stage.toy.restart(&name(node));
    }
    stage.toy.write();
    let said = said(&stage, None);
    let in_maintenance = |stage: &mut Stage, said| {
        let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
        cluster.members.get_mut(&name("node1")).unwrap().maintenance = said;
    };
    in_maintenance(&mut stage, said);
    stage.toy.restart(&name("node1"));
    stage.alone_for(20);
    assert_eq!(inside(&stage), Vec::<String>::new());
    let trouble = troubles(&stage).remove(0);
    assert_eq!(not(&trouble).0, "left_alone");
    assert!(not(&trouble).1.contains("but who is in maintenance: node1"));
    assert!(healings(&stage).is_empty(), "nothing is tried again and again");
    in_maintenance(&mut stage, None);
    stage.alone_for(20);
    assert_eq!(inside(&stage), NODES);
}
