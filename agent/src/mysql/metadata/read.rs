//! Reading: this server's copy of the metadata, through the views that Router and MySQL Shell read.

use crate::mysql::server::Row;
use clusterctl_proto::ids::ServerId;
use clusterctl_proto::observe::{MetadataCopy, MetadataInstance, MetadataRouter};

use super::schema::version;
use super::{ABSENT, SCHEMA};
use crate::mysql::conn::{Db, cell, number, text};
use crate::mysql::error::MysqlError;

/// This server's copy; none: no schema, or no cluster in it.
pub async fn copy(db: &mut Db) -> Result<Option<MetadataCopy>, MysqlError> {
    match read(db).await {
        Ok(copy) => Ok(copy),
        // being made at this moment, or a part of another tool's upgrade
        Err(error) if error.code().is_some_and(|code| ABSENT.contains(&code)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read(db: &mut Db) -> Result<Option<MetadataCopy>, MysqlError> {
    let Some(version) = version(db).await? else {
        return Ok(None);
    };
    let rows = db
        .rows(&format!(
            "SELECT cluster_name, cluster_id, group_name FROM {SCHEMA}.v2_gr_clusters ORDER BY cluster_id LIMIT 1"
        ))
        .await?;
    let (name, id, group) = rows
        .first()
        .map(|row| (text(row, 0), text(row, 1), text(row, 2)))
        .unwrap_or_default();
    let instances = db
        .rows_with(
            &format!(
                "SELECT address, mysql_server_uuid, JSON_UNQUOTE(JSON_EXTRACT(attributes, '$.server_id')) FROM {SCHEMA}.v2_instances \
                 WHERE cluster_id = ? AND instance_type = 'group-member' ORDER BY instance_id"
            ),
            (&id,),
        )
        .await?;
    Ok(Some(MetadataCopy {
        version,
        cluster_name: name,
        cluster_id: id,
        group_name: group,
        instances: instances.iter().filter_map(instance).collect(),
        routers: routers(db).await?,
    }))
}

fn instance(row: &Row) -> Option<MetadataInstance> {
    Some(MetadataInstance {
        address: text(row, 0),
        server_uuid: text(row, 1).parse().ok()?,
        // some tools write it as a decimal
        server_id: cell(row, 2)
            .and_then(|id| id.split('.').next()?.parse().ok())
            .map(ServerId),
    })
}

async fn routers(db: &mut Db) -> Result<Vec<MetadataRouter>, MysqlError> {
    let rows = db
        .rows(&format!(
            "SELECT router_id, address, router_name, version, JSON_UNQUOTE(JSON_EXTRACT(attributes, '$.MetadataUser')) \
             FROM {SCHEMA}.v2_routers ORDER BY router_id"
        ))
        .await?;
    Ok(rows.iter().map(router).collect())
}

fn router(row: &Row) -> MetadataRouter {
    MetadataRouter {
        id: u32::try_from(number(row, 0)).unwrap_or(0),
        address: text(row, 1),
        name: text(row, 2),
        version: cell(row, 3),
        account: cell(row, 4).filter(|account| account != "null"),
    }
}

/// Routers registered from a host.
pub async fn routers_of(db: &mut Db, address: &str) -> Result<Vec<MetadataRouter>, MysqlError> {
    Ok(routers(db)
        .await?
        .into_iter()
        .filter(|router| router.address.eq_ignore_ascii_case(address))
        .collect())
}
