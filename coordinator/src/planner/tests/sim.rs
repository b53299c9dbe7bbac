//! A small seeded simulator: plans are carried out on the toy world while steps fail, agents go silent, mysqlds restart and the
//! leader forgets and sends again. However that goes: never two bootstraps of a living group, never a plan that breaks a rule
//! (`Stage::ask` checks each), and every operation ends; once faults are over, the same command typed again ends well.
//!
//! `SIM_SEED=n` runs one seed; a failure prints its seed.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, OperationId};
use clusterctl_proto::step::{Step, StepOutcome, StepResult};

use super::stage::{Stage, add_router, create, join, prod};
use super::toy::{ToyWorld, name};
use crate::model::operation::RecoveryWish;
use crate::model::{OperationKind, OperationState};

/// SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.next() % of.len() as u64).unwrap()]
    }
}

const HOSTS: [&str; 5] = ["node1", "node2", "node3", "node4", "router1"];
/// Ticks with faults, then without.
const ROUGH: u32 = 60;
const CALM: u32 = 800;

pub fn failed(code: &str, retry: bool) -> StepOutcome {
    let failure = Failure {
        retry,
        ..Failure::new(code, "thrown by the dice")
    };
    StepOutcome {
        result: StepResult::Failed { failure },
        data: None,
        elapsed_ms: 0,
        spent_ms: Default::default(),
    }
}

/// A step, perhaps not as it should go.
pub fn meddle(dice: &mut Dice, toy: &mut ToyWorld, host: &HostName, step: &Step) -> Option<StepOutcome> {
    match dice.next() % 40 {
        // It does not even begin.
        0 | 1 => Some(failed("thrown_before", true)),
        // It is done, but the agent is killed before it says so, and is sent the step again.
        2..=4 => {
            toy.run(host, step);
            None
        }
        // It is done, and something fails behind it.
        5 => {
            toy.run(host, step);
            Some(failed("thrown_after", true))
        }
        6 if dice.one_in(4) => Some(failed("thrown_for_good", false)),
        // mysqld restarts under it.
        7 => {
            toy.restart(host);
            Some(failed("restarted", true))
        }
        // The donor goes away in the middle of a copy.
        8..=12 if matches!(step, Step::CloneData { .. }) => {
            toy.hosts.get_mut(host)?.half_copied = true;
            Some(failed("clone_failed", true))
        }
        _ => None,
    }
}

fn rough_tick(stage: &mut Stage, dice: &mut Dice) {
    stage.toy.now += 200 + i64::try_from(dice.next() % 1800).unwrap();
    let host = name(dice.pick::<&str>(&HOSTS));
    match dice.next() % 12 {
        0 => stage.toy.hosts.get_mut(&host).unwrap().answers = false,
        1 | 2 => HOSTS.iter().for_each(|host| stage.toy.host(host).answers = true),
        3 if dice.one_in(2) => stage.toy.restart(&host),
        4 => stage.toy.write(),
        _ => {}
    }
    // Answers may be missing, so that plans are made on what was seen a moment ago.
    if !dice.one_in(3) {
        stage.toy.look();
    }
    stage.heal();
    stage.decide();
    stage.carry_out(|toy, host, step| meddle(dice, toy, host, step));
    assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
}

fn ended(stage: &Stage, id: OperationId) -> bool {
    stage.model.operations[&id].state.is_final()
}

fn calm(stage: &mut Stage, id: OperationId) {
    HOSTS.iter().for_each(|host| stage.toy.host(host).answers = true);
    for _ in 0..CALM {
        if ended(stage, id) {
            return;
        }
        stage.alone();
        assert!(stage.toy.alarms.is_empty(), "{:?}", stage.toy.alarms);
    }
    panic!("operation {id} does not end: {:?}", stage.model.operations[&id].state);
}

/// The command, under faults, then typed again in peace until it ends well or is refused.
fn see_through(stage: &mut Stage, dice: &mut Dice, kind: &OperationKind) {
    stage.toy.look();
    let Ok(id) = stage.submit(kind.clone()) else { return };
    for _ in 0..ROUGH {
        if !ended(stage, id) {
            rough_tick(stage, dice);
        }
    }
    calm(stage, id);
    for _ in 0..3 {
        if matches!(stage.model.operations[&id].state, OperationState::Done { .. }) {
            return;
        }
        stage.toy.now += 2000;
        stage.toy.look();
        match stage.submit(kind.clone()) {
            Ok(again) => calm(stage, again),
            Err(_) => return,
        }
    }
}

/// Answers whether the cluster was formed.
fn run(seed: u64) -> bool {
    let dice = &mut Dice(seed);
    let mut stage = Stage::new();
    let form = create("node1", &["node2", "node3"], &["router1"]);
    see_through(&mut stage, dice, &form);
    let formed = |stage: &Stage| stage.model.clusters.get(&prod()).is_some_and(|cluster| cluster.formed);
    if !formed(&stage) {
        // Refused for good: then for a reason, and with at most the one group.
        return false;
    }
    assert!(stage.toy.group.is_some() || stage.toy.bootstraps > 0);
    let more = [
        join("node4"),
        OperationKind::Join {
            host: name("node4"),
            recovery: RecoveryWish::Clone,
            ignore_checks: Vec::new(),
        },
        add_router("router1"),
        OperationKind::Switchover { to: None },
        OperationKind::Verify,
    ];
    for _ in 0..3 {
        let kind = dice.pick(&more).clone();
        see_through(&mut stage, dice, &kind);
    }
    let leave = OperationKind::Remove {
        host: name("node3"),
        force: dice.one_in(2),
    };
    see_through(&mut stage, dice, &leave);
    true
}

/// Runs so many seeds (or `SIM_SEEDS`) from 0 (or `SIM_FROM`), or the one of `SIM_SEED`; a failure prints its seed.
pub fn each_seed<T>(all: u64, test: &str, run: impl Fn(u64) -> T + std::panic::RefUnwindSafe) -> Vec<T> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (only, all) = (number("SIM_SEED"), number("SIM_SEEDS").unwrap_or(all));
    let from = number("SIM_FROM").unwrap_or(0);
    let one = |seed| {
        std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!(
                "seed {seed} failed: SIM_SEED={seed} cargo test -p clusterctl-coordinator planner::tests::{test}"
            );
            std::panic::resume_unwind(panic)
        })
    };
    only.map_or(from..from + all, |seed| seed..seed + 1).map(one).collect()
}

#[test]
fn many_seeds() {
    let runs = each_seed(200, "sim::", run);
    let all = runs.len();
    let formed = runs.into_iter().filter(|formed| *formed).count();
    eprintln!("{formed} of {all} seeds formed their cluster");
    assert!(
        formed * 10 >= all * 9 || all < 100,
        "the faults are too many to prove anything: {formed} of {all} formed"
    );
}

/// Without faults everything ends well, at the first go.
#[test]
fn in_peace() {
    let mut stage = Stage::three();
    for kind in [
        join("node4"),
        add_router("router2"),
        OperationKind::Verify,
        OperationKind::Switchover {
            to: Some(name("node3")),
        },
    ] {
        stage.must(kind);
    }
    stage.must(OperationKind::Remove {
        host: name("node1"),
        force: false,
    });
    stage.must(OperationKind::RemoveRouter {
        host: name("router1"),
        force: false,
    });
    assert_eq!((stage.toy.bootstraps, &stage.toy.alarms), (1, &Vec::new()));
    let leftovers = stage
        .toy
        .hosts
        .values()
        .flat_map(|host| host.accounts.iter().chain(&host.secrets));
    let passing: Vec<&String> = leftovers
        .filter(|name| name.starts_with("clusterctl_") || name.contains(':'))
        .collect();
    assert!(passing.is_empty(), "{passing:?}");
}
