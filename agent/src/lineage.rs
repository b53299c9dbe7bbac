//! Which bootstrap of the group this member's data descend from, as this agent has seen it itself.
//!
//! Kept in the ledger, one record a cluster; updated by every look at the server (`observe/`), by the steps that enter a group, and by
//! what the coordinator tells of other lineages. Pure: the ledger writes it. It must never call data the group's that nobody measured:
//! what entered past this agent is unverified until it is proven or copied anew. What steps write stands here; what a look brings, in
//! `lineage/look.rs`; what speaks against the data on record, in `lineage/doubt.rs`; who gave them, in
//! `lineage/donors.rs`; what the server's own log tells, in `lineage/log.rs`.

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::{Generation, HostName, ServerUuid};
use clusterctl_proto::lineage::{Branch, CopyOf, LineageId, Lineages, Measure, MemberLineage, Span, Trust};
use serde::{Deserialize, Serialize};

mod donors;
mod doubt;
pub mod log;
mod look;

pub use donors::Donors;
pub use look::{Look, Noted};

/// All that is remembered of one cluster's lineages.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The lineage of this member's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberLineage>,
    /// Every lineage that is known, this agent's own included.
    #[serde(default, skip_serializing_if = "Lineages::is_empty")]
    pub known: Lineages,
    /// What the server held when it was last seen certainly out of any group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<Out>,
    /// This server entered its group under the release before, which recorded no lineages: the one that it is seen in first is its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopts: bool,
    /// The ledger was lost, and the leader knew nothing of it. At the first look after that a server belongs to the lineage that it is in, or
    /// that it was in last by its own log; one whose log does not tell has no history that anybody knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_loss: bool,
    /// A plan bootstraps here: written before the START, so that the lineage is known for the plan's whatever happens to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrapping: Option<Bootstrapping>,
    /// When the newest view was installed that is taken into account, by the server's clock and log. A line that is younger tells of a
    /// group that was entered, and perhaps left again, while this agent did not look.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_seen: String,
    /// The server whose data a copy is replacing, or was when the agent or the host died: what it holds lacks anything until a copy is known
    /// to be complete, and its donor has vouched for it. Never entered with, bootstrapped from or copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copying: Option<ServerUuid>,
    /// The forced membership that was recorded last, as the server's variable shows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub forced: String,
    /// When the clone began that these data are known to be of, by the server's clock; empty: of none. None: nobody has looked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloned: Option<String>,
    /// This agent made the server the last to be elected, and has not given its weight back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowered: Option<Lowered>,
    /// What is known of its donors.
    #[serde(default, skip_serializing_if = "Donors::is_empty")]
    pub donors: Donors,
}

/// A server whose weight in elections was lowered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Lowered {
    /// Which.
    pub server_uuid: ServerUuid,
    /// Its `group_replication_member_weight` before, 0 to 100.
    pub weight: u64,
}

/// A bootstrap by a plan, before it has ended.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Bootstrapping {
    /// The plan's.
    pub generation: Generation,
    /// The server that is bootstrapped.
    pub server_uuid: ServerUuid,
    /// What it holds, applied or received.
    #[serde(default, skip_serializing_if = "GtidSet::is_empty")]
    pub held: GtidSet,
    /// The newest line of its log before that, in microseconds since 1970.
    #[serde(default)]
    pub since: u64,
    /// Until when its first view is installed at the latest, by the same clock; 0: a release before did not note it.
    #[serde(default)]
    pub until: u64,
}

impl Bootstrapping {
    /// The plan's START may have installed a first view of this moment. One that was killed before it, or came too late, has made none.
    fn may_have_begun(&self, at: u64) -> bool {
        at > self.since && (self.until == 0 || at <= self.until)
    }
}

/// A server that was out of any group.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Out {
    /// Which.
    pub server_uuid: ServerUuid,
    /// Executed, so synced to disk.
    #[serde(default, skip_serializing_if = "GtidSet::is_empty")]
    pub executed: GtidSet,
    /// Executed or received.
    #[serde(default, skip_serializing_if = "GtidSet::is_empty")]
    pub held: GtidSet,
    /// The counter of the view that it was seen in first after that; none: it is out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered: Option<u64>,
    /// When, in microseconds since 1970 by the server's clock; none: a step of this agent is about to start it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Since an earlier look it has lost transactions that it had executed: what is told here does not tell what its data are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

impl Record {
    /// Of a member that entered its group under the release before.
    pub fn of_before() -> Self {
        Self {
            adopts: true,
            ..Self::default()
        }
    }

    /// Nothing is on record; `after_loss`: it was, and was lost.
    pub fn without_memory(after_loss: bool) -> Self {
        let mut record = Self {
            after_loss,
            ..Self::default()
        };
        if after_loss {
            record.new_data();
        }
        record
    }

    /// For the leader's memory. The tree is left out: every question brings it.
    pub fn last_word(&self) -> Option<serde_json::Value> {
        let known = Lineages::default();
        serde_json::to_value(Self { known, ..self.clone() }).ok()
    }

    /// What was on record before it was lost, as a leader was told it; none: an agent of another version had told it.
    pub fn remembered(word: serde_json::Value) -> Option<Self> {
        serde_json::from_value(word).ok()
    }

    /// The lineage of these data, if it is sure.
    pub fn verified(&self, server_uuid: ServerUuid) -> Option<&LineageId> {
        let member = self
            .member
            .as_ref()
            .filter(|member| member.server_uuid == server_uuid)?;
        member.verified()
    }

    /// The lineage that these data had, sure or not: of the time before, where none was recorded then. Half of a copy, which is entered with by
    /// nobody, is measured as what it is a copy of, so that it can be copied over again.
    fn own(&self, server_uuid: ServerUuid) -> Option<LineageId> {
        match &self.member {
            Some(member) if member.server_uuid == server_uuid => {
                let half = Some(&member.id).filter(|_| self.half_copied(server_uuid) && member.is_verified());
                member.verified().or(half).cloned()
            }
            Some(_) => None,
            None => self.adopts.then(LineageId::origin),
        }
    }

    /// A lineage began on this server.
    pub fn begin(
        &mut self,
        host: &HostName,
        server_uuid: ServerUuid,
        id: LineageId,
        (parent, base): (Option<LineageId>, GtidSet),
        generation: Option<Generation>,
    ) {
        let branch = Branch {
            parent,
            base,
            generation,
            host: Some(host.clone()),
            abandoned: Default::default(),
        };
        self.known.add(id.clone(), branch.clone());
        self.comes_into(server_uuid, &id);
        self.member = Some(MemberLineage {
            branch: Some(branch),
            ..self.member(server_uuid, id)
        });
        (self.out, self.adopts, self.bootstrapping) = (None, false, None);
    }

    /// The server is about to enter a group whose lineage is not recorded yet, with what it holds.
    pub fn enters_with(&mut self, server_uuid: ServerUuid, held: GtidSet) {
        self.out = Some(Out {
            server_uuid,
            executed: held.clone(),
            held,
            entered: None,
            at: None,
            lost: self.lost(server_uuid),
        });
    }

    /// A copy is about to replace this server's data.
    pub fn copies(&mut self, server_uuid: ServerUuid) {
        self.copying = Some(server_uuid);
        // What an earlier copy brought is gone in a moment, whoever vouches for it.
        if let Some(member) = &mut self.member
            && let Some(copy) = member.copy_of.take()
        {
            member.donors.remove(&copy.donor);
        }
    }

    /// The copy is complete. Its data are of the group's lineage, where that is recorded, and nobody is asked for them. `now` is the newest
    /// line of its log; the copy began at `cloned`, by its clock.
    pub fn copied(&mut self, server_uuid: ServerUuid, group: Option<LineageId>, (now, cloned): (String, String)) {
        if let Some(group) = group {
            self.enter(server_uuid, group, now.clone());
        }
        self.all_is_given(now);
        (self.copying, self.cloned) = (None, Some(cloned));
        self.new_data();
        // These are other data than those that were seen before.
        self.out = None;
    }

    /// The copy is complete, made for this lineage of the data that its donor had in these views; until the donor has vouched for that, it
    /// counts as half of one.
    pub fn copied_from(
        &mut self,
        server_uuid: ServerUuid,
        (id, donor, given): (LineageId, String, Span),
        log: (String, String),
    ) {
        self.copied(server_uuid, Some(id.clone()), log);
        self.copying = Some(server_uuid);
        if let Some(member) = &mut self.member {
            member.donors.insert(donor.clone(), given);
            member.copy_of = Some(CopyOf { donor, id });
        }
    }

    /// This server was seen without transactions that it had executed, and has its data still.
    fn lost(&self, server_uuid: ServerUuid) -> bool {
        let out = self.out.as_ref().filter(|out| out.server_uuid == server_uuid);
        out.is_some_and(|out| out.lost)
    }

    /// A copy onto this server is not known to be complete, or its donor has not vouched for it.
    pub fn half_copied(&self, server_uuid: ServerUuid) -> bool {
        self.copying == Some(server_uuid)
    }

    /// A copy onto this server is not known to be complete: what is here is of no account.
    pub fn is_being_copied(&self, server_uuid: ServerUuid) -> bool {
        let is_complete = self.member.as_ref().is_some_and(|member| member.copy_of.is_some());
        self.half_copied(server_uuid) && !is_complete
    }

    /// A plan is about to bootstrap here; the next look at the group that it makes records its lineage. The first view is installed after
    /// `since` and not after `until`.
    pub fn bootstraps(
        &mut self,
        server_uuid: ServerUuid,
        held: GtidSet,
        generation: Generation,
        (since, until): (u64, u64),
    ) {
        self.bootstrapping = Some(Bootstrapping {
            generation,
            server_uuid,
            held,
            since,
            until,
        });
    }

    /// The plan's START has certainly failed.
    pub fn not_bootstrapped(&mut self) {
        self.bootstrapping = None;
    }

    /// These data have turned out not to be the group's.
    pub fn distrust(&mut self) {
        if let Some(member) = &mut self.member {
            (member.trust, member.before) = (Trust::Unverified, None);
            member.forget();
        }
    }

    /// Lineages that others know.
    pub fn learn(&mut self, lineages: &Lineages) {
        self.known.merge(lineages);
    }

    /// What the coordinator tells of lineages. Whoever is out again may be proven by it: what it held when it entered is on record, and
    /// what it holds now is measured as ever. Whoever is inside is looked at first. Never by a step that enters: whether members gave
    /// notice that their data are proven is asked only of one that was verified before.
    pub fn told(&mut self, lineages: &Lineages) -> Noted {
        self.learn(lineages);
        match &self.out {
            Some(out) if out.entered.is_none() => self.settle(),
            _ => Noted::Nothing,
        }
    }

    /// The lineages that this member's data certainly descend from, without those that are told already.
    pub fn untold(&self, told: &Lineages) -> Lineages {
        let own = self.member.as_ref().and_then(MemberLineage::verified);
        let mut untold = Lineages::default();
        for (id, branch) in own.map(|own| self.known.ancestry(own)).unwrap_or_default().iter() {
            if !told.contains(id) {
                untold.add(id.clone(), branch.clone());
            }
        }
        untold
    }

    /// What this server holds beside a group that it is to enter.
    pub fn measure(&self, server_uuid: ServerUuid, held: &GtidSet, group: &LineageId, group_has: &GtidSet) -> Measure {
        if held.is_empty() {
            return Measure::Inside;
        }
        match self.own(server_uuid) {
            Some(own) => self.known.measure(&own, held, group, group_has),
            None => Measure::Unknown,
        }
    }

    /// Written before a START or a copy that was measured: from now on these data belong to the group's lineage, however far it comes.
    /// `now` is the newest line of its log: what it tells of until then is of no account any more.
    pub fn enter(&mut self, server_uuid: ServerUuid, group: LineageId, now: String) {
        self.log_seen = now;
        self.bootstrapping = None;
        // A step has measured what is there now: what was lost before does not count against it.
        if let Some(out) = self.out.as_mut().filter(|out| out.server_uuid == server_uuid) {
            out.lost = false;
        }
        self.comes_into(server_uuid, &group);
        let entered = self.member(server_uuid, group);
        let same = self.member.take().filter(|own| own.id == entered.id);
        self.member = Some(MemberLineage {
            counter: same.as_ref().map_or(0, |member| member.counter),
            branch: same.and_then(|member| member.branch),
            ..entered
        });
        self.adopts = false;
    }

    /// A new record of this server's data. What was proven before stays so.
    fn member(&self, server_uuid: ServerUuid, id: LineageId) -> MemberLineage {
        MemberLineage {
            past: self.member.iter().flat_map(|own| own.past.clone()).collect(),
            ..member(server_uuid, id)
        }
    }
}

fn member(server_uuid: ServerUuid, id: LineageId) -> MemberLineage {
    MemberLineage {
        id,
        trust: Trust::Verified,
        server_uuid,
        branch: None,
        before: None,
        counter: 0,
        span: None,
        donors: Default::default(),
        copy_of: None,
        past: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
