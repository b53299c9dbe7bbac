//! Schemas, tables, and the rows that clients of a simulation write.

use super::super::data::{Data, Work};
use super::super::session::SqlError;
use super::super::world::World;
use super::accounts::plain;
use super::{Call, Next, Reply, Table, row, rows, text};

pub(super) const TABLE: Table = &[
    ("INSERT INTO sim.written VALUES ({})", insert),
    ("SELECT COUNT(*) FROM sim.written WHERE id = {}", count),
    ("CREATE DATABASE IF NOT EXISTS {}", create_database),
    ("DROP DATABASE IF EXISTS {}", drop_database),
    ("REPLACE INTO clusterctl_verify.marker VALUES (1, ?, NOW(6))", mark),
    (
        "REPLACE INTO clusterctl_verify.marker VALUES (2, 'must not be', NOW(6))",
        mark_not,
    ),
    ("SELECT value FROM clusterctl_verify.marker WHERE id = 1", marker),
    (
        "SELECT COALESCE(@@GLOBAL.report_host, @@GLOBAL.hostname), (SELECT value FROM clusterctl_verify.marker WHERE id = 1)",
        host_and_marker,
    ),
    (
        "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?",
        has_schema,
    ),
    (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = ?",
        tables,
    ),
    (
        "SELECT CONCAT(t.table_schema, '.', t.table_name) FROM information_schema.tables AS t {}",
        none,
    ),
    (
        "SELECT CONCAT(t.table_schema, '.', t.table_name, ' (', t.engine, ')') FROM information_schema.tables AS t {}",
        none,
    ),
    (
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN ({}) ORDER BY 1 LIMIT 10",
        user_schemas,
    ),
    ("CREATE TABLE IF NOT EXISTS {} ({}", create_object),
    ("CREATE PROCEDURE IF NOT EXISTS {}({}", create_object),
    (
        "CREATE OR REPLACE SQL SECURITY INVOKER VIEW schema_version {}",
        create_version,
    ),
    ("CREATE OR REPLACE SQL SECURITY INVOKER VIEW {} AS {}", create_object),
];

fn change(what: &str, affected: u64, change: impl Fn(&mut Data) + Send + Sync + 'static) -> Reply {
    Ok(Next::Commit(Work::new(what, change), affected))
}

fn none(_: &Call, _: &mut World) -> Reply {
    rows(Vec::new())
}

fn insert(call: &Call, world: &mut World) -> Reply {
    let number = call.part(0).parse::<u64>().unwrap_or(0);
    if call.data(world).rows.contains(&number) {
        return Err(SqlError::new(
            1062,
            format!("Duplicate entry '{number}' for key 'written.PRIMARY'"),
        ));
    }
    let mut work = Work::new(format!("INSERT {number}"), move |data: &mut Data| {
        data.rows.insert(number);
    });
    work.row = Some(number);
    Ok(Next::Commit(work, 1))
}

fn count(call: &Call, world: &mut World) -> Reply {
    let number = call.part(0).parse::<u64>().unwrap_or(0);
    row(vec![text(u8::from(call.data(world).rows.contains(&number)))])
}

fn create_database(call: &Call, _: &mut World) -> Reply {
    let name = plain(call.part(0).split(" CHARACTER SET").next().unwrap_or_default());
    change("CREATE DATABASE", 1, move |data| {
        data.schemas.entry(name.clone()).or_default();
    })
}

fn drop_database(call: &Call, _: &mut World) -> Reply {
    let name = plain(call.part(0));
    change("DROP DATABASE", 0, move |data| {
        data.schemas.remove(&name);
        if name == "clusterctl_verify" {
            data.marker = None;
        }
    })
}

/// In its schema, or in the metadata schema, the only one that is ever the default.
fn create_object(call: &Call, _: &mut World) -> Reply {
    let name = plain(call.part(0).trim());
    let (schema, object) = match name.split_once('.') {
        Some((schema, object)) => (schema.to_owned(), object.to_owned()),
        None => (super::metadata::SCHEMA.to_owned(), name),
    };
    change("CREATE", 0, move |data| {
        data.schemas.entry(schema.clone()).or_default().insert(object.clone());
    })
}

fn create_version(_: &Call, _: &mut World) -> Reply {
    change("CREATE", 0, |data| {
        let objects = data.schemas.entry(super::metadata::SCHEMA.to_owned()).or_default();
        objects.insert("schema_version".to_owned());
    })
}

fn mark(call: &Call, _: &mut World) -> Reply {
    let value = call.param(0);
    change("REPLACE", 1, move |data| data.marker = Some(value.clone()))
}

fn mark_not(_: &Call, _: &mut World) -> Reply {
    change("REPLACE", 1, |_| {})
}

fn marker(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    match data.schemas.get("clusterctl_verify") {
        None => Err(SqlError::new(1049, "Unknown database 'clusterctl_verify'")),
        Some(tables) if !tables.contains("marker") => {
            Err(SqlError::new(1146, "Table 'clusterctl_verify.marker' doesn't exist"))
        }
        Some(_) => rows(data.marker.iter().map(|value| vec![text(value)]).collect()),
    }
}

fn host_and_marker(call: &Call, world: &mut World) -> Reply {
    let name = world.servers[call.id].name.clone();
    row(vec![Some(name), call.data(world).marker.clone()])
}

fn has_schema(call: &Call, world: &mut World) -> Reply {
    let there = call.data(world).schemas.contains_key(&call.param(0));
    rows(there.then(|| vec![text(1)]).into_iter().collect())
}

fn tables(call: &Call, world: &mut World) -> Reply {
    let data = call.data(world);
    let names = data.schemas.get(&call.param(0)).into_iter().flatten();
    rows(names.map(|name| vec![text(name)]).collect())
}

fn user_schemas(call: &Call, world: &mut World) -> Reply {
    let known = call.part(0).split(", ").map(plain).collect::<Vec<_>>();
    let data = call.data(world);
    let others = data.schemas.keys().filter(|name| !known.contains(name));
    rows(others.take(10).map(|name| vec![text(name)]).collect())
}
