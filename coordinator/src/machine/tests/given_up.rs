//! Steps that are given up without their agent's word: they keep their host busy, not the cluster.

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::lineage::{Branch, LineageId};

use super::*;
use crate::model::{Reckoning, UnixMs};

const UNCHANGED: StepResult = StepResult::Unchanged;

fn give_up(world: &mut World, plan: PlanId, step: StepNumber, code: &str, may_run: bool) {
    let outcome = failed(Failure::new(code, code).transient());
    let answer = world.apply(Change::GiveUp {
        plan,
        step,
        outcome,
        may_run,
    });
    assert_eq!(answer, Answer::Applied);
}

fn recover(without: &[&str], expires_at: UnixMs) -> OperationKind {
    OperationKind::Recover {
        without: without.iter().map(|host| name(host)).collect(),
        accept_loss: Some("code".to_owned()),
        expires_at: Some(expires_at),
    }
}

fn bootstrap(number: StepNumber, on: &str) -> PlannedStep {
    let step = Step::BootstrapGroup {
        group: group(),
        holds: GtidSet::new(),
        lineage: None,
        peers: Vec::new(),
    };
    super::step(number, on, step, &[])
}

/// Promises of these hosts are what the plan of an operation consists of.
fn touching(world: &World, operation: OperationId, hosts: &[&str]) -> PlanDraft {
    let steps = (1..)
        .zip(hosts)
        .map(|(number, on)| step(number, on, Step::Promise {}, &[]));
    world.draft(operation, steps.collect())
}

#[test]
fn a_busy_host_is_not_touched_and_the_others_are() {
    let mut world = World::formed(&["node1", "node2", "node3"]);
    let id = world.submitted(OperationKind::Verify);
    let plan = world.adopt(id, vec![step(1, "node2", Step::Promise {}, &[])]);
    give_up(&mut world, plan, 1, "host_silent", true);
    assert!(
        matches!(world.state(id), OperationState::Waiting { .. }),
        "it is tried again"
    );

    let draft = touching(&world, id, &["node1", "node2"]);
    assert_eq!(code(&world.apply(Change::Adopt { draft })), "host_busy");
    let draft = touching(&world, id, &["node1", "node3"]);
    let Answer::Plan(other) = world.apply(Change::Adopt { draft }) else {
        panic!("the cluster waits for node2")
    };
    for number in [1, 2] {
        world.end_step(other, number, outcome(UNCHANGED));
    }
    assert!(matches!(world.state(id), OperationState::Done { .. }));

    let id = world.submitted(OperationKind::Verify);
    let settled = world.apply(Change::Settle {
        plan,
        step: 1,
        outcome: None,
    });
    assert_eq!(settled, Answer::Applied);
    let draft = touching(&world, id, &["node2"]);
    assert!(matches!(world.apply(Change::Adopt { draft }), Answer::Plan(_)));
    let again = world.apply(Change::Settle {
        plan,
        step: 1,
        outcome: None,
    });
    assert_eq!(code(&again), "step_ended");
}

/// Nothing is bootstrapped while a step may run unseen on a member, unless a forced recovery names it.
#[test]
fn nothing_is_bootstrapped_beside_a_busy_member() {
    let mut world = World::formed(&["node1", "node2"]);
    let id = world.submitted(OperationKind::Verify);
    let plan = world.adopt(id, vec![step(1, "node2", join_step(), &[])]);
    give_up(&mut world, plan, 1, "host_silent", true);
    world.apply(Change::Cancel { operation: id });

    let id = world.submitted(recover(&["node2"], i64::MAX));
    let draft = world.draft(id, vec![bootstrap(1, "node1")]);
    assert_eq!(code(&world.apply(Change::Adopt { draft: draft.clone() })), "host_busy");
    let named = PlanDraft {
        given_up: Some(Reckoning {
            members: vec![name("node2")],
            base: GtidSet::new(),
            known: Default::default(),
        }),
        ..draft
    };
    assert!(matches!(world.apply(Change::Adopt { draft: named }), Answer::Plan(_)));
}

/// A bootstrap that was never sent abandoned nobody; one that may have run leaves the duty to forget them.
#[test]
fn a_duty_follows_from_a_bootstrap_that_may_have_run() {
    for may_run in [false, true] {
        let mut world = World::formed(&["node1", "node2"]);
        let id = world.submitted(recover(&["node2"], i64::MAX));
        let draft = PlanDraft {
            given_up: Some(Reckoning {
                members: vec![name("node2")],
                base: GtidSet::new(),
                known: Default::default(),
            }),
            ..world.draft(id, vec![bootstrap(1, "node1")])
        };
        let Answer::Plan(plan) = world.apply(Change::Adopt { draft }) else {
            panic!("not adopted")
        };
        give_up(&mut world, plan, 1, plans::EVIDENCE_CHANGED, may_run);
        let duties = &world.cluster().unwrap().duties;
        assert_eq!(duties.contains_key(&name("node2")), may_run);
    }
}

/// A plan that slept for days is planned anew, but what moves each time fails in the end.
#[test]
fn changed_evidence_plans_anew_and_not_for_ever() {
    let mut world = World::formed(&["node1"]);
    let id = world.submitted(OperationKind::Verify);
    let mut plans = 0;
    while matches!(world.state(id), OperationState::Waiting { .. }) {
        world.now += 24 * 3_600_000;
        let plan = world.adopt(id, vec![step(1, "node1", Step::Promise {}, &[])]);
        give_up(&mut world, plan, 1, plans::EVIDENCE_CHANGED, false);
        plans += 1;
    }
    assert_eq!(plans, 11);
    assert!(matches!(world.state(id), OperationState::Failed { failure } if failure.code == plans::EVIDENCE_CHANGED));
}

/// What waits for the end of a pause is neither tried again nor failed, however long that takes.
#[test]
fn an_operation_that_a_pause_stopped_waits() {
    let mut world = World::formed(&["node1"]);
    let id = world.submitted(OperationKind::Verify);
    world.now += 24 * 3_600_000;
    let plan = world.adopt(id, vec![step(1, "node1", Step::Promise {}, &[])]);
    give_up(&mut world, plan, 1, plans::PAUSED, false);
    assert!(matches!(world.state(id), OperationState::Waiting { .. }));
    assert_eq!(world.model.operations[&id].attempts, 0);
}

/// What an older coordinator wrote has none of this, and reads as nothing busy.
#[test]
fn a_model_without_these_fields_is_read() {
    let mut world = World::formed(&["node1", "node2"]);
    let id = world.submitted(OperationKind::Verify);
    world.adopt(id, vec![step(1, "node2", Step::Promise {}, &[])]);
    let text = serde_json::to_string(&world.model).unwrap();
    for field in [
        "unsettled",
        "never_begun",
        "waited_ms",
        "duties",
        "accounts_dropped",
        "everything",
    ] {
        assert!(!text.contains(field), "{field} is written although it is empty");
    }
    assert_eq!(serde_json::from_str::<Model>(&text).unwrap(), world.model);
}

/// node1 was bootstrapped by a plan and lost its power before anybody heard of it; a later plan bootstrapped without it, and the group lives
/// on. Then node1 is back, and its agent tells of the first one.
#[test]
fn an_older_plans_bootstrap_that_is_told_late_is_not_where_the_cluster_goes_on() {
    let mut world = World::formed(&["node1", "node2"]);
    let bootstrapped = |world: &mut World, on: &str, lineage: &str| {
        let id = world.submitted(OperationKind::Verify);
        let plan = world.adopt(id, vec![step(1, on, Step::Promise {}, &[])]);
        world.end_step(plan, 1, outcome(UNCHANGED));
        let branch = Branch {
            parent: None,
            base: GtidSet::new(),
            generation: Some(world.model.plans[&plan].generation),
            host: Some(name(on)),
            abandoned: Default::default(),
        };
        (lineage.parse::<LineageId>().unwrap(), branch)
    };
    let (first, second) = (
        bootstrapped(&mut world, "node1", "5"),
        bootstrapped(&mut world, "node2", "6"),
    );
    for (id, branch) in [second.clone(), first.clone()] {
        let told = Change::Lineage {
            cluster: "prod".parse().unwrap(),
            id,
            branch: Some(branch),
            leads: false,
        };
        assert_eq!(world.apply(told), Answer::Applied);
    }
    let cluster = &world.model.clusters[&"prod".parse().unwrap()];
    assert!(cluster.lineages.contains(&first.0), "it is known all the same");
    assert_eq!(cluster.lineage, Some(second.0));
}

/// A plan bootstrapped on node1, which lost its power before anybody heard of it; a person made the group that the cluster goes on in since.
#[test]
fn a_plans_bootstrap_that_is_told_late_does_not_take_the_cluster_from_what_lives() {
    let mut world = World::formed(&["node1", "node2"]);
    let raised = Change::RaiseFeatureLevel {
        to: crate::model::FEATURE_LEVEL,
    };
    assert_eq!(world.apply(raised), Answer::Applied);
    let before = Branch {
        parent: None,
        base: GtidSet::new(),
        generation: None,
        host: Some(name("node2")),
        abandoned: Default::default(),
    };
    let tell = |world: &mut World, id: &str, branch: Option<Branch>, leads: bool| {
        let told = Change::Lineage {
            cluster: "prod".parse().unwrap(),
            id: id.parse().unwrap(),
            branch,
            leads,
        };
        assert_eq!(world.apply(told), Answer::Applied);
    };
    let child = |generation| Branch {
        parent: Some("4".parse().unwrap()),
        generation,
        ..before.clone()
    };
    tell(&mut world, "4", Some(before.clone()), true);
    let id = world.submitted(OperationKind::Verify);
    let plan = world.adopt(id, vec![step(1, "node1", Step::Promise {}, &[])]);
    world.end_step(plan, 1, outcome(UNCHANGED));
    let generation = world.model.plans[&plan].generation;
    tell(&mut world, "6", Some(child(None)), false);
    tell(&mut world, "6", None, true);
    tell(&mut world, "5", Some(child(Some(generation))), false);
    let cluster = &world.model.clusters[&"prod".parse().unwrap()];
    assert!(
        cluster.lineages.contains(&"5".parse().unwrap()),
        "it is known all the same"
    );
    assert_eq!(cluster.lineage, Some("6".parse().unwrap()));
}

/// node3 was abandoned earlier, so this recovery abandons nobody and gives node1 no account of it: measured again later, node3 needs one.
#[test]
fn every_member_that_a_bootstrapping_server_was_made_to_forget_is_noted() {
    for (raised, bootstraps) in [(true, true), (true, false), (false, true)] {
        let mut world = World::formed(&["node1", "node2", "node3"]);
        if raised {
            world.raise();
        }
        let user = |world: &World, host: &str| world.cluster().unwrap().members[&name(host)].account_user();
        let accounts = ["node1", "node2"].map(|host| MemberAccount {
            user: user(&world, host),
            ..account()
        });
        let id = world.submitted(recover(&[], i64::MAX));
        let accounts = Step::LocalMemberAccounts {
            accounts: accounts.to_vec(),
        };
        let mut steps = vec![step(1, "node1", accounts, &[])];
        if bootstraps {
            let mut after = bootstrap(2, "node1");
            after.after = vec![1];
            steps.push(after);
        }
        let plan = world.adopt(id, steps);
        let noted = |world: &World| world.cluster().unwrap().accounts_dropped.contains(&name("node3"));
        world.end_step(plan, 1, outcome(UNCHANGED));
        assert_eq!(noted(&world), raised && bootstraps);
        if bootstraps {
            world.end_step(plan, 2, outcome(UNCHANGED));
            assert_eq!(noted(&world), raised, "the bootstrap does not give it back");
        }
        let id = world.submitted(OperationKind::Rejoin { host: name("node3") });
        let accounts = vec![MemberAccount {
            user: user(&world, "node3"),
            ..account()
        }];
        let plan = world.adopt(id, vec![step(1, "node1", Step::MemberAccounts { accounts }, &[])]);
        world.end_step(plan, 1, outcome(UNCHANGED));
        assert!(!noted(&world), "it was made again");
    }
}
