//! Plans that slept, people who bootstrap by hand, data that come back: nothing acknowledged is lost, no group lives twice, and nobody comes
//! in with other transactions under the same numbers.

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::lineage::{Branch, MemberLineage, Past, Span, Trust};
use clusterctl_proto::observe::DataDirectory;

use super::heal_stage::{NODES, inside, loss_code, not, of_host, power_cut, recover, troubles};
use super::slept::{by_hand, promised_and_dead};
use super::stage::{Stage, prod};
use super::toy::name;
use crate::leader::status;
use crate::model::{MemberPhase, OperationKind};
use crate::planner::heal::Care;
use crate::planner::vouch;
use crate::planner::world::Decision;

/// node3 is in the group and leads, but its join never ended well (its last step failed): it still counts as joining. Its data are lost.
#[test]
fn a_joining_member_that_led_and_lost_its_data_is_not_nothing() {
    let mut stage = Stage::three();
    stage
        .model
        .clusters
        .get_mut(&prod())
        .unwrap()
        .members
        .get_mut(&name("node3"))
        .unwrap()
        .phase = MemberPhase::Joining;
    stage.toy.group.as_mut().unwrap().primary = name("node3");
    ["node1", "node2"].iter().for_each(|node| stage.toy.power_off(node));
    stage.toy.write();
    power_cut(&mut stage, &NODES);
    // a new disk
    stage.toy.host("node3").data = DataDirectory::Absent;
    stage.toy.host("node3").up = false;
    stage.toy.host("node3").server = None;
    stage.toy.now += 1000;
    stage.toy.look();
    let care = troubles(&stage).into_iter().next().map(|t| t.care);
    assert!(
        !matches!(care, Some(Care::Act(_))),
        "bootstrapped without what only node3 held: {care:?}"
    );
}

/// All are ONLINE, and one of them with data that nobody measured: that is not OK.
#[test]
fn with_an_unproven_member_inside_status_is_not_ok() {
    let mut stage = Stage::three();
    let state = |stage: &Stage| {
        let sight = stage.toy.sight();
        stage.look(&sight, |world| status::clusters(world, None).remove(0).state)
    };
    stage.alone_for(2);
    assert_eq!(state(&stage), "ok");
    stage.toy.host("node2").lineage.as_mut().unwrap().trust = Trust::Unverified;
    stage.alone_for(2);
    assert_eq!(inside(&stage), NODES);
    assert_eq!(state(&stage), "degraded");
}

/// A person has started node3 beside node2, and Group Replication picked that one as the donor.
#[test]
fn who_got_its_data_from_a_member_that_does_not_vouch_is_unproven() {
    let mut stage = Stage::three();
    for host in NODES {
        let record = stage.toy.host(host).lineage.as_mut().unwrap();
        record.span = Some(Span { since: 0, until: 5 });
    }
    let record = stage.toy.host("node3").lineage.as_mut().unwrap();
    record
        .donors
        .insert("node2:3306".to_owned(), Span { since: 5, until: 5 });
    let look = |stage: &mut Stage, seconds: i64| {
        stage.toy.now += seconds * 1000;
        stage.toy.look();
    };
    let stays = |stage: &Stage| {
        let (sight, cluster) = (stage.toy.sight(), &stage.model.clusters[&prod()]);
        let stays = stage.look(&sight, |world| vouch::stays(world, cluster));
        stays.into_iter().map(|stay| stay.address).collect::<Vec<_>>()
    };
    look(&mut stage, 1);
    let trouble = of_host(&stage, "node3").unwrap();
    assert_eq!(
        (trouble.code, not(&trouble).0, trouble.patient),
        ("member_unmeasured", "waiting", true),
        "node2 is asked"
    );
    assert_eq!(
        stays(&stage),
        ["node1:3306", "node2:3306", "node3:3306"],
        "node3 for what was before"
    );
    // Its data are unproven themselves: it vouches for nobody.
    stage.toy.host("node2").lineage.as_mut().unwrap().trust = Trust::Unverified;
    look(&mut stage, 1);
    let trouble = of_host(&stage, "node3").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("given_up_inside", "blocked"));
    assert!(not(&trouble).1.contains("node2:3306"), "{}", not(&trouble).1);
    assert_eq!(stays(&stage), ["node1:3306", "node3:3306"]);
    // Whose agent is silent vouches for nobody either; what it will say is not known.
    stage.toy.host("node2").lineage.as_mut().unwrap().trust = Trust::Verified;
    stage.toy.host("node2").answers = false;
    look(&mut stage, 60);
    let trouble = of_host(&stage, "node3").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("member_unmeasured", "blocked"));
    let why = not(&trouble).1;
    assert!(why.contains("node2:3306 (its agent does not answer)"), "{why}");
    assert_eq!(stays(&stage), ["node1:3306", "node3:3306"]);
    // It was taken out meanwhile: nobody will tell.
    let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
    cluster.members.remove(&name("node2"));
    look(&mut stage, 1);
    let trouble = of_host(&stage, "node3").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("given_up_inside", "blocked"));
    let why = not(&trouble).1;
    assert!(why.contains("node2:3306 (no member of prod any more)"), "{why}");
}

/// The group was bootstrapped anew while node3 was out; node2, which gave it what it has, goes on in the new lineage.
#[test]
fn a_donor_that_has_gone_on_to_another_lineage_vouches_for_the_one_before() {
    let mut stage = Stage::three();
    let before = stage.toy.host("node2").lineage.clone().unwrap();
    let given = Span { since: 5, until: 5 };
    let node3 = stage.toy.host("node3").lineage.as_mut().unwrap();
    node3.donors.insert("node2:3306".to_owned(), given);
    let pending = |stage: &Stage| {
        let (sight, cluster) = (stage.toy.sight(), &stage.model.clusters[&prod()]);
        stage.look(&sight, |world| {
            let is_pending = vouch::is_pending(world, cluster, world.certain(&name("node3")).unwrap());
            let mut told = stage.toy.hosts[&name("node3")].lineage.clone().unwrap();
            told.vouched(&vouch::stays(world, cluster));
            (is_pending, told.verified().is_some())
        })
    };
    let past = |until| Past {
        id: before.id.clone(),
        span: Span { since: 0, until },
    };
    for (until, told) in [(4, (false, false)), (5, (true, true))] {
        let node2 = stage.toy.host("node2").lineage.as_mut().unwrap();
        (node2.id, node2.span) = ("77".parse().unwrap(), Some(Span { since: 0, until: 3 }));
        node2.past = vec![past(until)];
        // Its server is out at this moment.
        stage.toy.host("node2").up = false;
        stage.toy.now += 1000;
        stage.toy.look();
        assert_eq!(pending(&stage), told, "{until}");
    }
    // What it has now is half of a copy: it vouches for what was before.
    let node2 = stage.toy.host("node2");
    let record = node2.lineage.as_mut().unwrap();
    (record.id, record.span, node2.half_copied) = (before.id.clone(), Some(Span { since: 0, until: 9 }), true);
    for (until, told) in [(4, (false, false)), (5, (true, true))] {
        stage.toy.host("node2").lineage.as_mut().unwrap().past = vec![past(until)];
        stage.toy.now += 1000;
        stage.toy.look();
        assert_eq!(pending(&stage), told, "{until}");
    }
}

/// node3 got its data from node2, and that one from node4, whose host burns before it could vouch.
#[test]
fn a_donor_that_is_silent_for_good_leaves_a_way_out() {
    let mut stage = Stage::three();
    stage.must(super::stage::join("node4"));
    let given = Span { since: 5, until: 5 };
    for host in ["node1", "node2", "node3", "node4"] {
        stage.toy.host(host).lineage.as_mut().unwrap().span = Some(Span { since: 0, until: 5 });
    }
    for (host, donor) in [("node2", "node4:3306"), ("node3", "node2:3306")] {
        let record = stage.toy.host(host).lineage.as_mut().unwrap();
        record.donors.insert(donor.to_owned(), given);
    }
    let look = |stage: &mut Stage| {
        stage.toy.now += 60_000;
        stage.toy.look();
    };
    let words = |stage: &Stage, host: &str| {
        let trouble = of_host(stage, host).unwrap();
        let Care::Not(not) = trouble.care else { panic!("{host}") };
        (trouble.code, not.standing.name(), not.unlock, not.command)
    };
    look(&mut stage);
    for host in ["node2", "node3"] {
        let (code, standing, unlock, _) = words(&stage, host);
        assert_eq!((code, standing), ("member_unmeasured", "waiting"), "all answer");
        assert!(!unlock.contains("remove"), "{unlock}");
    }
    stage.toy.power_off("node4");
    stage.toy.restart(&name("node1"));
    stage.toy.group.as_mut().unwrap().primary = name("node2");
    look(&mut stage);
    let start = "on node4: systemctl start clusterctl-agent";
    for (host, code) in [
        ("node2", "member_unmeasured"),
        ("node3", "member_unmeasured"),
        ("node1", "member_out"),
    ] {
        let (told, standing, unlock, command) = words(&stage, host);
        assert_eq!((told, standing, command.as_str()), (code, "blocked", start), "{host}");
        assert!(
            unlock.contains("only if node4 is gone for good: clusterctl remove node4 --force"),
            "{unlock}"
        );
    }
    // A join is told the same when it has waited for it.
    let id = stage.submit(super::stage::join("node1")).unwrap();
    let Decision::Wait(why) = stage.ask(&stage.model.operations[&id]) else {
        panic!("refused")
    };
    assert!(why.contains("node4"), "{why}");
    stage
        .model
        .clusters
        .get_mut(&prod())
        .unwrap()
        .members
        .remove(&name("node4"));
    look(&mut stage);
    for host in ["node2", "node3"] {
        let (code, standing, _, command) = words(&stage, host);
        assert_eq!((code, standing), ("given_up_inside", "blocked"));
        assert_eq!(command, format!("clusterctl remove {host}"));
    }
}

/// Members that entered past their agents, one after another, while these did not run.
#[test]
fn who_waits_for_the_word_of_others_is_told_apart_from_who_waits_for_ever() {
    let mut stage = Stage::three();
    for host in NODES {
        stage.toy.host(host).lineage.as_mut().unwrap().span = Some(Span { since: 0, until: 9 });
    }
    let donor = |stage: &mut Stage, of: &str, from: &str, given| {
        let record = stage.toy.host(of).lineage.as_mut().unwrap();
        record.donors.insert(
            format!("{from}:3306"),
            Span {
                since: given,
                until: given,
            },
        );
        stage.toy.now += 1000;
        stage.toy.look();
    };
    let told = |stage: &Stage, host: &str| of_host(stage, host).unwrap().code;
    let vouches = |stage: &Stage| {
        let (sight, cluster) = (stage.toy.sight(), &stage.model.clusters[&prod()]);
        let stays = stage.look(&sight, |world| vouch::stays(world, cluster));
        let told = stays.into_iter().map(|stay| (stay.address, stay.span.until));
        told.collect::<Vec<_>>()
    };
    donor(&mut stage, "node2", "node3", 5);
    donor(&mut stage, "node3", "node2", 9);
    assert_eq!(
        (told(&stage, "node2"), told(&stage, "node3")),
        ("member_unmeasured", "member_unmeasured")
    );
    // Each vouches for what was before its own donor.
    let of = |host: &str, until| (format!("{host}:3306"), until);
    assert_eq!(vouches(&stage), [of("node1", 9), of("node2", 4), of("node3", 8)]);
    // mysqld of one of them is stopped: its agent tells.
    stage.toy.host("node3").up = false;
    stage.toy.now += 1000;
    stage.toy.look();
    assert!(vouches(&stage).contains(&of("node3", 8)));
    stage.toy.host("node3").up = true;
    // The donor of the donor is unproven.
    stage.toy.host("node3").lineage.as_mut().unwrap().trust = Trust::Unverified;
    donor(&mut stage, "node1", "node2", 9);
    assert_eq!(
        (told(&stage, "node1"), told(&stage, "node2")),
        ("given_up_inside", "given_up_inside")
    );
    // The donor's data were replaced since: nobody vouches any more.
    let record = stage.toy.host("node3").lineage.as_mut().unwrap();
    (record.trust, record.span) = (Trust::Verified, Some(Span { since: 7, until: 9 }));
    record.donors.clear();
    donor(&mut stage, "node1", "node2", 9);
    assert_eq!(told(&stage, "node2"), "given_up_inside");
}

/// node2 entered past its agent a moment ago: what is asked waits for the word of its donor, and is not refused.
#[test]
fn while_a_members_donor_is_asked_nothing_is_refused_for_good() {
    let lead = OperationKind::Switchover {
        to: Some(name("node2")),
    };
    for kind in [super::stage::join("node3"), super::stage::join("node2"), lead] {
        let mut stage = Stage::three();
        if kind == super::stage::join("node3") {
            stage.toy.restart(&name("node3"));
        }
        let member = stage
            .model
            .clusters
            .get_mut(&prod())
            .unwrap()
            .members
            .get_mut(&name("node2"))
            .unwrap();
        if kind == super::stage::join("node2") {
            member.phase = MemberPhase::Joining;
        }
        let node2 = stage.toy.host("node2").lineage.as_mut().unwrap();
        node2
            .donors
            .insert("node1:3306".to_owned(), Span { since: 5, until: 5 });
        stage.toy.now += 1000;
        stage.toy.look();
        let id = stage.submit(kind.clone()).unwrap();
        let asked = stage.ask(&stage.model.operations[&id]);
        assert!(matches!(asked, Decision::Wait(_)), "{kind:?}: {asked:?}");
        stage.toy.host("node2").lineage.as_mut().unwrap().donors.clear();
        stage.toy.now += 1000;
        stage.toy.look();
        let asked = stage.ask(&stage.model.operations[&id]);
        assert!(!matches!(asked, Decision::Refuse(_)), "{kind:?}: {asked:?}");
    }
}

/// A person has started node2 with data that nobody measured. Group Replication picks the donor itself: node3 could get them from there.
#[test]
fn while_an_unproven_member_is_inside_nobody_gets_data_from_it() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.write();
    stage.toy.host("node2").lineage.as_mut().unwrap().trust = Trust::Unverified;
    stage.alone_for(20);
    assert_eq!(inside(&stage), ["node1", "node2"]);
    let trouble = of_host(&stage, "node3").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("member_out", "blocked"));
    assert!(not(&trouble).1.contains("node2"), "{}", not(&trouble).1);
    // It is taken out: node3 comes in.
    stage.toy.restart(&name("node2"));
    stage.toy.host("node2").answers = false;
    stage.alone_for(20);
    assert!(inside(&stage).contains(&"node3".to_owned()));
}

/// node3 is in ERROR: a join would start its Group Replication anew, and it would get what it lacks from whom Group Replication picks.
#[test]
fn while_an_unproven_member_is_inside_a_join_does_not_start_who_gave_up() {
    let mut stage = Stage::three();
    stage.alone_for(2);
    stage.toy.restart(&name("node3"));
    stage.toy.host("node3").stuck = true;
    stage.toy.write();
    stage.toy.now += 1000;
    stage.toy.look();
    // Asked for before a person let node2 in: the plan that was made is looked at again before its step is sent.
    stage.submit(super::stage::join("node3")).unwrap();
    stage.decide();
    let plan = stage.model.plans.values().last().unwrap().clone();
    let joins = plan
        .draft
        .steps
        .iter()
        .find(|step| step.step.name() == "join_group")
        .unwrap();
    assert!(stage.still_safe(plan.id, joins).is_ok());
    stage.toy.host("node2").lineage.as_mut().unwrap().trust = Trust::Unverified;
    stage.toy.now += 1000;
    stage.toy.look();
    assert_eq!(stage.still_safe(plan.id, joins).unwrap_err().code, "evidence_changed");
    let mut stage = Stage::three();
    stage.alone_for(2);
    stage.toy.restart(&name("node3"));
    stage.toy.host("node3").stuck = true;
    stage.toy.host("node2").lineage.as_mut().unwrap().trust = Trust::Unverified;
    stage.toy.now += 1000;
    stage.toy.look();
    assert_eq!(stage.refusal(super::stage::join("node3")).code, "unproven_donor");
}

/// It may hold other transactions under the same numbers, so clients must not be sent to it.
#[test]
fn an_unproven_member_is_not_made_the_primary() {
    let mut stage = Stage::three();
    stage.alone_for(2);
    let to = |host: Option<&str>| OperationKind::Switchover { to: host.map(name) };
    let target = |stage: &Stage| stage.dry_plan(to(None)).steps[0].host.clone();
    assert_eq!(target(&stage), name("node2"));
    // Asked for before a person let it in: the plan that was made is looked at again before its step is sent.
    stage.submit(to(None)).unwrap();
    stage.decide();
    stage.toy.host("node2").lineage.as_mut().unwrap().trust = Trust::Unverified;
    stage.toy.now += 1000;
    stage.toy.look();
    let plan = stage.model.plans.values().last().unwrap();
    let sent = stage.still_safe(plan.id, &plan.draft.steps[0]);
    assert_eq!(sent.unwrap_err().code, "evidence_changed");
    let mut stage = Stage::three();
    stage.alone_for(2);
    stage.toy.host("node2").lineage.as_mut().unwrap().trust = Trust::Unverified;
    stage.alone_for(2);
    assert_eq!(target(&stage), name("node3"), "another one can lead");
    assert_eq!(stage.refusal(to(Some("node2"))).code, "unproven_data");
    stage.toy.host("node3").lineage.as_mut().unwrap().trust = Trust::Unverified;
    stage.alone_for(2);
    assert_eq!(stage.refusal(to(None)).code, "no_secondary");
}

/// A person has started node2, whose agent is dead: whether its data are the group's, nobody can tell. One that was seen inside before its
/// agent died counts on.
#[test]
fn a_member_that_came_in_while_its_agent_was_silent_hands_nothing_on() {
    for came_in_unseen in [true, false] {
        let mut stage = Stage::three();
        stage.alone_for(5);
        if came_in_unseen {
            stage.toy.restart(&name("node2"));
            stage.toy.look();
        }
        stage.toy.host("node2").answers = false;
        if came_in_unseen {
            let group = stage.toy.group.as_mut().unwrap();
            group.members.insert(name("node2"));
        }
        stage.toy.restart(&name("node3"));
        stage.toy.write();
        stage.alone_for(20);
        let node3_is_in = inside(&stage).contains(&"node3".to_owned());
        assert_eq!(node3_is_in, !came_in_unseen, "{:?}", inside(&stage));
        if came_in_unseen {
            let trouble = of_host(&stage, "node3").unwrap();
            assert_eq!((trouble.code, not(&trouble).0), ("member_out", "blocked"));
            assert!(not(&trouble).1.contains("does not answer"), "{}", not(&trouble).1);
        }
    }
}

/// Every member answers, but nobody's metadata could be read: a member that only the metadata list is not seen.
#[test]
fn metadata_that_were_not_read_list_nobody() {
    let mut stage = Stage::three();
    // node4 was added with MySQL Shell: it stands in the metadata only
    for node in NODES {
        let server = stage.toy.server(node);
        let row = super::toy::instance_row("node4", uuid::Uuid::from_u128(44), clusterctl_proto::ids::ServerId(44));
        server.metadata.as_mut().unwrap().instances.push(row);
    }
    power_cut(&mut stage, &NODES);
    stage.toy.now += 1000;
    stage.toy.look();
    let care = troubles(&stage).into_iter().next().map(|t| t.care);
    assert!(matches!(care, Some(Care::Not(_))), "{care:?}");
    for node in NODES {
        stage.toy.server(node).metadata = None;
    }
    stage.toy.now += 1000;
    stage.toy.look();
    let care = troubles(&stage).into_iter().next().map(|t| t.care);
    assert!(matches!(care, Some(Care::Not(_))), "{care:?}");
}

/// As above, and then the group writes on: its numbers are those of what was acknowledged before.
#[test]
fn a_plan_that_slept_lets_nobody_in_with_other_transactions() {
    let mut stage = promised_and_dead();
    by_hand(&mut stage);
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    stage.toy.now += 7_200_000;
    NODES.iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(3);
    let before: Vec<_> = troubles(&stage).iter().map(|t| t.code).collect();
    for _ in 0..20 {
        stage.toy.write();
    }
    stage.alone_for(60);
    assert!(
        stage.toy.alarms.is_empty(),
        "before the writes {before:?}; then {:?}; troubles now {:?}",
        stage.toy.alarms,
        troubles(&stage).len()
    );
}

/// A DBA boots the cluster without node1 (MySQL Shell: rebootClusterFromCompleteOutage with force). node1 comes back with two transactions that the
/// group has not: quarantined, "never thrown away unasked". Then the group writes on.
#[test]
fn a_quarantine_does_not_end_by_itself_when_numbers_are_used_again() {
    let mut stage = Stage::three();
    ["node2", "node3"].iter().for_each(|node| stage.toy.power_off(node));
    stage.toy.write();
    stage.toy.write();
    power_cut(&mut stage, &["node2", "node3"]);
    stage.toy.by_hand(&["node2", "node3"]);
    stage.toy.power_on("node1");
    stage.alone_for(30);
    let before: Vec<_> = troubles(&stage).iter().map(|t| t.code).collect();
    assert_eq!(before, ["member_quarantined"]);
    for _ in 0..5 {
        stage.toy.write();
    }
    stage.alone_for(60);
    assert!(
        stage.toy.alarms.is_empty(),
        "{:?}; inside now {:?}",
        stage.toy.alarms,
        inside(&stage)
    );
}

/// node1 is given up with two transactions. Its machine (or its disk) comes back under a name that was not enrolled when that was done.
#[test]
fn what_was_given_up_does_not_come_in_under_another_name() {
    let mut stage = Stage::three();
    let host4 = stage.model.hosts.remove(&name("node4")).unwrap();
    ["node2", "node3"].iter().for_each(|node| stage.toy.power_off(node));
    stage.toy.write();
    stage.toy.write();
    power_cut(&mut stage, &["node2", "node3"]);
    stage.alone_for(2);
    let code = loss_code(&stage, &["node1"]);
    stage.must(recover(&["node1"], Some(&code), &stage));
    stage.alone_for(3);
    for _ in 0..10 {
        stage.toy.write();
    }
    // enrolled now, with node1's data and MySQL
    stage.model.hosts.insert(name("node4"), host4);
    let old = stage.toy.hosts[&name("node1")].clone();
    let new = stage.toy.host("node4");
    (new.server, new.rows, new.data, new.up) = (old.server, old.rows, old.data, true);
    (new.mysql_installed, new.certificate, new.accounts) = (true, true, old.accounts);
    // the coordinator has restarted since: it never saw node1
    stage.toy.host("node1").seen = None;
    stage.toy.now += 1000;
    stage.toy.look();
    let told = match stage.dry(super::stage::join("node4")) {
        Decision::Plan(draft) => format!("{:?}", draft.report),
        other => format!("{other:?}"),
    };
    if stage.submit(super::stage::join("node4")).is_ok() {
        for _ in 0..20 {
            stage.tick();
        }
    }
    assert!(stage.toy.alarms.is_empty(), "{:?}: {told}", stage.toy.alarms);
}

/// An operator gave node1 up. Later a person bootstraps node1 by hand, clients write there, and the lights go out again: that word was not
/// about these rows.
#[test]
fn what_a_person_bootstrapped_from_abandoned_data_is_asked_about() {
    let mut stage = Stage::three();
    stage.toy.power_off("node1");
    stage.toy.write();
    power_cut(&mut stage, &["node2", "node3"]);
    stage.alone_for(2);
    let code = loss_code(&stage, &["node1"]);
    stage.must(recover(&["node1"], Some(&code), &stage));
    stage.toy.write();
    stage.alone_for(10);
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    stage.toy.power_on("node1");
    stage.toy.by_hand(&["node1"]);
    stage.toy.write();
    stage.toy.write();
    stage.alone_for(3);
    after_an_outage_a_person_is_asked(&mut stage);
}

/// A person forces the membership of node2. The others come back past their agents, which nobody tells of it; they lead, and clients
/// write. By their records their history ended where node2's went on.
#[test]
fn who_was_in_the_group_after_a_membership_was_forced_is_not_behind() {
    let mut stage = Stage::three();
    stage.alone_for(2);
    let before = stage.toy.hosts[&name("node2")].lineage.clone().unwrap();
    let (id, base) = (before.id.forced(6), GtidSet::new());
    let branch = Branch {
        parent: Some(before.id.clone()),
        base,
        generation: None,
        host: Some(name("node2")),
        abandoned: std::collections::BTreeSet::new(),
    };
    let host = stage.toy.host("node2");
    host.lineages.add(id.clone(), branch.clone());
    host.lineage = Some(MemberLineage {
        id,
        branch: Some(branch),
        counter: 6,
        ..before
    });
    stage.toy.group.as_mut().unwrap().primary = name("node2");
    stage.alone_for(3);
    stage.toy.power_off("node2");
    for node in ["node1", "node3"] {
        stage.toy.host(node).lineage.as_mut().unwrap().counter = 8;
    }
    stage.toy.write();
    stage.toy.write();
    after_an_outage_a_person_is_asked(&mut stage);
}

/// node1 is cut off with the coordinator, and a person forces its membership; the others live on, and they are the majority.
#[test]
fn a_membership_forced_on_a_minority_is_not_where_the_cluster_goes_on() {
    let mut stage = Stage::three();
    stage.alone_for(2);
    let before = stage.model.clusters[&prod()].lineage.clone();
    for node in ["node2", "node3"] {
        stage.toy.host(node).answers = false;
    }
    let own = stage.toy.host("node1").lineage.clone().unwrap();
    let counter = 8;
    let id = own.id.forced(counter);
    let branch = Branch {
        parent: Some(own.id.clone()),
        base: GtidSet::new(),
        generation: None,
        host: Some(name("node1")),
        abandoned: std::collections::BTreeSet::new(),
    };
    let host = stage.toy.host("node1");
    host.lineages.add(id.clone(), branch.clone());
    host.lineage = Some(MemberLineage {
        id,
        branch: Some(branch),
        counter,
        ..own
    });
    let group = stage.toy.group.as_mut().unwrap();
    group.members = [name("node1")].into();
    (group.primary, group.counter) = (name("node1"), counter);
    stage.alone_for(8);
    assert_eq!(stage.model.clusters[&prod()].lineage, before);
}

fn after_an_outage_a_person_is_asked(stage: &mut Stage) {
    power_cut(stage, &NODES);
    stage.alone_for(30);
    assert_eq!(inside(stage), Vec::<String>::new());
    let trouble = troubles(stage).into_iter().next().expect("a trouble");
    assert_eq!(not(&trouble).0, "blocked", "{}", not(&trouble).1);
}

/// node1 is cut off with the coordinator; a person bootstraps it by hand, while the others live and take writes.
#[test]
fn a_group_that_one_bootstraps_alone_is_not_where_the_cluster_goes_on() {
    let mut stage = Stage::three();
    stage.alone_for(2);
    let before = stage.model.clusters[&prod()].lineage.clone();
    for node in ["node2", "node3"] {
        stage.toy.host(node).answers = false;
    }
    stage.toy.restart(&name("node1"));
    stage.toy.by_hand(&["node1"]);
    stage.alone_for(5);
    let now = |stage: &Stage| stage.model.clusters[&prod()].lineage.clone();
    assert_eq!(now(&stage), before, "node2 and node3 may live in it");
    for node in ["node2", "node3"] {
        stage.toy.restart(&name(node));
        stage.toy.host(node).answers = true;
    }
    stage.alone_for(5);
    assert_ne!(now(&stage), before, "they are out: nobody lives in it");
}

/// node2's ledger was rebuilt after its loss, and the coordinator's disk is an old one: nobody knows where its data branched off.
#[test]
fn histories_that_are_not_recorded_are_not_called_different() {
    let mut stage = Stage::three();
    stage.alone_for(2);
    power_cut(&mut stage, &NODES);
    let own = stage.toy.host("node2").lineage.as_mut().unwrap();
    own.id = "77".parse().unwrap();
    own.branch = None;
    stage.alone_for(20);
    let trouble = troubles(&stage).into_iter().next().expect("a trouble");
    let (standing, doing) = not(&trouble);
    assert_eq!(standing, "blocked");
    assert!(
        doing.contains("where the histories of node1 and node2 part is not recorded"),
        "{doing}"
    );
    let refusal = stage.refusal(recover(&[], None, &stage));
    assert_eq!(refusal.code, "diverged");
    let facts = refusal.facts.join("\n");
    assert!(facts.contains("what node1 lacks of node2 cannot be told"), "{facts}");
    assert!(!facts.contains("node1 lacks of node2:"), "{facts}");
}

/// The recovery's group on node1 died before anybody joined it, and while node1 was silent a person bootstrapped node3. Both branched off
/// where node2 stands, which has transactions of its own: nobody is behind the older bootstrap when the newer one is to go on.
#[test]
fn nobody_is_behind_a_history_that_does_not_go_on() {
    let mut stage = Stage::three();
    stage.alone_for(2);
    NODES.iter().for_each(|node| stage.toy.restart(&name(node)));
    stage.toy.now += 1000;
    stage.toy.look();
    stage.heal();
    stage.decide();
    while stage.toy.group.is_none() {
        assert!(stage.carry_out(|_, _, _| None));
    }
    let (rows, server) = (
        stage.toy.host("node2").rows.clone(),
        stage.toy.host("node2").server.clone(),
    );
    let shared = server.unwrap().gtid_executed;
    stage.toy.power_off("node1");
    // It died before it wrote anything of its own: all that it holds the newer one holds, too.
    stage.toy.host("node1").rows = rows;
    stage.toy.host("node1").server.as_mut().unwrap().gtid_executed = shared;
    stage.toy.by_hand(&["node3"]);
    (0..3).for_each(|_| stage.toy.write());
    stage.alone_for(3);
    stage.toy.power_off("node3");
    stage.toy.write_alone("node2");
    for node in ["node1", "node3"] {
        stage.toy.power_on(node);
    }
    stage.alone_for(30);
    assert_eq!(inside(&stage), Vec::<String>::new());
    let trouble = troubles(&stage).into_iter().next().expect("a trouble");
    assert_eq!(not(&trouble).0, "blocked", "{}", not(&trouble).1);
}

/// It was proposed, and rejected, once a second without an end.
#[test]
fn a_lineage_that_the_log_does_not_take_is_not_proposed() {
    use crate::planner::lineage;
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.restart(&name(node)));
    stage.toy.by_hand(&["node1", "node2", "node3"]);
    stage.toy.now += 1000;
    stage.toy.look();
    let unrecorded = |stage: &Stage| {
        let sight = stage.toy.sight();
        stage.look(&sight, |world| {
            lineage::unrecorded(world, &world.model.clusters[&prod()])
        })
    };
    let told = unrecorded(&stage);
    assert!(told.iter().any(|told| told.branch.is_some()), "{told:?}");
    let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
    let branch = told.iter().find_map(|told| told.branch.clone()).unwrap();
    for number in 1..=500u32 {
        cluster
            .lineages
            .add(number.to_string().parse().unwrap(), branch.clone());
    }
    assert_eq!(unrecorded(&stage), [], "the tree is full");
}
