//! Values without a table: variables and expressions, and the tables that tell of variables.

use super::super::expr::{self, time_text};
use super::super::session::SqlError;
use super::super::variables;
use super::super::world::World;
use super::{Asked, Call, Reply, Table, row, rows, text, unknown};

pub(super) const TABLE: Table = &[
    (
        "SELECT LOWER(g.variable_name), g.variable_value, i.variable_source, p.variable_value FROM \
         performance_schema.global_variables AS g LEFT JOIN performance_schema.variables_info AS i ON \
         i.variable_name = g.variable_name LEFT JOIN performance_schema.persisted_variables AS p ON \
         p.variable_name = g.variable_name WHERE g.variable_name IN ({})",
        named,
    ),
    (
        "SELECT COUNT(*) FROM performance_schema.persisted_variables WHERE variable_name = '{}'",
        persisted,
    ),
    (
        "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Uptime'",
        uptime,
    ),
    (
        "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Gr_last_consensus_end_timestamp'",
        agreed,
    ),
    (
        "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Gr_extended_consensus_count'",
        tried,
    ),
    (
        "SELECT NOW() - INTERVAL CAST(variable_value AS UNSIGNED) SECOND FROM performance_schema.global_status WHERE \
         variable_name = 'Uptime'",
        began,
    ),
    ("SELECT NOW(6) + INTERVAL 60 SECOND", soon),
    (
        "SELECT CAST(set_time AS CHAR) FROM performance_schema.variables_info WHERE variable_name = '{}'",
        set_time,
    ),
];

/// Asked after all others.
pub(super) const LAST: Table = &[("SELECT {}", expressions), ("DO {}", expressions)];

fn named(call: &Call, world: &mut World) -> Reply {
    let disk = &world.servers[call.id].disk;
    let process = world.process(call.id).ok_or_else(SqlError::lost)?;
    let names = call.part(0).split(", ").map(|name| name.trim_matches('\''));
    let line = |name: &str| {
        if !variables::exists(name, &disk.data.plugins) {
            return None;
        }
        let (value, source) = process.vars.row(name)?;
        Some(vec![
            text(name),
            text(value),
            text(source),
            disk.persisted.get(name).cloned(),
        ])
    };
    rows(names.filter_map(line).collect())
}

fn persisted(call: &Call, world: &mut World) -> Reply {
    let there = world.servers[call.id].disk.persisted.contains_key(call.part(0));
    row(vec![text(u8::from(there))])
}

/// A moment as a number: nobody may take it for more than a text that changes.
fn agreed(call: &Call, world: &mut World) -> Reply {
    let member = world.process(call.id).and_then(|process| process.gr.member());
    row(vec![text(member.map_or(0, |member| member.agreed))])
}

fn tried(call: &Call, world: &mut World) -> Reply {
    let member = world.process(call.id).and_then(|process| process.gr.member());
    row(vec![text(member.map_or(0, |member| member.tried))])
}

fn uptime(call: &Call, world: &mut World) -> Reply {
    let seconds = world
        .process(call.id)
        .map_or(0, |process| process.started.elapsed().as_secs());
    row(vec![text(seconds)])
}

/// mysqld counts its uptime by the clock that tells it now.
fn began(call: &Call, world: &mut World) -> Reply {
    let process = world.process(call.id).ok_or_else(SqlError::lost)?;
    row(vec![text(&time_text(process.started_at)[..19])])
}

fn soon(call: &Call, world: &mut World) -> Reply {
    row(vec![text(time_text(world.micros(call.id) + 60_000_000))])
}

/// Where nobody has set it: when mysqld started.
fn set_time(call: &Call, world: &mut World) -> Reply {
    let process = world.process(call.id).ok_or_else(SqlError::lost)?;
    let at = process.set_at.get(call.part(0)).copied();
    row(vec![text(time_text(at.unwrap_or(process.started_at)))])
}

fn expressions(call: &Call, world: &mut World) -> Reply {
    match expr::list(call.part(0), &Asked { world, call }) {
        Some(values) => row(values?),
        None => Err(unknown(world, &format!("SELECT {}", call.part(0)))),
    }
}
