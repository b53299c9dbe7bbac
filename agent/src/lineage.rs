//! Which bootstrap of the group this member's data descend from, as this agent has seen it itself.
//!
//! Kept in the ledger, one record a cluster; updated by every look at the server (`observe/`), by the steps that enter a group, and by
//! what the coordinator tells of other lineages. Pure: the ledger writes it. It must never call data the group's that nobody measured:
//! what entered past this agent is unverified until it is proven or copied anew.

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::{Generation, HostName, ServerUuid};
use clusterctl_proto::lineage::{Before, Branch, LineageId, Lineages, Measure, MemberLineage, Trust};
use clusterctl_proto::observe::{GroupView, MemberRole, MemberState};
use serde::{Deserialize, Serialize};

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
    /// The ledger was lost. At the first look after that a server belongs to the lineage that it is in, or that it was in last by its own
    /// log; one whose log does not tell has no history that anybody knows.
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
    /// to be complete. Never entered with, bootstrapped from or copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copying: Option<ServerUuid>,
    /// The forced membership that was recorded last, as the server's variable shows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub forced: String,
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
}

/// The view that a server installed last, by its own log, which outlives a restart (manual, "The error_log Table").
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logged {
    /// When, as the server writes it.
    pub at: String,
    /// Its lineage.
    pub id: LineageId,
    /// Its counter.
    pub counter: u64,
    /// The server was refused in it for transactions that the group has not.
    pub refused: bool,
}

/// The server at one look: the view was read before the sets.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// This host.
    pub host: &'a HostName,
    /// `server_uuid`.
    pub server_uuid: ServerUuid,
    /// Its view; none: Group Replication is not active.
    pub view: Option<&'a GroupView>,
    /// Executed.
    pub executed: &'a GtidSet,
    /// Executed or received.
    pub held: &'a GtidSet,
    /// `group_replication_force_members`.
    pub force_members: &'a str,
    /// The view that the server installed last, by its own log; asked for while it is out.
    pub last_in: Option<&'a Logged>,
    /// The server's own log tells that the first view of the lineage was installed here, with this server alone.
    pub first_view_here: bool,
}

/// What a look has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noted {
    /// Nothing that is worth telling.
    Nothing,
    /// The bootstrap of a plan has come to pass.
    Bootstrapped,
    /// A person bootstrapped the group here.
    BootstrappedByHand,
    /// A person forced a membership here.
    Forced,
    /// The member entered a group past this agent.
    Unverified,
    /// What had entered past this agent is proven to be the group's.
    Proven,
    /// The lineage of the time before is known now.
    Adopted,
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
        Self {
            after_loss,
            ..Self::default()
        }
    }

    /// The lineage of these data, if it is sure.
    pub fn verified(&self, server_uuid: ServerUuid) -> Option<&LineageId> {
        let member = self
            .member
            .as_ref()
            .filter(|member| member.server_uuid == server_uuid)?;
        member.verified()
    }

    /// The server is in a lineage that is not on record for it: its log is to be asked who began it.
    pub fn is_new(&self, view: Option<&GroupView>) -> bool {
        inside(view).is_some_and(|(id, _)| self.is_other(&id))
    }

    /// This lineage is not the one on record.
    pub fn is_other(&self, id: &LineageId) -> bool {
        self.member
            .as_ref()
            .is_none_or(|member| member.id.prefix() != id.prefix())
    }

    /// Takes one look into account.
    pub fn look(&mut self, look: &Look<'_>) -> Noted {
        let after_loss = std::mem::take(&mut self.after_loss) && self.member.is_none();
        let was_in = inside(look.view).map(|(id, _)| id).or_else(|| {
            let logged = look.last_in.filter(|logged| !logged.refused);
            logged.map(|logged| logged.id.clone())
        });
        if let Some(id) = was_in.filter(|_| after_loss) {
            self.member = Some(member(look.server_uuid, id));
            return Noted::Adopted;
        }
        if after_loss && !look.held.is_empty() {
            // Data without a history: not those of a release that recorded none.
            self.member = Some(MemberLineage {
                trust: Trust::Unverified,
                ..member(look.server_uuid, LineageId::origin())
            });
        }
        let Some((id, counter)) = inside(look.view) else {
            let mut noted = self.passed(look);
            if self.forced_unseen(look) {
                noted = Noted::Forced;
            }
            if look.view.is_none_or(GroupView::is_out) {
                self.out = Some(Out {
                    server_uuid: look.server_uuid,
                    executed: look.executed.clone(),
                    held: look.held.clone(),
                    entered: None,
                });
            }
            return noted;
        };
        let noted = match &self.member {
            Some(member) if member.server_uuid == look.server_uuid && member.id.prefix() == id.prefix() => {
                if let Some(out) = &mut self.out {
                    out.entered.get_or_insert(counter);
                }
                // Whatever a plan was about to make here, it is not this group.
                self.bootstrapping = None;
                self.settle()
            }
            _ => self.enter_unmeasured(look, id.clone(), counter),
        };
        let noted = match self.forced(look, counter) {
            Noted::Nothing => noted,
            forced => forced,
        };
        self.was_in(&id, counter);
        noted
    }

    /// The server is, or was, in this view.
    fn was_in(&mut self, id: &LineageId, counter: u64) {
        if let Some(member) = self.member.as_mut().filter(|member| member.id.prefix() == id.prefix()) {
            member.counter = member.counter.max(counter);
        }
    }

    /// The server was in another group since the last look, however shortly: its log tells.
    fn passed(&mut self, look: &Look<'_>) -> Noted {
        let Some(logged) = look.last_in.filter(|logged| logged.at > self.log_seen) else {
            return Noted::Nothing;
        };
        self.log_seen.clone_from(&logged.at);
        // A START that was refused has brought nothing here: these data are what they were.
        if logged.refused {
            return Noted::Nothing;
        }
        let known = self
            .member
            .as_ref()
            .is_none_or(|member| member.server_uuid != look.server_uuid || member.id.prefix() == logged.id.prefix());
        if !known {
            return self.enter_unmeasured(look, logged.id.clone(), logged.counter);
        }
        if self
            .member
            .as_ref()
            .is_some_and(|member| member.server_uuid == look.server_uuid)
        {
            self.was_in(&logged.id, logged.counter);
        }
        Noted::Nothing
    }

    /// What entered past this agent may have been proven by what is known since.
    fn settle(&mut self) -> Noted {
        let proven = self.member.as_ref().is_some_and(|member| member.proven(&self.known));
        if let Some(member) = self.member.as_mut().filter(|_| proven) {
            (member.trust, member.before) = (Trust::Verified, None);
            return Noted::Proven;
        }
        Noted::Nothing
    }

    fn enter_unmeasured(&mut self, look: &Look<'_>, id: LineageId, counter: u64) -> Noted {
        let parent = self.own(look.server_uuid);
        let out = self.out.take_if(|out| out.server_uuid == look.server_uuid);
        if self.adopts && self.member.is_none() && self.bootstrapping.is_none() {
            self.adopts = false;
            self.member = Some(member(look.server_uuid, id));
            return Noted::Adopted;
        }
        let logged_first = inside(look.view).is_none();
        let alone = counter == 1 && (logged_first || look.view.is_some_and(|view| view.members.len() == 1));
        // One that is on record began earlier: this server comes back into it, perhaps with what it wrote elsewhere meanwhile.
        if (alone || look.first_view_here) && !self.known.contains(&id) {
            let planned = self.bootstrapping.take();
            if let Some(planned) = planned.filter(|planned| planned.server_uuid == look.server_uuid) {
                let base = planned.held.intersect(look.held);
                self.begin(
                    look.host,
                    look.server_uuid,
                    id,
                    (parent, base),
                    Some(planned.generation),
                );
                return Noted::Bootstrapped;
            }
            // What it held before; whatever it has lost since then it did not begin with.
            let base = out.map(|out| out.executed.intersect(look.executed)).unwrap_or_default();
            self.begin(look.host, look.server_uuid, id, (parent, base), None);
            return Noted::BootstrappedByHand;
        }
        // What it held before it was in a group last does not tell what it took from there. Of one that is out again already: whatever it
        // holds now may have been written before it entered.
        let out = out.filter(|out| out.entered.is_none());
        let before = out.map(|out| Before {
            id: parent,
            held: if logged_first {
                out.held.union(look.held)
            } else {
                out.held
            },
        });
        self.member = Some(MemberLineage {
            trust: Trust::Unverified,
            before,
            ..member(look.server_uuid, id)
        });
        // One that held nothing has all that it has from the group.
        let empty = self
            .member
            .as_ref()
            .and_then(|member| member.before.as_ref())
            .is_some_and(|before| before.held.is_empty());
        match self.settle() {
            Noted::Proven if empty => Noted::Adopted,
            Noted::Proven => Noted::Proven,
            _ => Noted::Unverified,
        }
    }

    /// The lineage that these data had, sure or not: of the time before, where none was recorded then.
    fn own(&self, server_uuid: ServerUuid) -> Option<LineageId> {
        match &self.member {
            Some(member) if member.server_uuid == server_uuid => member.verified().cloned(),
            Some(_) => None,
            None => self.adopts.then(LineageId::origin),
        }
    }

    /// A membership was forced here, and the server has left the group before this agent saw it in there. Whether the new view came to be
    /// is not told; a transaction that waited may have been committed on this side alone (docs/lineages.md, Forced membership).
    fn forced_unseen(&mut self, look: &Look<'_>) -> bool {
        let new = !look.force_members.is_empty() && look.force_members != self.forced;
        let member = self
            .member
            .clone()
            .filter(|member| member.server_uuid == look.server_uuid);
        let Some(member) = member.filter(|_| new) else {
            return false;
        };
        self.forced = look.force_members.to_owned();
        let id = member.id.forced(member.counter + 1);
        self.begin(look.host, look.server_uuid, id, (Some(member.id), GtidSet::new()), None);
        true
    }

    /// A forced membership keeps the first part of the view id and may use numbers again: it is a lineage of its own. Its agent sees it
    /// by the variable, the others by what the coordinator tells of it.
    fn forced(&mut self, look: &Look<'_>, counter: u64) -> Noted {
        let Some(member) = self.member.clone() else {
            return Noted::Nothing;
        };
        if look.force_members.is_empty() {
            self.forced.clear();
        } else if look.force_members != self.forced && online(look.view) {
            self.forced = look.force_members.to_owned();
            // Not before the view that was seen last, and perhaps long before this one: the agent may have been away.
            let at = if (1..counter).contains(&member.counter) {
                member.counter + 1
            } else {
                counter
            };
            // What this member saw while it had a majority is not told from what was forced later: nothing is sure to be shared.
            self.begin(
                look.host,
                look.server_uuid,
                member.id.forced(at),
                (Some(member.id), GtidSet::new()),
                None,
            );
            return Noted::Forced;
        }
        let later = self.known.iter().filter(|(id, branch)| {
            id.prefix() == member.id.prefix()
                && id.forced_at() > member.id.forced_at()
                && id.forced_at() <= counter
                && branch.host.as_ref().is_some_and(|host| is_inside(look.view, host))
        });
        let Some(id) = later.map(|(id, _)| id.clone()).max_by_key(LineageId::forced_at) else {
            return Noted::Nothing;
        };
        // Who was inside when it was forced goes on with it. Who came later came unmeasured: what it held is of the time before.
        let came_later = self.out.as_ref().filter(|out| {
            out.server_uuid == look.server_uuid && out.entered.is_some_and(|entered| entered >= id.forced_at())
        });
        let Some(out) = came_later else {
            self.member = Some(MemberLineage { id, ..member });
            return Noted::Nothing;
        };
        let before = Before {
            id: member.verified().cloned(),
            held: out.held.clone(),
        };
        self.member = Some(MemberLineage {
            id,
            trust: Trust::Unverified,
            before: Some(before),
            ..member
        });
        match self.settle() {
            Noted::Nothing => Noted::Unverified,
            proven => proven,
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
        self.member = Some(MemberLineage {
            branch: Some(branch),
            ..member(server_uuid, id)
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
        });
    }

    /// A copy is about to replace this server's data.
    pub fn copies(&mut self, server_uuid: ServerUuid) {
        self.copying = Some(server_uuid);
    }

    /// The copy is complete. Its data are of the group's lineage, where that is recorded. `now` is the server's clock.
    pub fn copied(&mut self, server_uuid: ServerUuid, group: Option<LineageId>, now: String) {
        if let Some(group) = group {
            self.enter(server_uuid, group, now);
        }
        self.copying = None;
    }

    /// A copy onto this server is not known to be complete.
    pub fn half_copied(&self, server_uuid: ServerUuid) -> bool {
        self.copying == Some(server_uuid)
    }

    /// A plan is about to bootstrap here; the next look at the group that it makes records its lineage.
    pub fn bootstraps(&mut self, server_uuid: ServerUuid, held: GtidSet, generation: Generation) {
        self.bootstrapping = Some(Bootstrapping {
            generation,
            server_uuid,
            held,
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
        }
    }

    /// What the coordinator tells of lineages.
    pub fn learn(&mut self, lineages: &Lineages) {
        self.known.merge(lineages);
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
    /// `now` is the server's clock: what its log tells of before is of no account any more.
    pub fn enter(&mut self, server_uuid: ServerUuid, group: LineageId, now: String) {
        self.log_seen = now;
        self.bootstrapping = None;
        let same = self.member.take().filter(|member| member.id == group);
        self.member = Some(MemberLineage {
            counter: same.as_ref().map_or(0, |member| member.counter),
            branch: same.and_then(|member| member.branch),
            ..member(server_uuid, group)
        });
        self.adopts = false;
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
    }
}

/// The lineage and the view's counter of a server that is in a group; a view id counts only together with that state.
fn inside(view: Option<&GroupView>) -> Option<(LineageId, u64)> {
    let view = view?;
    matches!(view.state, MemberState::Online | MemberState::Recovering)
        .then(|| LineageId::of_view(&view.view_id))
        .flatten()
}

fn online(view: Option<&GroupView>) -> bool {
    view.is_some_and(|view| view.state == MemberState::Online && view.role != MemberRole::None)
}

fn is_inside(view: Option<&GroupView>, host: &HostName) -> bool {
    view.is_some_and(|view| {
        let mut rows = view.members.iter();
        rows.any(|row| row.host.eq_ignore_ascii_case(host.as_str()) && row.state == MemberState::Online)
    })
}

#[cfg(test)]
mod tests;
