//! On the primary: a member's metadata row and its recovery account are gone.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ServerUuid;

use super::{Context, Done};
use crate::mysql::{Db, accounts, group, metadata};

/// Looks, acts, looks again. The row goes first: a row without its account would be a member that cannot recover, an account without
/// a row is only a leftover, which the next run removes.
pub async fn ensure(address: &str, uuid: Option<ServerUuid>, account: &str, cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    let (mut changes, still_used) = metadata::forget_instance(&mut db, address, uuid, account).await?;
    if !still_used && account.starts_with(accounts::MEMBER_PREFIX) {
        group::require_primary(&mut db).await?;
        for host in accounts::hosts_of(&mut db, account).await? {
            if accounts::drop(&mut db, account, &host).await? {
                changes.push(format!("dropped {account}@{host}"));
            }
        }
    }
    db.close().await;
    Ok(Done::from_changes(changes))
}
