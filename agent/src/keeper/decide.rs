//! What the agent does by itself now. Pure: facts and time come in, one deed comes out.
//!
//! Safety rule 8: only what is provably local and not promised away. Nothing here bootstraps, and nothing here starts what somebody
//! stopped in an orderly way.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::observe::{DataDirectory, GroupView, MemberState, MysqlFacts, ServerFacts, UnitState};
use tokio::time::Instant;

use super::backoff::Backoff;
use crate::membership::Membership;

/// A coordinator that restarts, or a new leader, is back by then; a member that rejoins a little later costs nothing.
pub const ALONE: Duration = Duration::from_secs(5);

/// What was well for so long is mended; what fails again before is not.
const LASTING: Duration = Duration::from_secs(60);

/// Something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// All is well, or not ours to mend.
    Nothing,
    /// The bootstrap flag is, or may be, ON while no step bootstraps: set it OFF (safety rule 1).
    ClearFlag,
    /// mysqld's unit has failed: start it.
    StartServer,
    /// The server is out of its group: look for the live group and rejoin it.
    Rejoin,
    /// It is out of its group, and a promise or a lost ledger forbids to bring it back: say so.
    TellForbidden,
    /// It is out of its group, and cannot be brought back as it is set up ([`astray`]): say so.
    TellAstray,
}

/// What it is decided by.
pub struct Facts<'a> {
    /// The server, as seen a moment ago.
    pub server: &'a MysqlFacts,
    /// A step of a plan runs.
    pub step_runs: bool,
    /// An own deed runs.
    pub deed_runs: bool,
    /// An operator wants this host left alone.
    pub hands_off: bool,
    /// Since this agent started the bootstrap flag was read, and also what is persisted of it, which no look shows.
    pub flag_looked_at: bool,
    /// The server is in a view that it was not in a moment ago.
    pub new_view: bool,
    /// For how long there has been no coordinator; none: there is one.
    pub alone_for: Option<Duration>,
    /// What the last entering step left.
    pub membership: Option<&'a Membership>,
    /// What the ledger says of a rejoin without an order.
    pub may_rejoin: bool,
}

/// When what failed may be tried again.
#[derive(Default)]
pub struct Pauses {
    /// Of starting mysqld.
    pub start: Backoff,
    /// Of rejoining.
    pub rejoin: Backoff,
    /// Since when the server answers.
    up_since: Option<Instant>,
    /// Since when it is ONLINE.
    online_since: Option<Instant>,
}

/// Decides.
pub fn decide(facts: &Facts<'_>, pauses: &Pauses, now: Instant) -> Deed {
    if facts.step_runs || facts.hands_off {
        return Deed::Nothing;
    }
    let alone = facts.alone_for.is_some_and(|time| time >= ALONE) && !facts.deed_runs;
    let tells = alone && pauses.rejoin.is_due(now) && astray(facts).is_some();
    let otherwise = if tells { Deed::TellAstray } else { Deed::Nothing };
    // nothing is written to a server whose data is not ours
    let DataDirectory::Ours { cluster: Some(cluster) } = &facts.server.data else {
        return otherwise;
    };
    let may_be_on = |server: &ServerFacts| server.bootstrap_flag || !facts.flag_looked_at;
    if facts
        .server
        .server
        .as_ref()
        .is_some_and(|server| may_be_on(server) && is_quiet(server))
    {
        return Deed::ClearFlag;
    }
    if !alone {
        return Deed::Nothing;
    }
    if facts.server.unit == UnitState::Failed && facts.server.server.is_none() && pauses.start.is_due(now) {
        return Deed::StartServer;
    }
    match (&facts.server.server, facts.membership) {
        (Some(server), Some(membership))
            if membership.cluster == *cluster && is_out_of(server, membership) && pauses.rejoin.is_due(now) =>
        {
            if facts.may_rejoin {
                Deed::Rejoin
            } else {
                Deed::TellForbidden
            }
        }
        _ => otherwise,
    }
}

/// Why a server that is out of its group cannot be brought back as it is set up; none: it can, or it is not out.
pub fn astray(facts: &Facts<'_>) -> Option<Failure> {
    let (server, membership) = (facts.server.server.as_ref()?, facts.membership?);
    let (cluster, name) = (&membership.cluster, membership.group.group_name.to_string());
    let is_its_group = server.group_name.eq_ignore_ascii_case(&name);
    let is_out = |view: &GroupView| view.is_out() || view.state == MemberState::Error;
    if is_its_group && !server.group.as_ref().is_none_or(is_out) {
        return None;
    }
    let out = |code: &str, why: String| {
        Failure::refused(
            code,
            format!("this server is out of the group of {cluster}, and is not brought back: {why}"),
        )
    };
    let failure = match &facts.server.data {
        DataDirectory::Ours { cluster: Some(marked) } if marked == cluster => {
            if server.group.is_none() {
                out("group_plugin", "the plugin group_replication is not active".to_owned())
            } else if is_its_group {
                return None;
            } else {
                out(
                    "other_group",
                    format!(
                        "group_replication_group_name is '{}' instead of '{name}'",
                        server.group_name
                    ),
                )
            }
        }
        // Nothing is known of it, and nothing is said.
        unseen if unseen.is_unseen() => return None,
        other => out(
            "foreign_data",
            format!("its data directory does not show that it is of {cluster}"),
        )
        .fact(match other {
            DataDirectory::Foreign { what } => what.clone(),
            DataDirectory::Ours { cluster } => format!(
                "it is marked as of {}",
                cluster.as_ref().map_or("no cluster", ClusterName::as_str)
            ),
            DataDirectory::Pristine | DataDirectory::Absent => "there is no marker in it".to_owned(),
        }),
    };
    Some(failure.fact("start a coordinator: systemctl start clusterctl-coordinator; then see: clusterctl why"))
}

/// Nobody bootstraps this very moment: the statement holds the settings of Group Replication until it ends.
fn is_quiet(server: &ServerFacts) -> bool {
    !server.group.as_ref().is_some_and(|view| view.auto_rejoin)
}

/// The server is set up for this group and out of service in it. In ERROR its own auto-rejoin may be waiting five minutes for its next
/// try; OFFLINE while it tries, or while somebody starts or stops it, is not out.
fn is_out_of(server: &ServerFacts, membership: &Membership) -> bool {
    let name = membership.group.group_name.to_string();
    server.group_name.eq_ignore_ascii_case(&name)
        && server
            .group
            .as_ref()
            .is_some_and(|view| view.is_out() || view.state == MemberState::Error)
}

/// The server has been well for a while, whoever mended it.
pub fn settle(facts: &MysqlFacts, pauses: &mut Pauses, now: Instant) {
    let server = facts.server.as_ref();
    let online = server
        .and_then(|server| server.group.as_ref())
        .is_some_and(|view| view.state == MemberState::Online);
    let lasts = |since: &mut Option<Instant>, well: bool| {
        let since = well.then(|| *since.get_or_insert(now));
        (
            since,
            since.is_some_and(|since| now.saturating_duration_since(since) >= LASTING),
        )
    };
    let (up_since, up) = lasts(&mut pauses.up_since, server.is_some());
    let (online_since, in_group) = lasts(&mut pauses.online_since, online);
    (pauses.up_since, pauses.online_since) = (up_since, online_since);
    if up {
        pauses.start.settled();
    }
    if in_group {
        pauses.rejoin.settled();
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
pub(super) mod tests;
