//! Writing rows: looked at first, changed only where they differ, everything of one call in one transaction.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ServerUuid;
use clusterctl_proto::step::{MetadataCluster, MetadataMember};
use serde_json::Value;
use uuid::Uuid;

use super::SCHEMA;
use crate::mysql::conn::{Db, text};
use crate::mysql::group;
use crate::mysql::locks::{self, Mode};

/// Rows of a cluster and of its first member. Answers what changed.
pub async fn put_cluster(
    db: &mut Db,
    cluster: &MetadataCluster,
    member: &MetadataMember,
) -> Result<Vec<String>, Failure> {
    transaction(db, Mode::Exclusive, async |db| {
        let mut changes = write_cluster(db, cluster).await?;
        changes.extend(write_instance(db, cluster.cluster_id, member).await?);
        Ok(changes)
    })
    .await
}

/// Row of a further member.
pub async fn put_instance(db: &mut Db, cluster_id: Uuid, member: &MetadataMember) -> Result<Vec<String>, Failure> {
    transaction(db, Mode::Exclusive, async |db| {
        let known = db
            .value_with(&format!("SELECT 1 FROM {SCHEMA}.clusters WHERE cluster_id = ?"), (cluster_id.to_string(),))
            .await?;
        if known.is_none() {
            return Err(Failure::new("metadata_cluster_missing", format!("the metadata has no cluster with id {cluster_id}"))
                .hint("the metadata was changed by another tool: compare SELECT * FROM mysql_innodb_cluster_metadata.clusters"));
        }
        write_instance(db, cluster_id, member).await
    })
    .await
}

/// The row of a member is gone; answers what changed, and whether another row still names this recovery account.
pub async fn forget_instance(
    db: &mut Db,
    address: &str,
    uuid: Option<ServerUuid>,
    account: &str,
) -> Result<(Vec<String>, bool), Failure> {
    let uuid = uuid.map(|uuid| uuid.to_string()).unwrap_or_default();
    let mut used = false;
    let changes = transaction(db, Mode::Exclusive, async |db| {
        let sql = format!(
            "DELETE FROM {SCHEMA}.instances WHERE (address = ? AND ? = '') OR (? <> '' AND mysql_server_uuid = ?) \
             OR (address = ? AND JSON_UNQUOTE(JSON_EXTRACT(attributes, '$.recoveryAccountUser')) = ?)"
        );
        let removed = db
            .change(&sql, (address, &uuid, &uuid, &uuid, address, account))
            .await?;
        let other = db
            .value_with(
                &format!(
                    "SELECT 1 FROM {SCHEMA}.instances \
                     WHERE JSON_UNQUOTE(JSON_EXTRACT(attributes, '$.recoveryAccountUser')) = ? LIMIT 1"
                ),
                (account,),
            )
            .await?;
        used = other.is_some();
        Ok(if removed > 0 {
            vec![format!("removed {address} from the metadata")]
        } else {
            Vec::new()
        })
    })
    .await?;
    Ok((changes, used))
}

/// The rows of a router are gone, by their ids.
pub async fn forget_router(db: &mut Db, ids: &[u32]) -> Result<Vec<String>, Failure> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    transaction(db, Mode::Shared, async |db| {
        let mut changes = Vec::new();
        for id in ids {
            let removed = db
                .change(&format!("DELETE FROM {SCHEMA}.routers WHERE router_id = ?"), (id,))
                .await?;
            let stats = db
                .change(&format!("DELETE FROM {SCHEMA}.router_stats WHERE router_id = ?"), (id,))
                .await?;
            if removed + stats > 0 {
                changes.push(format!("removed registration {id}"));
            }
        }
        Ok(changes)
    })
    .await
}

async fn transaction<T>(
    db: &mut Db,
    mode: Mode,
    work: impl AsyncFnOnce(&mut Db) -> Result<T, Failure>,
) -> Result<T, Failure> {
    locks::cluster(db, mode).await?;
    let result = async {
        db.run("START TRANSACTION").await?;
        group::require_primary(db).await?;
        let result = work(db).await?;
        db.run("COMMIT").await?;
        Ok(result)
    }
    .await;
    if db.usable() {
        if result.is_err() {
            db.run("ROLLBACK").await?;
        }
        locks::release(db).await?;
    }
    result
}

async fn write_cluster(db: &mut Db, cluster: &MetadataCluster) -> Result<Vec<String>, Failure> {
    let id = cluster.cluster_id.to_string();
    let rows = db
        .rows(&format!(
            "SELECT cluster_id, cluster_name, attributes, router_options FROM {SCHEMA}.clusters FOR UPDATE"
        ))
        .await?;
    if let Some(other) = rows.iter().find(|row| text(row, 0) != id) {
        return Err(
            Failure::refused("metadata_other_cluster", "the metadata holds another cluster")
                .fact(format!("cluster {} with id {}", text(other, 1), text(other, 0)))
                .hint("this server belongs to a cluster of another tool; use a server of its own"),
        );
    }
    let Some(row) = rows.first() else {
        db.change(
            &format!(
                "INSERT INTO {SCHEMA}.clusters (cluster_id, cluster_name, description, options, attributes, cluster_type, primary_mode, \
                 router_options) VALUES (?, ?, 'Default Cluster', NULL, ?, 'gr', 'pm', ?)"
            ),
            (&id, cluster.name.as_str(), cluster.attributes.to_string(), cluster.router_options.to_string()),
        )
        .await?;
        return Ok(vec![format!("registered cluster {}", cluster.name)]);
    };
    let (attributes, options) = (parse(&text(row, 2)), parse(&text(row, 3)));
    let mut changes = Vec::new();
    if text(row, 1) != cluster.name.as_str() {
        changes.push("name".to_owned());
    }
    changes.extend(differing(&attributes, &cluster.attributes));
    // what Router and people put there stays: only keys that are missing are added
    let options_lack = lacking(&options, &cluster.router_options);
    changes.extend(options_lack.iter().cloned());
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    db.change(
        &format!(
            "UPDATE {SCHEMA}.clusters SET cluster_name = ?, attributes = JSON_MERGE_PATCH(COALESCE(attributes, JSON_OBJECT()), ?), \
             router_options = JSON_MERGE_PATCH(?, COALESCE(router_options, JSON_OBJECT())) WHERE cluster_id = ?"
        ),
        (cluster.name.as_str(), cluster.attributes.to_string(), cluster.router_options.to_string(), &id),
    )
    .await?;
    Ok(vec![format!(
        "updated cluster {}: {}",
        cluster.name,
        changes.join(", ")
    )])
}

/// Documents of a row of `instances`.
pub(super) fn addresses(member: &MetadataMember) -> Value {
    let classic = format!("{}:{}", member.host, member.port);
    // on the MYSQL communication stack the group's address is the server's own
    let mut addresses = serde_json::json!({ "mysqlClassic": classic, "grLocal": classic });
    if let (Some(port), Value::Object(map)) = (member.x_port, &mut addresses) {
        map.insert("mysqlX".to_owned(), format!("{}:{port}", member.host).into());
    }
    addresses
}

async fn write_instance(db: &mut Db, cluster_id: Uuid, member: &MetadataMember) -> Result<Vec<String>, Failure> {
    let (id, address) = (cluster_id.to_string(), format!("{}:{}", member.host, member.port));
    let view = group::view(db).await?.map(|view| view.members).unwrap_or_default();
    let Some(live) = view
        .iter()
        .find(|m| m.host.eq_ignore_ascii_case(member.host.as_str()) && m.port == member.port)
    else {
        let failure = Failure::new(
            "member_not_in_group",
            format!("{address} is not in the group as the primary sees it"),
        )
        .transient();
        return Err(view.iter().fold(failure, |failure, m| {
            failure.fact(format!("{}:{} is {:?}", m.host, m.port, m.state))
        }));
    };
    let uuid = live.server_uuid.to_string();
    let addresses = addresses(member);
    let rows = db
        .rows_with(
            &format!(
                "SELECT instance_id, address, mysql_server_uuid, addresses, attributes FROM {SCHEMA}.instances \
                 WHERE cluster_id = ? AND (mysql_server_uuid = ? OR address = ?) FOR UPDATE"
            ),
            (&id, &uuid, &address),
        )
        .await?;
    if rows.len() > 1 {
        let failure = Failure::refused(
            "metadata_conflict",
            format!("two rows of the metadata claim to be {address}"),
        )
        .hint("remove the wrong one: dba.getCluster().rescan() in MySQL Shell");
        return Err(rows.iter().fold(failure, |failure, row| {
            failure.fact(format!("{} with server_uuid {}", text(row, 1), text(row, 2)))
        }));
    }
    let Some(row) = rows.first() else {
        let mut attributes = member.attributes.clone();
        if member.joined
            && let Value::Object(map) = &mut attributes
        {
            map.insert(
                "joinTime".to_owned(),
                db.value("SELECT CAST(NOW(3) AS CHAR)")
                    .await?
                    .unwrap_or_default()
                    .into(),
            );
        }
        db.change(
            &format!(
                "INSERT INTO {SCHEMA}.instances (cluster_id, address, mysql_server_uuid, instance_name, addresses, attributes, \
                 instance_type) VALUES (?, ?, ?, ?, ?, ?, 'group-member')"
            ),
            (&id, &address, &uuid, &address, addresses.to_string(), attributes.to_string()),
        )
        .await?;
        return Ok(vec![format!("registered {address}")]);
    };
    let mut changes = Vec::new();
    if text(row, 1) != address {
        changes.push(format!("address {} -> {address}", text(row, 1)));
    }
    if text(row, 2) != uuid {
        changes.push(format!("server_uuid {} -> {uuid}", text(row, 2)));
    }
    changes.extend(differing(&parse(&text(row, 3)), &addresses));
    changes.extend(differing(&parse(&text(row, 4)), &member.attributes));
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    db.change(
        &format!(
            "UPDATE {SCHEMA}.instances SET address = ?, mysql_server_uuid = ?, addresses = JSON_MERGE_PATCH(addresses, ?), \
             attributes = JSON_MERGE_PATCH(COALESCE(attributes, JSON_OBJECT()), ?) WHERE cluster_id = ? AND instance_id = ?"
        ),
        (&address, &uuid, addresses.to_string(), member.attributes.to_string(), &id, text(row, 0)),
    )
    .await?;
    Ok(vec![format!("updated {address}: {}", changes.join(", "))])
}

fn parse(document: &str) -> Value {
    serde_json::from_str(document).unwrap_or(Value::Null)
}

/// Keys of the wanted document that are missing or differ. What else is there is others' business.
pub(super) fn differing(there: &Value, wanted: &Value) -> Vec<String> {
    let Value::Object(wanted) = wanted else {
        return Vec::new();
    };
    wanted
        .iter()
        .filter(|(key, value)| !there.get(key.as_str()).is_some_and(|found| alike(found, value)))
        .map(|(key, _)| key.clone())
        .collect()
}

/// Keys of the wanted document that are missing. A null in a merge would take a key away, so it does not count as one to add.
pub(super) fn lacking(there: &Value, wanted: &Value) -> Vec<String> {
    let Value::Object(wanted) = wanted else {
        return Vec::new();
    };
    wanted
        .iter()
        .filter(|(key, value)| !value.is_null() && there.get(key.as_str()).is_none())
        .map(|(key, _)| key.clone())
        .collect()
}

/// Equal, numbers by their value.
fn alike(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() < f64::EPSILON,
        _ => a == b,
    }
}
