//! When a bootstrap is confirmed, and whom the leader vouches for.

use clusterctl_proto::ids::StepNumber;
use clusterctl_proto::observe::{GroupMember, GroupView, MemberRole, MemberState};
use clusterctl_proto::step::{StepOutcome, StepResult};

use super::*;
use crate::model::OperationState;
use crate::planner::Sight;
use crate::planner::tests::heal_stage::{NODES, code_of, recover, said};
use crate::planner::tests::stage::{Stage, prod};
use crate::planner::tests::toy::name;

/// A recovery whose bootstrap may be sent now.
fn ready(without: &[&str]) -> (Stage, Confirm, HostName) {
    let mut stage = Stage::three();
    NODES.iter().for_each(|node| stage.toy.power_off(node));
    let back = NODES.iter().filter(|node| !without.contains(node));
    back.for_each(|node| stage.toy.power_on(node));
    stage.toy.now += 5000;
    stage.toy.look();
    if without.is_empty() {
        stage.heal();
    } else {
        let refused = stage.refusal(recover(without, None, &stage));
        let kind = recover(without, Some(&code_of(refused.hint.as_ref())), &stage);
        stage.submit(kind).unwrap();
    }
    stage.decide();
    // The promises of the others, then that of the host that bootstraps.
    assert!(stage.carry_out(|_, _, _| None) && stage.carry_out(|_, _, _| None));
    stage.toy.look();
    let plan = stage.model.plans.values().last().unwrap();
    let bootstrap = |step: &&PlannedStep| matches!(step.step, Step::BootstrapGroup { .. });
    let step = plan.draft.steps.iter().find(bootstrap).unwrap();
    let asked = Confirm {
        id: 1,
        plan: plan.id.0,
        step: step.number,
        cluster: prod().to_string(),
        epoch: plan.generation.epoch,
        index: plan.generation.index,
    };
    let host = step.host.clone();
    (stage, asked, host)
}

/// It was silent for long when the bootstrap was sent, answers now, and nothing else is old enough yet: that it may act on an older order
/// for some seconds is no reason to look at nothing more.
#[test]
fn a_member_that_is_back_with_more_is_not_abandoned_in_the_last_moment() {
    let (mut stage, asked, host) = ready(&["node2"]);
    assert!(ask(&stage, &sight(&stage, &asked), &host, &asked).is_ok());
    stage.toy.power_on("node2");
    stage.toy.look();
    let mut back = sight(&stage, &asked);
    let node2 = back.get_mut(&name("node2")).unwrap();
    let server = node2.observation_mut().mysql.server.as_mut().unwrap();
    server
        .gtid_executed
        .push_str(",aaaaaaaa-0000-4000-8000-000000000001:1-3");
    let lost = "holds transactions that would be lost";
    let refused = ask(&stage, &back, &host, &asked).unwrap_err();
    assert!(refused.contains(lost), "{refused}");
    // Another one that is silent hides it no more.
    back.get_mut(&name("node3")).unwrap().age_ms = 9000;
    let refused = ask(&stage, &back, &host, &asked).unwrap_err();
    assert!(refused.contains(lost), "{refused}");
}

/// What is seen, with the promises that agents hold.
fn sight(stage: &Stage, asked: &Confirm) -> Sight {
    let mut sight = stage.toy.sight();
    let generation = Generation {
        epoch: asked.epoch,
        index: asked.index,
    };
    for seen in sight.values_mut() {
        seen.observation_mut().ledger.promises.insert(prod(), generation);
    }
    sight
}

fn ask(stage: &Stage, sight: &Sight, host: &HostName, asked: &Confirm) -> Result<Vec<String>, String> {
    stage
        .look(sight, |world| allowed(world, host, asked))
        .map(|hosts| hosts.iter().map(ToString::to_string).collect())
        .map_err(|failure| failure.message)
}

#[test]
fn a_ready_bootstrap_is_confirmed_and_who_is_out_and_promised_is_vouched_for() {
    let (stage, asked, host) = ready(&[]);
    let mut sight = sight(&stage, &asked);
    let all = Ok(vec!["node1".to_owned(), "node2".to_owned(), "node3".to_owned()]);
    assert_eq!(ask(&stage, &sight, &host, &asked), all);
    // Silence, another promise, a lost ledger, a bootstrap by hand that begins: not vouched for, and no refusal.
    let only = |sight: &Sight| ask(&stage, sight, &host, &asked).unwrap();
    let node3 = name("node3");
    sight.get_mut(&node3).unwrap().age_ms = 3001;
    assert_eq!(only(&sight), ["node1", "node2"]);
    let seen = sight.get_mut(&node3).unwrap();
    seen.age_ms = 0;
    seen.observation_mut().ledger.promises.get_mut(&prod()).unwrap().index -= 1;
    assert_eq!(only(&sight), ["node1", "node2"]);
    let seen = sight.get_mut(&node3).unwrap();
    seen.observation_mut().ledger.promises.get_mut(&prod()).unwrap().index += 1;
    seen.observation_mut().ledger.known = false;
    assert!(ask(&stage, &sight, &host, &asked).is_err(), "its promise is lost");
    let seen = sight.get_mut(&node3).unwrap();
    seen.observation_mut().ledger.known = true;
    assert_eq!(only(&sight).len(), 3);
    let seen = sight.get_mut(&node3).unwrap();
    seen.observation_mut().mysql.server.as_mut().unwrap().bootstrap_flag = true;
    assert_eq!(only(&sight), ["node1", "node2"]);
}

fn inside(sight: &mut Sight, host: &str, state: MemberState, group: &str) {
    let server = sight
        .get_mut(&name(host))
        .unwrap()
        .observation_mut()
        .mysql
        .server
        .as_mut()
        .unwrap();
    server.group_name = group.to_owned();
    let row = GroupMember {
        server_uuid: server.server_uuid,
        host: host.to_owned(),
        port: 3306,
        state,
        role: MemberRole::Secondary,
        version: String::new(),
    };
    server.group = Some(GroupView {
        state,
        role: MemberRole::Secondary,
        view_id: "17:1".to_owned(),
        members: vec![row],
        auto_rejoin: false,
        channel_error: None,
        standstill_ms: None,
    });
}

#[test]
fn a_member_in_any_group_is_a_refusal() {
    let (stage, asked, host) = ready(&[]);
    for state in [MemberState::Online, MemberState::Recovering, MemberState::Error] {
        for group in [GROUP, "another"] {
            let mut sight = sight(&stage, &asked);
            inside(&mut sight, "node2", state, group);
            let why = ask(&stage, &sight, &host, &asked).unwrap_err();
            assert!(why.contains("node2 is"), "{why}");
        }
    }
}

const GROUP: &str = "0c100000-0000-4000-8000-000000000001";

#[test]
fn an_abandoned_member_may_be_silent_or_in_error_alone_but_not_in_a_group() {
    let (mut stage, asked, host) = ready(&["node2"]);
    assert!(ask(&stage, &sight(&stage, &asked), &host, &asked).is_ok());
    stage.toy.power_on("node2");
    stage.toy.look();
    let mut seen = sight(&stage, &asked);
    inside(&mut seen, "node2", MemberState::Error, GROUP);
    assert!(ask(&stage, &seen, &host, &asked).is_ok());
    inside(&mut seen, "node2", MemberState::Online, "another");
    assert!(ask(&stage, &seen, &host, &asked).is_err());
    // The approval ends.
    let before = sight(&stage, &asked);
    stage.toy.now += 900_000;
    let why = ask(&stage, &before, &host, &asked).unwrap_err();
    assert!(why.contains("expired"), "{why}");
}

#[test]
fn somebody_whom_the_plan_does_not_know_is_a_refusal() {
    let (stage, asked, host) = ready(&[]);
    let mut sight = sight(&stage, &asked);
    let server = sight
        .get_mut(&name("node3"))
        .unwrap()
        .observation_mut()
        .mysql
        .server
        .as_mut();
    server.unwrap().metadata.as_mut().unwrap().instances[0].address = "node4:3306".to_owned();
    let why = ask(&stage, &sight, &host, &asked).unwrap_err();
    assert!(why.contains("node4"), "{why}");
}

#[test]
fn another_order_an_ended_one_and_a_paused_cluster_are_refused() {
    let (mut stage, asked, host) = ready(&[]);
    let sight = sight(&stage, &asked);
    let other = |change: fn(&mut Confirm)| {
        let mut other = asked.clone();
        change(&mut other);
        ask(&stage, &sight, &host, &other).unwrap_err()
    };
    other(|asked| asked.plan += 1);
    other(|asked| asked.index += 1);
    other(|asked| asked.epoch += 1);
    other(|asked| asked.cluster = "test".to_owned());
    other(|asked| asked.cluster = String::new());
    // A promise is not confirmed, nor anything that has ended.
    other(|asked| asked.step = 1);
    ask(&stage, &sight, &name("node3"), &asked).unwrap_err();

    let paused = |stage: &mut Stage, on: bool| {
        let until = said(stage, None).filter(|_| on);
        stage.model.clusters.get_mut(&prod()).unwrap().paused = until;
    };
    paused(&mut stage, true);
    let why = ask(&stage, &sight, &host, &asked).unwrap_err();
    assert!(why.contains("left alone"), "{why}");
    paused(&mut stage, false);
    assert!(ask(&stage, &sight, &host, &asked).is_ok());

    let ended = |stage: &mut Stage, step: StepNumber, result: StepResult| {
        let outcome = StepOutcome {
            result,
            data: None,
            elapsed_ms: 1,
            spent_ms: Default::default(),
        };
        let plan = PlanId(asked.plan);
        stage.apply(crate::machine::Change::Outcome { plan, step, outcome });
    };
    let failure = Failure::new("host_silent", "away");
    ended(&mut stage, asked.step, StepResult::Failed { failure });
    ask(&stage, &sight, &host, &asked).unwrap_err();
    assert!(
        !stage
            .model
            .operations
            .values()
            .any(|op| matches!(op.state, OperationState::Running))
    );
}
