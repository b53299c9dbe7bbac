//! The protocol holds in worlds that are small enough for every build, and these worlds show every scene that it was made for. The
//! larger searches are the program of this package.

use clusterctl_protocol_model::rules::{Budget, Config, bounded_worlds};
use clusterctl_protocol_model::scene::ALL_SCENES;
use clusterctl_protocol_model::search::{Extent, run};

fn small_worlds() -> Vec<Budget> {
    let base = Budget::faultless();
    let plan_and_hand = Budget {
        plans: 1,
        forced: 0,
        ..base
    };
    let plan_and_forced = Budget { plans: 1, ..base };
    vec![
        Budget { crashes: 2, ..base },
        Budget { takeovers: 1, ..base },
        Budget {
            cuts: 1,
            by_hand: 0,
            ..base
        },
        Budget { restores: 1, ..base },
        Budget {
            crashes: 1,
            cuts: 1,
            ..plan_and_forced
        },
        Budget { lost: 1, ..base },
        Budget {
            late: 1,
            ..plan_and_hand
        },
        Budget {
            late: 1,
            by_hand: 0,
            forced: 0,
            ..base
        },
        Budget {
            cuts: 1,
            forced: 1,
            ..plan_and_hand
        },
    ]
}

#[test]
fn small_worlds_hold_and_show_every_scene() {
    let mut missing = ALL_SCENES.to_vec();
    for budget in small_worlds() {
        let report = run(Config::three(budget), Extent::Everything, 1);
        println!("{budget:?}\n{report}");
        assert!(report.counterexamples.is_empty(), "{budget:?}: {report}");
        missing.retain(|scene| report.scenes.count(*scene) == 0);
    }
    assert!(missing.is_empty(), "no small world showed {missing:?}");
}

#[test]
fn five_members_hold_near_the_start() {
    let extent = Extent::Bounded {
        depth: 24,
        states: 150_000,
    };
    for (name, config) in bounded_worlds() {
        let report = run(config, extent, 1);
        println!("{name}: {report}");
        assert!(report.counterexamples.is_empty(), "{name}: {report}");
    }
}

/// Members are interchangeable, so searching one of several states that differ only in numbers must not change what is found.
#[test]
fn numbers_of_members_do_not_matter() {
    let budget = Budget {
        crashes: 1,
        plans: 1,
        ..Budget::faultless()
    };
    let with = run(Config::three(budget), Extent::Everything, 1);
    let without = Config {
        symmetry: false,
        ..Config::three(budget)
    };
    let without = run(without, Extent::Everything, 1);
    assert!(with.counterexamples.is_empty() && without.counterexamples.is_empty());
    assert!(with.unique < without.unique, "{} and {}", with.unique, without.unique);
    let shown = |report: &clusterctl_protocol_model::search::Report| report.scenes.missing();
    assert_eq!(shown(&with), shown(&without));
}
