//! Who gave this member what it lacked, when it entered its group past its agent.
//!
//! Group Replication picks the donor among those who are ONLINE (manual, "Distributed Recovery"), also one whose own data nobody has
//! measured. Before a step's START it was made sure that no such one is inside; after a person's START, an automatic rejoin, or where a
//! donor is replaced hours later, the server's log alone tells who it was. Its data are proven when each donor has vouched for what it gave
//! ([`Stay`]). Asked by `look.rs`, and by the observer for what a coordinator or a notice tells. Pure.

use clusterctl_proto::lineage::Stay;
use clusterctl_proto::observe::{GroupView, MemberState};
use serde::{Deserialize, Serialize};

use super::Record;
use super::log::Given;
use super::look::{Look, Noted, inside};

/// What is known of this server's donors beside the record of its data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Donors {
    /// The newest line of the server's log that is taken into account; none: nothing is yet, so what it told until then is of no account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<String>,
    /// Until when a donor is that of a step's START, in microseconds since 1970 by the server's log; 0: of none.
    #[serde(default, skip_serializing_if = "is_zero")]
    of_a_step: u64,
    /// The server was RECOVERING at the last look: the log may tell of another donor.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    recovers: bool,
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

    /// A step is about to enter a group in which no member's data are unproven. `now` is the newest line of the server's log; until `until`,
    /// in microseconds since 1970, or until the server is ONLINE, whoever is its donor is the one that the step's START found.
    pub fn step_enters(&mut self, now: String, until: u64) {
        self.donors = Donors {
            seen: Some(now),
            of_a_step: until,
            recovers: false,
        };
    }

    /// Takes from the log who the donors were, and when this stay in the group began. After everything else of a look.
    pub(super) fn note_donors(&mut self, look: &Look<'_>) {
        let given = self.given(look);
        let now = inside(look.view);
        let Some(member) = self
            .member
            .as_mut()
            .filter(|member| member.server_uuid == look.server_uuid)
        else {
            return;
        };
        for (given, by_step) in given {
            if given.id.prefix() != member.id.prefix() {
                continue;
            }
            member.since = Some(given.counter);
            // The log tells it also of a stay that has ended.
            if !by_step {
                let entered = member.donors.entry(given.donor).or_insert(given.counter);
                *entered = given.counter.min(*entered);
            }
        }
        match now {
            Some((id, counter)) if id.prefix() == member.id.prefix() => {
                member.since.get_or_insert(counter);
            }
            _ => member.since = None,
        }
    }

    /// What the new lines of the log tell that this server was given, and whether a step's START had it do so.
    fn given(&mut self, look: &Look<'_>) -> Vec<(Given, bool)> {
        let Some(log) = look.log else { return Vec::new() };
        self.donors.recovers = is_recovering(look.view);
        let newest = log.0.last().map(|line| line.at.clone()).unwrap_or_default();
        let Some(seen) = self.donors.seen.clone() else {
            self.donors.seen = Some(newest);
            return Vec::new();
        };
        let new = log.given().into_iter().filter(|given| given.at > seen);
        let new = new.map(|given| {
            let by_step = given.us <= self.donors.of_a_step;
            (given, by_step)
        });
        let new = new.collect();
        self.donors.seen = Some(seen.max(newest));
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
    pub fn vouched(&mut self, stays: &[Stay]) -> Noted {
        let vouched = self.member.as_mut().is_some_and(|member| member.vouched(stays));
        if vouched && self.is_sure() {
            Noted::Proven
        } else {
            Noted::Nothing
        }
    }

    /// The lineage of the data on record is sure.
    pub(super) fn is_sure(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.verified().is_some())
    }
}

fn is_recovering(view: Option<&GroupView>) -> bool {
    view.is_some_and(|view| view.state == MemberState::Recovering)
}
