//! Whether the donor of a copy is in the group that the copy is for, and in which view, asked of the donor before the copy and after it.
//!
//! A copy takes hours, and holds what the donor held at its end. Meanwhile a person may take the donor out of the group and bootstrap
//! another one there: the copy goes on, and brings that group's transactions under the numbers of the first one. The record names the
//! lineage that the order named, so it is written only if the donor is in there both times.
//!
//! Not seen here: a donor that left between the two questions and came back, and a membership that a person forced there, which keeps the
//! first part of the view id. The donor's agent records both, and the copy counts as half of one until the donor has vouched for the time
//! between the two views (`lineage/donors.rs`). The leader stops a copy that certainly comes to nothing (`check::copy_is_void`).

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::lineage::LineageId;
use clusterctl_proto::observe::MemberState;
use tokio::time::Instant;

use super::Copy;
use crate::mysql::peer::{Answer, Peers};

/// A donor that does not say is asked again for this long: hours of copying are not thrown away for one lost packet.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 30_000 });
const AGAIN: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1000 });

/// Fails, to be tried again with another copy, unless the donor itself says that it is ONLINE in the group of the lineage that the order
/// names. Answers the counter of its view; none: the order names no lineage.
pub(super) async fn is_in(peers: &dyn Peers, copy: &Copy<'_>) -> Result<Option<u64>, Failure> {
    let address = format!("{}:{}", copy.donor, copy.port);
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = peers.ask(&address, &copy.account.user).await;
        let why = match judge(&answer, copy) {
            Said::Inside(counter) => return Ok(counter),
            Said::Elsewhere(why) => return Err(left(copy, why)),
            Said::Nothing(why) => why,
        };
        if Instant::now() >= end {
            return Err(left(copy, why));
        }
        tracing::debug!(donor = address, why, "the donor is asked again");
        tokio::time::sleep(AGAIN).await;
    }
}

/// What the donor's answer means for a copy of its data.
enum Said {
    /// It is ONLINE in the group that the copy is for, in the view with this counter.
    Inside(Option<u64>),
    /// It is not.
    Elsewhere(String),
    /// It does not tell.
    Nothing(String),
}

fn judge(answer: &Answer, copy: &Copy<'_>) -> Said {
    let member = match answer {
        Answer::Unknown(why) => return Said::Nothing(format!("it does not answer: {why}")),
        Answer::InNone => return Said::Elsewhere("it is in no group".to_owned()),
        Answer::InGroup(member) => member,
    };
    if !member.name.eq_ignore_ascii_case(&copy.group_name.to_string()) {
        return Said::Elsewhere("it is in another group".to_owned());
    }
    if member.state != MemberState::Online {
        return Said::Elsewhere("it is not ONLINE in its group".to_owned());
    }
    // Lineages are not recorded, or the group is of a time before they were: no bootstrap is named that it could be compared with.
    let named = copy.history.map(|history| &history.group);
    let Some(named) = named.filter(|group| **group != LineageId::origin()) else {
        return Said::Inside(None);
    };
    match LineageId::of_view(&member.view_id) {
        Some((id, counter)) if id.prefix() == named.prefix() => Said::Inside(Some(counter)),
        Some((id, _)) => Said::Elsewhere(format!("it is in lineage {id}; the copy is for lineage {named}")),
        None => Said::Nothing("it does not tell its view".to_owned()),
    }
}

fn left(copy: &Copy<'_>, why: String) -> Failure {
    Failure::new(
        "donor_left",
        format!(
            "the donor {} is not known to be in the group that the copy is for: its data are not taken for the group's",
            copy.donor
        ),
    )
    .fact(format!("{}: {why}", copy.donor))
    .hint("it is copied again, unless what is there now compares as other data than the group's; see: clusterctl why")
    .transient()
}
