//! An old copy of the coordinator's disk was put back: what agents' ledgers show, and what follows.

use std::collections::BTreeMap;

use clusterctl_proto::ids::{ClusterName, Generation};
use clusterctl_proto::observe::LedgerFacts;

use super::heal_stage::{inside, not, of_host, troubles};
use super::refusals::refused;
use super::stage::{Stage, join, prod};
use super::toy::name;
use crate::check;
use crate::leader::status;
use crate::planner::heal::{Care, Subject};
use crate::planner::restored::{Foreign, ForeignOrders, foreign};

fn generation(epoch: u64, index: u64) -> Generation {
    Generation { epoch, index }
}

fn ledger(seen: Generation) -> LedgerFacts {
    LedgerFacts {
        known: true,
        generations: BTreeMap::from([(prod(), seen)]),
        ..LedgerFacts::default()
    }
}

/// The agent of this host reports an order that this log does not contain.
fn report(stage: &mut Stage, host: &str, proven: bool) {
    let index = stage.index + 500;
    let order = Foreign {
        generation: generation(1, index),
        proven,
    };
    stage.toy.host(host).foreign = ForeignOrders::from([(prod(), order)]);
}

#[test]
fn a_signed_order_of_a_lost_log_stops_the_cluster_and_says_the_way_out() {
    let mut stage = Stage::three();
    let draft = stage.dry_plan(join("node4"));
    let operation = stage.operation(join("node4"));
    // node3 falls out: it would be brought back.
    stage.toy.restart(&name("node3"));
    report(&mut stage, "node2", true);
    stage.toy.look();
    refused(&stage, join("node4"), "coordinator_disk_old");
    let sight = stage.toy.sight();
    let checked = stage.look(&sight, |world| check::check(world, &operation, &draft));
    assert_eq!(
        checked.map_err(|failure| failure.code),
        Err("rule_7_log_is_complete".to_owned())
    );
    let all = troubles(&stage);
    assert_eq!(
        (all[0].code, &all[0].subject),
        ("coordinator_disk_old", &Subject::Cluster)
    );
    assert!(
        all.iter().all(|trouble| matches!(trouble.care, Care::Not(_))),
        "{all:?}"
    );
    let shown = stage.look(&sight, |world| status::clusters(world, None)).remove(0);
    assert!(shown.verdict.contains("not led"), "{}", shown.verdict);
    assert!(
        shown
            .issues
            .iter()
            .any(|line| line.starts_with("ALARM") && line.contains("raise-epoch --yes")),
        "{:?}",
        shown.issues
    );
    let explained = stage.look(&sight, |world| status::explain(world, None, None)).remove(0);
    assert!(
        explained.troubles[0]
            .command
            .contains("clusterctl-coordinator raise-epoch")
    );
    assert!(!explained.troubles[0].command.contains("--yes"), "it shows first");
    stage.alone_for(30);
    assert_eq!(inside(&stage), ["node1", "node2"], "nothing is healed");
    // The way out.
    let epoch = stage.model.epoch;
    stage.apply(crate::machine::Change::RaiseEpoch { from: epoch });
    stage.alone_for(30);
    assert_eq!(inside(&stage), ["node1", "node2", "node3"]);
}

#[test]
fn an_unsigned_one_refuses_only_its_host() {
    let mut stage = Stage::three();
    stage.toy.restart(&name("node2"));
    stage.toy.restart(&name("node3"));
    report(&mut stage, "node3", false);
    stage.alone_for(30);
    assert_eq!(
        inside(&stage),
        ["node1", "node2"],
        "node2 is healed, node3 gets no orders"
    );
    let trouble = of_host(&stage, "node3").expect("said");
    assert_eq!((trouble.code, not(&trouble).0), ("ledger_ahead", "blocked"));
    assert!(
        troubles(&stage)
            .iter()
            .all(|trouble| trouble.code != "coordinator_disk_old")
    );
    stage.toy.host("node3").foreign.clear();
    stage.alone_for(30);
    assert_eq!(inside(&stage), ["node1", "node2", "node3"]);
}

/// All are ONLINE, and one of them will not be healed.
#[test]
fn a_host_that_gets_no_orders_is_said_in_the_sentence() {
    let mut stage = Stage::three();
    report(&mut stage, "node3", false);
    stage.alone();
    let sight = stage.toy.sight();
    let told = stage.look(&sight, |world| status::clusters(world, None).remove(0));
    assert!(
        told.verdict.ends_with(
            "tolerates 1 failure; the agent of node3 reports an order for prod that this coordinator never gave"
        ),
        "{}",
        told.verdict
    );
}

#[test]
fn what_of_a_ledger_is_not_of_this_log() {
    let stage = Stage::three();
    let newest = stage.model.clusters[&prod()].last_plan.expect("a plan").0;
    let applied = stage.index + 100;
    let judge = |seen: Generation, proven: Option<Generation>| {
        let found = foreign(&ledger(seen), &stage.model, applied, |name: &ClusterName| {
            proven.filter(|_| *name == prod())
        });
        found.get(&prod()).map(|order| order.proven)
    };
    assert_eq!(
        judge(generation(1, newest), Some(generation(1, newest))),
        None,
        "our own plan"
    );
    assert_eq!(
        judge(generation(1, applied), None),
        None,
        "a rebuilt ledger holds what the leader sent"
    );
    assert_eq!(judge(generation(1, applied + 1), None), Some(false));
    assert_eq!(judge(generation(2, 1), None), Some(false), "of a later epoch");
    let later = generation(1, newest + 1);
    assert_eq!(
        judge(later, Some(later)),
        Some(true),
        "although this log has grown past it"
    );
    assert_eq!(judge(generation(0, applied + 1), None), None, "of an epoch before");
    let mut lost = ledger(later);
    lost.known = false;
    assert!(foreign(&lost, &stage.model, applied, |_| Some(later)).is_empty());
    let promised = LedgerFacts {
        promises: BTreeMap::from([(prod(), generation(1, applied + 1))]),
        generations: BTreeMap::new(),
        ..ledger(later)
    };
    assert!(!foreign(&promised, &stage.model, applied, |_| None).is_empty());
    let mut raised = stage.model.clone();
    raised.epoch = 2;
    let far = generation(1, applied + 900);
    assert!(
        foreign(&ledger(far), &raised, applied, |_| Some(far)).is_empty(),
        "the epoch was raised"
    );
}
