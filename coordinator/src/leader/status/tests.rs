//! Tests of status: the sentence, the state, and that nothing is told as sure that is not.

use clusterctl_proto::observe::MemberState;
use clusterctl_proto::wire::control;

use super::{clusters, hosts};
use crate::model::OperationKind;
use crate::planner::tests::stage::{Stage, create, join, prod};
use crate::planner::tests::toy::name;
use crate::planner::{Doubt, Sight, heal};

fn told_of(stage: &Stage, sight: &Sight) -> control::ClusterStatus {
    stage.look(sight, |world| clusters(world, Some(&prod()))).remove(0)
}

fn told(stage: &Stage) -> control::ClusterStatus {
    told_of(stage, &stage.toy.sight())
}

#[track_caller]
fn says(status: &control::ClusterStatus, state: &str, sentence: &str) {
    assert_eq!((status.state.as_str(), status.verdict.as_str()), (state, sentence));
}

#[test]
fn whole_clusters() {
    let three = told(&Stage::three());
    says(
        &three,
        "ok",
        "prod is OK: 3 of 3 members ONLINE, primary node1, tolerates 1 failure",
    );
    assert_eq!(
        (three.tolerates, three.primary.as_str(), three.issues.len()),
        (1, "node1", 0)
    );
    let rows: Vec<_> = three
        .members
        .iter()
        .map(|m| {
            (
                m.host.as_str(),
                m.role.as_str(),
                m.state.as_str(),
                m.mode.as_str(),
                m.certainty.as_str(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("node1", "PRIMARY", "ONLINE", "R/W", "certain"),
            ("node2", "SECONDARY", "ONLINE", "R/O", "certain"),
            ("node3", "SECONDARY", "ONLINE", "R/O", "certain")
        ]
    );
    assert!(
        three.members.iter().all(|member| member.issues.is_empty()),
        "{:?}",
        three.members
    );
    assert_eq!(
        (
            three.routers[0].state.as_str(),
            three.routers[0].issues.len(),
            three.routers[0].read_write_port
        ),
        ("running", 0, 6446)
    );
    assert_eq!(three.metadata_version, "2.4.0");
    let one = told(&Stage::after(&[create("node1", &[], &[])]));
    says(
        &one,
        "ok",
        "prod is OK: 1 of 1 member ONLINE, primary node1, tolerates no failure",
    );
    assert!(
        Stage::new()
            .look(&Stage::new().toy.sight(), |world| clusters(world, None))
            .is_empty()
    );
}

#[test]
fn a_member_that_is_out() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.look();
    let status = told(&stage);
    says(
        &status,
        "degraded",
        "prod is DEGRADED: 2 of 3 members ONLINE (node3 is missing, being brought back), primary node1, tolerates no failure",
    );
    assert_eq!(
        (status.members[2].state.as_str(), status.members[2].mode.as_str()),
        ("(MISSING)", "n/a")
    );
    // The old primary goes; another leads.
    stage.toy.restart(&name("node1"));
    stage.toy.look();
    let status = told(&stage);
    assert_eq!(status.primary, "node2");
}

#[test]
fn unreachable_and_without_quorum() {
    let stage = Stage::three();
    let mut sight = stage.toy.sight();
    let lose = |sight: &mut Sight, who: &[&str]| {
        for seen in sight.values_mut() {
            let view = seen
                .observation_mut()
                .mysql
                .server
                .as_mut()
                .and_then(|server| server.group.as_mut());
            let rows = view.into_iter().flat_map(|view| &mut view.members);
            rows.filter(|row| who.contains(&row.host.as_str()))
                .for_each(|row| row.state = MemberState::Unreachable);
        }
        for host in who {
            sight.get_mut(&name(host)).unwrap().connected = false;
        }
    };
    lose(&mut sight, &["node3"]);
    let status = told_of(&stage, &sight);
    says(
        &status,
        "degraded",
        "prod is DEGRADED: 2 of 3 members ONLINE (node3 is UNREACHABLE, waited for), primary node1, tolerates no failure",
    );
    lose(&mut sight, &["node2"]);
    let status = told_of(&stage, &sight);
    says(
        &status,
        "down",
        "prod has no quorum as seen by node1: 2 of 3 members do not answer it, writes stand still",
    );
    assert_eq!((status.tolerates, status.members[0].mode.as_str()), (0, "R/O"));
}

/// Its view shows a majority, and no application gets a commit through.
#[test]
fn a_group_that_agrees_on_nothing_is_not_ok() {
    let mut stage = Stage::three();
    let group = stage.toy.group.as_mut().unwrap();
    group.members.retain(|host| host.as_str() == "node1");
    group.standstill_ms = 12_000;
    stage.toy.look();
    let status = told(&stage);
    let verdict = "the group of prod has agreed on nothing for 12 s: every commit waits";
    says(&status, "down", verdict);
    assert_eq!((status.tolerates, status.members[0].mode.as_str()), (0, "R/O"));
    stage.toy.group.as_mut().unwrap().standstill_ms = 41_000;
    stage.toy.look();
    let verdict = "the group of prod has agreed on nothing for 41 s: every commit waits; it is about to be recovered";
    says(&told(&stage), "down", verdict);
}

/// Nobody measures the data of a server that is no member, and Group Replication may take it for a donor or make it the primary.
#[test]
fn a_server_in_the_group_that_is_no_member_is_told_and_nobody_is_let_in() {
    let stage = Stage::three();
    let mut sight = stage.toy.sight();
    for seen in sight.values_mut() {
        let server = seen.observation_mut().mysql.server.as_mut();
        let Some(view) = server.and_then(|server| server.group.as_mut()) else {
            continue;
        };
        let mut row = view.members[0].clone();
        (row.host, row.server_uuid) = ("db9".to_owned(), uuid::Uuid::from_u128(99));
        row.role = clusterctl_proto::observe::MemberRole::Secondary;
        view.members.push(row);
    }
    let status = told_of(&stage, &sight);
    assert_eq!(status.state, "degraded", "{}", status.verdict);
    assert!(
        status.verdict.contains("(db9 is in the group and no member of prod)"),
        "{}",
        status.verdict
    );
    let found = stage.look(&sight, |world| {
        let cluster = &world.model.clusters[&prod()];
        let primary = crate::planner::live::primary(world, cluster).unwrap();
        heal::unproven_inside(world, cluster, &primary).map(|unproven| unproven.told())
    });
    assert!(found.unwrap().starts_with("db9, which is in the group"));
    let told = stage.look(&sight, |world| heal::troubles(world, &world.model.clusters[&prod()]));
    let told: Vec<_> = told
        .iter()
        .map(|trouble| (trouble.code, trouble.wrong.as_str()))
        .collect();
    assert_eq!(
        told,
        [("stranger_inside", "db9 is in the group and no member of prod")],
        "why says so"
    );
}

/// A person made another group, and nobody has recorded yet how this member came into it.
#[test]
fn a_member_that_is_not_measured_yet_is_told() {
    let mut stage = Stage::three();
    stage.alone_for(2);
    let mut sight = stage.toy.sight();
    let server = sight
        .get_mut(&name("node2"))
        .and_then(|seen| seen.observation_mut().mysql.server.as_mut());
    server.and_then(|server| server.group.as_mut()).unwrap().view_id = "17000000:4".to_owned();
    let told = stage.look(&sight, |world| heal::troubles(world, &world.model.clusters[&prod()]));
    let told: Vec<_> = told.iter().map(|trouble| trouble.code).collect();
    assert_eq!(told, ["member_unmeasured"]);
    assert_eq!(told_of(&stage, &sight).state, "degraded");
}

#[test]
fn a_primary_that_takes_no_writes_yet_is_not_called_well() {
    let stage = Stage::three();
    let mut sight = stage.toy.sight();
    let server = sight
        .get_mut(&name("node1"))
        .unwrap()
        .observation_mut()
        .mysql
        .server
        .as_mut();
    server.unwrap().super_read_only = true;
    let status = told_of(&stage, &sight);
    assert_eq!(status.state, "degraded");
    assert!(
        status
            .verdict
            .contains("node1 is the primary, but takes no writes (super_read_only is ON)"),
        "{}",
        status.verdict
    );
}

/// A person restored a copy of the files, and started it.
#[test]
fn a_member_whose_data_directory_is_not_ours_is_not_called_well_and_never_leads() {
    let mut stage = Stage::three();
    stage.toy.host("node2").data = clusterctl_proto::observe::DataDirectory::Foreign { what: "ibdata1".into() };
    stage.toy.look();
    let status = told(&stage);
    assert_eq!(status.state, "degraded", "{}", status.verdict);
    let to = Some(name("node2"));
    assert_eq!(stage.refusal(OperationKind::Switchover { to }).code, "unproven_data");
}

/// Each member has a detector of its own: node2, which was frozen for a moment, counts node1's silence anew.
#[test]
fn whom_one_of_the_majority_does_not_reach_is_not_called_well() {
    let mut stage = Stage::three();
    stage.toy.host("node1").answers = false;
    stage.toy.now += 5000;
    stage.toy.look();
    let mut sight = stage.toy.sight();
    let server = sight
        .get_mut(&name("node3"))
        .unwrap()
        .observation_mut()
        .mysql
        .server
        .as_mut();
    let rows = &mut server.unwrap().group.as_mut().unwrap().members;
    let node1 = rows.iter_mut().find(|row| row.host == "node1").unwrap();
    node1.state = MemberState::Unreachable;
    says(
        &told_of(&stage, &sight),
        "degraded",
        "prod is DEGRADED: 2 of 3 members ONLINE (node1 is not reached by node3, waited for), primary node1, tolerates no failure; node1's agent last answered 5.0 s ago",
    );
}

/// A person started node2, whose agent is dead: what the others see says nothing of its data.
#[test]
fn a_member_that_came_in_while_its_agent_was_silent_is_not_called_well() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node2"));
    stage.toy.look();
    stage.toy.host("node2").answers = false;
    stage.toy.group.as_mut().unwrap().members.insert(name("node2"));
    stage.toy.now += 5000;
    stage.toy.look();
    let status = told(&stage);
    assert_eq!(status.state, "degraded", "{}", status.verdict);
    let words = "node2 is ONLINE as node1 sees it, but its agent, which does not answer, has not said so";
    assert!(status.verdict.contains(words), "{}", status.verdict);
    // It was seen inside before, but not by all since.
    let mut stage = Stage::three();
    stage.toy.host("node2").answers = false;
    stage.toy.now += 5000;
    stage.toy.look();
    let mut sight = stage.toy.sight();
    assert_eq!(told_of(&stage, &sight).state, "ok");
    sight.get_mut(&name("node2")).unwrap().missed = true;
    assert!(told_of(&stage, &sight).verdict.contains(words));
}

#[test]
fn silence_is_told_as_silence() {
    let mut stage = Stage::three();
    let all = ["node1", "node2", "node3"];
    // One silent agent: the others still see its mysqld.
    stage.toy.host("node2").answers = false;
    stage.toy.now += 5000;
    stage.toy.look();
    let status = told(&stage);
    says(
        &status,
        "ok",
        "prod is OK: 3 of 3 members ONLINE, primary node1, tolerates 1 failure; node2's agent last answered 5.0 s ago",
    );
    assert!(
        status.members[1].issues[0].contains("last answered 5.0 s ago"),
        "{:?}",
        status.members[1].issues
    );
    all.iter().for_each(|host| stage.toy.host(host).answers = false);
    stage.toy.now += 20_000;
    let status = told(&stage);
    says(
        &status,
        "unknown",
        "prod is unknown: none of its 3 members answers (the last did 20 s ago)",
    );
    assert!(
        status
            .members
            .iter()
            .all(|member| member.state == "UNKNOWN" && member.certainty == "stale")
    );
    says(
        &told_of(&stage, &Sight::new()),
        "unknown",
        "prod is unknown: none of its 3 members answers (none has since this coordinator leads)",
    );
    // Down is only what everybody says.
    all.iter().for_each(|host| stage.toy.restart(&name(host)));
    stage.toy.host("node1").answers = true;
    stage.toy.look();
    says(
        &told(&stage),
        "unknown",
        "prod is unknown: node1 not in the group, nothing is heard of node2 and node3",
    );
    all.iter().for_each(|host| stage.toy.host(host).answers = true);
    stage.toy.look();
    says(
        &told(&stage),
        "down",
        "prod is down: none of its 3 members is in the group; it is about to be recovered",
    );
}

/// mysqld of node3 has died, and the primary has not noticed yet: its own agent knows better.
#[test]
fn a_member_that_says_itself_that_it_is_down_is_not_called_well() {
    use clusterctl_proto::observe::UnitState;

    let stage = Stage::three();
    let mut sight = stage.toy.sight();
    let mysql = &mut sight.get_mut(&name("node3")).unwrap().observation_mut().mysql;
    let server = mysql.server.take();
    mysql.unit = UnitState::Failed;
    let down = "prod is DEGRADED: 2 of 3 members ONLINE (node3 is down, being brought back), primary node1, tolerates no failure";
    says(&told_of(&stage, &sight), "degraded", down);
    let mysql = &mut sight.get_mut(&name("node3")).unwrap().observation_mut().mysql;
    mysql.server = server;
    mysql.unit = UnitState::Running;
    let view = mysql.server.as_mut().unwrap().group.as_mut().unwrap();
    view.state = MemberState::Recovering;
    let recovers =
        "prod is DEGRADED: 2 of 3 members ONLINE (node3 is RECOVERING, waited for), primary node1, tolerates 1 failure";
    says(&told_of(&stage, &sight), "degraded", recovers);
}

#[test]
fn forming() {
    let mut stage = Stage::new();
    let id = stage.submit(create("node1", &["node2"], &[])).unwrap();
    let status = told(&stage);
    says(&status, "forming", &format!("prod is being formed by operation {id}"));
    assert_eq!(status.operations, [id.0]);
}

#[test]
fn alarms_and_issues() {
    let mut stage = Stage::three();
    stage.toy.server("node2").bootstrap_flag = true;
    stage.toy.server("node3").offline_mode = true;
    stage.toy.host("router1").router_runs = false;
    stage
        .toy
        .server("node1")
        .metadata
        .as_mut()
        .unwrap()
        .instances
        .retain(|row| row.address != "node3:3306");
    stage.toy.look();
    let mut sight = stage.toy.sight();
    sight
        .get_mut(&name("node2"))
        .unwrap()
        .observation_mut()
        .mysql
        .server
        .as_mut()
        .unwrap()
        .super_read_only = false;
    let status = told_of(&stage, &sight);
    assert!(
        status.issues[0].starts_with("ALARM: group_replication_bootstrap_group is ON on node2"),
        "{:?}",
        status.issues
    );
    assert!(
        status.members[1]
            .issues
            .iter()
            .any(|issue| issue.contains("takes writes"))
    );
    assert_eq!(
        (status.members[2].mode.as_str(), status.members[2].issues.len()),
        ("n/a", 2)
    );
    assert!(status.members[2].issues[1].contains("missing from the metadata"));
    assert_eq!(status.routers[0].state, "stopped");
    // Two that lead.
    let mut split = stage.toy.sight();
    let leader = split[&name("node1")]
        .observation
        .mysql
        .server
        .clone()
        .unwrap()
        .group
        .unwrap();
    let other = split
        .get_mut(&name("node3"))
        .unwrap()
        .observation_mut()
        .mysql
        .server
        .as_mut()
        .unwrap();
    other.group = Some(leader);
    assert!(told_of(&stage, &split).issues[0].contains("the group is split"));
}

#[test]
fn every_host() {
    let mut stage = Stage::three();
    stage.toy.host("node4").answers = false;
    stage.toy.restart(&name("node3"));
    stage.toy.now += 4000;
    stage.toy.look();
    let sight = stage.toy.sight();
    let all = stage.look(&sight, hosts);
    let shown: Vec<_> = all
        .iter()
        .map(|host| {
            (
                host.name.as_str(),
                host.agent.as_str(),
                host.cluster.as_str(),
                host.health.as_str(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("node1", "connected", "prod", "healthy"),
            ("node2", "connected", "prod", "healthy"),
            ("node3", "connected", "prod", "mysqld is not in the group of prod"),
            ("node4", "silent", "", "its agent last answered 4.0 s ago"),
            ("router1", "connected", "prod", "healthy"),
            ("router2", "connected", "", "healthy"),
        ]
    );
    assert_eq!(
        (all[0].mysql_version.as_str(), all[0].roles.join(",").as_str()),
        ("9.7.4", "db,coordinator")
    );
    assert!(all[0].last_seen.starts_with("2027-"), "{}", all[0].last_seen);
    let kind = OperationKind::Verify;
    assert_eq!(kind.name(), "verify");
}

#[test]
fn a_server_that_hangs_or_starts_is_not_told_as_out() {
    let stage = Stage::after(&[create("node1", &["node2"], &[])]);
    let mut sight = stage.toy.sight();
    for host in ["node1", "node2"] {
        let mysql = &mut sight.get_mut(&name(host)).unwrap().observation_mut().mysql;
        mysql.server = None;
        mysql.error = Some("mysqld did not answer within 2300 ms".to_owned());
    }
    let status = told_of(&stage, &sight);
    assert_eq!(
        (status.state.as_str(), status.members[0].state.as_str()),
        ("unknown", "UNKNOWN")
    );

    // node1 starts alone: its view says nothing of node2.
    let mut sight = stage.toy.sight();
    for host in ["node1", "node2"] {
        let server = sight
            .get_mut(&name(host))
            .unwrap()
            .observation_mut()
            .mysql
            .server
            .as_mut()
            .unwrap();
        let view = server.group.as_mut().unwrap();
        (view.state, view.auto_rejoin) = (MemberState::Offline, host == "node1");
        view.members.retain(|row| row.host == host);
        view.members[0].state = MemberState::Offline;
    }
    let status = told_of(&stage, &sight);
    says(
        &status,
        "down",
        "prod is down: node1 starting or rejoining, no member serves; it is about to be recovered",
    );
    assert_eq!(status.members[1].state, "OFFLINE");
}

fn why(stage: &Stage, host: Option<&str>) -> control::ClusterExplained {
    let (sight, host) = (stage.toy.sight(), host.map(name));
    stage
        .look(&sight, |world| super::explain(world, None, host.as_ref()))
        .remove(0)
}

#[test]
fn why_tells_evidence_what_is_done_and_what_unlocks_it() {
    let mut stage = Stage::three();
    assert!(why(&stage, None).troubles.is_empty());
    stage.toy.restart(&name("node3"));
    stage.toy.look();
    let told = why(&stage, Some("node3"));
    let trouble = &told.troubles[0];
    assert_eq!((trouble.subject.as_str(), trouble.state.as_str()), ("node3", "healing"));
    assert_eq!(trouble.doing, "about to rejoin node3");
    assert_eq!(
        (trouble.evidence[0].who.as_str(), trouble.evidence[0].certainty.as_str()),
        ("agent/node3", "certain")
    );
    stage.heal();
    let told = why(&stage, None);
    let trouble = &told.troubles[0];
    assert!(trouble.operation != 0 && trouble.command.starts_with("clusterctl ops watch "));
    assert!(why(&stage, Some("node1")).troubles.is_empty());

    // An outage is everybody's.
    let mut stage = Stage::three();
    ["node1", "node2", "node3"]
        .iter()
        .for_each(|node| stage.toy.power_off(node));
    stage.toy.power_on("node1");
    stage.toy.now += 5_000;
    stage.toy.look();
    let told = why(&stage, Some("node1"));
    let trouble = &told.troubles[0];
    assert_eq!((trouble.subject.as_str(), trouble.state.as_str()), ("prod", "blocked"));
    assert_eq!(trouble.command, "clusterctl recover prod --without node2,node3");
    let stale = trouble.evidence.iter().filter(|seen| seen.certainty == "stale").count();
    assert_eq!((stale, trouble.evidence.len()), (2, 3), "{:?}", trouble.evidence);
}

/// Two of two ONLINE is not the whole truth while a third is on its way.
#[test]
fn who_is_on_the_way_is_said() {
    let mut stage = Stage::after(&[create("node1", &["node2"], &[])]);
    stage.submit(join("node3")).unwrap();
    let status = told_of(&stage, &stage.toy.sight());
    assert_eq!(
        (status.state.as_str(), status.verdict.as_str()),
        (
            "ok",
            "prod is OK: 2 of 2 members ONLINE, primary node1, tolerates no failure; node3 is joining"
        )
    );
}

/// Members may all be well while no application comes through, or nobody is looked after.
#[test]
fn a_router_that_is_down_and_a_pause_are_said_in_the_sentence() {
    let mut stage = Stage::three();
    stage.toy.host("router1").router_runs = false;
    stage.toy.look();
    let ok = "prod is OK: 3 of 3 members ONLINE, primary node1, tolerates 1 failure";
    let status = told_of(&stage, &stage.toy.sight());
    assert_eq!(status.verdict, format!("{ok}; Router on router1 has failed"));
    stage.toy.host("router1").router_runs = true;
    stage.toy.look();
    let said = crate::planner::tests::heal_stage::said(&stage, None);
    stage.apply(crate::machine::Change::HandsOff {
        cluster: prod(),
        host: None,
        said,
        only: None,
    });
    let status = told_of(&stage, &stage.toy.sight());
    assert_eq!(status.verdict, format!("{ok}; paused"));
}

/// All are ONLINE, and one of them will not be healed: whoever reads only the sentence must not miss it.
#[test]
fn two_machines_with_one_identity_are_said_in_the_sentence() {
    let stage = Stage::three();
    let mut sight = stage.toy.sight();
    let speakers = ["boot a at 192.0.2.3:1", "boot b at 192.0.2.9:1"].map(str::to_owned);
    sight.get_mut(&name("node3")).unwrap().doubt = Some(Doubt::Twins(speakers.to_vec()));
    let status = told_of(&stage, &sight);
    let alarm = "; ALARM: two machines speak as node3 (boot a at 192.0.2.3:1; boot b at 192.0.2.9:1)";
    assert!(status.verdict.ends_with(alarm), "{}", status.verdict);
}

/// A host that is on its way out is none of those that count: a person has bootstrapped there by hand.
#[test]
fn a_split_group_is_never_ok() {
    let mut stage = Stage::after(&[create("node1", &["node2", "node3", "node4"], &[])]);
    stage.toy.restart(&name("node4"));
    stage.toy.look();
    let mut sight = stage.toy.sight();
    let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
    cluster.members.get_mut(&name("node4")).unwrap().phase = crate::model::MemberPhase::Leaving;
    let status = told_of(&stage, &sight);
    assert_eq!(status.state, "ok", "{}", status.verdict);
    let server = sight
        .get_mut(&name("node4"))
        .unwrap()
        .observation_mut()
        .mysql
        .server
        .as_mut();
    let view = server.unwrap().group.as_mut().unwrap();
    (view.state, view.role) = (MemberState::Online, clusterctl_proto::observe::MemberRole::Primary);
    let row = &mut view.members[0];
    (row.state, row.role) = (view.state, view.role);
    let status = told_of(&stage, &sight);
    assert_eq!(status.state, "degraded", "{}", status.verdict);
    let split = "node1 and node4 call themselves primary: the group is split";
    assert!(status.verdict.contains(split), "{}", status.verdict);
}
