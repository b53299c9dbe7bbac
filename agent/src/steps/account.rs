//! On the primary: an account with the hash and the rights that the plan orders.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::{Account, AccountKind};

use super::{Context, Done};
use crate::mysql::locks::{self, Mode};
use crate::mysql::{Db, accounts, grants, group};

/// Looks, acts, looks again.
pub async fn ensure(account: &Account, secret: &str, cx: &Context) -> Result<Done, Failure> {
    let hash = cx.secret(secret)?.to_owned();
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    locks::cluster(&mut db, Mode::Shared).await?;
    group::require_primary(&mut db).await?;
    if account.kind == AccountKind::Verify {
        db.run(&format!("CREATE DATABASE IF NOT EXISTS {}", grants::VERIFY))
            .await?;
    }
    let changes = accounts::ensure(&mut db, account, &hash).await?;
    db.close().await;
    Ok(Done::from_changes(changes))
}
