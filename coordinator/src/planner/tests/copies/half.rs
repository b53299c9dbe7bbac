//! Half of a copy is never entered with, bootstrapped from or copied from.

use super::*;

#[test]
fn a_copy_that_power_interrupts_is_made_again() {
    for short in [true, false] {
        let (mut stage, _) = node3_is_copied();
        stage.toy.power_off("node3");
        if !short {
            // It is given up, and its host is busy no longer once the agent has said so.
            let (plan, step) = plans::busy_hosts(&stage.model, &prod())[&name("node3")];
            let failure = clusterctl_proto::failure::Failure::new("host_silent", "away");
            let outcome = crate::planner::tests::sim::failed(&failure.code, false);
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
    let group = crate::planner::settings::group(
        &cluster,
        &name("node3"),
        member,
        &[],
        None,
        crate::planner::tests::toy::ISSUER,
    );
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
