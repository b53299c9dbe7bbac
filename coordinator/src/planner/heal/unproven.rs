//! Members that are inside with data that nobody has measured: an alarm, and never a donor.
//!
//! Asked by `member.rs`, by everything that lets a member in, and by `leader::status`. Pure.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::LineageId;
use clusterctl_proto::observe::{GroupMember, GroupView, MemberState};

use super::trouble::{Care, Standing, Trouble};
use crate::model::Cluster;
use crate::planner::lineage::{self, Known};
use crate::planner::live::{self, Primary};
use crate::planner::vouch;
use crate::planner::world::{Seen, World};

/// Code of a member whose data may be others than the group's, and which is inside.
pub(crate) const GIVEN_UP_INSIDE: &str = "given_up_inside";

/// A member that is inside, and whose data nobody has measured.
pub(crate) fn foreign_inside(cluster: &Cluster, host: &HostName, seen: &Seen) -> bool {
    if lineage::half_copied(cluster, seen) {
        return true;
    }
    match lineage::of_member(cluster, seen) {
        Known::Unverified(_) => true,
        Known::Of(id) => id == LineageId::origin() && cluster.left_out.contains_key(host),
        // Its agent has just started, or is of the release before.
        Known::No => false,
    }
}

/// Its data may be others than the group's: it must not lead, and gives nobody what he lacks.
pub(crate) fn is_unproven(world: &World<'_>, cluster: &Cluster, host: &HostName, seen: &Seen) -> bool {
    // A data directory that is not, or not any more, the one that our record is of.
    let replaced = !live::data_known(world, cluster, host, seen);
    replaced || foreign_inside(cluster, host, seen) || lineage::is_unmeasured(cluster, seen)
}

/// A member that is ONLINE, and of whose data nobody knows that they are the group's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unproven<'a> {
    /// Its agent says that nobody has measured them.
    Told(&'a HostName),
    /// Who gave it what it has is asked, and answers in a moment.
    Pending(&'a HostName),
    /// The same, but the asking stops at the second, whose agent does not answer.
    Unheard(&'a HostName, &'a HostName),
    /// Its agent, which alone can tell, is silent, and did not see it in this group before.
    Silent(&'a HostName),
    /// A server that is no member by what was asked of us: nobody measures its data.
    Stranger(&'a str),
}

impl Unproven<'_> {
    /// What is wrong with it.
    pub fn told(&self) -> String {
        match self {
            Self::Told(donor) => format!("{donor} is in the group with data of an unproven history"),
            Self::Pending(donor) => {
                format!(
                    "{donor} is in the group with data of which whoever gave them has not told yet that they were the group's"
                )
            }
            Self::Unheard(donor, silent) => format!(
                "{donor} is in the group with data of which nobody has told that they were the group's: the agent of {silent}, which is asked, \
                 does not answer"
            ),
            Self::Silent(donor) => format!(
                "{donor} is in the group, and its agent, which alone can tell the history of its data, does not answer"
            ),
            Self::Stranger(donor) => {
                format!(
                    "{donor}, which is in the group and no member of the cluster, has data that nobody has measured"
                )
            }
        }
    }

    /// What an operator may do.
    pub fn unlock(&self) -> String {
        match self {
            Self::Told(donor) => format!(
                "take {donor} out of the group first (STOP GROUP_REPLICATION there, or for good: clusterctl remove {donor})"
            ),
            Self::Pending(donor) => format!("it takes a moment; if it lasts, see: clusterctl why {donor}"),
            Self::Unheard(donor, silent) => format!("{}; {}", start(silent), without_its_word(donor, silent)),
            Self::Silent(donor) => format!("start the agent of {donor}: systemctl start clusterctl-agent"),
            Self::Stranger(donor) => format!("take {donor} out of the group: STOP GROUP_REPLICATION there"),
        }
    }

    /// Where more is told of it.
    fn command(&self, cluster: &Cluster) -> String {
        match self {
            Self::Told(donor) | Self::Pending(donor) | Self::Silent(donor) => format!("clusterctl why {donor}"),
            Self::Unheard(_, silent) => start_there(silent),
            Self::Stranger(_) => format!("clusterctl status {}", cluster.name),
        }
    }
}

/// A member that is ONLINE with data that nobody has measured: whoever comes in may get what it lacks from it, as Group Replication picks
/// the donor (manual, "Distributed Recovery"), and nobody can tell it to spare one.
pub(crate) fn unproven_inside<'a>(
    world: &World<'_>,
    cluster: &'a Cluster,
    primary: &Primary<'a>,
) -> Option<Unproven<'a>> {
    if let Some(row) = strangers(world, cluster, primary.view).next() {
        return Some(Unproven::Stranger(row.host.as_str()));
    }
    let mut online = live::online(world, cluster, primary).into_iter();
    online.find_map(|host| {
        let seen = world.sight.get(host);
        if let Some(seen) = seen.filter(|seen| is_unproven(world, cluster, host, seen)) {
            return Some(match vouch::silent_donors(world, cluster, seen) {
                None => Unproven::Told(host),
                Some(silent) => match silent.first() {
                    None => Unproven::Pending(host),
                    Some(silent) => Unproven::Unheard(host, silent),
                },
            });
        }
        lineage::is_unseen(world, cluster, host, &primary.view.view_id).then_some(Unproven::Silent(host))
    })
}

/// Servers that are ONLINE in the group and no members of the cluster.
pub(crate) fn strangers<'v>(
    world: &World<'_>,
    cluster: &Cluster,
    view: &'v GroupView,
) -> impl Iterator<Item = &'v GroupMember> {
    let members = cluster.members.keys();
    let rows: Vec<&GroupMember> = members.filter_map(|host| live::row(view, world, host)).collect();
    let online = view.members.iter().filter(|row| row.state == MemberState::Online);
    online.filter(move |row| !rows.iter().any(|known| known.server_uuid == row.server_uuid))
}

/// Servers inside that are no members: nobody comes in while they are there.
pub(super) fn strangers_inside(world: &World<'_>, cluster: &Cluster, primary: &Primary<'_>) -> Vec<Trouble> {
    let about = |row: &GroupMember| {
        let stranger = Unproven::Stranger(&row.host);
        let wrong = format!("{} is in the group and no member of {}", row.host, cluster.name);
        let why = "nobody measures its data, and it could give them to whoever comes in: nobody is let in meanwhile";
        let command = format!("on {}: mysql -e 'STOP GROUP_REPLICATION'", row.host);
        let care = Care::blocked(why, stranger.unlock(), command);
        Trouble::of_cluster("stranger_inside", wrong, care).seen(primary.host, format!("sees {} ONLINE", row.host))
    };
    strangers(world, cluster, primary.view).map(about).collect()
}

/// A member that is inside, and whose data nobody has measured, or which got them from one that is so.
pub(super) fn unproven_member(world: &World<'_>, cluster: &Cluster, host: &HostName, seen: &Seen) -> Trouble {
    let wrong = format!("{host} is in the group with data of an unproven history");
    if let Some(care) = waits_for(world, cluster, host, seen) {
        return Trouble::of(host, "member_unmeasured", wrong, care).patient();
    }
    let donors = vouch::donors(world, cluster, seen);
    let why = if donors.is_empty() {
        "it entered past its agent, and nothing proves that its data are the group's: it may hold other transactions under the same numbers"
            .to_owned()
    } else {
        format!(
            "it entered past its agent and got what it lacked from {}, and nothing proves that what that had then was the group's: it may \
             hold other transactions under the same numbers",
            donors.join(" and ")
        )
    };
    let care = Care::blocked(
        why,
        "compare its data with the others' (CHECKSUM TABLE); then take it out, empty its data directory after a backup, and join it again",
        format!("clusterctl remove {host}"),
    );
    Trouble::of(host, GIVEN_UP_INSIDE, wrong, care)
}

/// Until its donors have vouched; none: it is certain that one of them will not.
pub(super) fn waits_for(world: &World<'_>, cluster: &Cluster, host: &HostName, seen: &Seen) -> Option<Care> {
    let silent = vouch::silent_donors(world, cluster, seen)?;
    let why = format!(
        "it got what it lacked from {}, which has not told yet that this was the group's; until then its data count as unproven",
        vouch::donors(world, cluster, seen).join(" and ")
    );
    let Some(silent) = silent.first() else {
        return Some(Care::not(
            Standing::Waiting,
            why,
            "it takes a moment; if it lasts, look what its agent says",
            format!("on {host}: journalctl -u clusterctl-agent -n 50"),
        ));
    };
    // Nobody is taken out of a group that nobody leads.
    let led = live::primary(world, cluster).is_some_and(|primary| lineage::goes_on(world, cluster, &primary));
    let unlock = if led {
        format!("{}; {}", start(silent), without_its_word(host, silent))
    } else {
        start(silent)
    };
    let why = format!("{why}. The agent of {silent}, which is asked, does not answer");
    Some(Care::blocked(why, unlock, start_there(silent)))
}

fn start(silent: &HostName) -> String {
    format!("start the agent of {silent}: systemctl start clusterctl-agent")
}

fn start_there(silent: &HostName) -> String {
    format!("on {silent}: systemctl start clusterctl-agent")
}

/// Whoever is removed vouches for nothing: the member stays unproven, and is to be taken out itself.
fn without_its_word(host: &HostName, silent: &HostName) -> String {
    format!(
        "or, only if {silent} is gone for good: clusterctl remove {silent} --force; nobody vouches for {host} then, see: clusterctl why {host}"
    )
}

/// A copy is complete, and whoever could vouch for it is silent, or does not by what is known. Else it takes a moment, and the operation that
/// copied waits.
pub(super) fn unvouched_copy(world: &World<'_>, cluster: &Cluster, host: &HostName, seen: &Seen) -> Option<Trouble> {
    if !vouch::copy_waits(world, cluster, seen) || !vouch::lacks_a_word(world, cluster, seen) {
        return None;
    }
    let silent = vouch::silent_donors(world, cluster, seen).unwrap_or_default();
    let unlock = match silent.first() {
        Some(silent) => format!(
            "it comes in by itself as soon as the agent of {silent} answers; if that one is gone for good, copy the data of another member"
        ),
        None => "it comes in by itself as soon as that one vouches for it; if it lasts, copy anew".to_owned(),
    };
    let why = format!(
        "it holds a copy of the data of {}, which has not told yet that they were the group's",
        vouch::donors(world, cluster, seen).join(" and ")
    );
    let care = Care::not(Standing::Waiting, why, unlock, copy_again(host));
    let wrong = format!("{host} is not in the group");
    Some(Trouble::of(host, "member_out", wrong, care).patient())
}

/// Ends the wait for a donor's word.
pub(crate) fn copy_again(host: &HostName) -> String {
    format!("clusterctl join {host} --recovery clone")
}

/// A member that is inside, and whose agent has not said yet how it came in.
pub(super) fn not_measured_yet(cluster: &Cluster, host: &HostName, seen: &Seen) -> Option<Trouble> {
    if !lineage::is_unmeasured(cluster, seen) {
        return None;
    }
    let care = Care::not(
        Standing::Waiting,
        "its agent records how it came in at its next look; until then its data count as unproven",
        "if it lasts, look what its agent says",
        format!("on {host}: journalctl -u clusterctl-agent -n 50"),
    );
    let wrong = format!("{host} is in a group that its agent has not recorded yet");
    Some(Trouble::of(host, "member_unmeasured", wrong, care).patient())
}

/// Nobody is let in while a donor may hand on other data under the same numbers.
pub(super) fn unproven_donor(cluster: &Cluster, host: &HostName, donor: &Unproven<'_>, wrong: &str) -> Trouble {
    let care = Care::blocked(
        format!("{}, and could be the one that gives {host} what it lacks", donor.told()),
        donor.unlock(),
        donor.command(cluster),
    );
    Trouble::of(host, "member_out", wrong, care)
}
