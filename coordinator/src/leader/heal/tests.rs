//! The story that the journal tells: each thing once, also after a restart of the coordinator.

use clusterctl_proto::observe::OwnDeed;

use super::*;
use crate::planner::tests::stage::{Stage, prod};
use crate::planner::tests::toy::name;

/// One look; what is told is stored.
fn tell(stage: &mut Stage, story: &mut Story, now: Instant) -> Vec<String> {
    let sight = stage.toy.sight();
    let changes = stage.look(&sight, |world| {
        let cluster = &world.model.clusters[&prod()];
        let mut changes = own_deeds(world, story);
        changes.extend(over(world, cluster));
        changes.extend(primary(world, cluster, story));
        changes.extend(super::tell(cluster, &heal::troubles(world, cluster), world, story, now));
        changes
    });
    let mut told = Vec::new();
    for change in changes {
        if let Change::Note { kind, text, .. } = &change {
            told.push(format!("{kind}: {text}"));
        }
        stage.apply(change);
    }
    told
}

#[test]
fn who_leads_is_told_when_it_changes() {
    let (mut stage, mut story, now) = (Stage::three(), Story::default(), Instant::now());
    assert_eq!(tell(&mut stage, &mut story, now), ["primary_changed: node1 leads prod"]);
    assert!(tell(&mut stage, &mut story, now).is_empty());
    // A coordinator that restarts finds it in the journal.
    assert!(tell(&mut stage, &mut Story::default(), now).is_empty());
    stage.toy.power_off("node1");
    stage.toy.look();
    let moved = ["primary_changed: node2 leads prod instead of node1"];
    assert_eq!(tell(&mut stage, &mut Story::default(), now), moved);
    assert!(tell(&mut stage, &mut Story::default(), now).is_empty());
}

#[test]
fn what_lasts_is_told_once_and_so_is_its_end() {
    let (mut stage, mut story, start) = (Stage::three(), Story::default(), Instant::now());
    tell(&mut stage, &mut story, start);
    stage.toy.restart(&name("node3"));
    stage.toy.write_alone("node3");
    stage.toy.look();
    assert!(
        tell(&mut stage, &mut story, start).is_empty(),
        "what passes at once is no story"
    );
    let later = start + LASTING;
    let told = tell(&mut stage, &mut story, later);
    assert!(told.len() == 1 && told[0].starts_with("member_quarantined: node3 is not in the group; quarantined"));
    assert!(tell(&mut stage, &mut story, later).is_empty());
    let mut again = Story::default();
    tell(&mut stage, &mut again, start);
    assert!(
        tell(&mut stage, &mut again, later).is_empty(),
        "the journal ends with it"
    );

    let group = stage.toy.server("node1").gtid_executed.clone();
    stage.toy.server("node3").gtid_executed = group;
    stage.alone_for(3);
    assert_eq!(tell(&mut stage, &mut story, later), ["well_again: node3 is well again"]);
}

#[test]
fn what_agents_did_alone_is_told_once() {
    let (mut stage, mut story, now) = (Stage::three(), Story::default(), Instant::now());
    tell(&mut stage, &mut story, now);
    let deed = OwnDeed {
        at_ms: stage.toy.now,
        kind: "rejoined_alone".to_owned(),
        text: "rejoined the live group".to_owned(),
    };
    let host = stage.toy.host("node3");
    host.seen.as_mut().expect("seen").0.own_deeds.push(deed);
    let told = tell(&mut stage, &mut story, now);
    assert!(
        told.len() == 1 && told[0].starts_with("rejoined_alone: rejoined the live group (at "),
        "{told:?}"
    );
    assert!(tell(&mut stage, &mut story, now).is_empty());
    assert!(tell(&mut stage, &mut Story::default(), now).is_empty());
    assert_eq!(
        stage.model.events.back().and_then(|event| event.host.clone()),
        Some(name("node3"))
    );
}

#[test]
fn a_pause_that_ended_by_itself_is_taken_out_of_the_intent() {
    let (mut stage, mut story, now) = (Stage::three(), Story::default(), Instant::now());
    let said = HandsOff {
        by: "operator/alice".to_owned(),
        at: stage.toy.now,
        reason: String::new(),
        until: Some(stage.toy.now + 1000),
        everything: false,
    };
    stage.apply(Change::HandsOff {
        cluster: prod(),
        host: None,
        said: Some(said),
        only: None,
    });
    tell(&mut stage, &mut story, now);
    assert!(stage.model.clusters[&prod()].paused.is_some());
    stage.toy.now += 1000;
    tell(&mut stage, &mut story, now);
    assert!(stage.model.clusters[&prod()].paused.is_none());
    assert_eq!(
        stage.model.events.back().map(|event| event.kind.as_str()),
        Some("cluster_resumed")
    );
}

/// A fall, RECOVERING on the way back, another fall: each is told.
#[test]
fn a_second_fall_is_told_too() {
    use clusterctl_proto::observe::MemberState;
    let (mut stage, mut story, start) = (Stage::three(), Story::default(), Instant::now());
    tell(&mut stage, &mut story, start);
    let mut at = start;
    let mut fall = |stage: &mut Stage, story: &mut Story| {
        stage.toy.power_off("node3");
        stage.toy.now += 5_000;
        stage.toy.look();
        tell(stage, story, at);
        at += LASTING;
        let told = tell(stage, story, at);
        assert!(told.iter().any(|line| line.starts_with("member_lost")), "{told:?}");
        stage.toy.power_on("node3");
        stage.alone_for(3);
        // Seen on its way, too short to be told.
        let seen = &mut stage.toy.host("node3").seen;
        let server = seen
            .as_mut()
            .and_then(|(seen, _)| seen.mysql.server.as_mut())
            .expect("seen");
        server.group.as_mut().expect("view").state = MemberState::Recovering;
        at += Duration::from_secs(1);
        assert!(tell(stage, story, at).is_empty());
        stage.toy.look();
        at += Duration::from_secs(60);
        assert_eq!(tell(stage, story, at), ["well_again: node3 is well again"]);
    };
    fall(&mut stage, &mut story);
    fall(&mut stage, &mut story);
}
