//! What one look at the server brings into the record of its lineage.
//!
//! Called by the observer after each look, and by the steps that begin a lineage. Pure.

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::{HostName, ServerUuid};
use clusterctl_proto::lineage::{Before, LineageId, MemberLineage, Trust};
use clusterctl_proto::observe::{GroupView, MemberRole, MemberState};

use super::log::{Log, Logged, Older};
use super::{Out, Record, member};

/// The server at one look: the view was read before the sets, but for one.
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
    /// Executed before the view was read: without what a group has written that was entered during this look.
    pub before: &'a GtidSet,
    /// Executed or received.
    pub held: &'a GtidSet,
    /// `group_replication_force_members`; none: it was not asked for.
    pub force_members: Option<&'a str>,
    /// The view that the server installed last, by its own log; asked for while it is out.
    pub last_in: Option<&'a Logged>,
    /// The server's own log tells that the first view of the lineage was installed here, with this server alone.
    pub first_view_here: bool,
    /// What the server's own log tells; none: it was not asked, since there is no need, or it did not answer.
    pub log: Option<&'a Log>,
    /// What it tells beyond its newest lines, where these fall short of the view that is looked for ([`Record::looked_for`], or the first one of
    /// the lineage that began here).
    pub older: Option<&'a Older>,
    /// The newest line of the server's log before the sets were read, in microseconds since 1970; none: it was not asked.
    pub at: Option<u64>,
    /// When the last clone onto this server began that has dropped something; empty: none is told; none: it was not asked.
    pub cloned: Option<&'a str>,
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
    /// The data were replaced by a copy that no step made.
    Replaced,
    /// The server has lost transactions that it had executed.
    Lost,
}

impl Record {
    /// The server is in a lineage that is not on record for it: its log is to be asked who began it.
    pub fn is_new(&self, view: Option<&GroupView>) -> bool {
        inside(view).is_some_and(|(id, _)| self.is_other(&id))
    }

    /// The server is in a view that is not on record: its log is to be asked what led to it.
    pub fn is_news(&self, view: Option<&GroupView>) -> bool {
        inside(view).is_some_and(|(id, counter)| {
            let member = self.member.as_ref().filter(|member| member.id.prefix() == id.prefix());
            member.is_none_or(|member| member.counter < counter)
        })
    }

    /// This lineage is not the one on record.
    pub fn is_other(&self, id: &LineageId) -> bool {
        self.member
            .as_ref()
            .is_none_or(|member| member.id.prefix() != id.prefix())
    }

    /// Takes one look into account.
    pub fn look(&mut self, look: &Look<'_>) -> Noted {
        let lost = self.loses(look);
        let asked = self.is_news(look.view) || self.awaits_donor(look.view);
        let known = self.member.as_ref().filter(|member| member.counter > 0);
        let newest = known.map(|member| (member.id.clone(), member.counter));
        let noted = match self.take(look) {
            Noted::Nothing | Noted::Unverified if lost => Noted::Lost,
            noted => noted,
        };
        self.note_donors(look, asked, newest.as_ref());
        noted
    }

    fn take(&mut self, look: &Look<'_>) -> Noted {
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
        let replaced = self.replaced(look);
        let doubted = self.doubted(look);
        // Before anything else changes the counter that it is compared with.
        let forced_at = self.forced_at(look);
        let Some((id, counter)) = inside(look.view) else {
            if let Some(at) = forced_at {
                self.begin_forced(look, at);
            }
            let mut noted = self.passed(look);
            if self.forced_unseen(look) || forced_at.is_some() && noted == Noted::Nothing {
                noted = Noted::Forced;
            }
            if doubted && noted == Noted::Nothing {
                noted = Noted::Unverified;
            }
            if replaced {
                noted = Noted::Replaced;
            }
            if look.view.is_none_or(GroupView::is_out) {
                self.out = Some(Out {
                    server_uuid: look.server_uuid,
                    // Of what begins next this is the base, so nothing of it may be in there.
                    executed: look.before.intersect(look.executed),
                    held: look.held.clone(),
                    entered: None,
                    at: look.at,
                    lost: self.lost(look.server_uuid),
                });
            }
            return noted;
        };
        // What happened before this view is not known: asked again at the next look.
        if look.log.is_none() && self.is_news(look.view) {
            return if replaced { Noted::Replaced } else { Noted::Nothing };
        }
        // Of the data on record, whatever they have become since.
        if let Some(at) = forced_at {
            self.begin_forced(look, at);
        }
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
            Noted::Nothing if noted == Noted::Nothing && forced_at.is_some() => Noted::Forced,
            Noted::Nothing if noted == Noted::Nothing && doubted => Noted::Unverified,
            Noted::Nothing => noted,
            forced => forced,
        };
        self.was_in(&id, counter);
        if replaced { Noted::Replaced } else { noted }
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
    pub(super) fn settle(&mut self) -> Noted {
        let proven = self.member.as_ref().is_some_and(|member| member.proven(&self.known));
        if let Some(member) = self.member.as_mut().filter(|_| proven) {
            (member.trust, member.before) = (Trust::Verified, None);
            return Noted::Proven;
        }
        Noted::Nothing
    }

    fn enter_unmeasured(&mut self, look: &Look<'_>, id: LineageId, counter: u64) -> Noted {
        // A second START succeeds: what this server was seen with before the first one is not all that it entered with.
        let refused = look.log.is_some_and(|log| log.refused_since(&id, &self.log_seen));
        // What its log tells until now is taken into account: an earlier look that is written later changes nothing.
        if let Some(newest) = look
            .log
            .and_then(|log| log.0.last())
            .filter(|line| line.at > self.log_seen)
        {
            self.log_seen.clone_from(&newest.at);
        }
        let parent = self.own(look.server_uuid);
        let out = self.out.take_if(|out| out.server_uuid == look.server_uuid);
        // What was seen before it was in another group meanwhile does not tell what it entered this one with.
        let only_here = out
            .as_ref()
            .is_none_or(|out| out.at.is_none_or(|at| look.log.is_some_and(|log| log.only_in(&id, at))));
        // One that this agent has seen out since the upgrade is measured as any other, where somebody has recorded the group's lineage. While
        // the others' agents are of the release before nobody has, and nobody can until each member that is in says where it is.
        let measurable = out.is_some() && self.known.contains(&id);
        if self.adopts && self.member.is_none() && self.bootstrapping.is_none() && !measurable {
            self.adopts = false;
            self.member = Some(member(look.server_uuid, id));
            return Noted::Adopted;
        }
        let logged_first = inside(look.view).is_none();
        let alone = counter == 1 && (logged_first || look.view.is_some_and(|view| view.members.len() == 1));
        // One that is on record began earlier: this server comes back into it, perhaps with what it wrote elsewhere meanwhile.
        if (alone || look.first_view_here) && !self.known.contains(&id) {
            // Begun here, and perhaps left for another one and entered again: the branch is true, the data may be others.
            let went_away = refused || !alone && look.log.is_none_or(|log| log.went_elsewhere(&id, 1, look.older, ""));
            // A plan's that was killed before its START is not what a person bootstraps here later.
            let first = look.log.and_then(|log| log.first_view(&id));
            let planned = self.bootstrapping.take().filter(|planned| {
                planned.server_uuid == look.server_uuid && first.is_none_or(|at| planned.may_have_begun(at))
            });
            if let Some(planned) = planned {
                let base = planned.held.intersect(look.held);
                self.begin(
                    look.host,
                    look.server_uuid,
                    id,
                    (parent, base),
                    Some(planned.generation),
                );
                return self.unless(went_away, Noted::Bootstrapped);
            }
            // What it held before; whatever it has lost since then it did not begin with.
            let base = out.map(|out| out.executed.intersect(look.executed)).unwrap_or_default();
            self.begin(look.host, look.server_uuid, id, (parent, base), None);
            return self.unless(went_away, Noted::BootstrappedByHand);
        }
        // Whatever a plan was about to make here, it is not this group.
        self.bootstrapping = None;
        self.comes_into(look.server_uuid, &id);
        // What it held before it was in a group last does not tell what it took from there. Of one that is out again already: whatever it
        // holds now may have been written before it entered. Nor does the set of one that has lost transactions, which may be empty.
        let out = out.filter(|out| out.entered.is_none() && only_here && !refused && !out.lost);
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
            ..self.member(look.server_uuid, id)
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

    /// What was noted, unless the data are not certainly those of what began.
    fn unless(&mut self, doubted: bool, noted: Noted) -> Noted {
        if doubted {
            self.distrust();
            return Noted::Unverified;
        }
        noted
    }

    /// A membership was forced here, and the server has left the group before this agent saw it in there. Whether the new view came to be
    /// is not told; a transaction that waited may have been committed on this side alone (docs/lineages.md, Forced membership).
    fn forced_unseen(&mut self, look: &Look<'_>) -> bool {
        let force_members = look.force_members.unwrap_or_default();
        let new = !force_members.is_empty() && force_members != self.forced;
        let member = self
            .member
            .clone()
            .filter(|member| member.server_uuid == look.server_uuid);
        let Some(member) = member.filter(|_| new) else {
            return false;
        };
        self.begin_forced(look, member.counter + 1);
        true
    }

    /// The counter of a view that was forced here since the last look, by the server's log: a person takes the variable back at once, as
    /// MySQL's manual says, and no look may see it.
    fn forced_at(&self, look: &Look<'_>) -> Option<u64> {
        let member = self.member.as_ref()?;
        let at = look.log?.forced(&member.id)?;
        let since = member.counter.max(member.id.forced_at());
        (member.server_uuid == look.server_uuid && member.counter > 0 && at > since).then_some(at)
    }

    /// What this member saw while it had a majority is not told from what was forced later: nothing is sure to be shared.
    fn begin_forced(&mut self, look: &Look<'_>, at: u64) {
        let Some(parent) = self.member.clone() else {
            return;
        };
        self.forced = look.force_members.unwrap_or_default().to_owned();
        let branch = (Some(parent.id.clone()), GtidSet::new());
        self.begin(look.host, look.server_uuid, parent.id.forced(at), branch, None);
        // Data that nobody has measured are no better for it.
        if let Some(member) = &mut self.member {
            (member.trust, member.donors, member.copy_of) = (parent.trust, parent.donors, parent.copy_of);
            member.forget_since(at);
        }
    }

    /// A forced membership keeps the first part of the view id and may use numbers again: it is a lineage of its own. Its agent sees it
    /// by the variable, the others by what the coordinator tells of it.
    fn forced(&mut self, look: &Look<'_>, counter: u64) -> Noted {
        let Some(member) = self.member.clone() else {
            return Noted::Nothing;
        };
        if look.force_members == Some("") {
            self.forced.clear();
        } else if let Some(value) = look
            .force_members
            .filter(|value| *value != self.forced && online(look.view))
        {
            // Its view is on record by the log.
            if member.id.forced_at() > 0 && member.id.forced_at() == counter {
                self.forced = value.to_owned();
                return Noted::Nothing;
            }
            // Not before the view that was seen last, and perhaps long before this one: the agent may have been away.
            let at = if (1..counter).contains(&member.counter) {
                member.counter + 1
            } else {
                counter
            };
            self.begin_forced(look, at);
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
        let mut member = member;
        member.forget_since(id.forced_at());
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
}

/// The lineage and the view's counter of a server that is in a group; a view id counts only together with that state.
pub(super) fn inside(view: Option<&GroupView>) -> Option<(LineageId, u64)> {
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
