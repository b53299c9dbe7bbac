//! What happened in one seed, in lines for people, and how often each kind of thing happened over all seeds.
//!
//! Every part of the world notes here. A [`Mark`] is counted; the table of all marks says what the simulator has really seen, and
//! `run` asserts that no mark that matters stays at zero.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Something that a seed may see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mark {
    /// The group was bootstrapped by an order of a plan.
    Bootstrapped,
    /// A plan bootstrapped the group without members that an operator abandoned.
    ForcedRecovery,
    /// A person bootstrapped by hand.
    HandBootstrap,
    /// The group went on in another lineage.
    LineageChange,
    /// A member came in by an order.
    Joined,
    /// A member came in although no coordinator was there.
    JoinedAlone,
    /// mysqld brought itself back (auto-rejoin).
    AutoRejoin,
    /// A person started Group Replication on a member that was out.
    HandStart,
    /// A person stopped Group Replication.
    HandStop,
    /// A person wrote on a member that was out.
    ErrantWrite,
    /// A member was cloned.
    Cloned,
    /// The primary role was handed over by an order.
    Switchover,
    /// A member that holds something else was kept out.
    KeptOut,
    /// An agent refused an order of an older plan.
    OldOrder,
    /// An order was refused since it had waited too long.
    StaleOrder,
    /// An order was sent again: its stream, or the coordinator, had ended.
    OrderAgain,
    /// A donor's data were copied while another plan of the cluster was carried out.
    CopyBeside,
    /// The evidence of a step had changed or was missing when it was to be sent.
    EvidenceChanged,
    /// A step was cancelled.
    Cancelled,
    /// A bootstrap was refused by the agent itself.
    BootstrapRefused,
    /// The leader did not confirm a bootstrap.
    NotConfirmed,
    /// A coordinator was deposed without knowing it.
    Deposed,
    /// A coordinator was killed or frozen.
    CoordinatorGone,
    /// An old copy of the coordinator's disk was put back.
    OldDisk,
    /// An agent's ledger was lost.
    LedgerLost,
    /// An agent was killed or frozen.
    AgentGone,
    /// mysqld was killed.
    ServerKilled,
    /// mysqld alone was frozen.
    ServerFrozen,
    /// A host lost power.
    PowerLost,
    /// Every member was without power at once.
    CompleteOutage,
    /// Hosts did not reach each other, in one direction or both.
    Partition,
    /// A primary lost the majority.
    QuorumLost,
    /// A joiner died when the group of one that let it in did not know it yet.
    DiedAtTheDoor,
    /// A group that agreed on nothing any more was stopped.
    Halted,
    /// A membership was forced by hand.
    ForcedMembership,
    /// Hosts' clocks differ from the beginning.
    ClocksDiffer,
    /// A clock was set.
    ClockSet,
    /// A server applied slowly.
    Lag,
    /// A clone would have taken minutes.
    SlowCopy,
    /// A server could not apply what it received.
    ApplierBroken,
    /// A server could not read its metadata.
    MetadataUnreadable,
    /// A member's data were lost with its disk.
    NewDisk,
    /// A cluster was paused.
    Paused,
    /// A plan ended since its cluster was paused.
    StoppedByPause,
    /// A member was let in past its agent with something else in it.
    LetIn,
    /// Acknowledged rows were given up by a person.
    GivenUp,
    /// A write was acknowledged.
    Acknowledged,
    /// A client was told "unknown".
    UnknownFate,
    /// A person and a plan bootstrapped within the window that is documented.
    InsideWindow,
    /// The world became whole again by itself.
    Whole,
    /// It did not, and a reason was shown for each member that is out.
    Explained,
}

impl Mark {
    /// Every mark, for the table.
    pub const ALL: [Self; 51] = [
        Self::Bootstrapped,
        Self::ForcedRecovery,
        Self::HandBootstrap,
        Self::LineageChange,
        Self::Joined,
        Self::JoinedAlone,
        Self::AutoRejoin,
        Self::HandStart,
        Self::HandStop,
        Self::ErrantWrite,
        Self::Cloned,
        Self::Switchover,
        Self::KeptOut,
        Self::OldOrder,
        Self::StaleOrder,
        Self::OrderAgain,
        Self::CopyBeside,
        Self::EvidenceChanged,
        Self::Cancelled,
        Self::BootstrapRefused,
        Self::NotConfirmed,
        Self::Deposed,
        Self::CoordinatorGone,
        Self::OldDisk,
        Self::LedgerLost,
        Self::AgentGone,
        Self::ServerKilled,
        Self::ServerFrozen,
        Self::PowerLost,
        Self::CompleteOutage,
        Self::Partition,
        Self::QuorumLost,
        Self::DiedAtTheDoor,
        Self::Halted,
        Self::ForcedMembership,
        Self::ClocksDiffer,
        Self::ClockSet,
        Self::Lag,
        Self::SlowCopy,
        Self::ApplierBroken,
        Self::MetadataUnreadable,
        Self::NewDisk,
        Self::Paused,
        Self::StoppedByPause,
        Self::LetIn,
        Self::GivenUp,
        Self::Acknowledged,
        Self::UnknownFate,
        Self::InsideWindow,
        Self::Whole,
        Self::Explained,
    ];

    /// Many seeds that do not see it are blind. Two are not asked for. An order that waits in its agent until it is too old: its stream has
    /// ended before, and the coordinator sends a host no second order, so this is a rule behind others (the agent's own tests hold it).
    /// And the documented window, which is capped instead.
    pub fn matters(self) -> bool {
        !matches!(self, Self::StaleOrder | Self::InsideWindow)
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Bootstrapped => "The group was bootstrapped by an order of a plan",
            Self::ForcedRecovery => "A plan bootstrapped the group without members that an operator abandoned",
            Self::HandBootstrap => "A person bootstrapped by hand",
            Self::LineageChange => "The group went on in another lineage",
            Self::Joined => "A member came in by an order",
            Self::JoinedAlone => "A member came in although no coordinator was there",
            Self::AutoRejoin => "mysqld brought itself back (auto-rejoin)",
            Self::HandStart => "A person started Group Replication on a member that was out",
            Self::HandStop => "A person stopped Group Replication",
            Self::ErrantWrite => "A person wrote on a member that was out",
            Self::Cloned => "A member was cloned",
            Self::Switchover => "The primary role was handed over by an order",
            Self::KeptOut => "A member that holds something else was kept out",
            Self::OldOrder => "An agent refused an order of an older plan",
            Self::StaleOrder => "An order was refused since it had waited too long",
            Self::OrderAgain => "An order was sent again: its stream, or the coordinator, had ended",
            Self::CopyBeside => "A donor's data were copied while another plan of the cluster was carried out",
            Self::EvidenceChanged => "The evidence of a step had changed or was missing when it was to be sent",
            Self::Cancelled => "A step was cancelled",
            Self::BootstrapRefused => "A bootstrap was refused by the agent itself",
            Self::NotConfirmed => "The leader did not confirm a bootstrap",
            Self::Deposed => "A coordinator was deposed without knowing it",
            Self::CoordinatorGone => "A coordinator was killed or frozen",
            Self::OldDisk => "An old copy of the coordinator's disk was put back",
            Self::LedgerLost => "An agent's ledger was lost",
            Self::AgentGone => "An agent was killed or frozen",
            Self::ServerKilled => "mysqld was killed",
            Self::ServerFrozen => "mysqld alone was frozen",
            Self::PowerLost => "A host lost power",
            Self::CompleteOutage => "Every member was without power at once",
            Self::Partition => "Hosts did not reach each other, in one direction or both",
            Self::QuorumLost => "A primary lost the majority",
            Self::DiedAtTheDoor => "A joiner died when the group of one that let it in did not know it yet",
            Self::Halted => "A group that agreed on nothing any more was stopped",
            Self::ForcedMembership => "A membership was forced by hand",
            Self::ClocksDiffer => "Hosts' clocks differ from the beginning",
            Self::ClockSet => "A clock was set",
            Self::Lag => "A server applied slowly",
            Self::SlowCopy => "A clone would have taken minutes",
            Self::ApplierBroken => "A server could not apply what it received",
            Self::MetadataUnreadable => "A server could not read its metadata",
            Self::NewDisk => "A member's data were lost with its disk",
            Self::Paused => "A cluster was paused",
            Self::StoppedByPause => "A plan ended since its cluster was paused",
            Self::LetIn => "A member was let in past its agent with something else in it",
            Self::GivenUp => "Acknowledged rows were given up by a person",
            Self::Acknowledged => "A write was acknowledged",
            Self::UnknownFate => "A client was told 'unknown'",
            Self::InsideWindow => "A person and a plan bootstrapped within the window that is documented",
            Self::Whole => "The world became whole again by itself",
            Self::Explained => "It did not, and a reason was shown for each member that is out",
        }
    }
}

/// How many seeds saw each mark.
pub type Coverage = BTreeMap<Mark, u64>;

/// The story of one seed.
#[derive(Default)]
pub struct Story {
    told: Mutex<Told>,
    begun: Option<Instant>,
}

#[derive(Default)]
struct Told {
    lines: Vec<String>,
    marks: BTreeMap<Mark, u64>,
    /// What broke a rule, the first first.
    wrong: Vec<String>,
}

impl Story {
    /// Begins now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            told: Mutex::default(),
            begun: Some(Instant::now()),
        })
    }

    /// Tells a line.
    pub fn tell(&self, line: impl AsRef<str>) {
        let at = self.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        self.lock().lines.push(format!("{at:9.3}  {}", line.as_ref()));
    }

    /// Counts.
    pub fn mark(&self, mark: Mark) {
        *self.lock().marks.entry(mark).or_default() += 1;
    }

    /// Forgets what was counted, but for what is so from the beginning.
    pub fn count_from_now(&self) {
        self.lock().marks.retain(|mark, _| *mark == Mark::ClocksDiffer);
    }

    /// A rule is broken.
    pub fn wrong(&self, what: impl AsRef<str>) {
        self.tell(format!("BROKEN: {}", what.as_ref()));
        self.lock().wrong.push(what.as_ref().to_owned());
    }

    /// What broke a rule first.
    pub fn first_wrong(&self) -> Option<String> {
        self.lock().wrong.first().cloned()
    }

    /// All lines.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// How often each mark was seen.
    pub fn marks(&self) -> BTreeMap<Mark, u64> {
        self.lock().marks.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
