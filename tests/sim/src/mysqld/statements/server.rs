//! The server itself: plugins, functions, locks, clones, sessions, binary logs.

use super::super::expr::time_text;
use super::super::session::SqlError;
use super::super::world::World;
use super::{Call, Reply, Table, ok, row, rows, text};

pub(super) const TABLE: Table = &[
    (
        "SELECT plugin_status FROM information_schema.plugins WHERE plugin_name = '{}'",
        plugin_status,
    ),
    (
        "SELECT 1 FROM information_schema.plugins WHERE plugin_name = '{}'",
        has_plugin,
    ),
    (
        "SELECT plugin_name, plugin_status FROM information_schema.plugins",
        plugins,
    ),
    ("INSTALL PLUGIN {} SONAME '{}'", install),
    ("SELECT name FROM mysql.func", functions),
    (
        "CREATE FUNCTION {} RETURNS INT SONAME 'locking_service.so'",
        create_function,
    ),
    (
        "SELECT service_get_write_locks('AdminAPI_cluster', 'AdminAPI_lock', 0)",
        lock_exclusive,
    ),
    (
        "SELECT service_get_read_locks('AdminAPI_cluster', 'AdminAPI_lock', 0)",
        lock_shared,
    ),
    ("SELECT service_release_locks('AdminAPI_cluster')", unlock),
    ("SELECT CONCAT('held by connection ', {}", holders),
    (
        "SELECT state, source, error_no, error_message, gtid_executed, CAST(begin_time AS CHAR), EXISTS (SELECT 1 FROM \
         performance_schema.threads AS t WHERE t.processlist_id = c.pid) FROM performance_schema.clone_status AS c \
         ORDER BY id DESC LIMIT 1",
        clone_status,
    ),
    (
        "SELECT CAST(begin_time AS CHAR) FROM performance_schema.clone_status WHERE destination = 'LOCAL INSTANCE' \
         AND (state = 'Completed' OR EXISTS (SELECT 1 FROM performance_schema.clone_progress AS p \
         WHERE p.stage = 'DROP DATA' AND p.state <> 'Not Started')) ORDER BY id DESC LIMIT 1",
        last_clone,
    ),
    (
        "SELECT stage, state, COALESCE(estimate, 0), COALESCE(data, 0) FROM performance_schema.clone_progress {}",
        clone_progress,
    ),
    ("SHOW PROCESSLIST", process_list),
    (
        "SELECT c.pid FROM performance_schema.clone_status AS c JOIN performance_schema.threads AS t \
         ON t.processlist_id = c.pid WHERE c.state = 'In Progress' AND c.destination = 'LOCAL INSTANCE'",
        clone_session,
    ),
    ("SELECT CONNECTION_ID()", connection_id),
    ("KILL QUERY {}", kill_query),
    ("KILL {}", kill),
    ("SHOW BINARY LOGS", none),
    ("SHOW BINLOG EVENTS IN {}", none),
    ("ALTER INSTANCE RELOAD TLS", done),
    ("USE {}", done),
];

fn none(_: &Call, _: &mut World) -> Reply {
    rows(Vec::new())
}

fn done(_: &Call, _: &mut World) -> Reply {
    ok()
}

fn plugin_status(call: &Call, world: &mut World) -> Reply {
    let there = world.servers[call.id].disk.data.plugins.contains(call.part(0));
    rows(there.then(|| vec![text("ACTIVE")]).into_iter().collect())
}

fn has_plugin(call: &Call, world: &mut World) -> Reply {
    let there = world.servers[call.id].disk.data.plugins.contains(call.part(0));
    rows(there.then(|| vec![text(1)]).into_iter().collect())
}

fn plugins(call: &Call, world: &mut World) -> Reply {
    let all = world.servers[call.id].disk.data.plugins.iter();
    rows(all.map(|name| vec![text(name), text("ACTIVE")]).collect())
}

/// Neither plugins nor functions replicate.
fn local(world: &World, call: &Call) -> Result<(), SqlError> {
    let open = world
        .process(call.id)
        .is_some_and(|process| process.vars.is_off("super_read_only"));
    if open { Ok(()) } else { Err(SqlError::read_only()) }
}

fn install(call: &Call, world: &mut World) -> Reply {
    local(world, call)?;
    let name = call.part(0).to_owned();
    if !world.servers[call.id].disk.data.plugins.insert(name.clone()) {
        return Err(SqlError::new(1125, format!("Function '{name}' already exists")));
    }
    ok()
}

fn functions(call: &Call, world: &mut World) -> Reply {
    let all = world.servers[call.id].disk.data.functions.iter();
    rows(all.map(|name| vec![text(name)]).collect())
}

fn create_function(call: &Call, world: &mut World) -> Reply {
    local(world, call)?;
    world.servers[call.id]
        .disk
        .data
        .functions
        .insert(call.part(0).to_owned());
    ok()
}

fn lock_exclusive(call: &Call, world: &mut World) -> Reply {
    lock(call, world, true)
}

fn lock_shared(call: &Call, world: &mut World) -> Reply {
    lock(call, world, false)
}

fn lock(call: &Call, world: &mut World, exclusive: bool) -> Reply {
    let function = if exclusive {
        "service_get_write_locks"
    } else {
        "service_get_read_locks"
    };
    if !world.servers[call.id].disk.data.functions.contains(function) {
        return Err(SqlError::new(1305, format!("FUNCTION {function} does not exist")));
    }
    let process = world.process_mut(call.id).ok_or_else(SqlError::lost)?;
    let lock = &mut process.lock;
    let other_reader = lock.readers.iter().any(|reader| *reader != call.session);
    if lock.writer.is_some_and(|writer| writer != call.session) || exclusive && other_reader {
        return Err(SqlError::new(3132, "Service lock wait timeout exceeded."));
    }
    if exclusive {
        lock.writer = Some(call.session);
    } else {
        lock.readers.insert(call.session);
    }
    row(vec![text(1)])
}

fn unlock(call: &Call, world: &mut World) -> Reply {
    if let Some(process) = world.process_mut(call.id) {
        super::super::session::release(&mut process.lock, call.session);
    }
    row(vec![text(1)])
}

fn holders(call: &Call, world: &mut World) -> Reply {
    let Some(process) = world.process(call.id) else {
        return rows(Vec::new());
    };
    let all = process.lock.readers.iter().chain(process.lock.writer.iter());
    let line = |number: &u64| {
        let user = process
            .connections
            .get(number)
            .map_or("", |connection| connection.user.as_str());
        vec![text(format!("held by connection {number} of {user}"))]
    };
    rows(all.map(line).collect())
}

fn clone_status(call: &Call, world: &mut World) -> Reply {
    let Some(clone) = world.servers[call.id].disk.clone.clone() else {
        return rows(Vec::new());
    };
    let lives = world
        .process(call.id)
        .is_some_and(|process| process.connections.contains_key(&clone.session));
    // `begin_time` has milliseconds.
    let began = &time_text(clone.began)[..23];
    row(vec![
        text(clone.state),
        text(clone.source),
        text(clone.error),
        text(clone.message),
        text(clone.gtid),
        text(began),
        text(u8::from(lives)),
    ])
}

/// The session of a clone that runs.
fn running_clone(call: &Call, world: &World) -> Option<u64> {
    let process = world.process(call.id)?;
    let clone = world.servers[call.id].disk.clone.as_ref()?;
    let runs = clone.state == "In Progress" && process.connections.contains_key(&clone.session);
    runs.then_some(clone.session)
}

fn clone_session(call: &Call, world: &mut World) -> Reply {
    let session = running_clone(call, world);
    rows(session.map(|session| vec![text(session)]).into_iter().collect())
}

fn connection_id(call: &Call, _: &mut World) -> Reply {
    rows(vec![vec![text(call.session)]])
}

/// Of a clone only: nothing else is ended like this.
fn kill_query(call: &Call, world: &mut World) -> Reply {
    let number = call.part(0).parse::<u64>().unwrap_or(0);
    if running_clone(call, world) != Some(number) {
        return Err(SqlError::new(1094, format!("Unknown thread id: {number}")));
    }
    if let Some(process) = world.process_mut(call.id) {
        process.clone_killed = true;
    }
    ok()
}

fn last_clone(call: &Call, world: &mut World) -> Reply {
    // One that fails here has dropped nothing.
    let clone = world.servers[call.id].disk.clone.clone();
    let clone = clone.filter(|clone| clone.state != "Failed");
    rows(
        clone
            .map(|clone| vec![text(&time_text(clone.began)[..23])])
            .into_iter()
            .collect(),
    )
}

fn clone_progress(call: &Call, world: &mut World) -> Reply {
    let stage = world.process(call.id).and_then(|process| process.clone_stage);
    rows(
        stage
            .into_iter()
            .map(|stage| vec![text(stage), text("In Progress"), text(100), text(50)])
            .collect(),
    )
}

fn process_list(call: &Call, world: &mut World) -> Reply {
    let Some(process) = world.process(call.id) else {
        return rows(Vec::new());
    };
    let own = process
        .connections
        .get(&call.session)
        .map(|own| own.user.clone())
        .unwrap_or_default();
    let shown = process
        .connections
        .iter()
        .filter(|(_, other)| own == "root" || other.user == own);
    let line = |(number, connection): (&u64, &super::super::process::Connection)| {
        let command = connection
            .command
            .unwrap_or(if connection.sql.is_some() { "Query" } else { "Sleep" });
        vec![
            text(number),
            text(&connection.user),
            text(&connection.from),
            None,
            text(command),
            text(0),
            None,
            connection.sql.as_deref().map(str::to_owned),
        ]
    };
    rows(shown.map(line).collect())
}

/// Takes the session away from its client; what it executes goes on to its end.
fn kill(call: &Call, world: &mut World) -> Reply {
    let number = call.part(0).parse::<u64>().unwrap_or(0);
    let Some(process) = world.process_mut(call.id) else {
        return Err(SqlError::lost());
    };
    match process.connections.remove(&number) {
        Some(connection) => {
            super::super::session::release(&mut process.lock, number);
            if connection.command == Some("clone") {
                process.donates_to = None;
            }
            ok()
        }
        None => Err(SqlError::new(1094, format!("Unknown thread id: {number}"))),
    }
}
