//! Accounts of the members exist on a server outside the group, not binlogged: members authenticate to each other before
//! replication could bring the accounts. Others that look like a member's go: of a create that was taken back, of an image.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::MemberAccount;

use super::{Context, Done};
use crate::mysql::{Db, accounts, group};

/// Looks, acts, looks again.
pub async fn ensure(wanted: &[MemberAccount], cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::wait_local(&*cx.servers, &cx.config.mysql, Duration::from_secs(60)).await?;
    if let Some(view) = group::view(&mut db).await?
        && matches!(view.state, MemberState::Online | MemberState::Recovering)
    {
        // a member has got them from the group; to write here, unlogged, would make the members differ
        return Ok(Done::Unchanged);
    }
    let changes = accounts::unlogged(&mut db, async |db| {
        let mut changes = accounts::drop_other_members(db, wanted).await?;
        for account in wanted {
            changes.extend(accounts::ensure_member(db, account, false).await?);
        }
        Ok(changes)
    })
    .await?;
    Ok(Done::from_changes(changes))
}
