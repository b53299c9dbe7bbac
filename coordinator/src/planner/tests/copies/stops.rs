//! What ends a copy, and what waits for it: a recovery, a pause, a cancel, a removal, a restart of the coordinator.

use super::*;

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
            group_name: crate::planner::tests::stage::GROUP,
            account: crate::planner::settings::account(
                &name("node3"),
                &Stage::three().model.clusters[&prod()].members[&name("node3")],
                crate::planner::tests::toy::ISSUER
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
            fails.then(|| crate::planner::tests::sim::failed("group_start", true))
        });
    }
    assert!(matches!(state(&stage, rejoin), OperationState::Waiting { why } if why.contains("follows in")));
    until_done(&mut stage, rejoin);
    assert_eq!(inside(&stage), NODES);
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
        let said = crate::planner::tests::heal_stage::said(stage, None).filter(|_| on);
        let said = said.map(|said| HandsOff {
            everything: true,
            ..said
        });
        stage.model.clusters.get_mut(&prod()).unwrap().paused = said;
    };
    let in_line = |stage: &mut Stage, on: bool| {
        stage.toy.host("router2").answers = !on;
        if on {
            stage
                .submit(crate::planner::tests::stage::add_router("router2"))
                .unwrap();
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
        outcome: crate::planner::tests::sim::failed("step_overdue", false),
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
