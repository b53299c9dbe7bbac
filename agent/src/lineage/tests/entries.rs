//! Who entered how, and whether that is proven.

use super::*;

/// A person's START, or Group Replication's own auto-rejoin.
#[test]
fn who_entered_past_the_agent_is_unverified_until_it_is_proven() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None);
    let measured = scene.record.measure(uuid(1), &set("1-400"), &id("2"), &set("1-400"));
    assert_eq!(measured, Measure::Unknown, "nothing is measured by it");

    let mut lineages = Lineages::default();
    lineages.add(id("1"), branch(None, ""));
    lineages.add(id("2"), branch(Some("1"), "1-96"));
    let mut diverged = scene.record.clone();
    diverged.learn(&lineages);
    scene.record = diverged;
    assert_eq!(
        scene.look(Some(&secondary("2:2")), "1-400", "1-400"),
        Noted::Nothing,
        "97 is another there"
    );

    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.look(Some(&secondary("2:2")), "1-400", "1-400");
    let mut lineages = Lineages::default();
    lineages.add(id("2"), branch(Some("1"), "1-97"));
    scene.record.learn(&lineages);
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Proven);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
}

#[test]
fn another_server_on_the_same_host_has_another_history() {
    let scene = Scene::member_of("1");
    assert_eq!(scene.record.verified(uuid(2)), None);
    assert_eq!(
        scene.record.measure(uuid(2), &set("1"), &id("1"), &set("1-9")),
        Measure::Unknown
    );
    assert_eq!(
        scene.record.measure(uuid(2), &set(""), &id("1"), &set("1-9")),
        Measure::Inside
    );
}

#[test]
fn a_step_that_was_measured_enters_and_is_left_alone() {
    let mut scene = Scene::member_of("1");
    scene.record.enter(uuid(1), id("2"), "10:30".to_owned());
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Nothing);
    // The group was replaced by another between the measuring and the START.
    scene.out("1-400", "1-400");
    assert_eq!(scene.look(Some(&secondary("3:2")), "1-400", "1-400"), Noted::Unverified);
}

#[test]
fn a_member_of_the_release_before_belongs_to_where_it_is_seen_first() {
    let mut scene = Scene::new();
    scene.record.adopts = true;
    scene.out("1-97", "1-97");
    let measured = scene.record.measure(uuid(1), &set("1-97"), &id("5"), &set("1-99"));
    assert_eq!(measured, Measure::Unknown, "nothing is known of lineage 5 yet");
    let mut lineages = Lineages::default();
    lineages.add(LineageId::origin(), branch(None, ""));
    lineages.add(id("5"), branch(Some("0"), "1-97"));
    scene.record.learn(&lineages);
    let measured = scene.record.measure(uuid(1), &set("1-97"), &id("5"), &set("1-99"));
    assert_eq!(measured, Measure::Inside);
    assert_eq!(scene.look(Some(&secondary("5:4")), "1-99", "1-99"), Noted::Proven);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("5")));
    // Whoever was in the group when its agent was upgraded belongs to it.
    let mut scene = Scene::new();
    scene.record.adopts = true;
    assert_eq!(scene.look(Some(&secondary("5:4")), "1-99", "1-99"), Noted::Adopted);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("5")));
    assert!(!scene.record.adopts);
}

/// The release before had abandoned it; the new agent sees it out for days, and the group uses its numbers again. Then a person starts it.
#[test]
fn who_was_seen_out_since_the_upgrade_is_measured_when_a_person_starts_it() {
    let mut scene = Scene::new();
    scene.record.adopts = true;
    let mut lineages = Lineages::default();
    lineages.add(LineageId::origin(), branch(None, ""));
    lineages.add(id("5"), branch(Some("0"), "1-97"));
    scene.record.learn(&lineages);
    scene.out("1-100", "1-100");
    assert_eq!(scene.look(Some(&secondary("5:9")), "1-120", "1-120"), Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None);
    // Rebooted in the middle of the upgrade: nobody has recorded a lineage yet, and nobody could while this one does not say where it is.
    let mut scene = Scene::new();
    scene.record.adopts = true;
    scene.out("1-100", "1-100");
    assert_eq!(scene.look(Some(&secondary("5:9")), "1-120", "1-120"), Noted::Adopted);
}

/// The agent slept from one group into the next. What it saw before the first says nothing of what the server took from there.
#[test]
fn what_was_seen_before_the_last_group_proves_nothing_in_the_next() {
    let mut lineages = Lineages::default();
    lineages.add(id("2"), branch(Some("1"), "1-90"));
    for seen_out_between in [false, true] {
        let mut scene = Scene::member_of("1");
        scene.record.learn(&lineages);
        scene.out("1-50", "1-50");
        scene.look(Some(&secondary("1:3")), "1-50", "1-50");
        if seen_out_between {
            scene.out("1-90", "1-90");
        }
        let noted = scene.look(Some(&secondary("2:3")), "1-99", "1-99");
        let (want, lineage) = if seen_out_between {
            (Noted::Proven, Some(id("2")))
        } else {
            (Noted::Unverified, None)
        };
        assert_eq!((noted, scene.record.verified(uuid(1)).cloned()), (want, lineage));
    }
    // What a step began with is not of a time that the log could be asked for.
    let mut scene = Scene::member_of("1");
    scene.record.learn(&lineages);
    scene.record.enters_with(uuid(1), set("1-50"));
    scene.look(Some(&secondary("1:3")), "1-50", "1-50");
    assert_eq!(scene.look(Some(&secondary("2:3")), "1-99", "1-99"), Noted::Unverified);
}

/// A START that is refused for other transactions leaves a view in the log, too: that is no history.
#[test]
fn after_a_loss_of_the_ledger_a_view_that_refused_the_server_does_not_count() {
    let mut scene = Scene::new();
    scene.record = Record::without_memory(true);
    scene.last_in = Some(Logged {
        refused: true,
        ..logged("2026-11-29 10:00:00.000000", "2", 3)
    });
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    scene.look(Some(&out), "1-97", "1-97");
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert!(scene.record.member.is_some(), "not for one of the time before lineages");
}

/// A START that was refused has changed nothing of what the data are.
#[test]
fn a_view_that_refused_the_server_leaves_its_record_alone() {
    let mut scene = Scene::member_of("1");
    scene.last_in = Some(Logged {
        refused: true,
        ..logged("2026-11-29 10:00:00.000000", "2", 3)
    });
    scene.first_view_here = true;
    scene.out("1-97", "1-97");
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
}

/// Which view a member was in last is known of one that has left it, too.
#[test]
fn the_newest_view_of_a_member_is_on_record() {
    let mut scene = Scene::member_of("1");
    scene.look(Some(&secondary("1:5")), "1-99", "1-99");
    scene.look(Some(&secondary("1:7")), "1-99", "1-99");
    assert_eq!(scene.record.member.clone().unwrap().counter, 7);
    scene.last_in = Some(logged("2026-11-29 10:00:00.000000", "1", 9));
    scene.out("1-99", "1-99");
    assert_eq!(scene.record.member.clone().unwrap().counter, 9, "by the server's log");
    scene.record.enter(uuid(1), id("1"), String::new());
    assert_eq!(scene.record.member.unwrap().counter, 9);
}

#[test]
fn a_view_id_without_its_state_says_nothing() {
    let mut scene = Scene::member_of("1");
    let error = view(MemberState::Error, MemberRole::Secondary, "2:8", &["node2"]);
    assert_eq!(scene.look(Some(&error), "1-9", "1-9"), Noted::Nothing);
    assert_eq!(scene.record.out, None, "its plugin runs");
    assert_eq!(scene.record.member.unwrap().id, id("1"));
}

#[test]
fn a_server_that_held_nothing_belongs_to_the_group_that_it_enters() {
    let mut scene = Scene::new();
    scene.record.enters_with(uuid(1), set(""));
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Adopted);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
    let mut scene = Scene::new();
    scene.record.enters_with(uuid(1), set("1-3"));
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Unverified);
}

#[test]
fn after_a_loss_of_the_ledger_only_who_is_inside_then_belongs_to_the_group() {
    let mut scene = Scene::new();
    scene.record = Record::without_memory(true);
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Adopted);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
    // One that is out then, and whose log tells where it was last.
    let mut scene = Scene::new();
    scene.record = Record::without_memory(true);
    scene.last_in = Some(logged("2026-11-29 10:00:00.000000", "1", 3));
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    assert_eq!(scene.look(Some(&out), "1-97", "1-97"), Noted::Adopted);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
    // One that is out then, whose log tells nothing, and that is started by a person later.
    let mut scene = Scene::new();
    scene.record = Record::without_memory(true);
    scene.out("1-97", "1-97");
    assert_eq!(
        scene.record.measure(uuid(1), &set("1-97"), &id("2"), &set("1-400")),
        Measure::Unknown
    );
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Unverified);
}

/// Seed 7079: a quarantined member is STARTed by a person, and its agent loses its ledger in the same second. The leader had been told.
#[test]
fn what_was_on_record_before_a_loss_of_the_ledger_counts() {
    let remembered = |scene: &Scene| {
        let word = scene.record.last_word().unwrap();
        let mut after = Scene::new();
        after.record = Record::remembered(word).unwrap();
        after.now = scene.now;
        after
    };
    let mut before = Scene::member_of("1");
    before.look(Some(&secondary("1:3")), "1-90", "1-90");
    before.out("1-97", "1-97");
    let mut scene = remembered(&before);
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None);
    // What it entered with proves it all the same, where that is in the group's history.
    let mut lineages = Lineages::default();
    lineages.add(id("1"), branch(None, ""));
    lineages.add(id("2"), branch(Some("1"), "1-97"));
    scene.record.learn(&lineages);
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Proven);
    // It is where it was.
    let mut scene = remembered(&before);
    assert_eq!(scene.look(Some(&secondary("1:5")), "1-99", "1-99"), Noted::Nothing);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
    // An older copy of its files was put there.
    let mut scene = remembered(&before);
    assert_eq!(scene.look(None, "1-50", "1-50"), Noted::Lost);
    assert_eq!(scene.record.verified(uuid(1)), None);
}

/// A group of its own lineage refused it: a second START succeeds as soon as the group has used its numbers (docs/lineages.md).
#[test]
fn who_was_refused_by_its_own_lineage_is_not_trusted_any_more() {
    for prefix in ["1", "2"] {
        let mut scene = Scene::member_of("1");
        scene.record.log_seen.clear();
        scene.look(Some(&secondary("1:3")), "1-90", "1-90");
        scene.now += 1_000_000;
        scene.logs(Said::Refused);
        scene.logs(Said::View {
            id: id(prefix),
            counter: 7,
        });
        let out = view(MemberState::Offline, MemberRole::None, "", &[]);
        let noted = scene.look(Some(&out), "1-91", "1-91");
        if prefix == "1" {
            assert_eq!(noted, Noted::Unverified);
            assert_eq!(scene.look(Some(&secondary("1:9")), "1-99", "1-99"), Noted::Nothing);
            assert_eq!(
                scene.record.verified(uuid(1)),
                None,
                "it is in, and nobody knows with what"
            );
        } else {
            assert_eq!(noted, Noted::Nothing, "another lineage lacks what this one has");
            assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
        }
    }
}

/// While the agent was stopped a person wrote on it, started it, and started it again.
#[test]
fn who_was_refused_by_the_group_that_it_is_in_now_is_not_proven_by_what_it_was_seen_with() {
    for refused in [false, true] {
        let mut scene = Scene::member_of("1");
        scene.record.log_seen.clear();
        scene.record.known.add(id("2"), branch(Some("1"), "1-97"));
        scene.out("1-97", "1-97");
        scene.now += 60_000_000;
        if refused {
            scene.logs(Said::Refused);
            scene.logs(Said::View {
                id: id("2"),
                counter: 5,
            });
        }
        let noted = scene.look(Some(&secondary("2:7")), "1-99", "1-99");
        assert_eq!(noted == Noted::Proven, !refused);
        assert_eq!(scene.record.verified(uuid(1)).is_none(), refused);
    }
}

/// While the agent was stopped a person bootstrapped another group on this member, wrote, and started it into the first one again.
#[test]
fn who_came_back_by_way_of_another_group_is_unverified() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    for inside in [true, false] {
        let mut scene = Scene::member_of("1");
        scene.look(Some(&secondary("1:3")), "1-90", "1-90");
        scene.now += 60_000_000;
        scene.logs(Said::View {
            id: id("2"),
            counter: 1,
        });
        scene.now += 60_000_000;
        if inside {
            assert_eq!(scene.look(Some(&secondary("1:7")), "1-120", "1-120"), Noted::Unverified);
        } else {
            scene.logs(Said::View {
                id: id("1"),
                counter: 7,
            });
            scene.last_in = Some(logged("11:00", "1", 7));
            assert_eq!(scene.look(Some(&out), "1-120", "1-120"), Noted::Unverified);
        }
        assert_eq!(scene.record.verified(uuid(1)), None);
    }
}

/// A person bootstrapped node3 without a coordinator and started this one, too; it is out again when the coordinator tells where that
/// lineage branched off.
#[test]
fn what_it_entered_with_is_proven_also_when_it_is_out_again() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    assert_eq!(scene.look(Some(&secondary("2:4")), "1-120", "1-120"), Noted::Unverified);
    scene.out("1-130", "1-130");
    assert_eq!(scene.record.verified(uuid(1)), None);
    let mut lineages = Lineages::default();
    lineages.add(id("1"), branch(None, ""));
    lineages.add(id("2"), branch(Some("1"), "1-97"));
    scene.record.learn(&lineages);
    assert_eq!(scene.record.verified(uuid(1)), None, "not by a step that enters");
    assert_eq!(scene.record.told(&lineages), Noted::Proven);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
    // One that held more at that time stays unverified.
    let mut scene = Scene::member_of("1");
    scene.out("1-99", "1-99");
    scene.look(Some(&secondary("2:4")), "1-120", "1-120");
    scene.out("1-130", "1-130");
    scene.record.told(&lineages);
    assert_eq!(scene.record.verified(uuid(1)), None);
}

/// A person started it into lineage 2, and later, while its agent was off, bootstrapped it alone, wrote there and started it again. What it
/// held at the first entry proves nothing any more.
#[test]
fn who_was_elsewhere_since_is_not_proven_by_what_it_entered_with() {
    for refused in [false, true] {
        let mut scene = Scene::member_of("1");
        scene.out("1-97", "1-97");
        assert_eq!(scene.look(Some(&secondary("2:4")), "1-120", "1-120"), Noted::Unverified);
        scene.now += 1_000_000;
        if refused {
            scene.record.log_seen = String::new();
            scene.logs(Said::Refused);
            scene.logs(Said::View {
                id: id("2"),
                counter: 8,
            });
        } else {
            scene.logs(Said::View {
                id: id("3"),
                counter: 1,
            });
        }
        scene.look(Some(&secondary("2:9")), "1-150", "1-150");
        let mut lineages = Lineages::default();
        lineages.add(id("1"), branch(None, ""));
        lineages.add(id("2"), branch(Some("1"), "1-97"));
        scene.record.told(&lineages);
        scene.look(Some(&secondary("2:9")), "1-151", "1-151");
        assert_eq!(scene.record.verified(uuid(1)), None, "refused: {refused}");
    }
}
