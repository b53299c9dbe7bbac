//! The rules that the model may leave out, and the bounds of one search.

use std::fmt;

/// One rule of the protocol. The tests leave out one at a time and expect a counterexample.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Rule {
    /// A group is bootstrapped after the promise of every member that was not abandoned.
    PromiseByAll,
    /// The bootstrapped member holds everything that any other member promised with.
    HoldsAll,
    /// An agent obeys no generation below its ledger's, and looks again directly before START.
    RefuseOlder,
    /// The agent asks the leader directly before START, and the leader looks at the members again.
    Confirm,
    /// Only a leader that the raft majority has just confirmed answers that question.
    LinearizableConfirm,
    /// An answer counts only for the question that it answers.
    AnswerNamesQuestion,
    /// The agent asks every other member itself, the abandoned ones as well; a live group is a refusal.
    AskPeers,
    /// Members are measured at the branch point of two lineages, not by GTID numbers.
    LineageMeasure,
    /// An abandoned member is measured like any other when it comes back, and is not counted before it is inside.
    AbandonedMeasured,
    /// A ledger with a generation above the leader's log makes the leader refuse to lead, and an agent refuses a second plan under a
    /// generation that its ledger knows.
    RestoredDisk,
    /// A promise that is older than the wait counts no more.
    PromiseAge,
    /// The base of a hand-made bootstrap is what the agent saw while its server was certainly out.
    LowerBoundBase,
    /// A forced recovery is confirmed only when no promise of an abandoned member can still count.
    ForcedWaits,
}

/// Every rule.
pub const ALL_RULES: [Rule; 13] = [
    Rule::PromiseByAll,
    Rule::HoldsAll,
    Rule::RefuseOlder,
    Rule::Confirm,
    Rule::LinearizableConfirm,
    Rule::AnswerNamesQuestion,
    Rule::AskPeers,
    Rule::LineageMeasure,
    Rule::AbandonedMeasured,
    Rule::RestoredDisk,
    Rule::PromiseAge,
    Rule::LowerBoundBase,
    Rule::ForcedWaits,
];

/// The rules in force.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rules(u16);

impl Rules {
    /// The protocol as it is.
    pub fn all() -> Self {
        Self(u16::MAX)
    }

    /// The protocol without this rule.
    pub fn without(rule: Rule) -> Self {
        Self(!(1 << rule as u8))
    }

    /// Whether this rule is in force.
    pub fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u8) != 0
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing: Vec<Rule> = ALL_RULES.into_iter().filter(|rule| !self.has(*rule)).collect();
        write!(f, "all but {missing:?}")
    }
}

/// How often each thing may happen in one run of the world.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Budget {
    /// Recovery plans that are adopted.
    pub plans: u8,
    /// Of those, plans that a person forces without unreachable members.
    pub forced: u8,
    /// Bootstraps by hand.
    pub by_hand: u8,
    /// Bootstraps altogether.
    pub bootstraps: u8,
    /// Crashes of members and coordinators. What crashed may be started again at any time.
    pub crashes: u8,
    /// Agents that lose their way to the leader while their servers go on.
    pub cuts: u8,
    /// Takeovers by another coordinator while the leader goes on.
    pub takeovers: u8,
    /// Messages that are lost although both ends live.
    pub lost: u8,
    /// Messages that are delivered a second time, at any later moment.
    pub late: u8,
    /// Coordinator disks that are put back to an older copy.
    pub restores: u8,
    /// Transactions that clients write.
    pub writes: u8,
}

/// One search.
#[derive(Clone, Debug)]
pub struct Config {
    /// Members, 2 to 5.
    pub members: usize,
    /// Coordinators, 1 to 3.
    pub coordinators: usize,
    /// What each member holds at the start, as sets of transaction numbers of the first lineage: one initial state per entry.
    pub starts: Vec<[u8; crate::state::MEMBERS]>,
    /// What may happen.
    pub budget: Budget,
    /// The rules in force.
    pub rules: Rules,
    /// Members are interchangeable: of all states that differ only in their numbers one is searched. Paths are harder to read then.
    pub symmetry: bool,
    /// A person may bootstrap by hand also in the seconds between the leader's confirmation and START.
    pub person_in_window: bool,
}

/// Transactions 1 and 2.
const BOTH: u8 = 0b110;
/// Transaction 1.
const FIRST: u8 = 0b010;

impl Config {
    /// Three members and two coordinators after an outage of all members; one or two of them hold everything.
    pub fn three(budget: Budget) -> Self {
        Self {
            members: 3,
            coordinators: 2,
            starts: vec![[BOTH, BOTH, FIRST, 0, 0], [BOTH, FIRST, FIRST, 0, 0]],
            budget,
            rules: Rules::all(),
            symmetry: true,
            person_in_window: false,
        }
    }

    /// Five members and three coordinators; three members hold everything.
    pub fn five(budget: Budget) -> Self {
        Self {
            members: 5,
            coordinators: 3,
            starts: vec![[BOTH, BOTH, BOTH, FIRST, FIRST]],
            ..Self::three(budget)
        }
    }

    /// The same without one rule.
    pub fn without(mut self, rule: Rule) -> Self {
        self.rules = Rules::without(rule);
        self
    }

    /// The same, and a person may bootstrap by hand at any moment.
    pub fn with_person_in_window(mut self) -> Self {
        self.person_in_window = true;
        self
    }
}

impl Budget {
    /// Two bootstraps, one of which may be by hand, two plans, one of which may be forced, and one write. No fault yet.
    pub fn faultless() -> Self {
        Self {
            plans: 2,
            forced: 1,
            by_hand: 1,
            bootstraps: 2,
            writes: 1,
            ..Self::default()
        }
    }
}

/// The worlds of three members and two coordinators that are searched through completely, by name. Each holds two bootstraps, one of them
/// by hand, and two plans where the name says nothing else; they differ in the faults, since all faults in one world are more states
/// than a night has time for.
pub fn exhaustive_worlds() -> Vec<(&'static str, Config)> {
    let base = Budget::faultless();
    let crashes = Budget { crashes: 2, ..base };
    let worlds = [
        (
            "one plan, two crashes, two leaders, a lost message, a late message",
            Budget {
                plans: 1,
                takeovers: 1,
                lost: 1,
                late: 1,
                ..crashes
            },
        ),
        (
            "two crashes, two leaders",
            Budget {
                takeovers: 1,
                ..crashes
            },
        ),
        (
            "two crashes, a lost message, a late message",
            Budget {
                lost: 1,
                late: 1,
                ..crashes
            },
        ),
        (
            "a crash, two leaders, a lost message, a late message",
            Budget {
                crashes: 1,
                takeovers: 1,
                lost: 1,
                late: 1,
                ..base
            },
        ),
        (
            "a crash, two leaders, an unreachable agent",
            Budget {
                crashes: 1,
                takeovers: 1,
                cuts: 1,
                ..base
            },
        ),
        (
            "an unreachable agent, a late message",
            Budget {
                cuts: 1,
                late: 1,
                ..base
            },
        ),
        (
            "a crash, two leaders, a restored disk",
            Budget {
                crashes: 1,
                takeovers: 1,
                restores: 1,
                ..base
            },
        ),
        (
            "a restored disk, a late message, an unreachable agent",
            Budget {
                restores: 1,
                late: 1,
                cuts: 1,
                ..base
            },
        ),
    ];
    worlds
        .into_iter()
        .map(|(name, budget)| (name, Config::three(budget)))
        .collect()
}

/// The worlds of five members and three coordinators that are searched to a bounded depth. A recovery alone takes ten actions there, which
/// the world with every fault does not reach in reasonable time: so the others have few faults each and are searched deeper.
pub fn bounded_worlds() -> Vec<(&'static str, Config)> {
    let base = Budget::faultless();
    let one_plan = Budget { plans: 1, ..base };
    let worlds = [
        ("no fault", base),
        ("one plan, two crashes", Budget { crashes: 2, ..one_plan }),
        (
            "one plan, three leaders, a crash",
            Budget {
                crashes: 1,
                takeovers: 2,
                ..one_plan
            },
        ),
        (
            "three leaders",
            Budget {
                takeovers: 2,
                by_hand: 0,
                ..base
            },
        ),
        ("an unreachable agent", Budget { cuts: 1, ..base }),
        ("one plan, a late message", Budget { late: 1, ..one_plan }),
        (
            "a restored disk",
            Budget {
                restores: 1,
                by_hand: 0,
                ..base
            },
        ),
        (
            "every fault, three plans",
            Budget {
                plans: 3,
                bootstraps: 3,
                crashes: 2,
                cuts: 1,
                takeovers: 2,
                lost: 1,
                late: 1,
                restores: 1,
                writes: 2,
                ..base
            },
        ),
    ];
    worlds
        .into_iter()
        .map(|(name, budget)| (name, Config::five(budget)))
        .collect()
}
