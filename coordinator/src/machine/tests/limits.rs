//! Sizes in bytes: what is refused, what is cut, what is kept; and the numbers that only rise.

use clusterctl_proto::step::StepData;

use super::*;
use crate::machine::limits::*;
use crate::model::FEATURE_LEVEL;

/// A formed cluster of node1, at this feature level.
fn at_level(level: u32) -> World {
    let mut world = World::formed(&["node1", "node2"]);
    if level > 0 {
        assert_eq!(world.apply(Change::RaiseFeatureLevel { to: level }), Answer::Applied);
    }
    world
}

fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn large_join() -> OperationKind {
    OperationKind::Join {
        host: name("node2"),
        recovery: RecoveryWish::Auto,
        ignore_checks: vec![long(MAX_OPERATION_BYTES)],
    }
}

#[test]
fn an_operation_that_is_too_large_is_refused_with_words() {
    let mut world = at_level(FEATURE_LEVEL);
    let before = world.model.clone();
    let answer = world.submit(large_join());
    assert_eq!(code(&answer), "operation_too_large");
    let Answer::Rejected(failure) = answer else {
        panic!("stored")
    };
    assert!(
        failure.message.contains("65536") && failure.hint.is_some(),
        "{failure:?}"
    );
    assert_eq!(world.model, before);
    // Below the level the entry means what it meant to the release that wrote it.
    assert_eq!(code(&at_level(0).submit(large_join())), "");
}

#[test]
fn operations_that_have_not_ended_have_room_together() {
    let mut world = at_level(FEATURE_LEVEL);
    let half = |n: usize| OperationKind::Join {
        host: name("node2"),
        recovery: RecoveryWish::Auto,
        ignore_checks: vec![format!("{n} {}", long(MAX_OPERATION_BYTES / 2))],
    };
    let taken = (0..100)
        .take_while(|n| code(&world.submit(half(*n))).is_empty())
        .count();
    assert_eq!(
        taken,
        MAX_ACTIVE_BYTES / (MAX_OPERATION_BYTES / 2 + 400),
        "of 32 KiB each"
    );
    assert_eq!(code(&world.submit(half(200))), "too_many_operations");
    let own = Operation {
        by: "coordinator/1".to_owned(),
        ..Operation::wanted(
            "own".to_owned(),
            "prod".parse().expect("name"),
            half(300),
            "coordinator/1",
            1,
        )
    };
    let answer = world.apply(Change::Submit {
        operation: own,
        cluster_id: Uuid::nil(),
        group_name: Uuid::nil(),
        server_ids: Vec::new(),
    });
    assert_eq!(code(&answer), "", "what the coordinator wants has room");
}

#[test]
fn a_plan_that_is_too_large_is_not_adopted() {
    let mut world = at_level(FEATURE_LEVEL);
    let id = world.submitted(join_kind("node2"));
    let with = |world: &World, bytes: usize| {
        let mut draft = world.draft(id, vec![step(1, "node2", Step::Promise {}, &[])]);
        draft.report = vec![long(bytes)];
        draft
    };
    let draft = with(&world, MAX_PLAN_BYTES);
    let answer = world.apply(Change::Adopt { draft });
    assert_eq!(code(&answer), "plan_too_large");
    assert_eq!(
        world
            .cluster()
            .expect("cluster")
            .last_plan
            .map(|plan| world.model.plans.contains_key(&plan)),
        Some(true)
    );
    // Plans that each are small enough have a limit together.
    let mut adopted = 0;
    loop {
        let draft = with(&world, MAX_PLAN_BYTES - 4096);
        match world.apply(Change::Adopt { draft }) {
            Answer::Plan(plan) => {
                adopted += 1;
                assert!(adopted < 20, "no limit");
                world.end_step(plan, 1, failed(Failure::new("again", "again").transient()));
            }
            answer => {
                assert_eq!(code(&answer), "plans_too_large");
                break;
            }
        }
    }
    assert_eq!(adopted, MAX_PLANS_BYTES / MAX_PLAN_BYTES);
}

#[test]
fn texts_and_outcomes_are_cut() {
    let mut world = at_level(FEATURE_LEVEL);
    let id = world.submitted(join_kind("node2"));
    world.apply(Change::Waiting {
        operation: id,
        why: "ü".repeat(MAX_TEXT_BYTES),
    });
    match world.state(id) {
        OperationState::Waiting { why } => {
            assert!(why.len() <= MAX_TEXT_BYTES && why.ends_with("(cut)"), "{}", why.len());
            assert_eq!(text(why), *why, "cut once");
        }
        other => panic!("{other:?}"),
    }
    let steps = (1..=3).map(|n| step(n, "node2", Step::Promise {}, &[])).collect();
    let plan = world.adopt(id, steps);
    let data = StepData::Facts {
        facts: BTreeMap::from([("a".to_owned(), long(MAX_OUTCOME_BYTES))]),
    };
    let too_large = StepOutcome {
        data: Some(data),
        ..outcome(StepResult::Unchanged)
    };
    world.end_step(plan, 1, too_large);
    let ended = |world: &World, n: StepNumber| {
        plans::failure_of(plans::find(&world.model.plans[&plan], n).expect("step")).cloned()
    };
    assert_eq!(
        ended(&world, 1).map(|failure| failure.code),
        Some("outcome_too_large".to_owned())
    );
    let mut failure = Failure::new("no", long(MAX_OUTCOME_BYTES)).hint(long(MAX_OUTCOME_BYTES));
    failure.facts = vec![long(100); 5000];
    world.end_step(plan, 2, failed(failure));
    let kept = ended(&world, 2).expect("failed");
    assert!(
        kept.code == "no" && bytes(&kept) < MAX_OUTCOME_BYTES,
        "{}",
        bytes(&kept)
    );
    world.apply(Change::Note {
        kind: long(1000),
        cluster: None,
        host: None,
        text: long(MAX_TEXT_BYTES + 1),
    });
    let newest = world.model.events.back().expect("a line");
    assert!(newest.text.len() <= MAX_TEXT_BYTES && newest.kind.len() < 100);
}

#[test]
fn the_journal_and_ended_operations_are_kept_up_to_a_size() {
    let mut world = at_level(FEATURE_LEVEL);
    let size = |world: &World| world.model.events.iter().map(event_bytes).sum::<u64>();
    for _ in 0..700 {
        world.apply(Change::Note {
            kind: "n".to_owned(),
            cluster: None,
            host: None,
            text: long(MAX_TEXT_BYTES),
        });
    }
    assert!(world.model.events.len() < 700);
    assert!(size(&world) <= KEEP_EVENTS_BYTES && size(&world) > KEEP_EVENTS_BYTES / 2);
    assert_eq!(world.model.event_bytes, size(&world), "counted as they come and go");

    let mut ids = Vec::new();
    for n in 0..12 {
        let id = world.submitted(OperationKind::Switchover {
            to: Some(name(&format!("node{n}"))),
        });
        let mut draft = world.draft(id, vec![step(1, "node1", Step::Promise {}, &[])]);
        draft.report = vec![long(MAX_PLAN_BYTES - 4096)];
        let Answer::Plan(plan) = world.apply(Change::Adopt { draft }) else {
            panic!("not adopted")
        };
        world.end_step(plan, 1, outcome(StepResult::Unchanged));
        ids.push(id);
    }
    let kept: Vec<_> = ids
        .iter()
        .filter(|id| world.model.operations.contains_key(id))
        .collect();
    assert!(kept.len() <= 9 && kept.len() >= 7, "{}", kept.len());
    assert_eq!(kept.last(), Some(&ids.last().expect("ids")), "the oldest go first");
    assert!(bytes(&world.model.plans) as u64 <= KEEP_OPERATIONS_BYTES + 2 * MAX_PLAN_BYTES as u64);
}

#[test]
fn the_feature_level_only_rises_and_the_journal_shows_it() {
    let mut world = at_level(0);
    assert_eq!(world.model.feature_level, 0, "what earlier releases wrote");
    assert_eq!(
        code(&world.apply(Change::RaiseFeatureLevel { to: FEATURE_LEVEL + 1 })),
        "unknown_level"
    );
    world.apply(Change::RaiseFeatureLevel { to: FEATURE_LEVEL });
    world.apply(Change::RaiseFeatureLevel { to: 0 });
    assert_eq!(world.model.feature_level, FEATURE_LEVEL);
    assert_eq!(
        world
            .kinds()
            .iter()
            .filter(|kind| **kind == "feature_level_raised")
            .count(),
        1
    );
    assert_eq!(
        world.model.event_bytes,
        world.model.events.iter().map(event_bytes).sum::<u64>()
    );
}

#[test]
fn the_epoch_rises_by_one_and_what_was_unfinished_is_cancelled() {
    let mut world = at_level(FEATURE_LEVEL);
    let id = world.submitted(join_kind("node2"));
    let plan = world.adopt(
        id,
        vec![
            step(1, "node2", join_step(), &[]),
            step(2, "node2", Step::Promise {}, &[1]),
        ],
    );
    assert_eq!(code(&world.apply(Change::RaiseEpoch { from: 7 })), "epoch_differs");
    assert_eq!(world.apply(Change::RaiseEpoch { from: 1 }), Answer::Applied);
    assert_eq!(
        code(&world.apply(Change::RaiseEpoch { from: 1 })),
        "epoch_differs",
        "sent twice, raised once"
    );
    assert_eq!(world.model.epoch, 2);
    assert!(world.kinds().contains(&"epoch_raised"));
    assert!(matches!(world.state(id), OperationState::Cancelled { .. }));
    assert_eq!(world.model.plans[&plan].state, crate::model::PlanState::Cancelled);
    let id = world.submitted(create_kind(&["node2"]));
    let again = world.apply(Change::EndOperation {
        operation: id,
        result: Ok("there".to_owned()),
    });
    assert_eq!(code(&again), "");
}
