//! Who gave this member what it lacked, when it entered its group past its agent.
//!
//! Group Replication picks the donor among those who are ONLINE (manual, "Distributed Recovery"), also one whose own data nobody has
//! measured. Before a step's START it was made sure that no such one is inside; after a person's START, an automatic rejoin, or where a
//! donor is replaced hours later, the server's log alone tells who it was. The donor of a copy is named by its step. A member's data are
//! proven when each donor has vouched for what it gave ([`Stay`]); for what it gives itself it vouches by the [`Span`] that is kept here, and
//! by those before it. Asked by `look.rs`, and by the observer for what a coordinator or a notice tells. Pure.

use clusterctl_proto::ids::ServerUuid;
use clusterctl_proto::lineage::{LineageId, Span, Stay};
use clusterctl_proto::observe::{GroupView, MemberState};
use serde::{Deserialize, Serialize};

use super::Record;
use super::log::Given;
use super::look::{Look, inside};

/// These data have not been in any view yet.
const NOT_YET: u64 = u64::MAX;

/// What is known of this server's donors beside the record of its data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Donors {
    /// The newest line of the server's log that is taken into account; none: nothing is yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<String>,
    /// Until when the next donor is that of a step's START, in microseconds since 1970 by the server's log; 0: it is not.
    #[serde(default, skip_serializing_if = "is_zero")]
    of_a_step: u64,
    /// The newest line of the log when that step began: a donor before it is not the step's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    step_began: String,
    /// The server was RECOVERING at the last look that heard its log: it may tell of another donor.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    recovers: bool,
    /// The counter of the first view of their lineage in which these data were, unless nobody has replaced them since it began: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    since: u64,
}

impl Donors {
    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    /// The server's log is to be asked who the donor is.
    pub fn awaits_donor(&self, view: Option<&GroupView>) -> bool {
        inside(view).is_some() && (self.donors.recovers || is_recovering(view))
    }

    /// A step is about to start the server, and has looked that no member's data are unproven. `now` is the newest line of the server's
    /// log; the first donor after it is the one that this START found, unless it comes after `until`, in microseconds since 1970. Lines before
    /// it that no look has read are read by the next one: a person may have started the server a moment ago.
    pub fn step_starts(&mut self, now: String, until: u64) {
        self.donors.seen.get_or_insert_with(|| now.clone());
        (self.donors.step_began, self.donors.of_a_step) = (now, until);
    }

    /// What the log tells of until this line was of data that are not here any more.
    pub(super) fn all_is_given(&mut self, now: String) {
        self.donors.seen = self.donors.seen.take().max(Some(now));
        self.step_has_ended();
    }

    /// The step's START has failed, perhaps after it had found a donor: what the log tells of after `until`, in microseconds since 1970, is not
    /// its doing.
    pub fn step_failed(&mut self, until: u64) {
        self.donors.of_a_step = self.donors.of_a_step.min(until);
    }

    /// The step's START has ended: what comes later is not its doing.
    fn step_has_ended(&mut self) {
        self.donors.of_a_step = 0;
        self.donors.step_began.clear();
    }

    /// These data are others than those that were here before.
    pub(super) fn new_data(&mut self) {
        self.donors.since = NOT_YET;
    }

    /// This server's data come into this lineage: what they gave there before is on record, what was here before them is not theirs.
    pub(super) fn comes_into(&mut self, server_uuid: ServerUuid, id: &LineageId) {
        let own = self.member.as_ref().filter(|own| own.server_uuid == server_uuid);
        match own {
            Some(own) if own.id.prefix() == id.prefix() => {}
            Some(_) => self.donors.since = 0,
            None => self.new_data(),
        }
    }

    /// Takes from the log who the donors were, and what these data can vouch for. After everything else of a look; `asked`: before it the
    /// log was to be asked; `newest`: the newest view that was on record then.
    pub(super) fn note_donors(&mut self, look: &Look<'_>, asked: bool, newest: Option<&(LineageId, u64)>) {
        let is_heard = look.log.is_some() || !asked;
        let given = self.given(look, newest);
        if inside(look.view).is_none() && look.held.is_empty() {
            // Whatever was here before.
            self.new_data();
        }
        let is_half = self.half_copied(look.server_uuid);
        let since = &mut self.donors.since;
        let recovers = self.donors.recovers || is_recovering(look.view);
        let Some(member) = self
            .member
            .as_mut()
            .filter(|member| member.server_uuid == look.server_uuid)
        else {
            return;
        };
        for given in given
            .into_iter()
            .filter(|given| given.id.prefix() == member.id.prefix())
        {
            // The log tells it also of a stay that has ended.
            let once = Span {
                since: given.counter,
                until: given.counter,
            };
            let views = member.donors.entry(given.donor).or_insert(once);
            (views.since, views.until) = (views.since.min(once.since), views.until.max(once.until));
        }
        let here = inside(look.view).filter(|(id, _)| id.prefix() == member.id.prefix());
        if let Some((_, counter)) = &here
            && *since == NOT_YET
        {
            *since = *counter;
        }
        // Who is in no group enters the next one in a later view.
        let is_known = match (inside(look.view), here) {
            (Some(_), here) => is_heard && here.is_some() && !recovers,
            (None, _) => look.log.is_some(),
        };
        // Data that have not been in any view vouch for nothing that was given before, and say so.
        member.span = is_known.then_some(Span {
            since: *since,
            until: member.counter,
        });
        if !is_half {
            member.remember();
        }
    }

    /// What the new lines of the log tell that this server was given past its agent.
    fn given(&mut self, look: &Look<'_>, newest: Option<&(LineageId, u64)>) -> Vec<Given> {
        let Some(log) = look.log else { return Vec::new() };
        self.donors.recovers = is_recovering(look.view);
        let last = log.0.last().map(|line| line.at.clone()).unwrap_or_default();
        let seen = self.donors.seen.clone();
        // An agent that recorded none was here before: views that it saw are of no account.
        let is_new = |given: &Given| match &seen {
            Some(seen) => given.at > *seen,
            None => newest.is_some_and(|(id, counter)| given.id.prefix() != id.prefix() || given.counter > *counter),
        };
        let mut new: Vec<Given> = log.given().into_iter().filter(is_new).collect();
        if let Some(first) = new.iter().position(|given| given.at > self.donors.step_began) {
            let of_a_step = new[first].us <= std::mem::take(&mut self.donors.of_a_step);
            new.drain(first..first + usize::from(of_a_step));
            self.donors.step_began.clear();
        }
        self.donors.seen = seen.max(Some(last));
        // The step's START has ended: what is given later, a person's START has led to.
        if inside(look.view).is_some() && !self.donors.recovers {
            self.step_has_ended();
        }
        new
    }

    /// Somebody gave this server what it lacked, and nobody has vouched for it yet.
    pub fn has_donors(&self) -> bool {
        self.member.as_ref().is_some_and(|member| !member.donors.is_empty())
    }

    /// What others vouch for. A copy is whole when its donor does.
    pub fn vouched(&mut self, stays: &[Stay]) {
        let Some(member) = &mut self.member else { return };
        let was_copy = member.copy_of.is_some();
        member.vouched(stays);
        if was_copy && member.copy_of.is_none() && self.copying == Some(member.server_uuid) {
            self.copying = None;
        }
        if self.copying != Some(member.server_uuid) {
            member.remember();
        }
    }
}

fn is_recovering(view: Option<&GroupView>) -> bool {
    view.is_some_and(|view| view.state == MemberState::Recovering)
}
