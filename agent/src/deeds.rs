//! What the agent did, or found, without an order: a short list in memory that goes into every observation, for the journal.
//!
//! Written by `keeper/`, read by `observe/`. It is news, not memory: it ends with the process, and nothing is decided by it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use clusterctl_proto::clock;
use clusterctl_proto::observe::{OWN_DEEDS, OwnDeed};

/// The member is back in its group.
pub const REJOINED: &str = "rejoined_alone";
/// A rejoin was wanted and did not come about.
pub const REJOIN_FAILED: &str = "rejoin_alone_failed";
/// mysqld, whose unit had failed, was started.
pub const SERVER_STARTED: &str = "server_started_alone";
/// mysqld, whose unit had failed, could not be started.
pub const START_FAILED: &str = "server_start_alone_failed";
/// `group_replication_bootstrap_group` was found ON: an alarm (safety rule 1).
pub const FLAG_CLEARED: &str = "bootstrap_flag_cleared";
/// mysqld would have entered a group at its next start: `group_replication_start_on_boot` was set OFF.
pub const START_ON_BOOT: &str = "start_on_boot_off";
/// A member that was out of its group took writes: `super_read_only` was set ON.
pub const CLOSED: &str = "closed_to_writes";
/// The primary role was handed over before mysqld stopped.
pub const HANDED_OVER: &str = "handed_over";

/// A person bootstrapped the group here.
pub const BOOTSTRAPPED_BY_HAND: &str = "bootstrapped_by_hand";
/// A person forced the membership of the group here.
pub const MEMBERSHIP_FORCED: &str = "membership_forced";
/// The member entered its group past this agent.
pub const ENTERED_UNMEASURED: &str = "entered_unmeasured";
/// A clone that no step made has replaced the data.
pub const DATA_REPLACED: &str = "data_replaced";
/// The server has lost transactions that it had executed.
pub const TRANSACTIONS_LOST: &str = "transactions_lost";
/// Others are elected before the member, since its data are unproven.
pub const LAST_ELECTED: &str = "last_elected";
/// What had entered past this agent is proven to be the group's.
pub const LINEAGE_PROVEN: &str = "lineage_proven";

/// The list.
#[derive(Debug, Default)]
pub struct Deeds(Mutex<VecDeque<OwnDeed>>);

impl Deeds {
    /// Notes one, now.
    pub fn note(&self, kind: &str, text: impl Into<String>) {
        self.note_at(i64::try_from(clock::now_ms()).unwrap_or(i64::MAX), kind, text);
    }

    /// Notes one of an earlier time.
    pub fn note_at(&self, at_ms: i64, kind: &str, text: impl Into<String>) {
        let deed = OwnDeed {
            at_ms,
            kind: kind.to_owned(),
            text: text.into(),
        };
        tracing::warn!(kind, "{}", deed.text);
        let mut list = self.lock();
        list.push_back(deed);
        while list.len() > OWN_DEEDS {
            list.pop_front();
        }
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<OwnDeed> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<OwnDeed>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_are_kept() {
        let deeds = Deeds::default();
        for number in 0..OWN_DEEDS + 3 {
            deeds.note(REJOIN_FAILED, number.to_string());
        }
        let list = deeds.list();
        assert_eq!(list.len(), OWN_DEEDS);
        assert_eq!(list[0].text, "3");
    }
}
