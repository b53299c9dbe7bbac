//! Settings are persisted on a member, in the given order.

use clusterctl_proto::failure::Failure;

use super::{Context, Done};
use crate::mysql::{Db, variables};

/// Looks, sets what differs.
pub async fn ensure(wanted: &[(String, String)], cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::local(&cx.config.mysql).await?;
    let changes = variables::persist(&mut db, wanted).await?;
    db.close().await;
    Ok(Done::from_changes(changes))
}
