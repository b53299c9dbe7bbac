//! What a group began with: by a plan, by a person, or unknown.

use super::*;

/// Hundreds of numbers are used before START returns: the base is what was seen before it.
#[test]
fn a_bootstrap_by_hand_begins_with_what_was_seen_while_the_server_was_out() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-98");
    assert_eq!(
        scene.look(Some(&primary("2:1", &[])), "1-400", "1-400"),
        Noted::BootstrappedByHand
    );
    let member = scene.record.member.clone().unwrap();
    assert_eq!((member.id, member.trust), (id("2"), Trust::Verified));
    let branch = member.branch.unwrap();
    assert_eq!(
        (branch.parent, branch.base),
        (Some(id("1")), set("1-97")),
        "what was only received is not synced"
    );
    assert_eq!(
        scene.look(Some(&primary("2:2", &["node2"])), "1-500", "1-500"),
        Noted::Nothing
    );
}

#[test]
fn without_a_look_before_it_nothing_is_known_of_its_base() {
    let mut scene = Scene::member_of("1");
    scene.first_view_here = true;
    assert_eq!(
        scene.look(Some(&primary("2:3", &["node2"])), "1-400", "1-400"),
        Noted::BootstrappedByHand
    );
    assert_eq!(scene.record.member.unwrap().branch.unwrap().base, set(""));
}

/// A data directory that was replaced by an older copy meanwhile.
#[test]
fn a_base_holds_nothing_that_the_server_has_lost_since() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.look(Some(&primary("2:1", &[])), "1-50", "1-50");
    assert_eq!(scene.record.member.unwrap().branch.unwrap().base, set("1-50"));
}

#[test]
fn a_plan_that_bootstraps_records_what_it_began_with() {
    let generation = Generation { epoch: 1, index: 7 };
    let mut scene = Scene::member_of("1");
    scene.out("1-90", "1-97");
    scene.record.bootstraps(uuid(1), set("1-97"), generation, (0, 0));
    // The agent dies here and looks again when others are in already.
    scene.first_view_here = true;
    assert_eq!(
        scene.look(Some(&primary("2:3", &["node2"])), "1-400", "1-400"),
        Noted::Bootstrapped
    );
    let branch = scene.record.member.clone().unwrap().branch.unwrap();
    assert_eq!((branch.parent, branch.generation), (Some(id("1")), Some(generation)));
    assert_eq!(branch.base, set("1-97"));
    // A new cluster has no parent, one of the release before has.
    for (adopts, parent) in [(false, None), (true, Some(LineageId::origin()))] {
        let mut scene = Scene::new();
        scene.record.adopts = adopts;
        scene.record.bootstraps(uuid(1), set(""), generation, (0, 0));
        assert_eq!(scene.look(Some(&primary("1:1", &[])), "", ""), Noted::Bootstrapped);
        assert_eq!(scene.record.member.unwrap().branch.unwrap().parent, parent);
    }
    // One that failed is not a person's bootstrap later.
    let mut scene = Scene::member_of("1");
    scene.record.bootstraps(uuid(1), set("1-97"), generation, (0, 0));
    scene.record.not_bootstrapped();
    assert_eq!(
        scene.look(Some(&primary("2:1", &[])), "1-97", "1-97"),
        Noted::BootstrappedByHand
    );
}

/// The agent, the host or mysqld died, or the step was cancelled, between the note and the START. Later a person bootstraps there.
#[test]
fn what_a_person_bootstraps_is_not_the_plans_that_never_began() {
    let generation = Generation { epoch: 1, index: 7 };
    for (since, until, noted) in [
        (1, 2_000_000, Noted::Bootstrapped),
        (1, 1_400_000, Noted::BootstrappedByHand),
        (1_500_000, 9_000_000, Noted::BootstrappedByHand),
        (1, 0, Noted::Bootstrapped),
    ] {
        let mut scene = Scene::member_of("1");
        scene.out("1-97", "1-97");
        scene
            .record
            .bootstraps(uuid(1), set("1-97"), generation, (since, until));
        // Its first view is logged at 1,500,000.
        assert_eq!(scene.look(Some(&primary("2:1", &[])), "1-99", "1-99"), noted);
        let branch = scene.record.member.clone().unwrap().branch.unwrap();
        assert_eq!(branch.generation.is_some(), noted == Noted::Bootstrapped);
        assert_eq!((branch.base, &scene.record.bootstrapping), (set("1-97"), &None));
    }
}

/// Two looks were under way; the earlier one is written last.
#[test]
fn a_look_of_before_a_bootstrap_does_not_undo_it() {
    let mut scene = Scene::member_of("1");
    scene.record.log_seen.clear();
    scene.out("1-97", "1-97");
    scene.logs(Said::View {
        id: id("1"),
        counter: 5,
    });
    let before = scene.log.0[0].at.clone();
    assert_eq!(
        scene.look(Some(&primary("2:1", &[])), "1-99", "1-99"),
        Noted::BootstrappedByHand
    );
    scene.last_in = Some(logged(&before, "1", 5));
    scene.out("1-97", "1-97");
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
}

/// n1 was bootstrapped here, was cut off, and a person bootstrapped it again. It comes back into the first lineage, whose beginning its log
/// still tells, with what it wrote in the second.
#[test]
fn who_comes_back_into_a_lineage_that_began_here_did_not_begin_it_again() {
    let mut scene = Scene::member_of("1");
    scene.record.known.add(id("2"), branch(Some("1"), "1-90"));
    scene.record.enter(uuid(1), id("2"), String::new());
    scene.first_view_here = true;
    assert_eq!(scene.look(Some(&secondary("1:7")), "1-99", "1-99"), Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None);
}

/// Its bootstrap is told by its log, and so is that it was in another group since.
#[test]
fn who_left_what_it_began_for_another_group_began_it_and_is_unverified() {
    let mut scene = Scene::member_of("1");
    (scene.first_view_here, scene.now) = (true, 5_000_000);
    for (prefix, counter) in [("2", 1), ("2", 3), ("3", 1)] {
        let id = id(prefix);
        scene.logs(Said::View { id, counter });
    }
    assert_eq!(scene.look(Some(&secondary("2:5")), "1-130", "1-130"), Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert!(scene.record.known.contains(&id("2")), "the others are measured by it");
}

/// A plan's bootstrap that came to nothing is forgotten once the server is in a group by other ways.
#[test]
fn a_bootstrap_that_never_was_is_not_found_in_a_later_one_by_hand() {
    for enters in [true, false] {
        let mut scene = Scene::member_of("1");
        let generation = Generation { epoch: 1, index: 7 };
        scene.record.bootstraps(uuid(1), set("1-9"), generation, (0, 0));
        if enters {
            scene.record.enter(uuid(1), id("1"), String::new());
        } else {
            scene.look(Some(&secondary("1:7")), "1-99", "1-99");
        }
        scene.out("1-99", "1-99");
        assert_eq!(
            scene.look(Some(&primary("2:1", &[])), "1-99", "1-99"),
            Noted::BootstrappedByHand
        );
    }
}

/// The plan's own bootstrap, of which its agent saw nothing more.
#[test]
fn a_planned_bootstrap_that_was_cut_off_is_the_plans() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    let mut scene = Scene::member_of("1");
    let generation = Generation { epoch: 1, index: 9 };
    scene.record.bootstraps(uuid(1), set("1-97"), generation, (0, 0));
    scene.last_in = Some(logged("10:05", "2", 1));
    scene.first_view_here = true;
    assert_eq!(scene.look(Some(&out), "1-98", "1-98"), Noted::Bootstrapped);
    let branch = scene.record.member.unwrap().branch.unwrap();
    assert_eq!((branch.generation, branch.base), (Some(generation), set("1-97")));
}

/// Its founder may be gone for good.
#[test]
fn what_the_coordinator_has_not_heard_of_is_told_by_every_descendant() {
    let mut scene = Scene::member_of("1");
    scene.record.known.add(id("2"), branch(Some("1"), "1-90"));
    scene.record.known.add(id("9"), branch(Some("1"), "1-90"));
    scene.record.enter(uuid(1), id("2"), String::new());
    let mut told = Lineages::default();
    told.add(id("1"), branch(None, ""));
    let untold = scene.record.untold(&told);
    assert!(untold.contains(&id("2")) && !untold.contains(&id("1")));
    assert!(!untold.contains(&id("9")), "not of these data");
    scene.record.distrust();
    assert!(scene.record.untold(&told).is_empty(), "of nobody knows which data");
}

/// A person bootstraps this server while its agent looks: the view was read before that, the sets after it.
#[test]
fn what_a_group_wrote_during_the_look_is_not_its_base() {
    let mut scene = Scene::member_of("1");
    scene.before = Some(set("1-97"));
    scene.out("1-150", "1-150");
    scene.before = None;
    assert_eq!(
        scene.look(Some(&primary("2:1", &[])), "1-160", "1-160"),
        Noted::BootstrappedByHand
    );
    assert_eq!(scene.record.member.unwrap().branch.unwrap().base, set("1-97"));
}
