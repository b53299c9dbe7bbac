//! On the primary: accounts of the members exist and are replicated.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::MemberAccount;

use super::{Context, Done};
use crate::mysql::locks::{self, Mode};
use crate::mysql::{Db, accounts, group};

/// Looks, acts, looks again. The statements are sent also where all is right: this server may have the accounts from their local,
/// unlogged creation, and others must get them. IF NOT EXISTS is logged even when the account exists, and harmless there.
pub async fn ensure(wanted: &[MemberAccount], cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    locks::cluster(&mut db, Mode::Exclusive).await?;
    group::require_primary(&mut db).await?;
    let mut changes = Vec::new();
    for account in wanted {
        changes.extend(accounts::ensure_member(&mut db, account, true).await?);
    }
    db.close().await;
    Ok(Done::from_changes(changes))
}
