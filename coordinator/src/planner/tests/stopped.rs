//! Plans that stopped half-way: what may have happened meanwhile decides what may be done next.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::{Step, StepOutcome, StepResult};

use super::refusals::refused;
use super::stage::{Stage, create};
use super::toy::name;
use crate::model::{OperationKind, OperationState};

fn failed(code: &str, retry: bool) -> StepOutcome {
    let mut failure = Failure::new(code, code);
    failure.retry = retry;
    StepOutcome {
        result: StepResult::Failed { failure },
        data: None,
        elapsed_ms: 0,
        spent_ms: Default::default(),
    }
}

fn remove(host: &str, force: bool) -> OperationKind {
    OperationKind::Remove {
        host: name(host),
        force,
    }
}

#[test]
fn a_silent_host_that_may_have_bootstrapped_is_not_forgotten() {
    let mut stage = Stage::new();
    let id = stage.submit(create("node1", &["node2", "node3"], &[])).unwrap();
    stage.decide();
    // node1 falls silent in the bootstrap: nobody knows whether its group lives.
    for _ in 0..20 {
        stage.carry_out(|_, _, step| match step {
            Step::BootstrapGroup { .. } => Some(failed("host_silent", false)),
            _ => None,
        });
    }
    assert!(matches!(
        stage.model.operations[&id].state,
        OperationState::Failed { .. }
    ));
    stage.toy.host("node1").answers = false;
    stage.toy.now += 5000;
    stage.toy.look();
    let failure = refused(&stage, remove("node1", true), "may_be_in_group");
    assert!(failure.hint.unwrap().contains("clusterctl remove node2"));
    // One to which no such step was sent is no danger.
    stage.toy.host("node3").answers = false;
    stage.toy.now += 5000;
    stage.toy.look();
    stage.dry_plan(remove("node3", true));
    stage.must(remove("node3", true));
    stage.must(remove("node2", false));
    // The last one takes the cluster with it.
    stage.must(remove("node1", true));
    assert!(stage.model.clusters.is_empty());
}

#[test]
fn a_switchover_that_is_tried_again_does_not_move_the_primary_twice() {
    let mut stage = Stage::three();
    let id = stage.submit(OperationKind::Switchover { to: None }).unwrap();
    stage.decide();
    // The primary moved, but its answer was "not yet".
    stage.carry_out(|toy, host, step| match step {
        Step::SetPrimary { .. } => {
            toy.run(host, step);
            Some(failed("primary_read_only", true))
        }
        _ => None,
    });
    let leads = stage.toy.group.as_ref().unwrap().primary.clone();
    assert_ne!(leads, name("node1"));
    for _ in 0..5 {
        stage.tick();
    }
    assert!(matches!(stage.model.operations[&id].state, OperationState::Done { .. }));
    assert_eq!(stage.toy.group.as_ref().unwrap().primary, leads);
    // The next command is another wish.
    stage.must(OperationKind::Switchover { to: None });
    assert_ne!(stage.toy.group.as_ref().unwrap().primary, leads);
}
