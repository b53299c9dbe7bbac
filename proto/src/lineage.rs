//! Lineages: which bootstrap of a group a member's transactions descend from, and what two lineages share.
//!
//! GTID numbers are used again after every bootstrap of a group, so a comparison of GTID sets proves something only within one
//! lineage. Each lineage names its parent and its *base*: transactions that the group certainly had when the lineage branched off. A
//! base is a lower bound, so that a number that was used again is never inside it.
//!
//! Used by the coordinator (planner, check) and by the agent (before every start of Group Replication). Pure; it must never say
//! [`Measure::Inside`] of something that it cannot tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::gtid::GtidSet;
use crate::ids::{Generation, HostName, InvalidName};

mod member;

pub use member::{Before, CopyOf, MemberLineage, PAST, Past, Span, Stay, Trust};

/// Longer texts are no view ids.
const LONGEST: usize = 64;

/// Names one lineage: the first part of the group's view id, which every bootstrap draws anew, and `+COUNTER` behind it where a
/// membership was forced (`group_replication_force_members` keeps the first part).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LineageId(String);

impl LineageId {
    /// What a member belongs to that entered its group before lineages were recorded.
    pub fn origin() -> Self {
        Self("0".to_owned())
    }

    /// The lineage that a view id (`PREFIX:COUNTER`) belongs to, and the counter; none for an empty or unknown text.
    pub fn of_view(view_id: &str) -> Option<(Self, u64)> {
        let (prefix, counter) = view_id.split_once(':')?;
        Some((prefix.parse().ok()?, counter.parse().ok()?))
    }

    /// The lineage that begins with a forced membership in the view with this counter.
    pub fn forced(&self, counter: u64) -> Self {
        Self(format!("{}+{counter}", self.prefix()))
    }

    /// The first part of the view ids of this lineage.
    pub fn prefix(&self) -> &str {
        self.0.split_once('+').map_or(self.0.as_str(), |(prefix, _)| prefix)
    }

    /// The counter of the view in which the membership was forced; 0: the lineage began with a bootstrap.
    pub fn forced_at(&self) -> u64 {
        self.0
            .split_once('+')
            .and_then(|(_, counter)| counter.parse().ok())
            .unwrap_or(0)
    }

    /// The text as it is shown and stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LineageId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut parts = text.splitn(2, '+');
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let valid = text.len() <= LONGEST && parts.next().is_some_and(digits) && parts.next().is_none_or(digits);
        if valid {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName {
            kind: "lineage",
            given: text.chars().take(80).collect(),
            rule: "digits, as in the first part of a view id",
        })
    }
}

impl TryFrom<String> for LineageId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<LineageId> for String {
    fn from(id: LineageId) -> Self {
        id.0
    }
}

impl fmt::Display for LineageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LineageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a lineage branched off.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Branch {
    /// The lineage of the member that was bootstrapped; none: nothing was before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<LineageId>,
    /// Transactions that this member certainly had then, a lower bound; empty: not known, or there were none.
    #[serde(default, skip_serializing_if = "GtidSet::is_empty")]
    pub base: GtidSet,
    /// The plan that bootstrapped it; none: a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Where it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// Members that an operator abandoned when it was bootstrapped.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub abandoned: BTreeSet<HostName>,
}

/// Every lineage that is known of one group: a tree, since two may branch off the same one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(transparent)]
pub struct Lineages(BTreeMap<LineageId, Branch>);

/// What two lineages have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shared {
    /// They are one: everything.
    Same,
    /// What was in all of them where they branched, and nothing beyond it.
    Base(GtidSet),
    /// Not known how they hang together.
    Unknown,
}

/// What a member's transactions are beside a group's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Measure {
    /// The group has them all, and they are the same ones.
    Inside,
    /// These are not the group's, although it may have used their numbers.
    Beyond(GtidSet),
    /// It cannot be told: one of the lineages is not known.
    Unknown,
}

impl Lineages {
    /// Nothing is known yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This lineage is known.
    pub fn contains(&self, id: &LineageId) -> bool {
        self.0.contains_key(id)
    }

    /// Where it branched off.
    pub fn get(&self, id: &LineageId) -> Option<&Branch> {
        self.0.get(id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&LineageId, &Branch)> {
        self.0.iter()
    }

    /// Adds a lineage. Of one that is known only a base that was not known is completed: what was recorded first stays. False: nothing
    /// changed, or its parent descends from it.
    pub fn add(&mut self, id: LineageId, branch: Branch) -> bool {
        if let Some(known) = self.0.get_mut(&id) {
            let completes = known.base.is_empty() && !branch.base.is_empty() && known.parent == branch.parent;
            if completes {
                known.base = branch.base;
            }
            return completes;
        }
        let descends = branch
            .parent
            .as_ref()
            .is_some_and(|parent| self.path(parent).contains(&&id));
        if descends || branch.parent.as_ref() == Some(&id) {
            return false;
        }
        self.0.insert(id, branch);
        true
    }

    /// Adds what another copy of the tree knows.
    pub fn merge(&mut self, other: &Self) {
        for (id, branch) in other.iter() {
            self.add(id.clone(), branch.clone());
        }
    }

    /// The lineage and its ancestors, itself first.
    pub fn path<'a>(&'a self, id: &'a LineageId) -> Vec<&'a LineageId> {
        let mut path = vec![id];
        let mut at = id;
        while let Some(parent) = self.0.get(at).and_then(|branch| branch.parent.as_ref()) {
            // A file from outside may hold a circle.
            if path.contains(&parent) {
                break;
            }
            path.push(parent);
            at = parent;
        }
        path
    }

    /// This lineage and its ancestors with their branches, without any other.
    pub fn ancestry(&self, id: &LineageId) -> Self {
        let known = self.path(id).into_iter();
        Self(
            known
                .filter_map(|id| Some((id.clone(), self.0.get(id)?.clone())))
                .collect(),
        )
    }

    /// The second lineage is the first one or descends from it.
    pub fn descends(&self, ancestor: &LineageId, id: &LineageId) -> bool {
        self.path(id).contains(&ancestor)
    }

    /// What both have in common: the intersection of the bases of every branch between them.
    pub fn shared(&self, one: &LineageId, other: &LineageId) -> Shared {
        if one == other {
            return Shared::Same;
        }
        let (up, down) = (self.path(one), self.path(other));
        let Some(common) = up.iter().find(|id| down.contains(id)) else {
            return Shared::Unknown;
        };
        let branches = |path: &[&LineageId]| -> Vec<LineageId> {
            path.iter()
                .take_while(|id| *id != common)
                .map(|id| (*id).clone())
                .collect()
        };
        let mut shared: Option<GtidSet> = None;
        for id in branches(&up).iter().chain(&branches(&down)) {
            let Some(branch) = self.0.get(id) else {
                return Shared::Unknown;
            };
            shared = Some(shared.map_or_else(|| branch.base.clone(), |set| set.intersect(&branch.base)));
        }
        shared.map_or(Shared::Unknown, Shared::Base)
    }

    /// What a member of one lineage holds, beside a group of another that has `group_has` now.
    pub fn measure(&self, member: &LineageId, held: &GtidSet, group: &LineageId, group_has: &GtidSet) -> Measure {
        let beyond = match self.shared(member, group) {
            Shared::Same => held.subtract(group_has),
            Shared::Base(base) => held.subtract(&base.intersect(group_has)),
            Shared::Unknown if held.is_empty() => return Measure::Inside,
            Shared::Unknown => return Measure::Unknown,
        };
        if beyond.is_empty() {
            Measure::Inside
        } else {
            Measure::Beyond(beyond)
        }
    }
}

#[cfg(test)]
mod tests;
