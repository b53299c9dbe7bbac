//! Statements that start, stop and steer Group Replication and the connection itself.

use tokio::time::Instant;

use super::super::clone;
use super::super::expr;
use super::super::numbers;
use super::super::process::Who;
use super::super::session::{Answer, SqlError};
use super::super::variables;
use super::super::world::World;
use super::{Asked, Call, Reply, Table, ok, row, unknown, wait};

pub(super) const TABLE: Table = &[
    ("START GROUP_REPLICATION", start),
    ("STOP GROUP_REPLICATION", stop),
    ("SELECT group_replication_set_as_primary({})", set_as_primary),
    ("SELECT group_replication_set_write_concurrency({})", done),
    ("SELECT group_replication_get_write_concurrency()", write_concurrency),
    (
        "CHANGE REPLICATION SOURCE TO SOURCE_USER = {}, SOURCE_PASSWORD = '' FOR CHANNEL 'group_replication_recovery'",
        recovery_user,
    ),
    ("RESET REPLICA ALL FOR CHANNEL '{}'", reset_channel),
    ("CLONE INSTANCE FROM {}@{}:{} IDENTIFIED BY '' REQUIRE SSL", clone_from),
    ("SET SESSION sql_log_bin = {}", log_bin),
    ("SET sql_log_bin = {}", log_bin),
    ("SET GTID_NEXT = {}", gtid_next),
    ("SET SESSION {}", done),
    ("SET GLOBAL group_replication_force_members = {}", force),
    ("SET GLOBAL {} = {}", set_global),
    ("SET PERSIST {} = {}", set_persist),
    ("SET PERSIST_ONLY {} = {}", set_persist_only),
    ("RESET PERSIST IF EXISTS {}", reset_persist),
    ("START TRANSACTION", begin),
    ("COMMIT", commit),
    ("ROLLBACK", rollback),
];

fn done(_: &Call, _: &mut World) -> Reply {
    ok()
}

fn start(call: &Call, world: &mut World) -> Reply {
    let connections = world.process(call.id).map(|process| &process.connections);
    let connection = connections.and_then(|all| all.get(&call.session));
    let who = connection.map_or(Who::Person, |connection| connection.who);
    let call = call.clone();
    wait(async move {
        call.net.start_group(call.id, call.incarnation, who).await?;
        Ok(Answer::default())
    })
}

fn stop(call: &Call, _: &mut World) -> Reply {
    let call = call.clone();
    wait(async move {
        call.net.stop_group(call.id, call.incarnation).await?;
        Ok(Answer::default())
    })
}

fn set_as_primary(call: &Call, _: &mut World) -> Reply {
    let call = call.clone();
    wait(async move {
        let uuid = call
            .part(0)
            .split(',')
            .next()
            .unwrap_or_default()
            .trim_matches('\'')
            .to_owned();
        call.net.set_as_primary(call.id, call.incarnation, &uuid).await?;
        let rows = vec![vec![Some("Primary server switched to the requested member".to_owned())]];
        Ok(Answer { rows, affected: 0 })
    })
}

fn write_concurrency(_: &Call, _: &mut World) -> Reply {
    row(vec![Some("10".to_owned())])
}

fn recovery_user(call: &Call, world: &mut World) -> Reply {
    let disk = &mut world.servers[call.id].disk;
    disk.data.recovery_user = Some(call.part(0).trim_matches('\'').to_owned());
    disk.channels.insert("group_replication_recovery");
    ok()
}

fn reset_channel(call: &Call, world: &mut World) -> Reply {
    let runs = world.process(call.id).is_some_and(|process| !process.gr.is_offline());
    if runs {
        return Err(SqlError::new(
            3081,
            "This operation cannot be performed with a running replica",
        ));
    }
    if call.part(0) == "group_replication_applier" {
        world.discard_received(call.id);
    }
    let disk = &mut world.servers[call.id].disk;
    match call.part(0) {
        "group_replication_applier" => {
            disk.channels.remove("group_replication_applier");
            disk.received.clear();
            disk.gtid_received = Default::default();
        }
        _ => {
            disk.channels.remove("group_replication_recovery");
            disk.data.recovery_user = None;
        }
    }
    ok()
}

fn clone_from(call: &Call, _: &mut World) -> Reply {
    let call = call.clone();
    wait(async move {
        let unquoted = |place| call.part(place).trim_matches('\'').to_owned();
        let (user, donor) = (unquoted(0), unquoted(1));
        clone::run(&call.net, (call.id, call.incarnation, call.session), &user, &donor).await?;
        Ok(Answer::default())
    })
}

fn log_bin(call: &Call, world: &mut World) -> Reply {
    let unlogged = matches!(call.part(0), "0" | "OFF");
    if let Some(connection) = call.connection(world) {
        connection.unlogged = unlogged;
    }
    ok()
}

fn gtid_next(call: &Call, world: &mut World) -> Reply {
    let gtid = numbers::parse(call.part(0).trim_matches('\''));
    if let Some(connection) = call.connection(world) {
        connection.gtid_next = gtid;
    }
    ok()
}

/// The value behind `SET … =`; none: DEFAULT.
fn value(call: &Call, world: &mut World, name: &str) -> Result<Option<String>, SqlError> {
    let given = call.part(call.parts.len() - 1);
    if given.eq_ignore_ascii_case("DEFAULT") {
        let value = variables::default_of(name).ok_or_else(|| variables::unknown(name))?;
        return Ok(Some(value.to_owned()));
    }
    let found = expr::list(given, &Asked { world, call });
    match found {
        Some(values) => Ok(values?.into_iter().next().flatten()),
        None => Err(unknown(world, &format!("SET {name} = {given}"))),
    }
}

fn checked(call: &Call, world: &mut World, persists: bool, runs: bool) -> Reply {
    let name = call.part(0).to_ascii_lowercase();
    if !variables::exists(&name, &world.servers[call.id].disk.data.plugins) {
        return Err(variables::unknown(&name));
    }
    let value = value(call, world, &name)?;
    let now = world.micros(call.id);
    let process = world.process_mut(call.id).ok_or_else(SqlError::lost)?;
    let is_fixed_now = matches!(
        name.as_str(),
        "group_replication_group_name" | "group_replication_local_address" | "group_replication_communication_stack"
    );
    let given = value.as_deref().unwrap_or_default();
    if runs && is_fixed_now && !process.gr.is_offline() && process.vars.text(&name) != given {
        return Err(SqlError::new(
            3093,
            format!("The {name} cannot be changed when Group Replication is running"),
        ));
    }
    let stored = process.vars.set(&name, value.as_deref(), runs)?;
    if name == "group_replication_bootstrap_group" && runs && stored == "ON" {
        process.flag_on = Some(Instant::now());
    }
    if runs {
        process.set_at.insert(name.clone(), now);
    }
    if persists {
        world.servers[call.id].disk.persisted.insert(name, stored);
    }
    ok()
}

fn set_global(call: &Call, world: &mut World) -> Reply {
    checked(call, world, false, true)
}

fn set_persist(call: &Call, world: &mut World) -> Reply {
    checked(call, world, true, true)
}

fn set_persist_only(call: &Call, world: &mut World) -> Reply {
    checked(call, world, true, false)
}

fn reset_persist(call: &Call, world: &mut World) -> Reply {
    world.servers[call.id]
        .disk
        .persisted
        .remove(&call.part(0).to_ascii_lowercase());
    ok()
}

fn force(call: &Call, world: &mut World) -> Reply {
    let value = value(call, world, "group_replication_force_members")?.unwrap_or_default();
    let call = call.clone();
    wait(async move {
        call.net.force(call.id, call.incarnation, &value).await?;
        Ok(Answer::default())
    })
}

fn begin(call: &Call, world: &mut World) -> Reply {
    if let Some(connection) = call.connection(world) {
        connection.open = Some(Vec::new());
    }
    ok()
}

fn commit(call: &Call, world: &mut World) -> Reply {
    let open = call
        .connection(world)
        .and_then(|connection| connection.open.take())
        .unwrap_or_default();
    let Some(first) = open.first() else {
        return ok();
    };
    let mut work = first.clone();
    work.row = open.iter().find_map(|work| work.row);
    let changes: Vec<_> = open.into_iter().map(|work| work.change).collect();
    work.change = std::sync::Arc::new(move |data| changes.iter().for_each(|change| change(data)));
    Ok(super::Next::Commit(work, 0))
}

fn rollback(call: &Call, world: &mut World) -> Reply {
    if let Some(connection) = call.connection(world) {
        connection.open = None;
    }
    ok()
}

impl Call {
    fn connection<'a>(&self, world: &'a mut World) -> Option<&'a mut super::super::process::Connection> {
        world.process_mut(self.id)?.connections.get_mut(&self.session)
    }
}
