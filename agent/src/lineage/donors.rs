//! Who gave this member what it lacked, when it entered its group past its agent.
//!
//! Group Replication picks the donor among those who are ONLINE (manual, "Distributed Recovery"), also one whose own data nobody has
//! measured. Before a step's START it was made sure that no such one is inside; after a person's START, an automatic rejoin, or where a
//! donor is replaced hours later, the server's log alone tells who it was. Its data are proven when each donor has vouched for what it gave
//! ([`Stay`]); for what it gives itself it vouches by the [`Span`] that is kept here. Asked by `look.rs`, and by the observer for what a
//! coordinator or a notice tells. Pure.

use clusterctl_proto::lineage::{Span, Stay};
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
    /// Until when a donor is that of a step's START, in microseconds since 1970 by the server's log; 0: of none.
    #[serde(default, skip_serializing_if = "is_zero")]
    of_a_step: u64,
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
    /// log; until `until`, in microseconds since 1970, or until the server is ONLINE, whoever is its donor is the one that this START found.
    pub fn step_starts(&mut self, now: String, until: u64) {
        (self.donors.seen, self.donors.of_a_step) = (Some(now), until);
    }

    /// The step's START has certainly failed: what comes later is not its doing.
    pub fn step_failed(&mut self) {
        self.donors.of_a_step = 0;
    }

    /// These data are others than those that were here before.
    pub(super) fn new_data(&mut self) {
        self.donors.since = NOT_YET;
    }

    /// These data have come into another lineage than the one that they were of.
    pub(super) fn new_lineage(&mut self) {
        self.donors.since = 0;
    }

    /// Takes from the log who the donors were, and what these data can vouch for. After everything else of a look; `asked`: before it the
    /// log was to be asked; `newest`: the newest view that was on record then.
    pub(super) fn note_donors(&mut self, look: &Look<'_>, asked: bool, newest: u64) {
        let is_heard = look.log.is_some() || !asked;
        let given = self.given(look, newest);
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
            let first = member.donors.entry(given.donor).or_insert(given.counter);
            *first = given.counter.min(*first);
        }
        let is_out = look.view.is_none_or(GroupView::is_out);
        let here = inside(look.view).filter(|(id, _)| id.prefix() == member.id.prefix());
        if let Some((_, counter)) = &here
            && *since == NOT_YET
        {
            *since = *counter;
        }
        let is_known = is_heard && *since != NOT_YET && (is_out || here.is_some() && !recovers);
        member.span = is_known.then_some(Span {
            since: *since,
            until: member.counter,
        });
    }

    /// What the new lines of the log tell that this server was given past its agent.
    fn given(&mut self, look: &Look<'_>, newest: u64) -> Vec<Given> {
        let Some(log) = look.log else { return Vec::new() };
        self.donors.recovers = is_recovering(look.view);
        let last = log.0.last().map(|line| line.at.clone()).unwrap_or_default();
        let seen = self.donors.seen.clone();
        // An agent that recorded none was here before: views that it saw are of no account.
        let is_new = |given: &Given| match &seen {
            Some(seen) => given.at > *seen,
            None => newest > 0 && given.counter > newest,
        };
        let by_step = |given: &Given| given.us <= self.donors.of_a_step;
        let new = log.given().into_iter().filter(|given| is_new(given) && !by_step(given));
        let new = new.collect();
        self.donors.seen = seen.max(Some(last));
        // The step's START has ended: what is given later, a person's START has led to.
        if inside(look.view).is_some() && !self.donors.recovers {
            self.donors.of_a_step = 0;
        }
        new
    }

    /// Somebody gave this server what it lacked, and nobody has vouched for it yet.
    pub fn has_donors(&self) -> bool {
        self.member.as_ref().is_some_and(|member| !member.donors.is_empty())
    }

    /// What others vouch for.
    pub fn vouched(&mut self, stays: &[Stay]) {
        if let Some(member) = &mut self.member {
            member.vouched(stays);
        }
    }
}

fn is_recovering(view: Option<&GroupView>) -> bool {
    view.is_some_and(|view| view.state == MemberState::Recovering)
}
