//! Each rule is needed: the protocol without it has a counterexample, and with it, in the same small world, none.

use clusterctl_protocol_model::rules::{ALL_RULES, Budget, Config, Rule};
use clusterctl_protocol_model::search::{Extent, Report, run};

const ONE_GROUP: &str = "at most one lineage takes writes";
const NOTHING_LOST: &str = "the newest group has every acknowledged transaction";
const SAME_DATA: &str = "no member of a group holds what the group has not";
const ONE_PLAN: &str = "a member obeys one plan under one generation";

/// The smallest world in which a rule counts, and what is broken without it.
fn world(rule: Rule) -> (Budget, &'static str) {
    let one_plan = Budget {
        plans: 1,
        bootstraps: 1,
        ..Budget::default()
    };
    let two_plans = Budget {
        plans: 2,
        bootstraps: 2,
        ..Budget::default()
    };
    let by_hand = Budget {
        by_hand: 1,
        bootstraps: 1,
        writes: 1,
        ..Budget::default()
    };
    let plan_and_hand = Budget {
        plans: 1,
        by_hand: 1,
        bootstraps: 2,
        ..Budget::default()
    };
    match rule {
        Rule::PromiseByAll | Rule::RefuseOlder => (two_plans, ONE_GROUP),
        Rule::HoldsAll => (one_plan, NOTHING_LOST),
        Rule::Confirm => (
            Budget {
                crashes: 1,
                writes: 1,
                ..plan_and_hand
            },
            NOTHING_LOST,
        ),
        Rule::LinearizableConfirm => (
            Budget {
                takeovers: 1,
                ..plan_and_hand
            },
            ONE_GROUP,
        ),
        Rule::AnswerNamesQuestion => (
            Budget {
                late: 1,
                ..plan_and_hand
            },
            ONE_GROUP,
        ),
        Rule::AskPeers => (
            Budget {
                forced: 1,
                cuts: 1,
                ..plan_and_hand
            },
            ONE_GROUP,
        ),
        Rule::LineageMeasure | Rule::LowerBoundBase => (by_hand, SAME_DATA),
        Rule::AbandonedMeasured => (
            Budget {
                forced: 1,
                crashes: 1,
                writes: 1,
                ..one_plan
            },
            SAME_DATA,
        ),
        Rule::RestoredDisk => (
            Budget {
                restores: 1,
                ..two_plans
            },
            ONE_PLAN,
        ),
        Rule::PromiseAge => (plan_and_hand, ONE_GROUP),
        Rule::ForcedWaits => (
            Budget {
                forced: 1,
                cuts: 1,
                ..two_plans
            },
            ONE_GROUP,
        ),
    }
}

fn search(config: Config) -> Report {
    run(
        Config {
            symmetry: false,
            ..config
        },
        Extent::FirstCounterexample,
        1,
    )
}

fn needed(rule: Rule) {
    let (budget, broken) = world(rule);
    let with = search(Config::three(budget));
    assert!(with.counterexamples.is_empty(), "all rules: {with}");
    let without = search(Config::three(budget).without(rule));
    println!("without {rule:?}: {without}");
    assert!(
        without.counterexamples.iter().any(|(name, _)| *name == broken),
        "without {rule:?}: {without}"
    );
}

macro_rules! needed {
    ($($test:ident: $rule:ident,)*) => {
        $(#[test] fn $test() { needed(Rule::$rule); })*

        #[test]
        fn every_rule_has_its_test() {
            assert_eq!(ALL_RULES, [$(Rule::$rule),*]);
        }
    };
}

needed! {
    every_member_promises: PromiseByAll,
    the_bootstrapped_member_holds_everything: HoldsAll,
    older_orders_are_refused: RefuseOlder,
    the_leader_confirms_before_start: Confirm,
    only_a_linearizable_leader_confirms: LinearizableConfirm,
    an_answer_counts_for_its_question_only: AnswerNamesQuestion,
    the_agent_asks_every_other_member: AskPeers,
    members_are_measured_by_lineage: LineageMeasure,
    abandoned_members_are_measured: AbandonedMeasured,
    a_restored_disk_is_refused: RestoredDisk,
    an_old_promise_counts_no_more: PromiseAge,
    the_base_of_a_hand_made_bootstrap_is_a_lower_bound: LowerBoundBase,
    a_forced_recovery_waits: ForcedWaits,
}

/// The window that the documents name: a person bootstraps in the seconds between the last look and START.
#[test]
fn the_window_of_a_hand_made_bootstrap_is_there() {
    let (budget, _) = world(Rule::PromiseAge);
    let closed = search(Config::three(budget));
    assert!(closed.counterexamples.is_empty(), "{closed}");
    let open = search(Config::three(budget).with_person_in_window());
    assert!(
        open.counterexamples.iter().any(|(name, _)| *name == ONE_GROUP),
        "{open}"
    );
}
