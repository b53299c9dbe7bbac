//! A forced membership is a lineage of its own.

use super::*;

/// The view id keeps its first part, and numbers are used again.
#[test]
fn a_forced_membership_is_a_lineage_of_its_own() {
    let mut scene = Scene::member_of("1");
    scene.force_members = "node1:3306";
    assert_eq!(scene.look(Some(&primary("1:8", &[])), "1-99", "1-99"), Noted::Forced);
    let member = scene.record.member.clone().unwrap();
    assert_eq!(member.id, id("1+8"));
    assert_eq!(member.branch.unwrap().parent, Some(id("1")));
    assert_eq!(
        scene.look(Some(&primary("1:9", &["node2"])), "1-99", "1-99"),
        Noted::Nothing,
        "once"
    );
    scene.force_members = "";
    scene.look(Some(&primary("1:9", &["node2"])), "1-99", "1-99");
    assert_eq!(
        scene.record.member.clone().unwrap().id,
        id("1+8"),
        "it stays so when the variable is reset"
    );

    // A survivor beside it hears of it; who is in no view with it does not follow.
    let mut other = Scene::member_of("1");
    let mut lineages = Lineages::default();
    let forced = Branch {
        host: Some("node2".parse().unwrap()),
        ..branch(Some("1"), "")
    };
    lineages.add(id("1+8"), forced);
    other.record.learn(&lineages);
    other.look(Some(&primary("1:9", &["node3"])), "1-99", "1-99");
    assert_eq!(other.record.member.clone().unwrap().id, id("1"));
    other.look(Some(&secondary("1:9")), "1-99", "1-99");
    assert_eq!(other.record.member.clone().unwrap().id, id("1+8"));
}

/// Who was out when it was forced may hold other transactions under the numbers that it used since.
#[test]
fn who_came_after_a_forced_membership_came_unmeasured() {
    let mut lineages = Lineages::default();
    let forced = Branch {
        host: Some("node2".parse().unwrap()),
        ..branch(Some("1"), "")
    };
    lineages.add(id("1+6"), forced);
    let scene = |came_at: &str| {
        let mut scene = Scene::member_of("1");
        scene.look(Some(&secondary("1:5")), "1-99", "1-99");
        scene.out("1-99", "1-99");
        scene.look(Some(&secondary(came_at)), "1-99", "1-99");
        scene.record.learn(&lineages);
        (scene.look(Some(&secondary("1:8")), "1-99", "1-99"), scene.record)
    };
    let (noted, record) = scene("1:7");
    assert_eq!((noted, record.verified(uuid(1))), (Noted::Unverified, None));
    assert_eq!(record.member.unwrap().before.unwrap().held, set("1-99"));
    let (_, record) = scene("1:5");
    assert_eq!(record.verified(uuid(1)), Some(&id("1+6")), "back before it");
    // An agent that was away when it was forced does not know when.
    let mut host = Scene::member_of("1");
    host.look(Some(&primary("1:5", &["node2"])), "1-99", "1-99");
    host.force_members = "node1:3306";
    host.look(Some(&primary("1:9", &["node2"])), "1-99", "1-99");
    assert_eq!(host.record.verified(uuid(1)), Some(&id("1+6")), "from the next view on");
}

/// The value stays where a person does not take it back. The server has left before its agent saw it in the forced group.
#[test]
fn a_forced_membership_is_on_record_although_the_member_has_left() {
    let mut scene = Scene::member_of("1");
    scene.look(Some(&primary("1:5", &["node2"])), "1-99", "1-99");
    scene.force_members = "node1:3306";
    let error = view(MemberState::Error, MemberRole::Secondary, "", &[]);
    assert_eq!(scene.look(Some(&error), "1-99", "1-99"), Noted::Forced);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1+6")));
    assert_eq!(scene.look(Some(&error), "1-99", "1-99"), Noted::Nothing, "once");
}

/// MySQL's manual says to take the variable back at once, and MySQL Shell does: no look sees it.
#[test]
fn a_membership_that_was_forced_between_two_looks_is_told_by_the_log() {
    for agent_looks in [true, false] {
        let mut scene = Scene::member_of("1");
        scene.look(Some(&secondary("1:3")), "1-90", "1-90");
        scene.logs(Said::MajorityLost);
        scene.now += 8_000_000;
        scene.logs(Said::MajorityBack);
        if !agent_looks {
            scene.logs(Said::View {
                id: id("1"),
                counter: 4,
            });
            let noted = scene.look(
                Some(&view(MemberState::Offline, MemberRole::None, "", &[])),
                "1-95",
                "1-95",
            );
            assert_eq!(noted, Noted::Forced, "it was out again before this agent looked");
        } else {
            assert_eq!(scene.look(Some(&primary("1:4", &[])), "1-95", "1-95"), Noted::Forced);
            assert_eq!(scene.look(Some(&primary("1:4", &[])), "1-96", "1-96"), Noted::Nothing);
            let two = primary("1:5", &["node2"]);
            assert_eq!(scene.look(Some(&two), "1-97", "1-97"), Noted::Nothing, "once");
        }
        assert_eq!(scene.record.verified(uuid(1)), Some(&id("1+4")), "{agent_looks}");
        let shared = scene.record.known.shared(&id("1"), &id("1+4"));
        assert_eq!(shared, Shared::Base(GtidSet::new()), "numbers may be used again");
    }
}

/// Whom a person let in unmeasured, and who then forces a membership or sees one forced, is no better for it.
#[test]
fn a_forced_membership_proves_nobodys_data() {
    let mut scene = Scene::member_of("1");
    scene.record.known.add(id("2"), branch(Some("1"), ""));
    scene.out("1-97", "1-97");
    assert_eq!(scene.look(Some(&secondary("2:3")), "1-120", "1-120"), Noted::Unverified);
    scene.logs(Said::MajorityLost);
    scene.now += 8_000_000;
    scene.logs(Said::MajorityBack);
    assert_eq!(scene.look(Some(&primary("2:4", &[])), "1-121", "1-121"), Noted::Forced);
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert_eq!(scene.record.member.unwrap().id, id("2+4"));
    // Forced here, and then started into another group, before this agent looked.
    let mut scene = Scene::member_of("1");
    scene.look(Some(&secondary("1:3")), "1-90", "1-90");
    scene.logs(Said::MajorityLost);
    scene.now += 8_000_000;
    scene.logs(Said::MajorityBack);
    scene.logs(Said::View {
        id: id("1"),
        counter: 4,
    });
    assert_eq!(scene.look(Some(&secondary("5:3")), "1-120", "1-120"), Noted::Unverified);
    let member = scene.record.member.clone().unwrap();
    assert_eq!((member.id, member.trust), (id("5"), Trust::Unverified));
    assert!(scene.record.known.contains(&id("1+4")) && !scene.record.known.contains(&id("5+4")));
}
