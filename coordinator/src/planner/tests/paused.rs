//! A pause stops a plan at its next safe point, and it goes on from what is seen when the pause is over.

use clusterctl_proto::step::Step;

use super::heal_stage::{NODES, inside, power_cut, recover, recovery_submitted, said};
use super::stage::{Stage, create, join, prod};
use super::toy::name;
use crate::check::{Halt, halt};
use crate::machine::Change;
use crate::model::{HandsOff, OperationKind, OperationState, PlanState};

fn pause(stage: &mut Stage, everything: bool) {
    let said = said(stage, None).map(|said| HandsOff { everything, ..said });
    set(stage, said);
}

fn set(stage: &mut Stage, said: Option<HandsOff>) {
    stage.apply(Change::HandsOff {
        cluster: prod(),
        host: None,
        said,
        only: None,
    });
}

/// node4 is to join; its plan is adopted and its first steps are carried out.
fn joining() -> (Stage, clusterctl_proto::ids::OperationId) {
    let mut stage = Stage::three();
    stage.toy.now += 1000;
    stage.toy.look();
    let id = stage.submit(join("node4")).unwrap();
    stage.decide();
    assert!(stage.carry_out(|_, _, _| None));
    (stage, id)
}

fn state(stage: &Stage, id: clusterctl_proto::ids::OperationId) -> &OperationState {
    &stage.model.operations[&id].state
}

#[test]
fn a_pause_holds_no_operation_of_an_operator_unless_it_holds_everything() {
    let (mut stage, id) = joining();
    pause(&mut stage, false);
    (0..3).for_each(|_| stage.tick());
    assert!(
        matches!(state(&stage, id), OperationState::Done { .. }),
        "{:?}",
        state(&stage, id)
    );

    let (mut stage, id) = joining();
    pause(&mut stage, true);
    (0..3).for_each(|_| stage.tick());
    assert!(
        matches!(state(&stage, id), OperationState::Waiting { .. }),
        "{:?}",
        state(&stage, id)
    );
    assert_eq!(inside(&stage), NODES);
    // However long it lasts.
    stage.toy.now += 24 * 3_600_000;
    (0..3).for_each(|_| stage.tick());
    assert!(matches!(state(&stage, id), OperationState::Waiting { why } if why.contains("paused")));
    let sight = stage.toy.sight();
    let told = stage.look(&sight, |world| crate::leader::status::clusters(world, None));
    let told = &told[0].paused;
    assert!(
        told.starts_with("paused with all operations by operator/alice")
            && told.contains("stopped before")
            && told.contains("by hand"),
        "{told}"
    );
    set(&mut stage, None);
    (0..5).for_each(|_| stage.tick());
    assert!(
        matches!(state(&stage, id), OperationState::Done { .. }),
        "{:?}",
        state(&stage, id)
    );
    assert!(inside(&stage).contains(&"node4".to_owned()));
}

/// Who has joined gets its row, although the pause came in between; nothing that is not needed for that is begun.
#[test]
fn what_has_begun_reaches_its_safe_point() {
    let (mut stage, id) = joining();
    for _ in 0..20 {
        stage.carry_out(|_, _, _| None);
        if inside(&stage).contains(&"node4".to_owned()) {
            break;
        }
    }
    let listed = |stage: &mut Stage| {
        let rows = stage.toy.server("node1").metadata.clone().unwrap().instances;
        rows.iter().any(|row| row.address == "node4:3306")
    };
    assert!(!listed(&mut stage));
    pause(&mut stage, true);
    (0..3).for_each(|_| stage.tick());
    assert!(listed(&mut stage));
    let plan = stage.model.operations[&id].plans[0];
    assert_eq!(stage.model.plans[&plan].state, PlanState::Done);
}

/// A recovery that a coordinator began by itself makes no group once somebody has paused the cluster.
#[test]
fn a_pause_holds_a_bootstrap_that_is_on_its_way() {
    let mut stage = recovery_submitted();
    stage.decide();
    assert!(stage.carry_out(|_, _, _| None), "promises");
    let before = stage.toy.bootstraps;
    pause(&mut stage, false);
    stage.alone_for(40);
    assert_eq!(stage.toy.bootstraps, before);
    set(&mut stage, None);
    stage.alone_for(40);
    assert_eq!(stage.toy.bootstraps, before + 1);
    assert_eq!(inside(&stage), NODES);
}

/// The pause holds a bootstrap on node1: status names node1 to a person only while nobody is in a group and node1 has everything.
#[test]
fn nobody_is_told_to_bootstrap_by_hand_while_a_group_may_live() {
    let mut stage = Stage::three();
    power_cut(&mut stage, &NODES);
    stage.toy.now += 1000;
    stage.toy.look();
    stage.submit(recover(&[], None, &stage)).unwrap();
    stage.decide();
    assert!(stage.carry_out(|_, _, _| None), "promises");
    assert!(stage.carry_out(|_, _, _| None), "the last promise");
    pause(&mut stage, true);
    (0..3).for_each(|_| stage.tick());
    let told = |stage: &Stage| {
        let sight = stage.toy.sight();
        let told = stage.look(&sight, |world| crate::leader::status::clusters(world, None));
        told[0].paused.clone()
    };
    let (go, look) = ("may be bootstrapped on", "clusterctl why -c prod");
    assert!(told(&stage).contains(go), "{}", told(&stage));
    let mut silent = stage.clone();
    silent.toy.host("node3").answers = false;
    silent.toy.now += 4000;
    silent.toy.look();
    assert!(told(&silent).ends_with(look), "{}", told(&silent));
    let mut more = stage.clone();
    more.toy.write_alone("node2");
    more.toy.look();
    assert!(told(&more).ends_with(look), "{}", told(&more));
    stage.toy.by_hand(&["node2"]);
    stage.toy.look();
    assert!(told(&stage).ends_with(look), "{}", told(&stage));
}

/// Every step that begins something is followed, in the plans that use it, by what finishes it.
#[test]
fn plans_finish_what_they_begin() {
    let stage = Stage::after(&[create("node1", &["node2", "node3"], &["router1"]), join("node4")]);
    let kinds = [
        OperationKind::Remove {
            host: name("node4"),
            force: false,
        },
        super::stage::add_router("router2"),
    ];
    for kind in kinds {
        let draft = stage.dry_plan(kind);
        let first = draft
            .steps
            .iter()
            .find(|step| halt(&step.step) == Halt::Begins)
            .unwrap();
        let finishes =
            |step: &&crate::model::PlannedStep| halt(&step.step) == Halt::Finishes && step.number > first.number;
        assert!(draft.steps.iter().any(|step| finishes(&step)), "{}", first.title);
    }
    assert_eq!(halt(&Step::Promise {}), Halt::MayStop);
}

/// An operator who asks for the same at that moment gets the coordinator's own operation, and what has become of it.
#[test]
fn the_coordinators_own_recovery_is_not_done_by_a_pause() {
    let mut stage = recovery_submitted();
    let own = stage.model.active_operations().next().unwrap().id;
    pause(&mut stage, false);
    let asked = stage.submit(recover(&[], None, &stage)).unwrap();
    assert_eq!(asked, own, "the same operation");
    stage.decide();
    let OperationState::Failed { failure } = state(&stage, own) else {
        panic!("{:?}", state(&stage, own))
    };
    assert_eq!(failure.code, "paused");
    let hint = failure.hint.as_deref().unwrap_or_default();
    assert!(
        hint.contains("clusterctl resume prod") && hint.contains("clusterctl recover prod"),
        "{hint}"
    );
    assert!(inside(&stage).is_empty());
    // It does not count as an attempt that failed.
    set(&mut stage, None);
    stage.toy.now += 1000;
    stage.toy.look();
    stage.heal();
    stage.alone_for(10);
    assert_eq!(inside(&stage), NODES);
}

/// node4 is silent for a moment when the pause ends: it is waited for as if the operation had just been stored.
#[test]
fn an_operation_has_its_patience_yet_when_a_pause_ends() {
    for ends_by_itself in [false, true] {
        let mut stage = Stage::three();
        let to = crate::model::FEATURE_LEVEL;
        stage.apply(Change::RaiseFeatureLevel { to });
        stage.toy.now += 1000;
        stage.toy.look();
        let id = stage.submit(join("node4")).unwrap();
        let until = stage.toy.now + 24 * 3_600_000;
        let paused = said(&stage, ends_by_itself.then_some(until));
        let everything = true;
        set(&mut stage, paused.map(|said| HandsOff { everything, ..said }));
        stage.tick();
        stage.toy.host("node4").answers = false;
        stage.toy.now = until + 1000;
        if !ends_by_itself {
            set(&mut stage, None);
        }
        let waits = |stage: &Stage| matches!(state(stage, id), OperationState::Waiting { why } if why.contains("does not answer"));
        stage.toy.look();
        stage.decide();
        assert!(waits(&stage), "{:?}", state(&stage, id));
        set(&mut stage, None);
        stage.toy.now += 300_000;
        stage.toy.look();
        stage.decide();
        assert!(waits(&stage), "{:?}", state(&stage, id));
        stage.toy.now += 400_000;
        stage.toy.look();
        stage.decide();
        assert!(
            matches!(state(&stage, id), OperationState::Failed { failure } if failure.code == "host_silent"),
            "{:?}",
            state(&stage, id)
        );
    }
}
