//! On the primary: an account is gone.

use clusterctl_proto::failure::Failure;

use super::{Context, Done};
use crate::mysql::locks::{self, Mode};
use crate::mysql::{Db, accounts, group};

/// Looks, acts, looks again.
pub async fn ensure(user: &str, from: &str, cx: &Context) -> Result<Done, Failure> {
    if matches!(user, "" | "root") || user.starts_with("mysql.") || user.starts_with(accounts::MEMBER_PREFIX) {
        return Err(Failure::refused(
            "account_reserved",
            format!("the account {user}@{from} is not clusterctl's to drop"),
        ));
    }
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    locks::cluster(&mut db, Mode::Shared).await?;
    group::require_primary(&mut db).await?;
    let dropped = accounts::drop(&mut db, user, from).await?;
    db.close().await;
    Ok(if dropped {
        Done::changed(format!("dropped {user}@{from}"))
    } else {
        Done::Unchanged
    })
}
