//! What happened between two looks, told by the server's own log or by its numbers.

use super::*;

/// A person bootstrapped, clients wrote, and the lights went out: all between two looks of the agent. Numbers are used again.
#[test]
fn a_group_that_lived_between_two_looks_is_told_by_the_servers_log() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    let mut scene = Scene::member_of("1");
    scene.last_in = Some(logged("09:59", "1", 7));
    scene.out("1-97", "1-98");
    scene.last_in = Some(logged("10:05", "2", 1));
    scene.first_view_here = true;
    assert_eq!(scene.look(Some(&out), "1-99", "1-99"), Noted::BootstrappedByHand);
    let member = scene.record.member.clone().unwrap();
    assert_eq!((member.id, member.branch.unwrap().base), (id("2"), set("1-97")));
    assert_eq!(scene.record.out.clone().unwrap().held, set("1-99"), "what it holds now");
    assert_eq!(scene.look(Some(&out), "1-99", "1-99"), Noted::Nothing, "told once");
    // Started by a person, and gone again.
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.last_in = Some(logged("10:05", "2", 3));
    assert_eq!(scene.look(Some(&out), "1-97", "1-97"), Noted::Unverified);
}

/// A refused START leaves a view in the log, too; what a person wrote before it is not taken for the group's.
#[test]
fn what_was_written_before_a_start_between_two_looks_is_measured() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    for (held, noted) in [("1-97", Noted::Proven), ("1-98", Noted::Unverified)] {
        let mut scene = Scene::member_of("1");
        scene.record.known.add(id("2"), branch(Some("1"), "1-97"));
        scene.out("1-97", "1-97");
        scene.last_in = Some(logged("10:05", "2", 3));
        scene.now += 2_000_000;
        scene.logs(Said::View {
            id: id("2"),
            counter: 3,
        });
        assert_eq!(scene.look(Some(&out), held, held), noted, "{held}");
    }
}

/// What the log tells of before the last entry by a step says nothing: it may be of data that were copied over since.
#[test]
fn the_log_of_before_an_entry_is_of_no_account() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    let mut scene = Scene::member_of("2");
    scene.last_in = Some(logged("09:59", "1", 7));
    assert_eq!(scene.look(Some(&out), "1-97", "1-97"), Noted::Nothing);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
    // Its own group's next views.
    scene.last_in = Some(logged("10:07", "2", 9));
    assert_eq!(scene.look(Some(&out), "1-97", "1-97"), Noted::Nothing);
    assert_eq!(scene.record.log_seen, "10:07");
}

/// The agents were stopped; a person bootstrapped one group and another one after it, and started this server in both.
#[test]
fn what_was_seen_before_another_group_proves_nothing_of_this_one() {
    for other_between in [true, false] {
        let mut scene = Scene::member_of("1");
        scene.record.known.add(id("3"), branch(Some("1"), "1-97"));
        scene.out("1-97", "1-97");
        if other_between {
            scene.now += 60_000_000;
            scene.logs(Said::View {
                id: id("2"),
                counter: 2,
            });
            scene.now += 60_000_000;
        }
        let noted = scene.look(Some(&secondary("3:2")), "1-120", "1-120");
        let wanted = if other_between {
            Noted::Unverified
        } else {
            Noted::Proven
        };
        assert_eq!(noted, wanted);
    }
}

/// Without an answer of the log nothing is concluded; it is asked again at the next look.
#[test]
fn a_view_is_taken_into_account_with_what_led_to_it() {
    let mut scene = Scene::member_of("1");
    scene.look(Some(&secondary("1:3")), "1-90", "1-90");
    let mut before = scene.record.clone();
    let (view, sets) = (secondary("1:4"), set("1-95"));
    let look = Look {
        host: &"node1".parse().unwrap(),
        server_uuid: uuid(1),
        view: Some(&view),
        executed: &sets,
        before: &sets,
        held: &sets,
        force_members: Some(""),
        last_in: None,
        first_view_here: false,
        log: None,
        older: None,
        at: Some(9),
        cloned: Some(""),
    };
    assert_eq!(scene.record.look(&look), Noted::Nothing);
    // Nothing is known but that it may have changed.
    before.member.as_mut().unwrap().span = None;
    assert_eq!(scene.record, before);
}

#[test]
fn data_that_a_person_cloned_over_are_not_those_on_record() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.cloned = "2026-11-29 10:00:00.123";
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    assert_eq!(scene.look(Some(&out), "1-50", "1-50"), Noted::Replaced);
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert_eq!(scene.look(Some(&out), "1-50", "1-50"), Noted::Nothing, "told once");
    // Now by a step.
    scene.record.copies(uuid(1));
    scene.cloned = "2026-11-29 11:00:00.456";
    assert_eq!(scene.look(Some(&out), "", ""), Noted::Nothing);
    let cloned = scene.cloned.to_owned();
    scene.record.copied(uuid(1), Some(id("1")), (String::new(), cloned));
    assert_eq!(scene.look(Some(&out), "1-99", "1-99"), Noted::Nothing);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
    // A backup of this server hides when its own data came.
    scene.cloned = "";
    assert_eq!(scene.look(Some(&out), "1-99", "1-99"), Noted::Nothing);
}

/// While its agent was stopped for long it was in another group, came back, and members came and went.
#[test]
fn a_trip_that_the_newest_lines_do_not_reach_back_to_is_not_overlooked() {
    for (other, trusted) in [
        (Some("000030000000"), false),
        (Some("000000000001"), true),
        (None, true),
    ] {
        let mut scene = Scene::member_of("1");
        scene.record.log_seen.clear();
        scene.look(Some(&secondary("1:3")), "1-90", "1-90");
        let own = scene.log.0[0].at.clone();
        scene.log.0.clear();
        for counter in 0..u64::try_from(MOST).unwrap() {
            scene.now += 60_000_000;
            let id = id("1");
            scene.logs(Said::View {
                id,
                counter: 10 + counter,
            });
        }
        scene.older = Some(Older {
            own: Some(own),
            other: other.map(str::to_owned),
        });
        let noted = scene.look(Some(&secondary("1:89")), "1-99", "1-99");
        assert_eq!(scene.record.verified(uuid(1)).is_some(), trusted, "{other:?}");
        assert_eq!(noted == Noted::Unverified, !trusted);
        scene.older = None;
        assert_eq!(scene.look(Some(&secondary("1:89")), "1-99", "1-99"), Noted::Nothing);
        assert_eq!(
            scene.record.verified(uuid(1)).is_some(),
            trusted,
            "it does not change by looking again"
        );
    }
}

/// RESET BINARY LOGS AND GTIDS on a quarantined member, and what a person may set as purged after it, are as good as any other numbers.
#[test]
fn a_server_that_has_lost_transactions_is_not_trusted_whatever_its_numbers_say() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    for (now, inside) in [("", false), ("1-97", false), ("", true), ("1-97", true)] {
        let mut scene = Scene::member_of("1");
        scene.out("1-100", "1-100");
        if !inside {
            assert_eq!(scene.look(Some(&out), now, now), Noted::Lost);
            assert_eq!(scene.record.verified(uuid(1)), None);
            assert_eq!(scene.look(Some(&out), now, now), Noted::Nothing, "told once");
            let measured = scene.record.measure(uuid(1), &set("1-97"), &id("1"), &set("1-300"));
            assert_eq!(measured, Measure::Unknown, "no step lets it in");
        }
        // A person starts it: into its own lineage, and into one whose base has all that it says it held.
        let (mut other, log) = (scene.record.clone(), scene.log.clone());
        let noted = scene.look(Some(&secondary("1:9")), "1-99", "1-99");
        assert_eq!(noted, if inside { Noted::Lost } else { Noted::Nothing });
        assert_eq!(scene.record.verified(uuid(1)), None);
        other.known.add(id("2"), branch(Some("1"), "1-97"));
        (scene.record, scene.log) = (other, log);
        scene.look(Some(&secondary("2:9")), "1-99", "1-99");
        assert_eq!(scene.record.verified(uuid(1)), None, "{now:?}");
        // A copy that a step makes ends it.
        scene.record.copies(uuid(1));
        scene.look(Some(&out), "", "");
        scene
            .record
            .copied(uuid(1), Some(id("2")), (String::new(), String::new()));
        assert_eq!(scene.look(Some(&out), "1-90", "1-90"), Noted::Nothing);
        assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
    }
}

/// What was received is not executed: a power cut takes it, and nobody has done anything to the data.
#[test]
fn a_server_that_has_lost_what_it_had_only_received_is_what_it_was() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-100");
    scene.out("1-97", "1-97");
    scene.record.enters_with(uuid(1), set("1-100"));
    scene.out("1-97", "1-97");
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
}

/// Of several clones the server tells the last one: a backup to elsewhere hides the copy that its data are of.
/// A step has measured what it holds now, and let it in: from there on it counts like any other, and a second loss is told.
#[test]
fn who_lost_transactions_and_was_measured_and_let_in_since_is_proven_and_may_lose_again() {
    let mut scene = Scene::member_of("1");
    scene.out("1-9", "1-9");
    assert_eq!(scene.look(None, "", ""), Noted::Lost);
    assert!(scene.record.verified(uuid(1)).is_none());
    scene.record.enter(uuid(1), id("1"), String::new());
    assert!(scene.record.verified(uuid(1)).is_some());
    scene.out("1-20", "1-20");
    assert!(scene.record.verified(uuid(1)).is_some(), "it lost nothing since");
    assert_eq!(scene.look(None, "1-5", "1-5"), Noted::Lost, "again");
    assert!(scene.record.verified(uuid(1)).is_none());
}

#[test]
fn a_loss_is_noticed_on_a_server_whose_copy_is_not_told_any_more() {
    let mut scene = Scene::member_of("1");
    scene.record.cloned = Some("2026-11-29 10:00:00.123".to_owned());
    scene.out("1-97", "1-97");
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    assert_eq!(scene.look(Some(&out), "1-50", "1-50"), Noted::Lost);
}
