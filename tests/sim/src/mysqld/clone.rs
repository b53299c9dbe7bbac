//! `CLONE INSTANCE`: this server's data become a copy of a donor's, and it restarts.

use std::sync::Arc;
use std::time::Duration;

use super::disk::{CloneNote, Disk};
use super::net::Net;
use super::process::{Connection, Exit};
use super::session::SqlError;
use super::world::{Id, World};

/// Between looks at the donor while the copy runs.
const LOOK: Duration = Duration::from_millis(250);

/// Ends with the process: the client loses its connection.
pub(crate) async fn run(
    net: &Arc<Net>,
    (id, incarnation, session): (Id, u64, u64),
    user: &str,
    donor: &str,
) -> Result<(), SqlError> {
    let (from, donated, left) = {
        let mut world = net.lock();
        begin(&mut world, (id, incarnation, session), user, donor)?
    };
    let from_incarnation = net.lock().process(from).map_or(0, |process| process.incarnation);
    let result = copy(net, (id, incarnation), (from, from_incarnation), left).await;
    let mut world = net.lock();
    if let Some(process) = world.same(from, from_incarnation) {
        process.connections.remove(&donated);
        process.donates_to = None;
    }
    let Some(process) = world.same(id, incarnation) else {
        return Err(SqlError::lost());
    };
    process.clone_stage = None;
    if let Err(error) = result {
        if let Some(note) = &mut world.servers[id].disk.clone {
            note.state = "Failed";
            note.error = error.code;
            note.message = error.message.clone();
        }
        return Err(error);
    }
    replace(&mut world, id, from);
    world.count("cloned");
    net.end(&mut world, id, Exit::Restart);
    net.moved(&mut world);
    Err(SqlError::lost())
}

fn begin(
    world: &mut World,
    (id, incarnation, session): (Id, u64, u64),
    user: &str,
    donor: &str,
) -> Result<(Id, u64, Duration), SqlError> {
    let began = world.micros(id);
    let connection = world.fresh();
    let donor_error = |why: &str| SqlError::new(3862, format!("Clone Donor Error: {why}"));
    let name = world.servers[id].name.clone();
    let process = world.same(id, incarnation).ok_or_else(SqlError::lost)?;
    if process.clone_stage.is_some() {
        return Err(SqlError::new(
            3634,
            "Too many concurrent clone operations. Maximum allowed - 1.",
        ));
    }
    let list = process.vars.text("clone_valid_donor_list");
    if !list
        .split(',')
        .any(|valid| valid.trim().split(':').next() == Some(donor))
    {
        return Err(SqlError::new(
            3869,
            "Clone system configuration: the donor is not in clone_valid_donor_list",
        ));
    }
    if !process.gr.is_offline() {
        return Err(SqlError::new(
            3875,
            "CLONE INSTANCE is not allowed while Group Replication runs",
        ));
    }
    let is_read_only = !process.vars.is_off("super_read_only");
    if is_read_only && !world.servers[id].disk.data.schemas.is_empty() {
        return Err(SqlError::read_only());
    }
    let Some(&from) = world.names.get(donor).filter(|from| **from != id) else {
        return Err(donor_error("2005 : Unknown host"));
    };
    let answers = world.linked(id, from) && world.process(from).is_some_and(|process| process.awake());
    if !answers {
        return Err(donor_error(&format!(
            "2003 : Can't connect to MySQL server on '{donor}'"
        )));
    }
    let account = world.servers[from].disk.data.account(user);
    if !account.is_some_and(|account| account.holds("", "", "BACKUP_ADMIN")) {
        return Err(donor_error("1045 : Access denied"));
    }
    let time = world.servers[from].copy;
    if let Some(process) = world.process_mut(from) {
        if process.donates_to.is_some() {
            return Err(donor_error(
                "3634 : Too many concurrent clone operations. Maximum allowed - 1..",
            ));
        }
        process.donates_to = Some(name.clone());
        let entry = Connection {
            user: user.to_owned(),
            from: name,
            command: Some("clone"),
            ..Connection::default()
        };
        process.connections.insert(connection, entry);
    }
    if let Some(process) = world.process_mut(id) {
        process.clone_stage = Some("FILE COPY");
        process.clone_killed = false;
    }
    let host = world.servers[id].name.clone();
    let lost = world.only_on(id).into_iter().map(|trx| (host.clone(), trx));
    world.discarded.extend(lost);
    let disk = &mut world.servers[id].disk;
    // DROP DATA: what was here is gone from now on.
    *disk = Disk {
        uuid: disk.uuid.clone(),
        data: super::data::Data {
            plugins: disk.data.plugins.clone(),
            functions: disk.data.functions.clone(),
            accounts: disk.data.accounts.clone(),
            recovery_user: disk.data.recovery_user.clone(),
            ..super::data::Data::default()
        },
        persisted: disk.persisted.clone(),
        log: disk.log.clone(),
        channels: disk.channels.clone(),
        clone: Some(CloneNote {
            state: "In Progress",
            source: format!("{donor}:3306"),
            error: 0,
            message: String::new(),
            gtid: String::new(),
            began,
            session,
        }),
        ..Disk::default()
    };
    Ok((from, connection, time))
}

async fn copy(
    net: &Arc<Net>,
    (id, incarnation): (Id, u64),
    (from, from_incarnation): (Id, u64),
    mut left: Duration,
) -> Result<(), SqlError> {
    while !left.is_zero() {
        let step = left.min(LOOK);
        net.pause(id, incarnation, step).await.ok_or_else(SqlError::lost)?;
        let mut world = net.lock();
        if world.same(id, incarnation).is_some_and(|process| process.clone_killed) {
            return Err(SqlError::new(1317, "Query execution was interrupted"));
        }
        let linked = world.linked(id, from);
        let Some(donor) = world.same(from, from_incarnation) else {
            return Err(SqlError::new(
                3862,
                "Clone Donor Error: 2013 : Lost connection to MySQL server",
            ));
        };
        if donor.awake() && linked {
            left -= step;
        }
    }
    Ok(())
}

/// The copy is here. What is this server's own stays: uuid, persisted variables, the log.
fn replace(world: &mut World, id: Id, from: Id) {
    let donor = world.servers[from].disk.clone();
    let own = &mut world.servers[id].disk;
    let mut note = own.clone.clone();
    if let Some(note) = &mut note {
        note.state = "Completed";
        note.gtid = donor.gtid_executed.to_string();
    }
    let source = own.uuid.clone();
    let used = donor
        .executed
        .keys()
        .filter(|(uuid, _)| *uuid == source)
        .map(|(_, number)| *number)
        .max();
    *own = Disk {
        uuid: source,
        persisted: std::mem::take(&mut own.persisted),
        log: std::mem::take(&mut own.log),
        clone: note,
        data: donor.data,
        executed: donor.executed,
        binlog: donor.binlog,
        gtid_purged: donor.gtid_executed.clone(),
        gtid_executed: donor.gtid_executed,
        received: Default::default(),
        gtid_received: Default::default(),
        unsynced: 0,
        applier_breaks: false,
        channels: donor.channels,
        lineage: donor.lineage,
        own: used.unwrap_or(0),
    };
}
