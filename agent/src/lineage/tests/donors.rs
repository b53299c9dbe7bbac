//! Who gave a member what it lacked, and whether that vouches for it.

use clusterctl_proto::lineage::{Span, Stay};

use super::*;

impl Scene {
    /// The next lines of the log are younger than what was seen.
    fn later(&mut self) {
        self.now += 1_000_000;
    }

    fn enters(&mut self, prefix: &str, counter: u64, donors: &[&str]) {
        self.later();
        let id = id(prefix);
        self.logs(Said::View { id, counter });
        donors
            .iter()
            .for_each(|donor| self.logs(Said::Donor((*donor).to_owned())));
    }

    fn vouched(&mut self, stays: &[Stay]) -> bool {
        self.record.vouched(stays);
        self.record.verified(uuid(1)).is_some()
    }

    fn span(&self) -> Option<(u64, u64)> {
        let span = self.record.member.as_ref().unwrap().span;
        span.map(|span| (span.since, span.until))
    }
}

fn stay(address: &str, since: u64, until: u64) -> Stay {
    Stay {
        address: address.to_owned(),
        id: id("1"),
        span: Span { since, until },
    }
}

fn of_two(stay: Stay) -> Stay {
    Stay { id: id("2"), ..stay }
}

/// A member that was seen out, and which a person, or Group Replication itself, starts: these gave it what it lacked.
fn given(state: MemberState, donors: &[&str]) -> Scene {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.enters("1", 5, donors);
    let inside = view(state, MemberRole::Secondary, "1:5", &["node2"]);
    scene.look(Some(&inside), "1-400", "1-400");
    scene
}

/// Group Replication picked as donor a member that a person had let in, and the one who had everything then died.
#[test]
fn what_a_donor_gave_is_proven_when_the_donor_vouches() {
    let mut scene = given(MemberState::Online, &["node2:3306"]);
    assert_eq!(scene.record.verified(uuid(1)), None, "not by what it held before alone");
    assert!(scene.record.has_donors());
    let measured = scene.record.measure(uuid(1), &set("1-400"), &id("1"), &set("1-400"));
    assert_eq!(measured, Measure::Unknown);
    assert!(!scene.vouched(&[stay("node3:3306", 0, 9)]));
    assert!(!scene.vouched(&[stay("node2:3306", 6, 9)]), "it was made anew since");
    assert!(
        !scene.vouched(&[stay("node2:3306", 0, 4)]),
        "it may have got other data since"
    );
    assert!(scene.vouched(&[stay("node2:3306", 0, 5)]) && !scene.record.has_donors());
    scene.look(Some(&secondary("1:5")), "1-400", "1-400");
    assert_eq!(
        scene.record.verified(uuid(1)),
        Some(&id("1")),
        "the line is taken into account once"
    );
}

/// Its agent did not run while its donor gave it something twice.
#[test]
fn each_gift_needs_the_donors_word() {
    let mut scene = given(MemberState::Online, &["node2:3306"]);
    scene.enters("1", 9, &["node2:3306"]);
    scene.look(Some(&secondary("1:9")), "1-400", "1-400");
    assert!(
        !scene.vouched(&[stay("node2:3306", 0, 6)]),
        "it got something itself in view 7"
    );
    assert!(scene.vouched(&[stay("node2:3306", 0, 9)]));
}

#[test]
fn who_held_other_data_is_not_proven_by_its_donor() {
    let entered = || {
        let mut scene = Scene::member_of("1");
        scene.out("1-97", "1-97");
        scene.enters("2", 5, &["node2:3306"]);
        assert_eq!(scene.look(Some(&secondary("2:5")), "1-400", "1-400"), Noted::Unverified);
        scene
    };
    let mut scene = entered();
    assert!(!scene.vouched(&[of_two(stay("node2:3306", 0, 5))]));
    // And not by what it held alone, while its donor has not vouched.
    let mut scene = entered();
    scene.record.known.add(id("2"), branch(Some("1"), "1-97"));
    scene.look(Some(&secondary("2:5")), "1-400", "1-400");
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert!(scene.vouched(&[of_two(stay("node2:3306", 0, 5))]));
}

#[test]
fn the_donor_that_a_steps_start_found_was_looked_at_before() {
    let enters = |after_us: u64, change: fn(&mut Record)| {
        let mut scene = Scene::member_of("1");
        scene.out("1-97", "1-97");
        let now = scene.now;
        scene.record.enter(uuid(1), id("1"), format!("{now:012}"));
        scene.record.step_starts(format!("{now:012}"), now + 120_000_000);
        change(&mut scene.record);
        scene.now += after_us;
        scene.enters("1", 5, &["node2:3306"]);
        scene.look(Some(&secondary("1:5")), "1-400", "1-400");
        scene
    };
    let scene = enters(1_000_000, |_| ());
    assert!(!scene.record.has_donors());
    assert!(
        enters(200_000_000, |_| ()).record.has_donors(),
        "perhaps one that came past its agent"
    );
    assert!(
        enters(1_000_000, |record| record.step_failed(0)).record.has_donors(),
        "a person's START"
    );
    // It failed after it had found its donor, and before any look.
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    let now = scene.now;
    scene.record.step_starts(format!("{now:012}"), now + 120_000_000);
    scene.now += 1_000_000;
    scene.enters("1", 5, &["node2:3306"]);
    let failed = scene.now;
    scene.record.step_failed(failed);
    scene.now += 1_000_000;
    scene.look(Some(&secondary("1:5")), "1-400", "1-400");
    assert!(!scene.record.has_donors());
    // The first one died meanwhile; the other had come past its agent.
    let mut scene = enters(1_000_000, |_| ());
    scene.enters("1", 6, &["node3:3306"]);
    scene.look(Some(&secondary("1:6")), "1-400", "1-400");
    assert!(scene.record.has_donors());
    let mut scene = enters(1_000_000, |_| ());
    // A moment after the step a person stops and starts it again.
    scene.enters("1", 7, &["node2:3306"]);
    scene.look(Some(&secondary("1:7")), "1-400", "1-400");
    assert!(scene.record.has_donors());
    // Also where it recovers still.
    let mut scene = given(MemberState::Recovering, &[]);
    scene
        .record
        .step_starts(format!("{:012}", scene.now), scene.now + 120_000_000);
    for (donor, asked) in [("node2:3306", false), ("node3:3306", true)] {
        scene.later();
        scene.logs(Said::Donor(donor.to_owned()));
        let recovering = view(MemberState::Recovering, MemberRole::Secondary, "1:5", &["node2"]);
        scene.look(Some(&recovering), "1-97", "1-97");
        assert_eq!(scene.record.has_donors(), asked, "{donor}");
    }
    // Its log told of none until it was ONLINE.
    let mut scene = given(MemberState::Recovering, &[]);
    scene
        .record
        .step_starts(format!("{:012}", scene.now), scene.now + 120_000_000);
    scene.look(Some(&secondary("1:5")), "1-400", "1-400");
    scene.enters("1", 7, &["node2:3306"]);
    scene.look(Some(&secondary("1:7")), "1-400", "1-400");
    assert!(scene.record.has_donors());
    // A copy starts nothing: what a person starts after it is looked at.
    let mut scene = Scene::member_of("1");
    scene.out("", "");
    scene
        .record
        .copied(uuid(1), Some(id("1")), (format!("{:012}", scene.now), String::new()));
    scene.enters("1", 5, &["node2:3306"]);
    scene.look(Some(&secondary("1:5")), "1-400", "1-400");
    assert!(scene.record.has_donors());
}

#[test]
fn while_a_member_recovers_its_donor_may_be_another() {
    let recovering = view(MemberState::Recovering, MemberRole::Secondary, "1:5", &["node2"]);
    let mut scene = given(MemberState::Recovering, &[]);
    assert!(!scene.record.has_donors() && scene.record.awaits_donor(Some(&recovering)));
    assert_eq!(scene.span(), None, "it vouches for nothing yet");
    scene.later();
    scene.logs(Said::Donor("node2:3306".to_owned()));
    scene.look(Some(&recovering), "1-97", "1-97");
    assert!(scene.vouched(&[stay("node2:3306", 0, 9)]));
    // It died, and recovery went on with another.
    scene.later();
    scene.logs(Said::Donor("node3:3306".to_owned()));
    assert!(
        scene.record.awaits_donor(Some(&secondary("1:5"))),
        "once more when it is ONLINE"
    );
    scene.look(Some(&secondary("1:5")), "1-400", "1-400");
    assert!(!scene.record.awaits_donor(Some(&secondary("1:5"))));
    assert!(!scene.vouched(&[stay("node2:3306", 0, 9)]));
    assert!(scene.vouched(&[stay("node3:3306", 0, 9)]));
}

/// An agent of a release that noted no donors, and what its own steps began.
#[test]
fn of_what_an_agent_before_has_seen_nothing_is_asked() {
    let upgraded = |seen: u64| {
        let mut scene = Scene::member_of("1");
        scene.record.member.as_mut().unwrap().counter = seen;
        scene.now = 1_000_000;
        scene.enters("1", 5, &["node2:3306"]);
        scene.look(Some(&secondary("1:5")), "1-400", "1-400");
        scene
    };
    assert!(!upgraded(5).record.has_donors());
    assert_eq!(
        upgraded(5).span(),
        Some((0, 5)),
        "its word counts for those who entered before the upgrade"
    );
    assert!(
        upgraded(4).record.has_donors(),
        "while no agent ran, a person started it"
    );
    let mut scene = Scene::member_of("1");
    scene.record.member.as_mut().unwrap().counter = 30;
    scene.enters("2", 2, &["node2:3306"]);
    scene.look(Some(&secondary("2:2")), "1-400", "1-400");
    assert!(scene.record.has_donors(), "in another group");
}

/// Its agent did not look while it was inside.
#[test]
fn a_stay_that_has_ended_is_told_by_the_log() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.enters("1", 5, &["node2:3306"]);
    scene.last_in = Some(logged("10:59", "1", 5));
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    scene.look(Some(&out), "1-400", "1-400");
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert!(scene.vouched(&[stay("node2:3306", 0, 5)]));
}

/// By this a member vouches for others. One that was removed and joins again, with a copy, while another one waits for its word: each waited
/// for the other.
#[test]
fn a_member_vouches_for_the_views_in_which_its_data_were_these() {
    let mut scene = given(MemberState::Online, &[]);
    assert_eq!(
        scene.span(),
        Some((0, 5)),
        "nobody has replaced them since the lineage began"
    );
    scene.look(Some(&secondary("1:7")), "1-400", "1-400");
    assert_eq!(scene.span(), Some((0, 7)));
    // Who leaves, for whatever reason, has given what it gave.
    scene.out("1-400", "1-400");
    assert_eq!(scene.span(), Some((0, 7)));
    let error = view(MemberState::Error, MemberRole::None, "1:7", &[]);
    scene.look(Some(&error), "1-400", "1-400");
    assert_eq!(scene.span(), Some((0, 7)), "it enters in a later view");
    scene.silent = true;
    scene.look(Some(&error), "1-400", "1-400");
    assert_eq!(scene.span(), None, "whether it did is not known");
    scene.silent = false;
    // A copy: from its first view on.
    scene
        .record
        .copied(uuid(1), Some(id("1")), (format!("{:012}", scene.now), String::new()));
    scene.out("1-500", "1-500");
    assert_eq!(
        scene.span(),
        Some((u64::MAX, 7)),
        "for nothing: who waits for its word need not wait"
    );
    scene.enters("1", 12, &[]);
    scene.look(Some(&secondary("1:12")), "1-500", "1-500");
    assert_eq!(scene.span(), Some((12, 12)));
    // In another lineage it never gave anything else.
    scene.out("1-500", "1-500");
    scene.record.enter(uuid(1), id("3"), format!("{:012}", scene.now));
    scene.look(Some(&secondary("3:2")), "1-500", "1-500");
    assert_eq!(scene.span(), Some((0, 2)));
    // It bootstraps the next one.
    let mut scene = given(MemberState::Online, &[]);
    scene
        .record
        .copied(uuid(1), Some(id("1")), (String::new(), String::new()));
    scene.look(Some(&secondary("1:30")), "1-400", "1-400");
    assert_eq!(scene.span(), Some((30, 30)));
    scene.out("1-400", "1-400");
    assert_eq!(
        scene.look(Some(&primary("4:1", &[])), "1-400", "1-400"),
        Noted::BootstrappedByHand
    );
    assert_eq!(scene.span(), Some((0, 1)));
    // A ledger that was lost knows of no copy.
    let mut scene = Scene::new();
    scene.record = Record::without_memory(true);
    scene.last_in = Some(logged("10:59", "1", 5));
    for _ in ["adopted", "seen"] {
        scene.look(Some(&secondary("1:6")), "1-400", "1-400");
    }
    assert_eq!(scene.span(), Some((6, 6)));
}

/// As the alarm advises: it is taken out, emptied and joined again. What it gave before was of its former data.
#[test]
fn who_was_emptied_does_not_vouch_for_what_it_gave_before() {
    let mut scene = given(MemberState::Online, &[]);
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    assert_eq!(scene.look(Some(&out), "", ""), Noted::Lost);
    scene.record.enter(uuid(1), id("1"), format!("{:012}", scene.now));
    scene.look(Some(&secondary("1:12")), "1-400", "1-400");
    assert_eq!(scene.span(), Some((12, 12)), "the same server_uuid");
    let mut scene = given(MemberState::Online, &[]);
    scene.record.member.as_mut().unwrap().server_uuid = uuid(2);
    scene.record.enter(uuid(1), id("1"), format!("{:012}", scene.now));
    scene.look(Some(&secondary("1:12")), "1-400", "1-400");
    assert_eq!(scene.span(), Some((12, 12)), "another server");
}

/// mysqld was too busy to tell its log: who gave it its data is not known.
#[test]
fn without_its_log_a_member_vouches_for_nothing() {
    let mut scene = given(MemberState::Online, &[]);
    assert_eq!(scene.span(), Some((0, 5)));
    scene.silent = true;
    scene.look(Some(&secondary("1:9")), "1-400", "1-400");
    assert_eq!(scene.span(), None);
    scene.enters("1", 9, &["node2:3306"]);
    scene.silent = false;
    scene.look(Some(&secondary("1:9")), "1-400", "1-400");
    assert!(scene.record.has_donors());
    let stay = scene.record.member.as_ref().unwrap().stay("node1:3306".to_owned());
    assert_eq!(stay.unwrap().span.until, 8, "not for what it may have got from there");
}

#[test]
fn a_forced_membership_changes_nothing_of_what_was_given() {
    let mut scene = given(MemberState::Online, &["node2:3306"]);
    scene.force_members = "node1:33061";
    assert_eq!(scene.look(Some(&primary("1:6", &[])), "1-400", "1-400"), Noted::Forced);
    assert!(scene.record.has_donors());
}

/// node2's agent is asked for the time of the copy, views 5 to 7.
fn copied(scene: &mut Scene) {
    let given = (id("1"), "node2:3306".to_owned(), Span { since: 5, until: 7 });
    let log = (format!("{:012}", scene.now), "11:00".to_owned());
    scene.cloned = "11:00";
    scene.record.copied_from(uuid(1), given, log);
}

/// A copy of hours: what its donor held at the end is known by the donor's agent alone.
#[test]
fn a_copy_is_half_of_one_until_its_donor_has_vouched() {
    let is_half = |scene: &Scene| scene.record.half_copied(uuid(1));
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    // A person's START that no look has seen: the data that it was about are gone.
    scene.enters("1", 4, &["node3:3306"]);
    scene.later();
    copied(&mut scene);
    scene.out("1-400", "1-400");
    assert!(is_half(&scene) && scene.record.has_donors());
    let measured = scene.record.measure(uuid(1), &set("1-400"), &id("1"), &set("1-400"));
    assert_eq!(measured, Measure::Inside, "it may be copied over");
    for no in [
        stay("node3:3306", 0, 9),
        stay("node2:3306", 0, 6),
        stay("node2:3306", 6, 9),
        of_two(stay("node2:3306", 0, 9)),
    ] {
        assert!(!scene.vouched(&[no]) && is_half(&scene));
    }
    assert!(scene.vouched(&[stay("node2:3306", 0, 7)]) && !is_half(&scene));
    // A membership was forced on the donor: what waited for a majority in view 7 may be on that side alone.
    for (at, whole) in [(6, false), (8, false), (9, true)] {
        let mut scene = Scene::member_of("1");
        copied(&mut scene);
        let forced = Stay {
            id: id("1").forced(at),
            ..stay("node2:3306", 0, 12)
        };
        assert_eq!(scene.vouched(&[forced]), whole, "forced in view {at}");
        assert_eq!(is_half(&scene), !whole);
    }
    // Another copy drops it.
    let mut scene = Scene::member_of("1");
    copied(&mut scene);
    scene.record.copies(uuid(1));
    scene.record.vouched(&[stay("node2:3306", 0, 9)]);
    assert!(is_half(&scene), "what is here now is of the second one");
    // A person starts it meanwhile: both donors have to vouch.
    let mut scene = Scene::member_of("1");
    copied(&mut scene);
    scene.enters("1", 9, &["node3:3306"]);
    scene.look(Some(&secondary("1:9")), "1-500", "1-500");
    assert!(!scene.vouched(&[stay("node2:3306", 0, 9)]) && !is_half(&scene));
    assert!(scene.vouched(&[stay("node3:3306", 0, 9)]));
    // A person takes its numbers away before the donor has vouched.
    let mut scene = Scene::member_of("1");
    copied(&mut scene);
    scene.out("1-500", "1-500");
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    assert_eq!(scene.look(Some(&out), "1-300", "1-300"), Noted::Lost);
    assert!(!scene.vouched(&[stay("node2:3306", 0, 9)]));
}

impl Scene {
    fn tells(&self) -> Vec<(String, u64, u64)> {
        let stays = self.record.member.as_ref().unwrap().stays("node1:3306").into_iter();
        stays
            .map(|stay| (stay.id.to_string(), stay.span.since, stay.span.until))
            .collect()
    }
}

fn told(id: &str, since: u64, until: u64) -> (String, u64, u64) {
    (id.to_owned(), since, until)
}

/// A member that was out while the group was bootstrapped anew waits for the word of one that was not.
#[test]
fn a_member_vouches_for_what_it_gave_in_a_lineage_that_it_has_left() {
    let mut scene = given(MemberState::Online, &[]);
    scene.out("1-400", "1-400");
    scene.record.enter(uuid(1), id("2"), format!("{:012}", scene.now));
    assert_eq!(scene.tells(), [told("1", 0, 5)], "at once");
    scene.look(Some(&secondary("2:3")), "1-400", "1-400");
    assert_eq!(scene.tells(), [told("1", 0, 5), told("2", 0, 3)]);
    // Copied over, it does not vouch by the data of now for what it gave before; by those that it had then it does.
    scene
        .record
        .copied(uuid(1), Some(id("2")), (format!("{:012}", scene.now), String::new()));
    scene.look(Some(&secondary("2:9")), "1-400", "1-400");
    assert_eq!(scene.tells(), [told("1", 0, 5), told("2", 0, 3), told("2", 9, 9)]);
    // A person bootstraps it; and a member enters past its agent.
    let mut scene = given(MemberState::Online, &[]);
    scene.out("1-400", "1-400");
    scene.look(Some(&primary("4:1", &[])), "1-400", "1-400");
    assert_eq!(scene.tells(), [told("1", 0, 5), told("4", 0, 1)]);
    scene.out("1-400", "1-400");
    scene.enters("5", 2, &["node2:3306"]);
    scene.look(Some(&secondary("5:2")), "1-400", "1-400");
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert_eq!(
        scene.tells(),
        [told("1", 0, 5), told("4", 0, 1)],
        "unproven now, not then"
    );
}

#[test]
fn who_was_not_proven_then_does_not_vouch_for_it_later() {
    // Its own donor has not vouched.
    let mut scene = given(MemberState::Online, &["node2:3306"]);
    scene.out("1-400", "1-400");
    scene.record.enter(uuid(1), id("2"), format!("{:012}", scene.now));
    assert_eq!(scene.tells(), [told("1", 0, 4)]);
    // Its data have turned out to be others, nobody knows since when.
    let mut scene = given(MemberState::Online, &[]);
    scene.record.distrust();
    scene.out("1-400", "1-400");
    assert_eq!(scene.tells(), []);
    // A membership was forced there after view 5.
    let mut scene = given(MemberState::Online, &[]);
    scene.force_members = "node1:33061";
    scene.look(Some(&primary("1:6", &[])), "1-400", "1-400");
    assert_eq!(scene.tells(), [told("1", 0, 4), told("1+6", 0, 6)]);
    // Half of a copy, which a person has started.
    let mut scene = Scene::member_of("1");
    scene.record.copies(uuid(1));
    scene.enters("1", 5, &[]);
    scene.look(Some(&secondary("1:5")), "1-400", "1-400");
    scene
        .record
        .copied(uuid(1), Some(id("1")), (format!("{:012}", scene.now), String::new()));
    assert_eq!(scene.tells(), []);
}

/// After the last look a person starts the server, and stops it again; then a step starts it.
#[test]
fn a_donor_that_no_look_has_seen_before_a_step_is_not_the_steps() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.enters("1", 5, &["node2:3306"]);
    scene.later();
    let now = scene.now;
    scene.record.enter(uuid(1), id("1"), format!("{now:012}"));
    scene.record.step_starts(format!("{now:012}"), now + 120_000_000);
    scene.later();
    scene.enters("1", 7, &["node3:3306"]);
    scene.look(Some(&secondary("1:7")), "1-400", "1-400");
    assert!(!scene.vouched(&[stay("node3:3306", 0, 9)]), "the step's needs no word");
    assert!(scene.vouched(&[stay("node2:3306", 0, 5)]));
}
