//! A formed cluster and its bad days: what heals by itself, what is left alone, what is refused and how it is unlocked.

use clusterctl_proto::ids::OperationId;
use clusterctl_proto::step::Step;

use super::stage::{Stage, join, prod};
use super::toy::name;
use crate::machine::Change;
use crate::model::{HandsOff, Operation, OperationKind, OperationState};
use crate::planner::heal::{self, Care, Subject, Trouble};

const NODES: [&str; 3] = ["node1", "node2", "node3"];

fn inside(stage: &Stage) -> Vec<String> {
    let group = stage.toy.group.iter();
    group
        .flat_map(|group| group.members.iter().map(ToString::to_string))
        .collect()
}

fn troubles(stage: &Stage) -> Vec<Trouble> {
    let sight = stage.toy.sight();
    stage.look(&sight, |world| heal::troubles(world, &world.model.clusters[&prod()]))
}

fn of_host(stage: &Stage, host: &str) -> Option<Trouble> {
    let host = name(host);
    troubles(stage)
        .into_iter()
        .find(|trouble| trouble.subject == Subject::Host(host.clone()))
}

fn not(trouble: &Trouble) -> (&str, &str) {
    match &trouble.care {
        Care::Not(not) => (not.standing.name(), &not.why),
        Care::Act(kind) => panic!("{} is done", kind.name()),
    }
}

fn healings(stage: &Stage) -> Vec<&Operation> {
    stage.model.operations.values().filter(|op| op.kind.heals()).collect()
}

fn recover(without: &[&str], code: Option<&str>, stage: &Stage) -> OperationKind {
    OperationKind::Recover {
        without: without.iter().map(|host| name(host)).collect(),
        accept_loss: code.map(str::to_owned),
        expires_at: (!without.is_empty()).then_some(stage.toy.now + 900_000),
    }
}

/// The code in the command that a refusal ends with.
fn code_of(hint: Option<&String>) -> String {
    let hint = hint.expect("a hint");
    let rest = hint.split("--accept-loss ").nth(1).expect("a code");
    rest.split_whitespace().next().expect("a code").to_owned()
}

#[test]
fn a_well_cluster_is_left_in_peace() {
    let mut stage = Stage::three();
    stage.alone_for(10);
    assert!(troubles(&stage).is_empty() && healings(&stage).is_empty());
}

#[test]
fn a_member_that_is_back_rejoins_and_a_lost_primary_comes_back_as_a_secondary() {
    for lost in NODES {
        let mut stage = Stage::three();
        stage.toy.power_off(lost);
        stage.toy.write();
        stage.alone_for(5);
        let trouble = of_host(&stage, lost).unwrap();
        assert_eq!((trouble.code, not(&trouble).0), ("member_lost", "waiting"));
        assert!(healings(&stage).is_empty(), "nobody is there to be healed");
        stage.toy.power_on(lost);
        stage.alone_for(3);
        assert_eq!(inside(&stage), NODES);
        assert!(troubles(&stage).is_empty());
        assert_eq!((stage.toy.bootstraps, stage.toy.alarms.len()), (1, 0));
        let told: Vec<&str> = stage.model.events.iter().map(|event| event.kind.as_str()).collect();
        assert!(told.contains(&"member_rejoined"), "{told:?}");
    }
}

#[test]
fn what_gave_up_is_brought_back_and_what_failed_is_started() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node2"));
    stage.toy.host("node2").stuck = true;
    stage.toy.restart(&name("node3"));
    stage.toy.host("node3").up = false;
    stage.toy.host("node3").failed = true;
    stage.alone_for(6);
    assert_eq!(inside(&stage), NODES);
    assert!(stage.toy.alarms.is_empty());
}

#[test]
fn an_orderly_stop_is_left_so() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.host("node3").up = false;
    stage.alone_for(5);
    let trouble = of_host(&stage, "node3").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("server_stopped", "left_alone"));
    assert!(healings(&stage).is_empty());
    stage.toy.host("node3").up = true;
    stage.alone_for(3);
    assert_eq!(inside(&stage), NODES);
}

#[test]
fn a_router_that_failed_runs_again() {
    let mut stage = Stage::three();
    stage.toy.host("router1").router_runs = false;
    stage.alone_for(3);
    assert!(stage.toy.host("router1").router_runs && troubles(&stage).is_empty());
}

#[test]
fn an_outage_ends_as_soon_as_everybody_answers_and_not_before() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    for back in ["node2", "node3"] {
        stage.toy.power_on(back);
        stage.alone_for(5);
        assert!(stage.toy.group.is_none());
    }
    let trouble = troubles(&stage).remove(0);
    assert_eq!((trouble.code, not(&trouble).0), ("outage", "blocked"));
    assert!(not(&trouble).1.contains("node1"), "{trouble:?}");
    stage.toy.power_on("node1");
    stage.alone_for(8);
    assert_eq!(inside(&stage), NODES);
    assert_eq!((stage.toy.bootstraps, stage.toy.alarms.len()), (2, 0));
    assert!(troubles(&stage).is_empty());
}

#[test]
fn whoever_has_most_bootstraps() {
    for most in NODES {
        let mut stage = Stage::three();
        let rest: Vec<&str> = NODES.into_iter().filter(|node| *node != most).collect();
        rest.iter().for_each(|node| stage.toy.power_off(node));
        stage.toy.write();
        stage.toy.power_off(most);
        NODES.iter().for_each(|node| stage.toy.power_on(node));
        stage.alone_for(2);
        assert_eq!(stage.toy.group.as_ref().unwrap().primary.as_str(), most);
        stage.alone_for(6);
        assert_eq!(inside(&stage), NODES);
    }
}

/// What was received and not applied yet counts as held.
#[test]
fn received_counts() {
    let mut stage = Stage::three();
    let before = stage.toy.server("node2").gtid_executed.clone();
    stage.toy.write();
    let after = stage.toy.server("node2").gtid_executed.clone();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    for node in ["node1", "node2"] {
        stage.toy.server(node).gtid_executed.clone_from(&before);
    }
    stage.toy.server("node3").gtid_executed = before;
    stage.toy.server("node3").gtid_received = after;
    NODES.iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(2);
    assert_eq!(stage.toy.group.as_ref().unwrap().primary.as_str(), "node3");
}

#[test]
fn members_in_error_are_stopped_before_anybody_bootstraps() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    NODES.iter().for_each(|node| stage.toy.power_on(node));
    stage.toy.host("node2").stuck = true;
    stage.alone_for(10);
    assert_eq!(inside(&stage), NODES);
    let recoveries: Vec<_> = stage
        .model
        .plans
        .values()
        .filter(|plan| {
            let op = &stage.model.operations[&plan.draft.operation];
            matches!(op.kind, OperationKind::Recover { .. })
        })
        .collect();
    assert_eq!(recoveries.len(), 2);
    assert_eq!(recoveries[0].draft.operation, recoveries[1].draft.operation);
    let only_promises = |step: &crate::model::PlannedStep| matches!(step.step, Step::Promise {});
    assert!(recoveries[0].draft.steps.iter().all(only_promises));
}

#[test]
fn the_break_glass_counts_for_what_was_shown_only() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    ["node1", "node3"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(5);
    let plain = stage.refusal(recover(&[], None, &stage));
    assert_eq!((plain.code.as_str(), plain.exit.code()), ("members_unknown", 3));
    assert!(plain.facts.iter().any(|fact| fact.starts_with("risk: ")), "{plain:?}");
    let code = code_of(plain.hint.as_ref());
    let asked = stage.refusal(recover(&["node2"], None, &stage));
    assert_eq!(
        (asked.code.as_str(), code_of(asked.hint.as_ref())),
        ("loss_not_accepted", code.clone())
    );
    let other = stage.refusal(recover(&["node2"], Some("00000000"), &stage));
    assert_eq!(other.code, "loss_changed");
    assert_eq!(stage.refusal(recover(&["node3"], None, &stage)).code, "not_lost");
    let late = OperationKind::Recover {
        without: vec![name("node2")],
        accept_loss: Some(code.clone()),
        expires_at: Some(stage.toy.now),
    };
    assert_eq!(stage.refusal(late).code, "approval_expired");

    stage.must(recover(&["node2"], Some(&code), &stage));
    stage.alone_for(5);
    assert_eq!(inside(&stage), ["node1", "node3"]);
    let rows = &stage.toy.server("node1").metadata.clone().unwrap().instances;
    assert_eq!(rows.len(), 2, "{rows:?}");

    // It held nothing more: back as if nothing had been.
    stage.toy.power_on("node2");
    stage.alone_for(5);
    assert_eq!(inside(&stage), NODES);
    assert_eq!(stage.toy.server("node1").metadata.clone().unwrap().instances.len(), 3);
    assert!(stage.model.clusters[&prod()].left_out.is_empty());
    assert!(stage.toy.alarms.is_empty());
}

/// The lost one held more, and the group has used the same numbers for other transactions since.
#[test]
fn what_was_given_up_never_comes_in_unseen() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    let group = stage.model.clusters[&prod()].group_name;
    let more: clusterctl_proto::gtid::GtidSet = {
        let held = &stage.toy.server("node2").gtid_executed;
        let count = held
            .parse::<clusterctl_proto::gtid::GtidSet>()
            .unwrap()
            .of(group)
            .count();
        format!("{group}:1-{}", count + 3).parse().unwrap()
    };
    stage.toy.server("node2").gtid_executed = more.to_string();
    ["node1", "node3"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(2);
    let code = code_of(stage.refusal(recover(&["node2"], None, &stage)).hint.as_ref());
    stage.must(recover(&["node2"], Some(&code), &stage));
    (0..10).for_each(|_| stage.toy.write());
    stage.toy.power_on("node2");
    stage.alone_for(5);
    let trouble = of_host(&stage, "node2").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("member_quarantined", "blocked"));
    assert_eq!(inside(&stage), ["node1", "node3"]);
    assert_eq!(
        stage.refusal(join("node2")).code,
        "errant_transactions",
        "nor by an operator's word"
    );
}

#[test]
fn diverged_members_are_quarantined_and_shown() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.write_alone("node3");
    stage.alone_for(5);
    let trouble = of_host(&stage, "node3").unwrap();
    assert_eq!((trouble.code, not(&trouble).0), ("member_quarantined", "blocked"));
    assert!(trouble.evidence.iter().any(|seen| seen.text.starts_with("only here: ")));
    assert!(healings(&stage).is_empty() && inside(&stage) == ["node1", "node2"]);
    stage.toy.write();

    // In an outage nobody has everything: which is given up is said by a person.
    ["node1", "node2"].iter().for_each(|node| stage.toy.power_off(node));
    ["node1", "node2"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(5);
    assert!(stage.toy.group.is_none() && healings(&stage).is_empty());
    assert_eq!(stage.refusal(recover(&[], None, &stage)).code, "diverged");
    let code = code_of(stage.refusal(recover(&["node3"], None, &stage)).hint.as_ref());
    stage.must(recover(&["node3"], Some(&code), &stage));
    stage.alone_for(5);
    assert_eq!(inside(&stage), ["node1", "node2"]);
}

fn said(stage: &Stage, until: Option<i64>) -> Option<HandsOff> {
    Some(HandsOff {
        by: "operator/alice".to_owned(),
        at: stage.toy.now,
        reason: "new disks".to_owned(),
        until,
    })
}

#[test]
fn meant_interventions_are_left_alone_until_they_end() {
    for host in [None, Some(name("node3"))] {
        let mut stage = Stage::three();
        let hands_off = |host: &Option<_>, said| Change::HandsOff {
            cluster: prod(),
            host: host.clone(),
            said,
            only: None,
        };
        let mine = said(&stage, None);
        stage.apply(hands_off(&host, mine));
        stage.toy.restart(&name("node3"));
        stage.alone_for(8);
        assert!(healings(&stage).is_empty());
        let trouble = of_host(&stage, "node3").unwrap();
        let (state, why) = not(&trouble);
        assert!(
            state == "left_alone" && why.contains("new disks") && why.contains("alice"),
            "{why}"
        );
        stage.apply(hands_off(&host, None));
        stage.alone_for(3);
        assert_eq!(inside(&stage), NODES);

        // One that ends by itself.
        let until = Some(stage.toy.now + 5_000);
        let mine = said(&stage, until);
        stage.apply(hands_off(&host, mine));
        stage.toy.restart(&name("node3"));
        stage.alone_for(4);
        assert_eq!(inside(&stage), ["node1", "node2"]);
        stage.alone_for(4);
        assert_eq!(inside(&stage), NODES);
    }
}

#[test]
fn an_operator_who_waits_does_not_stand_in_the_way_of_healing_nor_healing_in_his() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    ["node1", "node2"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(2);
    let waits = stage.submit(join("node4")).unwrap();
    stage.alone_for(5);
    assert!(matches!(
        stage.model.operations[&waits].state,
        OperationState::Waiting { .. }
    ));
    stage.toy.power_on("node3");
    stage.alone_for(20);
    assert!(
        matches!(stage.model.operations[&waits].state, OperationState::Done { .. }),
        "{:?}",
        stage.model.operations[&waits].state
    );
    assert_eq!(inside(&stage), ["node1", "node2", "node3", "node4"]);
}

fn fail(stage: &mut Stage, retry: bool) {
    stage.toy.now += 1000;
    stage.toy.look();
    stage.heal();
    stage.decide();
    while stage.carry_out(|_, _, step| {
        matches!(step, Step::JoinGroup { .. }).then(|| super::sim::failed("group_start", retry))
    }) {}
}

#[test]
fn what_fails_is_tried_after_pauses_that_grow_and_are_told() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.server("node3").uptime_seconds = 1_000_000;
    let mut attempts = 0;
    for _ in 0..300 {
        let before = stage.model.plans.len();
        fail(&mut stage, false);
        attempts += stage.model.plans.len() - before;
    }
    assert_eq!(attempts, 4, "at once, and after 30, 60 and 120 s");
    let trouble = of_host(&stage, "node3").unwrap();
    let (state, why) = not(&trouble);
    assert!(
        state == "waiting" && why.contains("failed 4 times") && why.contains("next attempt"),
        "{why}"
    );

    // A clock that was set back holds nobody up.
    stage.toy.now -= 86_400_000;
    stage.toy.hosts.values_mut().for_each(|host| host.seen = None);
    stage.alone_for(2);
    assert_eq!(inside(&stage), NODES);
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_an_operation_waiting() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    fail(&mut stage, true);
    let id: OperationId = healings(&stage)[0].id;
    assert!(stage.model.operations[&id].not_before > stage.toy.now);
    stage.toy.now -= 3_600_000;
    stage.toy.hosts.values_mut().for_each(|host| host.seen = None);
    stage.alone_for(2);
    assert_eq!(inside(&stage), NODES);
}

#[test]
fn a_member_that_is_taken_out_is_not_brought_back() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.must(OperationKind::Remove {
        host: name("node3"),
        force: false,
    });
    stage.alone_for(5);
    assert_eq!(inside(&stage), ["node1", "node2"]);
    assert!(healings(&stage).is_empty());
}

/// A member whose disk was replaced held something, and nobody knows what.
#[test]
fn data_that_are_gone_are_not_nothing() {
    use clusterctl_proto::observe::DataDirectory;
    for (lost, server) in [
        (DataDirectory::Absent, false),
        (DataDirectory::Pristine, true),
        (DataDirectory::Pristine, false),
    ] {
        let mut stage = Stage::three();
        NODES.iter().for_each(|node| stage.toy.power_off(node));
        let host = stage.toy.host("node3");
        host.data = lost;
        host.up = server;
        host.failed = !server;
        if let Some(server) = &mut host.server {
            server.gtid_executed.clear();
            server.metadata = None;
        }
        NODES.iter().for_each(|node| stage.toy.power_on(node));
        stage.toy.host("node3").up = server;
        stage.toy.look();
        let refused = stage.refusal(recover(&[], None, &stage));
        assert_eq!(refused.code, "members_unknown");
        assert!(
            refused.facts.iter().any(|fact| fact.contains("not there any more")),
            "{refused:?}"
        );
        let code = code_of(refused.hint.as_ref());
        stage.must(recover(&["node3"], Some(&code), &stage));
        stage.alone_for(4);
        assert_eq!(inside(&stage), ["node1", "node2"]);
    }
}

#[test]
fn a_server_that_has_started_since_is_tried_at_once_but_not_for_ever() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.server("node3").uptime_seconds = 1;
    for attempts in [1, 2, 3, 3] {
        stage.toy.now += 2000;
        fail(&mut stage, false);
        assert_eq!(healings(&stage).len(), attempts);
    }
}

/// mysqld that fails seconds after each start, a member that does not stay in: mended, but not without pause.
#[test]
fn what_does_not_last_is_paced() {
    let mut stage = Stage::three();
    let mut mended = Vec::new();
    for second in 0..240 {
        stage.toy.restart(&name("node3"));
        let before = healings(&stage).len();
        stage.alone();
        if healings(&stage).len() > before {
            mended.push(second);
        }
    }
    assert!(
        mended.len() <= 16 && mended[..5].iter().all(|second| *second < 20),
        "{mended:?}"
    );
    let trouble = of_host(&stage, "node3");
    let told = trouble.as_ref().map(not);
    assert!(told.is_none_or(|(_, why)| why.contains("does not last")), "{told:?}");
}

/// The plan gave node2 up and bootstrapped; then its operation is cancelled. What was given up stays so, and typing it again finishes.
#[test]
fn what_was_given_up_stays_so_however_its_operation_ends() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    ["node1", "node3"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(5);
    let code = code_of(stage.refusal(recover(&["node2"], None, &stage)).hint.as_ref());
    let id = stage.submit(recover(&["node2"], Some(&code), &stage)).unwrap();
    stage.decide();
    for _ in 0..2 {
        stage.carry_out(|_, _, step| {
            matches!(step, Step::ForgetInstance { .. }).then(|| super::sim::failed("thrown", false))
        });
    }
    stage.carry_out(|_, _, _| Some(super::sim::failed("thrown", false)));
    assert!(matches!(
        stage.model.operations[&id].state,
        OperationState::Failed { .. }
    ));
    assert!(stage.model.clusters[&prod()].left_out.contains_key(&name("node2")));
    let rows = |stage: &mut Stage| stage.toy.server("node1").metadata.clone().unwrap().instances.len();
    assert_eq!(rows(&mut stage), 3);
    stage.must(recover(&["node2"], Some(&code), &stage));
    assert_eq!(rows(&mut stage), 2);
}

/// Its Router is started, whatever ails the member on the same host.
#[test]
fn a_host_with_two_roles_has_two_troubles() {
    let mut stage = Stage::three();
    let router = stage.model.clusters[&prod()].routers[&name("router1")].clone();
    let cluster = stage.model.clusters.get_mut(&prod()).unwrap();
    cluster.routers.insert(name("node3"), router);
    stage.toy.host("node3").router_for = Some(prod());
    stage.toy.restart(&name("node3"));
    stage.toy.write_alone("node3");
    stage.alone_for(5);
    assert!(stage.toy.host("node3").router_runs);
    assert_eq!(healings(&stage).len(), 1);
}

#[test]
fn silence_of_all_is_no_outage_and_offers_no_break_glass() {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.host(node).answers = false);
    stage.toy.now += 10_000;
    stage.toy.look();
    let trouble = troubles(&stage).remove(0);
    assert_eq!((trouble.code, not(&trouble).0), ("all_silent", "waiting"));
    assert!(matches!(&trouble.care, Care::Not(not) if not.command.is_empty()));
}
