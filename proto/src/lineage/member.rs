//! The lineage of one member's data: how surely it is known, who gave them, and what the member vouches for itself.
//!
//! Used by the agent, which keeps it, and by the coordinator, which is told it. Pure; what nobody vouches for is never taken for proven.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Branch, LineageId, Lineages, Shared};
use crate::gtid::GtidSet;
use crate::ids::ServerUuid;

/// How surely the lineage of a member's data is known.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// The agent measured it: its own step or its own rejoin brought the member in, or the member was bootstrapped.
    Verified,
    /// A person, an automatic rejoin or a restored copy brought it here, and nothing proves that the data are the group's.
    #[default]
    Unverified,
}

/// The lineage of one member's data, as its agent's ledger holds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct MemberLineage {
    /// The lineage.
    pub id: LineageId,
    /// How surely.
    pub trust: Trust,
    /// The server that the data belong to; with another one they are not these data.
    pub server_uuid: ServerUuid,
    /// Where the lineage branched off, where this agent saw its bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Branch>,
    /// What the data were before a person or Group Replication itself brought them here: by it they may still be proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// The counter of the newest view of this lineage that the server is known to have been in; 0: none is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub counter: u64,
    /// What these data can vouch for; none: it is not known now, since the server recovers or its log was not heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// Who gave it what it lacked when it entered past its agent, or whose data were copied, as `host:port`, and the first and the last view
    /// in which they did: those of whom nobody has told yet that their own data were proven.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub donors: BTreeMap<String, Span>,
    /// These data are a copy, and its donor is one of `donors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<CopyOf>,
    /// When this member's data were proven, in other lineages and before they were replaced, too; at most [`PAST`], the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<Past>,
}

/// So many times are remembered: more only if nobody has told for as long what a member of the time before waits for.
pub const PAST: usize = 6;

/// A copy of a member's data that counts as half of one until that member has vouched for it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct CopyOf {
    /// Whose data, as `host:port`.
    pub donor: String,
    /// What they were copied as.
    pub id: LineageId,
}

/// A member's data were proven then, whatever has become of them since.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Past {
    /// Their lineage.
    pub id: LineageId,
    /// When.
    pub span: Span,
}

/// From the first to the last of these views of their lineage a member's data were what they are now but for what came later: nobody replaced
/// them, and who gave them what is taken into account.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Span {
    /// Counter of the first; 0: since the lineage began; the largest number: these data have not been in any view yet.
    pub since: u64,
    /// Counter of the last.
    pub until: u64,
}

impl Span {
    /// All of the other is in it.
    pub fn covers(self, other: Self) -> bool {
        self.since <= other.since && other.until <= self.until
    }
}

/// A member whose data are proven vouches for what it gave to others.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Stay {
    /// The member, as `host:port`.
    pub address: String,
    /// The lineage of its data.
    pub id: LineageId,
    /// When it gave it.
    pub span: Span,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(counter: &u64) -> bool {
    *counter == 0
}

/// The data of a member before it entered a group unmeasured.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Before {
    /// Their lineage then; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<LineageId>,
    /// All that the server held, applied or received, when it was seen out of any group last.
    pub held: GtidSet,
}

impl MemberLineage {
    /// The lineage, if it is sure.
    pub fn verified(&self) -> Option<&LineageId> {
        (self.trust == Trust::Verified && self.donors.is_empty()).then_some(&self.id)
    }

    /// What it entered with is sure.
    pub fn is_verified(&self) -> bool {
        self.trust == Trust::Verified
    }

    /// Its data are proven but for what its donors gave it: of these nobody has told yet.
    pub fn is_pending(&self) -> bool {
        self.is_verified() && !self.donors.is_empty()
    }

    /// All that the member at this address vouches for.
    pub fn stays(&self, address: &str) -> Vec<Stay> {
        let now = self.stay(address.to_owned());
        let known = |past: &&Past| {
            now.as_ref()
                .is_some_and(|now| now.id == past.id && now.span.covers(past.span))
        };
        let before = self.past.iter().filter(|past| !known(past)).map(|past| Stay {
            address: address.to_owned(),
            id: past.id.clone(),
            span: past.span,
        });
        before.chain(now.clone()).collect()
    }

    /// What the member at this address vouches for as to the data that it has now; none: they are not proven, or that is not known now. What
    /// it had before its own donors gave it something waits for nobody's word.
    pub fn stay(&self, address: String) -> Option<Stay> {
        let mut span = self.span.filter(|_| self.is_verified())?;
        if let Some(first) = self.donors.values().map(|given| given.since).min() {
            span.until = span.until.min(first.checked_sub(1)?);
        }
        let id = self.id.clone();
        (span.since <= span.until).then_some(Stay { address, id, span })
    }

    /// What these data vouch for now they vouch for also when they are others.
    pub fn remember(&mut self) {
        let Some(Stay { id, span, .. }) = self.stay(String::new()) else {
            return;
        };
        let same = |past: &&mut Past| past.id == id && past.span.since == span.since;
        if let Some(past) = self.past.iter_mut().find(same) {
            past.span.until = past.span.until.max(span.until);
            return;
        }
        self.past.push(Past { id, span });
        let more = self.past.len().saturating_sub(PAST);
        self.past.drain(..more);
    }

    /// Nobody knows since when these data are not what they were taken for.
    pub fn forget(&mut self) {
        let prefix = self.id.prefix();
        self.past.retain(|past| past.id.prefix() != prefix);
    }

    /// A membership of this lineage was forced in the view with this counter. A transaction that waited may have been committed in the view
    /// before that one, on this side alone.
    pub fn forget_since(&mut self, forced: u64) {
        let prefix = self.id.prefix();
        for past in self.past.iter_mut().filter(|past| past.id.prefix() == prefix) {
            if past.id.forced_at() < forced {
                past.span.until = past.span.until.min(forced.saturating_sub(2));
            }
        }
        self.past.retain(|past| past.span.since <= past.span.until);
    }

    /// Forgets the donors for whom somebody vouches.
    pub fn vouched(&mut self, stays: &[Stay]) {
        let mut donors = std::mem::take(&mut self.donors);
        donors.retain(|donor, given| !stays.iter().any(|stay| self.accepts(stay, donor, *given)));
        self.donors = donors;
        let is_asked = |copy: &CopyOf| self.donors.contains_key(&copy.donor);
        self.copy_of = self.copy_of.take().filter(is_asked);
    }

    /// This word of a donor proves what it gave. One whose data were replaced since then does not vouch for what it gave before by those.
    pub fn accepts(&self, stay: &Stay, donor: &str, given: Span) -> bool {
        stay.address.eq_ignore_ascii_case(donor)
            && stay.id.prefix() == self.id.prefix()
            && stay.span.covers(given)
            && !self.is_copy_of_another(&stay.id, donor, given)
    }

    /// The copy of this donor's data is not of the lineage that it was made for: they went through a forced membership, or have not been told
    /// of one yet. Whoever is inside when a membership is forced is told; a copy is not.
    pub fn is_copy_of_another(&self, id: &LineageId, donor: &str, given: Span) -> bool {
        let copy = self.copy_of.as_ref().filter(|copy| copy.donor == donor);
        // What waited may have been committed in the view before the forced one.
        copy.is_some_and(|copy| copy.id != *id && id.forced_at() <= given.until.saturating_add(1))
    }

    /// What was entered unmeasured is proven now: by the branches that are known, the group had everything that this member held.
    /// The numbers are its own and were compared by Group Replication when it entered.
    pub fn proven(&self, lineages: &Lineages) -> bool {
        self.had_the_groups(lineages) == Some(true)
    }

    /// What was entered unmeasured is proven as soon as its agent has learnt this, or when more is known.
    pub fn may_be_proven(&self, lineages: &Lineages) -> bool {
        self.had_the_groups(lineages) != Some(false)
    }

    /// Of data that were entered with unmeasured: the group had everything that this member held. None: it may be told yet.
    fn had_the_groups(&self, lineages: &Lineages) -> Option<bool> {
        let Some(before) = self.before.as_ref().filter(|_| self.trust == Trust::Unverified) else {
            return Some(false);
        };
        if before.held.is_empty() {
            return Some(true);
        }
        match before.id.as_ref().map(|id| lineages.shared(id, &self.id)) {
            Some(Shared::Same) => Some(true),
            Some(Shared::Base(base)) => Some(base.contains(&before.held)),
            Some(Shared::Unknown) => None,
            None => Some(false),
        }
    }
}
