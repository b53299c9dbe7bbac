//! Input and output of every planning function.

use std::collections::BTreeMap;
use std::sync::Arc;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::{HostFacts, Observation};

use super::restored::ForeignOrders;
use crate::model::{Model, PlanDraft, UnixMs};

/// Why young answers of a host prove nothing: more than one stream speaks under its identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// A second stream came although the first had answered seconds before; it passes within seconds.
    Contested,
    /// Two machines have this identity: what is known of each.
    Twins(Vec<String>),
}

/// What the leader knows of one host.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// Its newest answer.
    pub observation: Arc<Observation>,
    /// Facts of its newest full answer.
    pub host: Option<Arc<HostFacts>>,
    /// Age of that full answer, counted like `age_ms`.
    pub host_age_ms: u64,
    /// Age, counted on the leader's monotonic clock from when the question was asked, in milliseconds.
    pub age_ms: u64,
    /// The stream on which it answered still stands.
    pub connected: bool,
    /// Which stream speaks for the host is not known, for this reason.
    pub doubt: Option<Doubt>,
    /// Orders in its ledger that this coordinator's log does not contain.
    pub foreign: ForeignOrders,
    /// Since that answer a member with a majority saw its group without it: whatever it is in now, it came back meanwhile.
    pub missed: bool,
}

impl Seen {
    /// Its newest answer, for a test that changes it.
    #[cfg(test)]
    pub(crate) fn observation_mut(&mut self) -> &mut Observation {
        Arc::make_mut(&mut self.observation)
    }

    /// Older answers are not certain (safety rule 4).
    pub const CERTAIN_MS: u64 = 3_000;

    /// This is evidence enough for a step that destroys, bootstraps or forces.
    pub fn is_certain(&self) -> bool {
        self.connected
            && self.doubt.is_none()
            && self.age_ms <= Self::CERTAIN_MS
            && self.foreign.values().all(|order| order.proven)
    }

    /// Nobody has answered under this name for a while, or at all since the stream ended.
    pub fn is_silent(&self) -> bool {
        self.doubt.is_none() && (!self.connected || self.age_ms > Self::CERTAIN_MS)
    }

    /// Why it is no evidence, as a clause about the host; none: it is certain.
    pub fn why_uncertain(&self) -> Option<String> {
        match &self.doubt {
            _ if self.is_certain() => None,
            Some(Doubt::Twins(speakers)) => Some(format!(
                "two machines speak under its identity ({})",
                speakers.join("; ")
            )),
            Some(Doubt::Contested) => {
                Some("a second stream came under its identity: which one is right shows within seconds".to_owned())
            }
            None if self.connected && self.age_ms <= Self::CERTAIN_MS => {
                Some("its ledger holds orders that this coordinator's log does not contain".to_owned())
            }
            None => Some(format!(
                "its agent last answered {} ago",
                super::context::seconds(self.age_ms)
            )),
        }
    }
}

/// Everything that the leader knows, by host; a host that never answered is not in it.
pub type Sight = BTreeMap<HostName, Seen>;

/// What follows from it.
#[derive(Clone, PartialEq, Debug)]
pub enum Decision {
    /// What is wanted is so: nothing to do.
    Already(String),
    /// Do this.
    Plan(PlanDraft),
    /// Not now, for this reason: it may pass by itself.
    Wait(String),
    /// Never like this.
    Refuse(Failure),
}

/// Input of every planning function.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Intent.
    pub model: &'a Model,
    /// Observations.
    pub sight: &'a Sight,
    /// The leader's wall clock.
    pub now: UnixMs,
    /// Subject of our CA as MySQL writes it, `/CN=clusterctl CA`.
    pub issuer: &'a str,
}

impl<'a> World<'a> {
    /// What the host's agent says now; none where it is silent or was last heard a while ago: that proves nothing (safety rule 2).
    pub(crate) fn certain(&self, host: &HostName) -> Option<&'a Seen> {
        self.sight.get(host).filter(|seen| seen.is_certain())
    }
}

/// Why a planning function made no plan.
#[derive(Debug)]
pub(crate) enum Stop {
    /// [`Decision::Already`].
    Already(String),
    /// [`Decision::Wait`].
    Wait(String),
    /// [`Decision::Refuse`].
    Refuse(Box<Failure>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Refuse(Box::new(failure))
    }
}

impl From<Stop> for Decision {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Already(message) => Self::Already(message),
            Stop::Wait(why) => Self::Wait(why),
            Stop::Refuse(failure) => Self::Refuse(*failure),
        }
    }
}

/// What planning functions answer.
pub(crate) type Planning<T = PlanDraft> = Result<T, Stop>;
