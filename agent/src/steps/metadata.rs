//! On the primary: the metadata schema with this cluster and its first member.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::{MetadataCluster, MetadataMember};

use super::{Context, Done};
use crate::mysql::{Db, group, metadata};

/// Looks, acts, looks again.
pub async fn ensure(cluster: &MetadataCluster, member: &MetadataMember, cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    group::require_primary(&mut db).await?;
    let mut changes = Vec::new();
    if metadata::ensure_schema(&mut db).await? {
        changes.push(format!("made the metadata schema {}", metadata::VERSION));
    }
    // a connection of its own: the other's default database is the schema now
    let mut rows = Db::local(&*cx.servers, &cx.config.mysql).await?;
    db.close().await;
    changes.extend(metadata::put_cluster(&mut rows, cluster, member).await?);
    rows.close().await;
    Ok(Done::from_changes(changes))
}
