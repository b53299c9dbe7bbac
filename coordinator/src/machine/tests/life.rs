//! Tokens, hosts, and operations from their storing to their end.

use super::*;
use crate::model::MemberPhase;

const UNCHANGED: StepResult = StepResult::Unchanged;

fn phase(world: &World, host: &str) -> Option<MemberPhase> {
    Some(world.cluster()?.members.get(&name(host))?.phase)
}

#[test]
fn tokens_are_spent_locked_and_end() {
    let mut world = World::new(&[]);
    world.apply(Change::AddToken {
        token: token("one", 1, world.now + 10),
    });
    let enrol = |text: &str, key: &str| Change::Enrol {
        token: "one".to_owned(),
        host: host(text, key),
    };
    assert_eq!(world.apply(enrol("node1", "a")), Answer::Applied);
    assert_eq!(code(&world.apply(enrol("node2", "a"))), "token_used");
    assert_eq!(
        world.apply(enrol("node1", "a")),
        Answer::Applied,
        "the same key again spends nothing"
    );
    assert_eq!(code(&world.apply(enrol("node1", "b"))), "host_name_taken");
    world.now += 10;
    assert_eq!(code(&world.apply(enrol("node1", "a"))), "token_expired");
    world.now -= 10;
    for _ in 0..5 {
        world.apply(Change::TokenFailure { id: "one".to_owned() });
    }
    assert_eq!(code(&world.apply(enrol("node1", "a"))), "token_locked");
    world.apply(Change::RevokeToken { id: "t".to_owned() });
    let answer = world.apply(Change::Enrol {
        token: "t".to_owned(),
        host: host("node3", "a"),
    });
    assert_eq!(code(&answer), "token_revoked");
    assert_eq!(
        code(&world.apply(Change::RevokeToken { id: "none".to_owned() })),
        "token_unknown"
    );
    assert!(world.kinds().contains(&"token_locked"));
}

#[test]
fn a_host_in_a_cluster_is_not_forgotten() {
    let mut world = World::formed(&["node1"]);
    let remove = |text: &str| Change::RemoveHost { name: name(text) };
    assert_eq!(code(&world.apply(remove("node1"))), "host_in_cluster");
    assert_eq!(code(&world.apply(remove("node9"))), "host_not_enrolled");
}

#[test]
fn create_forms_the_cluster() {
    let mut world = World::new(&["node1", "node2"]);
    let id = world.submitted(create_kind(&["node2"]));
    let cluster = world.cluster().expect("intent");
    assert!(!cluster.formed && cluster.gtid_set_is_complete && cluster.created_by == id);
    let ids: BTreeSet<_> = cluster.members.values().map(|member| member.server_id).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(phase(&world, "node2"), Some(MemberPhase::Joining));
    let steps = vec![
        step(1, "node1", Step::Promise {}, &[]),
        step(2, "node2", join_step(), &[1]),
    ];
    let plan = world.adopt(id, steps);
    assert_eq!(world.state(id), &OperationState::Running);
    let ready = |world: &World| {
        plans::ready_steps(&world.model.plans[&plan])
            .iter()
            .map(|step| step.number)
            .collect::<Vec<_>>()
    };
    assert_eq!(ready(&world), [1]);
    world.end_step(plan, 1, outcome(UNCHANGED));
    assert_eq!(ready(&world), [2]);
    assert_eq!(code(&world.end_step(plan, 1, outcome(UNCHANGED))), "step_ended");
    assert_eq!(code(&world.end_step(plan, 3, outcome(UNCHANGED))), "step_unknown");
    world.end_step(
        plan,
        2,
        outcome(StepResult::Changed {
            what: "joined".to_owned(),
        }),
    );
    assert_eq!(
        world.state(id),
        &OperationState::Done {
            message: "well done".to_owned()
        }
    );
    assert!(world.cluster().expect("cluster").formed);
    assert_eq!(phase(&world, "node1"), Some(MemberPhase::Member));
    for kind in [
        "operation_submitted",
        "plan_adopted",
        "step_changed",
        "cluster_formed",
        "member_joined",
        "operation_done",
    ] {
        assert!(world.kinds().contains(&kind), "{kind}");
    }
}

#[test]
fn the_same_request_is_the_same_operation() {
    let mut world = World::new(&["node1", "node2"]);
    let id = world.submitted(create_kind(&[]));
    assert_eq!(
        world.submit(create_kind(&[])),
        Answer::Operation(id),
        "the same thing while it runs"
    );
    assert_eq!(code(&world.submit(create_kind(&["node2"]))), "cluster_exists");
    let again = world.model.operations[&id].clone();
    let change = |operation: Operation| Change::Submit {
        operation,
        cluster_id: Uuid::nil(),
        group_name: Uuid::nil(),
        server_ids: Vec::new(),
    };
    assert_eq!(world.apply(change(again.clone())), Answer::Operation(id));
    let other = Operation {
        kind: OperationKind::Verify,
        ..again
    };
    assert_eq!(code(&world.apply(change(other))), "request_id_reused");
}

#[test]
fn what_contradicts_the_intent_is_rejected() {
    let mut world = World::formed(&["node1", "node2"]);
    assert_eq!(code(&world.submit(join_kind("node9"))), "host_not_enrolled");
    world.submitted(OperationKind::Remove {
        host: name("node2"),
        force: false,
    });
    assert_eq!(phase(&world, "node2"), Some(MemberPhase::Leaving));
    assert_eq!(code(&world.submit(join_kind("node2"))), "host_leaving");
    assert_eq!(
        code(&world.submit(OperationKind::Remove {
            host: name("node2"),
            force: true
        })),
        "operation_running"
    );
    world.apply(Change::Enrol {
        token: "t".to_owned(),
        host: host("node3", "key"),
    });
    let other = Operation {
        request_id: "other".to_owned(),
        cluster: "test".parse().expect("name"),
        kind: create_kind(&[]),
        ..world.model.operations.values().next().expect("one").clone()
    };
    let answer = world.apply(Change::Submit {
        operation: other,
        cluster_id: Uuid::nil(),
        group_name: Uuid::nil(),
        server_ids: vec![ServerId(1)],
    });
    assert_eq!(code(&answer), "host_in_other_cluster");
}

#[test]
fn a_create_that_never_bootstrapped_is_taken_back() {
    let mut world = World::new(&["node1"]);
    let id = world.submitted(create_kind(&[]));
    let bootstrap = Step::BootstrapGroup {
        group: group(),
        holds: Default::default(),
        lineage: None,
        peers: Vec::new(),
    };
    let steps = vec![
        step(1, "node1", Step::Promise {}, &[]),
        step(2, "node1", bootstrap.clone(), &[1]),
    ];
    let plan = world.adopt(id, steps.clone());
    world.end_step(plan, 1, failed(Failure::new("no", "no")));
    assert!(matches!(world.state(id), OperationState::Failed { .. }));
    assert!(world.cluster().is_none());

    let id = world.submitted(create_kind(&[]));
    let plan = world.adopt(id, steps);
    world.end_step(plan, 1, outcome(UNCHANGED));
    world.end_step(plan, 2, failed(Failure::new("no", "no")));
    assert!(matches!(world.state(id), OperationState::Failed { .. }));
    assert!(
        world.cluster().is_some_and(|cluster| !cluster.formed),
        "it may have been bootstrapped"
    );
    world.submitted(create_kind(&[]));
}

#[test]
fn a_join_that_may_have_begun_stays() {
    let mut world = World::formed(&["node1"]);
    world.apply(Change::Enrol {
        token: "t".to_owned(),
        host: host("node2", "key"),
    });
    let steps = vec![
        step(1, "node2", Step::Promise {}, &[]),
        step(2, "node2", join_step(), &[1]),
    ];
    let id = world.submitted(join_kind("node2"));
    let plan = world.adopt(id, steps.clone());
    world.end_step(plan, 1, failed(Failure::new("no", "no")));
    assert_eq!(phase(&world, "node2"), None);

    let id = world.submitted(join_kind("node2"));
    let plan = world.adopt(id, steps.clone());
    world.end_step(plan, 1, outcome(UNCHANGED));
    world.apply(Change::Cancel { operation: id });
    assert_eq!(phase(&world, "node2"), Some(MemberPhase::Joining), "its step runs");
    assert!(plans::open_plan(&world.model, &"prod".parse().expect("name")).is_some());
    let next = world.submitted(join_kind("node2"));
    let draft = world.draft(next, steps.clone());
    assert_eq!(code(&world.apply(Change::Adopt { draft })), "plan_not_current");
    world.end_step(plan, 2, outcome(UNCHANGED));
    let plan = world.adopt(next, steps);
    world.end_step(plan, 1, outcome(UNCHANGED));
    world.end_step(plan, 2, outcome(UNCHANGED));
    assert_eq!(phase(&world, "node2"), Some(MemberPhase::Member));

    // Removed and joined again: what an earlier join did counts no more.
    let gone = world.submitted(OperationKind::Remove {
        host: name("node2"),
        force: false,
    });
    world.apply(Change::EndOperation {
        operation: gone,
        result: Ok("gone".to_owned()),
    });
    assert_eq!(phase(&world, "node2"), None);
    let id = world.submitted(join_kind("node2"));
    world.apply(Change::EndOperation {
        operation: id,
        result: Err(Failure::new("no", "no")),
    });
    assert_eq!(phase(&world, "node2"), None);
}

#[test]
fn a_refused_removal_leaves_the_member() {
    let mut world = World::formed(&["node1", "node2"]);
    let id = world.submitted(OperationKind::Remove {
        host: name("node2"),
        force: false,
    });
    world.apply(Change::EndOperation {
        operation: id,
        result: Err(Failure::refused("no", "no")),
    });
    assert_eq!(phase(&world, "node2"), Some(MemberPhase::Member));
    let id = world.submitted(OperationKind::Remove {
        host: name("node2"),
        force: false,
    });
    let plan = world.adopt(id, vec![step(1, "node2", Step::LeaveGroup { group_name: None }, &[])]);
    world.end_step(plan, 1, failed(Failure::new("no", "no")));
    assert_eq!(phase(&world, "node2"), Some(MemberPhase::Leaving));
}

/// Operations are forgotten, the oldest first; a member is one all the same.
#[test]
fn a_refused_removal_leaves_a_member_whose_join_nobody_remembers() {
    let mut world = World::formed(&["node1", "node2"]);
    let raised = Change::RaiseFeatureLevel {
        to: crate::model::FEATURE_LEVEL,
    };
    assert_eq!(world.apply(raised), Answer::Applied);
    world.model.operations.clear();
    for _ in 0..2 {
        let id = world.submitted(OperationKind::Remove {
            host: name("node2"),
            force: false,
        });
        assert_eq!(phase(&world, "node2"), Some(MemberPhase::Leaving));
        world.apply(Change::EndOperation {
            operation: id,
            result: Err(Failure::refused("no", "no")),
        });
        assert_eq!(phase(&world, "node2"), Some(MemberPhase::Member));
    }
}
