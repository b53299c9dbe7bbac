//! The scenes that a search must have seen, counted while it runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

macro_rules! scenes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that the protocol is made for.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(usize)]
        pub enum Scene { $($(#[$doc])* $name,)* }

        /// Every scene.
        pub const ALL_SCENES: &[Scene] = &[$(Scene::$name,)*];

        impl Scene {
            /// The scene in words: also the name of its property.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The property that some state was reached by it.
            pub(crate) fn property(self) -> stateright::Property<crate::model::Protocol> {
                match self {
                    $(Self::$name => stateright::Property::sometimes($text, |model: &crate::model::Protocol, _| {
                        model.scenes().report(Self::$name)
                    }),)*
                }
            }
        }
    };
}

scenes! {
    /// A plan's bootstrap order ended in START.
    RecoveryBootstraps = "a recovery bootstraps",
    /// The same without members that a person abandoned.
    ForcedBootstraps = "a forced recovery bootstraps without abandoned members",
    /// A person bootstrapped, and another member followed.
    HandBootstrapMoves = "a member rejoins after a hand-made bootstrap",
    /// The agent of a hand-made bootstrap recorded it.
    HandBootstrapNoticed = "a hand-made bootstrap is recorded by its agent",
    /// A person bootstrapped while a plan was on its way.
    HandBootstrapDuringPlan = "a person bootstraps while a recovery is on its way",
    /// Beyond the branch point.
    MemberRefused = "a member that holds more than the branch point is refused",
    /// A lineage that nobody has recorded.
    UnknownLineageRefused = "a member is refused where a lineage is not known",
    /// The same where a comparison of numbers would have let it in.
    ReusedNumbersRefused = "a member is refused although the group used its numbers again",
    /// The same, of a member that was abandoned.
    AbandonedRefused = "an abandoned member comes back and is refused",
    /// An abandoned member whose transactions the group has.
    AbandonedInside = "an abandoned member that lacks nothing comes back and enters",
    /// A member of a lineage beside the group's.
    ForkRefused = "a member of a lost lineage beside the group's is refused",
    /// The agent did it without an order.
    RejoinsAlone = "an agent rejoins a live group without an order",
    /// Below the ledger's generation.
    StaleOrderRefused = "a stale order arrives and is refused",
    /// At START.
    OvertakenAtStart = "a newer promise overtakes a confirmed bootstrap before START",
    /// At the order or at START.
    AgedPromiseRefused = "a promise that is too old is refused",
    /// The agent's own question.
    PeerLiveRefused = "the agent's own question finds a live group and it refuses",
    /// Leader's look before START.
    EvidenceChanged = "the leader looks again before START and evidence has changed",
    /// A deposed leader was asked.
    DeposedCannotConfirm = "a deposed leader is asked to confirm and cannot",
    /// A late confirmation.
    OldAnswerRefused = "a confirmation arrives late and answers no open question",
    /// A forced recovery had to wait.
    ForcedWaits = "a forced recovery waits for the promise of an abandoned member to age",
    /// An order to promise met a member in a group.
    PromiseInGroup = "a member in a group gives no promise",
    /// The ledgers' generations are above the leader's log.
    RestoreDetected = "a restored coordinator disk is detected",
    /// A second plan under one generation.
    OtherPlanRefused = "an agent refuses another plan under a generation that it knows",
    /// A crash before the agent had recorded a hand-made bootstrap.
    LineageLost = "a crash before a hand-made bootstrap was recorded makes the lineage unknown",
}

/// How often each scene was played.
#[derive(Debug, Default)]
pub struct Scenes {
    counts: [AtomicU64; 32],
    reported: [AtomicBool; 32],
}

impl Scenes {
    /// The scene is played now.
    pub(crate) fn play(&self, scene: Scene) {
        self.counts[scene as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many transitions played it.
    pub fn count(&self, scene: Scene) -> u64 {
        self.counts[scene as usize].load(Ordering::Relaxed)
    }

    /// The scenes that were not played.
    pub fn missing(&self) -> Vec<Scene> {
        ALL_SCENES
            .iter()
            .copied()
            .filter(|scene| self.count(*scene) == 0)
            .collect()
    }

    /// True once after the scene was first played: the checker keeps the path of every state for which this holds.
    fn report(&self, scene: Scene) -> bool {
        self.count(scene) > 0 && !self.reported[scene as usize].swap(true, Ordering::Relaxed)
    }
}
