//! The variable of a session by which the agent of one member leaves word for the agent of another, and how root reads it.

use super::super::expr;
use super::super::session::SqlError;
use super::super::world::World;
use super::{Asked, Call, Reply, Table, ok, rows, text};

pub(super) const TABLE: Table = &[
    ("SET @clusterctl_notice = {}", leave),
    (
        "SELECT CONVERT(v.variable_value USING utf8mb4) FROM performance_schema.user_variables_by_thread v \
         JOIN performance_schema.threads t USING (thread_id) WHERE v.variable_name = 'clusterctl_notice' \
         AND LENGTH(v.variable_value) <= 1048576 AND t.processlist_user LIKE 'mysql|_innodb|_cluster|_%' ESCAPE '|' \
         AND t.connection_type = 'SSL/TLS' AND t.processlist_time <= 15 ORDER BY t.thread_id",
        left,
    ),
];

fn leave(call: &Call, world: &mut World) -> Reply {
    let value = expr::list(call.part(0), &Asked { world, call }).and_then(|list| list.ok()?.pop().flatten());
    let process = world.same(call.id, call.incarnation).ok_or_else(SqlError::lost)?;
    if let Some(connection) = process.connections.get_mut(&call.session) {
        connection.notice = value;
    }
    ok()
}

/// Sessions of members' accounts from other hosts: a socket is not TLS.
fn left(call: &Call, world: &mut World) -> Reply {
    call.may_read(world, "performance_schema", "user_variables_by_thread")?;
    let own = world.servers[call.id].name.clone();
    let process = world.same(call.id, call.incarnation).ok_or_else(SqlError::lost)?;
    let members = process
        .connections
        .values()
        .filter(|connection| connection.user.starts_with("mysql_innodb_cluster_") && connection.from != own);
    let notices = members.filter_map(|connection| connection.notice.as_ref());
    rows(notices.map(|notice| vec![text(notice)]).collect())
}
