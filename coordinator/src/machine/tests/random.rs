//! Any sequence of commands: no panic, the same result twice, and what must always hold holds.

use proptest::prelude::*;

use super::*;
use crate::model::PlanState;

/// A command, from small numbers: few names, so that they meet.
fn change(seed: (u8, u8, u8, u8), world: &World) -> Change {
    let (kind, a, b, c) = seed;
    let hosts = ["node1", "node2", "node3", "router1"];
    let node = |n: u8| name(hosts[usize::from(n % 4)]);
    let operation = OperationId(
        world
            .model
            .operations
            .keys()
            .nth(usize::from(a % 8))
            .map_or(u64::from(a), |id| id.0),
    );
    let plan = PlanId(world.model.plans.keys().next_back().map_or(u64::from(a), |id| id.0));
    let failure = Failure {
        retry: c % 2 == 0,
        ..Failure::new("f", "f")
    };
    match kind % 17 {
        16 => Change::HandsOff {
            cluster: "prod".parse().expect("name"),
            host: (a % 3 > 0).then(|| node(b)),
            said: (c % 2 == 0).then(|| crate::model::HandsOff {
                by: "b".to_owned(),
                at: i64::from(a),
                reason: String::new(),
                until: (b % 2 == 0).then(|| i64::from(c) * 100),
                everything: c % 2 == 0,
            }),
            only: (c % 5 == 0).then(|| i64::from(a)),
        },
        0 => Change::Enrol {
            token: "t".to_owned(),
            host: host(hosts[usize::from(a % 4)], if b % 8 == 0 { "other" } else { "key" }),
        },
        1 => Change::RemoveHost { name: node(a) },
        2 => Change::TokenFailure { id: "u".to_owned() },
        3 => Change::Waiting {
            operation,
            why: "w".to_owned(),
        },
        4 => Change::EndOperation {
            operation,
            result: if b % 2 == 0 { Ok("ok".to_owned()) } else { Err(failure) },
        },
        5 => Change::Cancel { operation },
        6..9 => {
            let makes = [
                join_step(),
                Step::StartServer {},
                Step::Promise {},
                Step::BootstrapGroup {
                    group: group(),
                    holds: Default::default(),
                    lineage: None,
                    peers: Vec::new(),
                },
                Step::LeaveGroup { group_name: None },
            ];
            let mut steps = Vec::new();
            for number in 1..=u32::from(b % 5) {
                let after: Vec<u32> = (1..number).filter(|n| (u32::from(c) + n) % 3 == 0).collect();
                let mut next = step(
                    number,
                    hosts[usize::from(c) % 4],
                    makes[usize::from(b ^ c) % 5].clone(),
                    &after,
                );
                next.best_effort = c % 5 == 0;
                next.finally = number > 2 && c % 3 == 0;
                steps.push(next);
            }
            let draft = PlanDraft {
                given_up: (a % 3 == 0).then(|| reckoning(node(c))),
                taken_back: None,
                ..world.draft(operation, steps)
            };
            Change::Adopt {
                draft: if a % 13 == 0 {
                    PlanDraft {
                        parent: Some(PlanId(1)),
                        ..draft
                    }
                } else {
                    draft
                },
            }
        }
        9..13 => {
            let result = if c % 4 == 0 {
                failed(failure)
            } else {
                outcome(StepResult::Unchanged)
            };
            let step = u32::from(b % 5);
            match c % 8 {
                1 => Change::GiveUp {
                    plan,
                    step,
                    outcome: result,
                    may_run: a % 2 == 0,
                },
                2 => Change::Settle {
                    plan,
                    step,
                    outcome: (a % 2 == 0).then_some(result),
                },
                3 => Change::Waited {
                    plan,
                    step,
                    ms: u64::from(b),
                },
                _ => Change::Outcome {
                    plan,
                    step,
                    outcome: result,
                },
            }
        }
        _ => {
            let kind = match b % 12 {
                8 => OperationKind::Rejoin { host: node(c) },
                9 => OperationKind::StartRouter { host: node(c) },
                10 => OperationKind::Recover {
                    without: vec![node(c)],
                    accept_loss: Some("12345678".to_owned()),
                    expires_at: Some(i64::from(a) * 1000),
                },
                0 => create_kind(&["node2"]),
                1 => create_kind(&[]),
                2 | 3 => join_kind(hosts[usize::from(c % 4)]),
                4 => OperationKind::Remove {
                    host: node(c),
                    force: c % 2 == 0,
                },
                5 => OperationKind::AddRouter {
                    host: node(c),
                    ignore_checks: Vec::new(),
                },
                6 => OperationKind::RemoveRouter {
                    host: node(c),
                    force: false,
                },
                7 => OperationKind::Verify,
                _ => OperationKind::Switchover { to: None },
            };
            let operation = Operation {
                id: OperationId(0),
                request_id: format!("{a} {b}"),
                cluster: if a % 7 == 0 { "test" } else { "prod" }.parse().expect("name"),
                kind,
                by: "b".to_owned(),
                submitted_at: 0,
                ended_at: None,
                state: OperationState::Running,
                accept_lower_tolerance: false,
                plans: vec![PlanId(3)],
                attempts: 0,
                not_before: 0,
                turn_at: 0,
                bytes: 0,
            };
            let server_ids = (0..u32::from(c % 12)).map(|n| ServerId(n + u32::from(a % 3))).collect();
            Change::Submit {
                operation,
                cluster_id: Uuid::nil(),
                group_name: Uuid::nil(),
                server_ids,
            }
        }
    }
}

fn reckoning(host: HostName) -> crate::model::Reckoning {
    crate::model::Reckoning {
        members: vec![host],
        base: Default::default(),
        known: Default::default(),
    }
}

fn holds(model: &Model) {
    let mut server_ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for cluster in model.clusters.values() {
        for (host, member) in &cluster.members {
            assert!(
                member.server_id.0 != 0 && server_ids.insert(member.server_id),
                "server id used twice"
            );
            assert!(places.insert(host.clone()), "a host is in two clusters");
        }
        let open = model
            .plans
            .values()
            .filter(|plan| plan.draft.cluster == cluster.name && !plans::is_settled(plan));
        assert!(open.count() <= 1, "two plans of one cluster");
    }
    for operation in model.operations.values() {
        assert_eq!(operation.ended_at.is_some(), operation.state.is_final());
        if operation.state == OperationState::Running {
            let last = operation
                .plans
                .last()
                .and_then(|id| model.plans.get(id))
                .expect("a running operation has a plan");
            assert!(!plans::is_settled(last));
            assert!(!plans::ready_steps(last).is_empty(), "a running operation is stuck");
        }
    }
    for plan in model.plans.values() {
        let ended = plan.draft.steps.iter().all(plans::has_ended);
        assert_eq!(
            plan.state == PlanState::Running,
            !ended && plan.state == PlanState::Running
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics_and_is_deterministic(seeds in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 1..120)) {
        let start = || {
            let mut world = World::new(&["node1", "node2", "node3", "router1"]);
            world.apply(Change::AddToken { token: token("u", 3, i64::MAX) });
            world
        };
        let (mut one, mut two) = (start(), start());
        for seed in seeds {
            let change = change(seed, &one);
            one.now += i64::from(seed.3) * 100;
            two.now = one.now;
            let before = one.model.clone();
            let answer = one.apply(change.clone());
            if matches!(answer, Answer::Rejected(_)) {
                prop_assert_eq!(&before, &one.model, "a rejected change changes nothing");
            }
            // As from a log: through JSON.
            let text = serde_json::to_string(&change).expect("JSON");
            prop_assert_eq!(two.apply(serde_json::from_str(&text).expect("JSON")), answer);
            holds(&one.model);
        }
        prop_assert_eq!(&one.model, &two.model);
        let snapshot = serde_json::to_string(&one.model).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Model>(&snapshot).expect("JSON"), one.model);
    }
}
