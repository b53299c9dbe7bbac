//! AdminAPI's metadata: clusters, instances, routers.

use serde_json::Value as Json;

use super::super::data::{Data, Metadata, Record, Work};
use super::super::expr::Value;
use super::super::session::SqlError;
use super::super::world::World;
use super::{Call, Next, Reply, Table, rows, text};

/// The schema's name.
pub(super) const SCHEMA: &str = "mysql_innodb_cluster_metadata";

pub(super) const TABLE: Table = &[
    (
        "SELECT major, minor, patch FROM mysql_innodb_cluster_metadata.schema_version",
        version,
    ),
    (
        "SELECT cluster_name, cluster_id, group_name FROM mysql_innodb_cluster_metadata.v2_gr_clusters ORDER BY cluster_id LIMIT 1",
        clusters,
    ),
    (
        "SELECT address, mysql_server_uuid, JSON_UNQUOTE(JSON_EXTRACT(attributes, '$.server_id')) FROM \
         mysql_innodb_cluster_metadata.v2_instances WHERE cluster_id = ? AND instance_type = 'group-member' ORDER BY instance_id",
        instances,
    ),
    (
        "SELECT router_id, address, router_name, version, JSON_UNQUOTE(JSON_EXTRACT(attributes, '$.MetadataUser')) FROM \
         mysql_innodb_cluster_metadata.v2_routers ORDER BY router_id",
        routers,
    ),
    (
        "SELECT 1 FROM mysql_innodb_cluster_metadata.clusters WHERE cluster_id = ?",
        has_cluster,
    ),
    (
        "DELETE FROM mysql_innodb_cluster_metadata.instances WHERE (address = ? AND ? = '') OR {}",
        delete_instance,
    ),
    (
        "SELECT 1 FROM mysql_innodb_cluster_metadata.instances WHERE JSON_UNQUOTE(JSON_EXTRACT(attributes, \
         '$.recoveryAccountUser')) = ? LIMIT 1",
        account_is_used,
    ),
    (
        "DELETE FROM mysql_innodb_cluster_metadata.routers WHERE router_id = ?",
        delete_router,
    ),
    (
        "DELETE FROM mysql_innodb_cluster_metadata.router_stats WHERE router_id = ?",
        delete_stats,
    ),
    (
        "SELECT cluster_id, cluster_name, attributes, router_options FROM mysql_innodb_cluster_metadata.clusters FOR UPDATE",
        clusters_to_change,
    ),
    ("INSERT INTO mysql_innodb_cluster_metadata.clusters ({}", insert_cluster),
    (
        "UPDATE mysql_innodb_cluster_metadata.clusters SET cluster_name = ?, {}",
        update_cluster,
    ),
    (
        "SELECT instance_id, address, mysql_server_uuid, addresses, attributes FROM mysql_innodb_cluster_metadata.instances \
         WHERE cluster_id = ? AND (mysql_server_uuid = ? OR address = ?) FOR UPDATE",
        instances_to_change,
    ),
    (
        "INSERT INTO mysql_innodb_cluster_metadata.instances ({}",
        insert_instance,
    ),
    (
        "UPDATE mysql_innodb_cluster_metadata.instances SET address = ?, {}",
        update_instance,
    ),
];

fn change(affected: usize, change: impl Fn(&mut Metadata) + Send + Sync + 'static) -> Reply {
    let work = Work::new("metadata", move |data: &mut Data| change(&mut data.metadata));
    Ok(Next::Commit(work, affected as u64))
}

/// The table or view is there.
fn there(data: &Data, object: &str) -> Result<(), SqlError> {
    match data.schemas.get(SCHEMA) {
        None => Err(SqlError::new(1049, format!("Unknown database '{SCHEMA}'"))),
        Some(objects) if objects.contains(object) => Ok(()),
        Some(_) => Err(SqlError::new(1146, format!("Table '{SCHEMA}.{object}' doesn't exist"))),
    }
}

fn json(document: &str) -> Json {
    serde_json::from_str(document).unwrap_or(Json::Null)
}

fn cell(record: &Record, column: &str) -> Value {
    match record.get(column) {
        None | Some(Json::Null) => None,
        Some(Json::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    }
}

/// `JSON_UNQUOTE(JSON_EXTRACT(column, '$.key'))`.
fn inside(record: &Record, column: &str, key: &str) -> Value {
    match record.get(column)?.get(key)? {
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// `JSON_MERGE_PATCH`.
fn merge(there: &Json, patch: &Json) -> Json {
    let Json::Object(patch) = patch else {
        return patch.clone();
    };
    let mut merged = there.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            merged.remove(key);
        } else {
            let old = merged.get(key).cloned().unwrap_or(Json::Null);
            merged.insert(key.clone(), merge(&old, value));
        }
    }
    Json::Object(merged)
}

fn is(record: &Record, column: &str, value: &str) -> bool {
    cell(record, column).as_deref() == Some(value)
}

fn version(call: &Call, world: &mut World) -> Reply {
    there(&call.data(world), "schema_version")?;
    rows(vec![vec![text(2), text(4), text(0)]])
}

fn clusters(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    there(&data, "v2_gr_clusters")?;
    let line = |record: &Record| {
        let group = inside(record, "attributes", "group_replication_group_name");
        vec![cell(record, "cluster_name"), cell(record, "cluster_id"), group]
    };
    rows(data.metadata.clusters.iter().take(1).map(line).collect())
}

fn instances(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    there(&data, "v2_instances")?;
    let cluster = call.param(0);
    let own = data
        .metadata
        .instances
        .iter()
        .filter(|record| is(record, "cluster_id", &cluster));
    let line = |record: &Record| {
        let id = inside(record, "attributes", "server_id");
        vec![cell(record, "address"), cell(record, "mysql_server_uuid"), id]
    };
    rows(own.map(line).collect())
}

fn routers(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    there(&data, "v2_routers")?;
    let line = |record: &Record| {
        let mut cells: Vec<Value> = ["router_id", "address", "router_name", "version"]
            .map(|column| cell(record, column))
            .into();
        cells.push(inside(record, "attributes", "MetadataUser"));
        cells
    };
    rows(data.metadata.routers.iter().map(line).collect())
}

fn has_cluster(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    there(&data, "clusters")?;
    let found = data
        .metadata
        .clusters
        .iter()
        .any(|record| is(record, "cluster_id", &call.param(0)));
    rows(found.then(|| vec![text(1)]).into_iter().collect())
}

fn delete_instance(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    there(&data, "instances")?;
    let (address, uuid, account) = (call.param(0), call.param(1), call.param(5));
    let gone = move |record: &Record| {
        let here = is(record, "address", &address);
        here && uuid.is_empty()
            || !uuid.is_empty() && is(record, "mysql_server_uuid", &uuid)
            || here && inside(record, "attributes", "recoveryAccountUser").as_deref() == Some(&account)
    };
    let affected = data.metadata.instances.iter().filter(|record| gone(record)).count();
    change(affected, move |metadata| {
        metadata.instances.retain(|record| !gone(record))
    })
}

fn account_is_used(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    let account = Some(call.param(0));
    let found = data
        .metadata
        .instances
        .iter()
        .any(|r| inside(r, "attributes", "recoveryAccountUser") == account);
    rows(found.then(|| vec![text(1)]).into_iter().collect())
}

fn delete_router(call: &Call, world: &mut World) -> Reply {
    let id = call.param(0);
    let affected = call
        .data(world)
        .metadata
        .routers
        .iter()
        .filter(|record| is(record, "router_id", &id))
        .count();
    change(affected, move |metadata| {
        metadata.routers.retain(|record| !is(record, "router_id", &id))
    })
}

fn delete_stats(call: &Call, world: &mut World) -> Reply {
    let id = call.param(0).parse::<u64>().unwrap_or(0);
    let affected = usize::from(call.data(world).metadata.router_stats.contains(&id));
    change(affected, move |metadata| {
        metadata.router_stats.remove(&id);
    })
}

fn clusters_to_change(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    there(&data, "clusters")?;
    let columns = ["cluster_id", "cluster_name", "attributes", "router_options"];
    let line = |record: &Record| columns.map(|column| cell(record, column)).into();
    rows(data.metadata.clusters.iter().map(line).collect())
}

fn insert_cluster(call: &Call, world: &mut World) -> Reply {
    there(&call.data(world), "clusters")?;
    let record: Record = [
        ("cluster_id".to_owned(), call.param(0).into()),
        ("cluster_name".to_owned(), call.param(1).into()),
        ("attributes".to_owned(), json(&call.param(2))),
        ("router_options".to_owned(), json(&call.param(3))),
    ]
    .into();
    change(1, move |metadata| metadata.clusters.push(record.clone()))
}

fn update_cluster(call: &Call, _: &mut World) -> Reply {
    let (name, attributes, options) = (call.param(0), json(&call.param(1)), json(&call.param(2)));
    let id = call.param(3);
    change(1, move |metadata| {
        for record in metadata
            .clusters
            .iter_mut()
            .filter(|record| is(record, "cluster_id", &id))
        {
            let column = |name: &str| record.get(name).cloned().unwrap_or(Json::Null);
            let (merged, kept) = (
                merge(&column("attributes"), &attributes),
                merge(&options, &column("router_options")),
            );
            record.insert("cluster_name".to_owned(), name.clone().into());
            record.insert("attributes".to_owned(), merged);
            record.insert("router_options".to_owned(), kept);
        }
    })
}

fn instances_to_change(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    there(&data, "instances")?;
    let (cluster, uuid, address) = (call.param(0), call.param(1), call.param(2));
    let fits = |record: &&Record| {
        is(record, "cluster_id", &cluster)
            && (is(record, "mysql_server_uuid", &uuid) || is(record, "address", &address))
    };
    let columns = ["instance_id", "address", "mysql_server_uuid", "addresses", "attributes"];
    let line = |record: &Record| columns.map(|column| cell(record, column)).into();
    rows(data.metadata.instances.iter().filter(fits).map(line).collect())
}

fn insert_instance(call: &Call, world: &mut World) -> Reply {
    there(&call.data(world), "instances")?;
    let record: Record = [
        ("cluster_id".to_owned(), call.param(0).into()),
        ("address".to_owned(), call.param(1).into()),
        ("mysql_server_uuid".to_owned(), call.param(2).into()),
        ("instance_name".to_owned(), call.param(3).into()),
        ("addresses".to_owned(), json(&call.param(4))),
        ("attributes".to_owned(), json(&call.param(5))),
    ]
    .into();
    change(1, move |metadata| {
        metadata.last_instance += 1;
        let mut record = record.clone();
        record.insert("instance_id".to_owned(), metadata.last_instance.into());
        metadata.instances.push(record);
    })
}

fn update_instance(call: &Call, _: &mut World) -> Reply {
    let (address, uuid) = (call.param(0), call.param(1));
    let (addresses, attributes) = (json(&call.param(2)), json(&call.param(3)));
    let id = call.param(5);
    change(1, move |metadata| {
        for record in metadata
            .instances
            .iter_mut()
            .filter(|record| is(record, "instance_id", &id))
        {
            let column = |name: &str| record.get(name).cloned().unwrap_or(Json::Null);
            let (one, two) = (
                merge(&column("addresses"), &addresses),
                merge(&column("attributes"), &attributes),
            );
            record.insert("address".to_owned(), address.clone().into());
            record.insert("mysql_server_uuid".to_owned(), uuid.clone().into());
            record.insert("addresses".to_owned(), one);
            record.insert("attributes".to_owned(), two);
        }
    })
}
