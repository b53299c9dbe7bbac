//! On the primary: registrations of a router's host and the accounts that these routers made are gone, but for the one in use.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;

use super::{Context, Done};
use crate::mysql::{Db, accounts, group, metadata};

/// Looks, acts, looks again. Accounts are found by the registration's id in their names, so they go before the rows.
pub async fn ensure(address: &HostName, keep: Option<&str>, cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    group::require_primary(&mut db).await?;
    let kept_id = keep.and_then(accounts::router_id);
    let registered = metadata::routers_of(&mut db, address.as_str()).await?;
    let mut changes = Vec::new();
    for router in &registered {
        for (user, host) in accounts::of_router(&mut db, router.id).await? {
            if keep != Some(user.as_str()) && accounts::drop(&mut db, &user, &host).await? {
                changes.push(format!("dropped {user}@{host}"));
            }
        }
    }
    let gone: Vec<u32> = registered
        .iter()
        .map(|router| router.id)
        .filter(|id| Some(*id) != kept_id)
        .collect();
    changes.extend(metadata::forget_router(&mut db, &gone).await?);
    db.close().await;
    Ok(Done::from_changes(changes))
}
