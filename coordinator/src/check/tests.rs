//! Tests of the rules: each breaks a sound plan in one way, or lets the world be other than the planner saw it.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{BootstrapPeer, Step, Vouched};

use super::check;
use super::secrets::is_secret;
use crate::model::{Operation, OperationKind, PlanDraft};
use crate::planner::Decision;
use crate::planner::tests::heal_stage::{code_of, recover};
use crate::planner::tests::stage::{GROUP, Stage, create, join};
use crate::planner::tests::toy::name;

#[track_caller]
fn plan(stage: &Stage, operation: &Operation) -> PlanDraft {
    match stage.ask(operation) {
        Decision::Plan(draft) => draft,
        other => panic!("{other:?}"),
    }
}

/// The plan of `kind`, spoiled, and the rule that it then breaks.
#[track_caller]
fn breaks(stage: &Stage, kind: OperationKind, rule: &str, spoil: impl FnOnce(&mut PlanDraft)) {
    let operation = stage.operation(kind);
    let mut draft = plan(stage, &operation);
    spoil(&mut draft);
    let sight = stage.toy.sight();
    let failure = stage
        .look(&sight, |world| check(world, &operation, &draft))
        .expect_err("no rule is broken");
    assert_eq!(failure.code, format!("rule_{rule}"), "{failure}");
}

/// The plan of `kind`, looked at again when the world has become another.
#[track_caller]
fn too_late(stage: &mut Stage, kind: OperationKind, rule: &str, change: impl FnOnce(&mut Stage)) {
    let operation = stage.operation(kind);
    let draft = plan(stage, &operation);
    change(stage);
    let sight = stage.toy.sight();
    let failure = stage
        .look(&sight, |world| check(world, &operation, &draft))
        .expect_err("no rule is broken");
    assert_eq!(failure.code, format!("rule_{rule}"), "{failure}");
}

fn of(draft: &mut PlanDraft, host: &str, step: &str) -> usize {
    let host = name(host);
    draft
        .steps
        .iter()
        .position(|s| s.host == host && s.step.name() == step)
        .unwrap()
}

/// The promise right before the bootstrap.
fn promise_last(draft: &PlanDraft) -> usize {
    let promise = |step: &crate::model::PlannedStep| step.step.name() == "promise";
    draft.steps.iter().rposition(promise).unwrap()
}

fn peers(draft: &mut PlanDraft) -> &mut Vec<BootstrapPeer> {
    let steps = draft.steps.iter_mut();
    let found = steps.filter_map(|step| match &mut step.step {
        Step::BootstrapGroup { peers, .. } => Some(peers),
        _ => None,
    });
    found.last().unwrap()
}

fn everything() -> OperationKind {
    create("node1", &["node2", "node3"], &["router1"])
}

fn remove(host: &str) -> OperationKind {
    OperationKind::Remove {
        host: name(host),
        force: false,
    }
}

#[test]
fn form_of_a_plan() {
    let bare = Stage::new();
    breaks(&bare, everything(), "well_formed", |draft| draft.steps[3].number = 9);
    breaks(&bare, everything(), "well_formed", |draft| draft.steps[3].after.push(9));
    breaks(&bare, everything(), "well_formed", |draft| draft.operation.0 = 5);
    breaks(&bare, everything(), "well_formed", |draft| {
        draft.parent = Some(clusterctl_proto::ids::PlanId(3))
    });
    breaks(&bare, everything(), "well_formed", |draft| {
        draft.steps[4].host = name("node9")
    });
    breaks(&bare, everything(), "well_formed", |draft| {
        let at = of(draft, "node3", "join_group");
        draft.steps[1].finally = true;
        draft.steps[at].after.push(2);
    });
}

#[test]
fn one_bootstrap() {
    let bare = Stage::new();
    let rule = "1_one_bootstrap";
    breaks(&bare, everything(), rule, |draft| {
        for step in &mut draft.steps {
            step.after.retain(|number| *number != 2);
        }
    });
    // The bootstrapping host's promise is not the last thing before the bootstrap: not waited for, or older than a server.
    let last_rule = "1_promises_last";
    breaks(&bare, everything(), last_rule, |draft| {
        let (at, last) = (of(draft, "node1", "bootstrap_group"), promise_last(draft));
        let number = draft.steps[last].number;
        draft.steps[at].after.retain(|before| *before != number);
    });
    breaks(&bare, everything(), last_rule, |draft| {
        let (last, server) = (promise_last(draft), of(draft, "node2", "local_member_accounts"));
        let number = draft.steps[server].number;
        draft.steps[last].after.retain(|before| *before != number);
    });
    // Somebody is not asked by the agent, elsewhere, or may be silent though nobody abandoned it.
    for spoil in [
        (|peers| peers.truncate(1)) as fn(&mut Vec<BootstrapPeer>),
        |peers| peers[0].address = "node9:3306".to_owned(),
        |peers| peers[1].vouched = Vouched::Abandoned,
        |peers| {
            let mut twice = peers[0].clone();
            twice.vouched = Vouched::Abandoned;
            peers.push(twice);
        },
    ] {
        breaks(&bare, everything(), rule, |draft| spoil(peers(draft)));
    }
    // A promise that may fail is none.
    breaks(&bare, everything(), rule, |draft| draft.steps[2].best_effort = true);
    breaks(&bare, everything(), rule, |draft| {
        let (at, host) = (of(draft, "node2", "join_group"), of(draft, "node1", "bootstrap_group"));
        draft.steps[at].step = draft.steps[host].step.clone();
    });
    breaks(&bare, everything(), rule, |draft| {
        let at = of(draft, "node1", "bootstrap_group");
        if let Step::BootstrapGroup { group, .. } = &mut draft.steps[at].step {
            group.group_name = GROUP;
        }
    });
    // The world moved: a member is silent, or has not told that it is out.
    too_late(&mut Stage::new(), everything(), rule, |stage| {
        stage.toy.host("node3").answers = false
    });
    too_late(&mut Stage::new(), everything(), rule, |stage| stage.toy.now += 3001);
    // A formed cluster.
    let mut three = Stage::three();
    let bootstrap = plan(&bare, &bare.operation(everything()));
    let mut operation = three.operation(everything());
    operation.id.0 = 9999;
    let parent = three.model.clusters.values().next().unwrap().last_plan;
    let draft = PlanDraft {
        operation: operation.id,
        parent,
        ..bootstrap
    };
    three.toy.now += 100;
    let sight = three.toy.sight();
    let failure = three
        .look(&sight, |world| check(world, &operation, &draft))
        .unwrap_err();
    assert_eq!(failure.code, "rule_1_one_bootstrap");
    assert!(failure.message.contains("not made again by create"), "{failure}");
    // Someone whom only a member's metadata knows.
    let mut stage = Stage::new();
    stage.submit(everything()).unwrap();
    let mut server = crate::planner::tests::toy::fresh_server(&name("node2"), uuid::Uuid::from_u128(2));
    let mut copy = three.toy.server("node1").metadata.clone().unwrap();
    copy.instances[0].address = "node4:3306".to_owned();
    server.metadata = Some(copy);
    let operation = stage.model.operations.values().next().unwrap().clone();
    let draft = plan(&stage, &operation);
    let host = stage.toy.host("node2");
    (host.server, host.up, host.mysql_installed) = (Some(server), true, true);
    stage.toy.look();
    let sight = stage.toy.sight();
    let failure = stage
        .look(&sight, |world| check(world, &operation, &draft))
        .unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("rule_1_one_bootstrap", "node4 does not promise before the bootstrap")
    );
}

#[test]
fn no_lost_transactions() {
    too_late(&mut Stage::new(), everything(), "2_no_lost_transactions", |stage| {
        let mut server = crate::planner::tests::toy::fresh_server(&name("node2"), uuid::Uuid::from_u128(2));
        server.gtid_received = format!("{GROUP}:1-5");
        let host = stage.toy.host("node2");
        (host.server, host.up, host.mysql_installed) = (Some(server), true, true);
        stage.toy.look();
    });
    too_late(&mut Stage::new(), everything(), "2_no_lost_transactions", |stage| {
        let host = stage.toy.host("node3");
        host.data = clusterctl_proto::observe::DataDirectory::Ours {
            cluster: Some("prod".parse().unwrap()),
        };
        stage.toy.look();
    });
}

#[test]
fn nothing_discarded() {
    let copied = || {
        let mut stage = Stage::three();
        stage.toy.restart(&name("node3"));
        stage.toy.write();
        stage.toy.purge();
        stage.toy.now += 1000;
        stage.toy.look();
        stage
    };
    let clone = || OperationKind::Rejoin { host: name("node3") };
    too_late(&mut copied(), clone(), "3_nothing_discarded", |stage| {
        stage.toy.write_alone("node3");
        stage.toy.look();
    });
    // Not known is not nothing.
    too_late(&mut copied(), clone(), "3_nothing_discarded", |stage| {
        stage.toy.host("node3").up = false;
        stage.toy.look();
    });
    too_late(&mut copied(), clone(), "3_nothing_discarded", |stage| {
        let server = stage.toy.server("node3");
        (server.gtid_executed, server.user_schemas) = (String::new(), None);
        stage.toy.look();
    });
    // Nor is a server replaced that serves.
    too_late(&mut copied(), clone(), "6_copies_apart", |stage| {
        let group = stage.toy.group.as_mut().unwrap();
        group.members.insert(name("node3"));
        stage.toy.write();
        stage.toy.look();
    });
    breaks(&copied(), clone(), "4_certainty", |draft| {
        let at = of(draft, "node3", "clone_data");
        if let Step::CloneData { donor, .. } = &mut draft.steps[at].step {
            *donor = name("node9");
        }
    });
}

/// What a copy was replacing is entered with by nobody, and bootstrapped from by nobody.
#[test]
fn half_of_a_copy() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node3"));
    stage.toy.now += 1000;
    stage.toy.look();
    let rejoin = || OperationKind::Rejoin { host: name("node3") };
    too_late(&mut stage, rejoin(), "3_nothing_discarded", |stage| {
        stage.toy.host("node3").half_copied = true;
        stage.toy.look();
    });
    let mut stage = Stage::three();
    ["node1", "node2", "node3"]
        .iter()
        .for_each(|node| stage.toy.restart(&name(node)));
    stage.toy.now += 1000;
    stage.toy.look();
    let kind = recover(&[], None, &stage);
    too_late(&mut stage, kind, "2_no_lost_transactions", |stage| {
        stage.toy.host("node1").half_copied = true;
        stage.toy.look();
    });
}

/// An outage in which node2 does not answer, and the break-glass for it.
fn break_glass() -> (Stage, OperationKind) {
    let mut stage = Stage::three();
    let nodes = ["node1", "node2", "node3"];
    nodes.iter().for_each(|node| stage.toy.power_off(node));
    ["node1", "node3"].iter().for_each(|node| stage.toy.power_on(node));
    stage.alone_for(5);
    let refused = stage.refusal(recover(&["node2"], None, &stage));
    let kind = recover(&["node2"], Some(&code_of(refused.hint.as_ref())), &stage);
    (stage, kind)
}

#[test]
fn a_break_glass_counts_for_its_members_now_and_by_an_operator() {
    let rule = "1_one_bootstrap";
    let (mut stage, kind) = break_glass();
    breaks(&stage, kind.clone(), rule, |draft| {
        let at = of(draft, "node3", "promise");
        draft.steps[at].best_effort = true;
    });
    breaks(&stage, kind.clone(), "2_no_lost_transactions", |draft| {
        let at = draft
            .steps
            .iter()
            .position(|step| step.step.name() == "bootstrap_group");
        if let Step::BootstrapGroup { lineage, .. } = &mut draft.steps[at.unwrap()].step {
            *lineage = None;
        }
    });
    // Nobody but an operator breaks it, and only while it holds.
    let mut operation = stage.operation(kind.clone());
    let draft = plan(&stage, &operation);
    let sight = stage.toy.sight();
    let verdict = |stage: &Stage, operation: &Operation| {
        let verdict = stage.look(&sight, |world| check(world, operation, &draft));
        verdict.map_err(|failure| failure.code)
    };
    assert_eq!(verdict(&stage, &operation), Ok(()));
    operation.by = "coordinator/1".to_owned();
    assert_eq!(verdict(&stage, &operation), Err(format!("rule_{rule}")));
    operation.by = "operator/alice".to_owned();
    if let OperationKind::Recover { expires_at, .. } = &mut operation.kind {
        *expires_at = Some(stage.toy.now);
    }
    assert_eq!(verdict(&stage, &operation), Err(format!("rule_{rule}")));
    // Whoever is given up turns out to be in the group.
    too_late(&mut stage, kind, rule, |stage| {
        stage.toy.power_on("node2");
        stage.toy.by_hand(&["node2"]);
        stage.toy.look();
    });
}

#[test]
fn whoever_was_left_out_neither_leads_nor_comes_in_with_more() {
    let (mut stage, kind) = break_glass();
    stage.must(kind);
    stage.toy.power_on("node2");
    stage.toy.now += 1000;
    stage.toy.look();
    let rejoin = OperationKind::Rejoin { host: name("node2") };
    too_late(&mut stage, rejoin, "3_nothing_discarded", |stage| {
        let server = stage.toy.server("node2");
        server.gtid_executed = format!("{GROUP}:1-900");
        stage.toy.look();
    });
    // All are out again; node2 is made to lead.
    let nodes = ["node1", "node2", "node3"];
    nodes.iter().for_each(|node| stage.toy.power_off(node));
    nodes.iter().for_each(|node| stage.toy.power_on(node));
    stage.toy.now += 1000;
    stage.toy.look();
    breaks(&stage, recover(&[], None, &stage), "2_no_lost_transactions", |draft| {
        let at = draft
            .steps
            .iter()
            .position(|step| step.step.name() == "bootstrap_group");
        let first = std::mem::replace(&mut draft.steps[at.unwrap()].host, name("node2"));
        // The rest of the plan is as it would be for that one.
        let promise = of(draft, "node2", "promise");
        draft.steps[promise].host = first.clone();
        let last = promise_last(draft);
        draft.steps[last].host = name("node2");
        let asked = peers(draft).iter_mut().find(|peer| peer.host == name("node2")).unwrap();
        (asked.host, asked.address) = (first.clone(), format!("{first}:3306"));
    });
}

#[test]
fn data_that_are_gone_are_known_by_nobody() {
    let mut stage = Stage::three();
    let nodes = ["node1", "node2", "node3"];
    nodes.iter().for_each(|node| stage.toy.power_off(node));
    nodes.iter().for_each(|node| stage.toy.power_on(node));
    stage.toy.now += 1000;
    stage.toy.look();
    let all = recover(&[], None, &stage);
    too_late(&mut stage, all, "2_no_lost_transactions", |stage| {
        stage.toy.host("node3").data = clusterctl_proto::observe::DataDirectory::Pristine;
        stage.toy.look();
    });
}

#[test]
fn certainty() {
    let rule = "4_certainty";
    too_late(&mut Stage::three(), join("node4"), rule, |stage| {
        stage.toy.host("node4").answers = false
    });
    too_late(
        &mut Stage::three(),
        OperationKind::Switchover {
            to: Some(name("node3")),
        },
        rule,
        |stage| {
            stage.toy.host("node3").answers = false;
        },
    );
    let four = || Stage::after(&[create("node1", &["node2", "node3", "node4"], &[])]);
    too_late(&mut four(), remove("node4"), rule, |stage| {
        stage.toy.host("node4").answers = false
    });
}

#[test]
fn tolerance() {
    let stage = Stage::three();
    let mut operation = stage.operation(remove("node3"));
    operation.accept_lower_tolerance = true;
    let draft = plan(&stage, &operation);
    operation.accept_lower_tolerance = false;
    let sight = stage.toy.sight();
    let failure = stage
        .look(&sight, |world| check(world, &operation, &draft))
        .unwrap_err();
    assert_eq!(failure.code, "rule_5_tolerance");
    assert!(failure.message.contains("0 failures instead of 1"));
}

#[test]
fn one_at_a_time() {
    breaks(&Stage::new(), everything(), "6_one_at_a_time", |draft| {
        let at = of(draft, "node3", "join_group");
        let other = of(draft, "node2", "join_group") + 1;
        draft.steps[at].after.retain(|number| *number as usize != other);
    });
    breaks(&Stage::new(), everything(), "6_one_writer", |draft| {
        let (at, other) = (
            of(draft, "node1", "metadata"),
            of(draft, "node1", "member_accounts") + 1,
        );
        draft.steps[at].after.retain(|number| *number as usize != other);
    });
}

#[test]
fn accounts_and_joins_apart() {
    // Seen live: Router's GRANT beside a join left the primary and the joiners waiting for each other.
    breaks(&Stage::new(), everything(), "6_accounts_and_joins_apart", |draft| {
        let at = of(draft, "router1", "router_bootstrap");
        draft.steps[at].after.clear();
    });
}

#[test]
fn only_the_primary_writes() {
    let rule = "7_only_the_primary_writes";
    breaks(&Stage::new(), everything(), rule, |draft| {
        let at = of(draft, "node1", "metadata");
        draft.steps[at].host = name("node2");
    });
    breaks(&Stage::three(), join("node4"), rule, |draft| {
        let at = of(draft, "node1", "metadata_instance");
        draft.steps[at].host = name("node3");
    });
    too_late(&mut Stage::three(), join("node4"), rule, |stage| {
        stage.toy.group.as_mut().unwrap().primary = name("node2");
        stage.toy.look();
    });
}

#[test]
fn the_database_outlives_the_tools() {
    let draft = |stage: &Stage, host: &HostName| {
        let bare = Stage::new();
        let server = plan(&bare, &bare.operation(create("node1", &[], &[])))
            .steps
            .into_iter()
            .find(|step| step.step.name() == "server");
        let mut step = server.unwrap();
        (step.number, step.after, step.host) = (1, Vec::new(), host.clone());
        let operation = stage.operation(OperationKind::Verify);
        let mut draft = plan(stage, &operation);
        draft.steps = vec![step];
        (operation, draft)
    };
    let stage = Stage::three();
    let (operation, draft) = draft(&stage, &name("node2"));
    let sight = stage.toy.sight();
    let failure = stage
        .look(&sight, |world| check(world, &operation, &draft))
        .unwrap_err();
    assert_eq!(failure.code, "rule_8_database_outlives_tools");
    assert_eq!(
        sight[&name("node2")]
            .observation
            .mysql
            .server
            .as_ref()
            .unwrap()
            .group
            .as_ref()
            .unwrap()
            .state,
        MemberState::Online
    );
}

#[test]
fn no_secrets() {
    let hash = format!("0x{}", "2441".repeat(20));
    breaks(&Stage::new(), everything(), "9_secrets", |draft| {
        draft.steps[0].title = format!("as {hash}")
    });
    breaks(&Stage::new(), everything(), "9_secrets", |draft| {
        draft.report.push("-----BEGIN PRIVATE KEY-----".to_owned())
    });
    breaks(&Stage::new(), everything(), "9_secrets", |draft| {
        let at = of(draft, "node1", "bootstrap_group");
        if let Step::BootstrapGroup { group, .. } = &mut draft.steps[at].step {
            group.variables.push(("password".to_owned(), "$A$005$abc".to_owned()));
        }
    });
    for plain in [
        "node1",
        "0x24",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
        "bootstrap:router1",
    ] {
        assert!(!is_secret(plain), "{plain}");
    }
}
