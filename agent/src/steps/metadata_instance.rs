//! On the primary: the metadata row of a further member.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::MetadataMember;
use uuid::Uuid;

use super::{Context, Done};
use crate::mysql::{Db, metadata};

/// Looks, acts, looks again.
pub async fn ensure(cluster_id: Uuid, member: &MetadataMember, cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    let changes = metadata::put_instance(&mut db, cluster_id, member).await?;
    db.close().await;
    Ok(Done::from_changes(changes))
}
