//! Whose data a copy takes: a donor that is void, silent, or has not vouched yet.

use super::*;

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
            let said = crate::planner::tests::heal_stage::said(&stage, None);
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

/// A second newcomer waits for the only donor, for hours: what has nothing to do with it is done meanwhile.
#[test]
fn a_join_that_waits_for_a_donor_keeps_nobody_waiting() {
    let mut stage = Stage::three();
    // Nobody brings them back meanwhile.
    stage.model.clusters.get_mut(&prod()).unwrap().paused = crate::planner::tests::heal_stage::said(&stage, None);
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
