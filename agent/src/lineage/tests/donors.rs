//! Who gave a member what it lacked, and whether that vouches for it.

use clusterctl_proto::lineage::Stay;

use super::*;

fn stay(address: &str, since: u64) -> Stay {
    Stay {
        address: address.to_owned(),
        id: id("1"),
        since,
    }
}

/// A member that was seen out, and which a person, or Group Replication itself, starts: these gave it what it lacked.
fn given(state: MemberState, counter: u64, donors: &[&str]) -> (Scene, Noted) {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.logs(Said::View { id: id("1"), counter });
    for donor in donors {
        scene.logs(Said::Donor((*donor).to_owned()));
    }
    let inside = view(state, MemberRole::Secondary, &format!("1:{counter}"), &["node2"]);
    let noted = scene.look(Some(&inside), "1-400", "1-400");
    (scene, noted)
}

impl Scene {
    /// The next lines of the log are younger than what was seen.
    fn later(&mut self) {
        self.now += 1_000_000;
    }
}

/// Group Replication picked as donor a member that a person had let in, and the one who had everything then died.
#[test]
fn what_a_donor_gave_is_proven_when_the_donor_vouches() {
    let (mut scene, noted) = given(MemberState::Online, 5, &["node2:3306"]);
    assert_eq!(noted, Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None, "not by what it held before alone");
    assert!(scene.record.has_donors());
    let measured = scene.record.measure(uuid(1), &set("1-400"), &id("1"), &set("1-400"));
    assert_eq!(measured, Measure::Unknown);
    let mut vouched = |stays: &[Stay]| scene.record.vouched(stays);
    assert_eq!(vouched(&[stay("node3:3306", 1)]), Noted::Nothing);
    assert_eq!(
        vouched(&[stay("node2:3306", 6)]),
        Noted::Nothing,
        "it was made anew since"
    );
    assert_eq!(vouched(&[stay("node2:3306", 4)]), Noted::Proven);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
    assert_eq!(
        scene.look(Some(&secondary("1:5")), "1-400", "1-400"),
        Noted::Nothing,
        "told once"
    );
    assert!(!scene.record.has_donors());
}

#[test]
fn who_held_other_data_is_not_proven_by_its_donor() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.logs(Said::View {
        id: id("2"),
        counter: 5,
    });
    scene.logs(Said::Donor("node2:3306".to_owned()));
    assert_eq!(scene.look(Some(&secondary("2:5")), "1-400", "1-400"), Noted::Unverified);
    let vouches = Stay {
        id: id("2"),
        ..stay("node2:3306", 1)
    };
    assert_eq!(scene.record.vouched(&[vouches]), Noted::Nothing);
    assert_eq!(scene.record.verified(uuid(1)), None);
    // And not by what it held alone, while its donor has not vouched.
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.logs(Said::View {
        id: id("2"),
        counter: 5,
    });
    scene.logs(Said::Donor("node2:3306".to_owned()));
    scene.look(Some(&secondary("2:5")), "1-400", "1-400");
    scene.record.known.add(id("2"), branch(Some("1"), "1-97"));
    assert_eq!(scene.look(Some(&secondary("2:5")), "1-400", "1-400"), Noted::Nothing);
    assert_eq!(scene.record.verified(uuid(1)), None);
    let vouches = Stay {
        id: id("2"),
        ..stay("node2:3306", 1)
    };
    assert_eq!(scene.record.vouched(&[vouches]), Noted::Proven);
}

#[test]
fn the_donor_that_a_steps_start_found_was_looked_at_before() {
    let enters = |after_us: u64| {
        let mut scene = Scene::member_of("1");
        scene.out("1-97", "1-97");
        let now = scene.now;
        scene.record.step_enters(format!("{now:012}"), now + 120_000_000);
        scene.record.enter(uuid(1), id("1"), format!("{now:012}"));
        scene.now += after_us;
        scene.logs(Said::View {
            id: id("1"),
            counter: 5,
        });
        scene.logs(Said::Donor("node2:3306".to_owned()));
        let noted = scene.look(Some(&secondary("1:5")), "1-400", "1-400");
        (scene, noted)
    };
    let (mut scene, noted) = enters(1_000_000);
    assert_eq!(noted, Noted::Nothing);
    assert_eq!(
        enters(200_000_000).1,
        Noted::Unverified,
        "a donor that came later, perhaps past its agent"
    );
    // A moment after the step a person stops and starts it again.
    scene.later();
    scene.logs(Said::View {
        id: id("1"),
        counter: 7,
    });
    scene.logs(Said::Donor("node2:3306".to_owned()));
    assert_eq!(scene.look(Some(&secondary("1:7")), "1-400", "1-400"), Noted::Unverified);
}

#[test]
fn while_a_member_recovers_its_donor_may_be_another() {
    let recovering = view(MemberState::Recovering, MemberRole::Secondary, "1:5", &["node2"]);
    let (mut scene, noted) = given(MemberState::Recovering, 5, &[]);
    assert_eq!(noted, Noted::Nothing);
    assert!(scene.record.awaits_donor(Some(&recovering)));
    scene.later();
    scene.logs(Said::Donor("node2:3306".to_owned()));
    assert_eq!(scene.look(Some(&recovering), "1-97", "1-97"), Noted::Unverified);
    assert_eq!(scene.record.vouched(&[stay("node2:3306", 1)]), Noted::Proven);
    // It died, and recovery went on with another.
    scene.later();
    scene.logs(Said::Donor("node3:3306".to_owned()));
    assert!(
        scene.record.awaits_donor(Some(&secondary("1:5"))),
        "once more when it is ONLINE"
    );
    assert_eq!(scene.look(Some(&secondary("1:5")), "1-400", "1-400"), Noted::Unverified);
    assert!(!scene.record.awaits_donor(Some(&secondary("1:5"))));
    assert_eq!(scene.record.vouched(&[stay("node2:3306", 1)]), Noted::Nothing);
    assert_eq!(scene.record.vouched(&[stay("node3:3306", 1)]), Noted::Proven);
}

#[test]
fn what_the_log_told_before_anybody_looked_is_of_no_account() {
    let mut scene = Scene::member_of("1");
    scene.now = 1_000_000;
    scene.logs(Said::View {
        id: id("1"),
        counter: 5,
    });
    scene.logs(Said::Donor("node2:3306".to_owned()));
    assert_eq!(scene.look(Some(&secondary("1:5")), "1-400", "1-400"), Noted::Nothing);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
}

/// Its agent did not look while it was inside.
#[test]
fn a_stay_that_has_ended_is_told_by_the_log() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.logs(Said::View {
        id: id("1"),
        counter: 5,
    });
    scene.logs(Said::Donor("node2:3306".to_owned()));
    scene.last_in = Some(logged("10:59", "1", 5));
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    assert_eq!(scene.look(Some(&out), "1-400", "1-400"), Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert_eq!(scene.record.vouched(&[stay("node2:3306", 5)]), Noted::Proven);
}

/// By this a member vouches for others, so it is never told earlier than it was so.
#[test]
fn since_when_a_member_is_inside_is_on_record() {
    let since = |scene: &Scene| scene.record.member.as_ref().unwrap().since;
    let (mut scene, _) = given(MemberState::Online, 5, &["node2:3306"]);
    assert_eq!(since(&scene), Some(5));
    scene.look(Some(&secondary("1:7")), "1-400", "1-400");
    assert_eq!(since(&scene), Some(5));
    scene.later();
    scene.logs(Said::View {
        id: id("1"),
        counter: 9,
    });
    scene.logs(Said::Donor("node2:3306".to_owned()));
    scene.look(Some(&secondary("1:9")), "1-400", "1-400");
    assert_eq!(since(&scene), Some(9), "it went out and in between two looks");
    scene.out("1-400", "1-400");
    assert_eq!(since(&scene), None);
    scene.look(Some(&secondary("1:12")), "1-400", "1-400");
    assert_eq!(since(&scene), Some(12));
    // A membership that is forced changes nothing of what it was given.
    scene.force_members = "node1:33061";
    scene.look(Some(&primary("1:13", &[])), "1-400", "1-400");
    assert_eq!(since(&scene), Some(12));
    assert!(scene.record.has_donors());
}
