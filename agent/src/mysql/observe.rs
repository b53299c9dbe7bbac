//! What the local server tells once a second, over one connection that is kept.
//!
//! Five small questions each time, the view of the group before the sets of transactions. The metadata is read again when the view of the group has changed and after each step here, else every few seconds; what needs
//! a scan of the dictionary only for a full question.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clusterctl_proto::ids::ServerId;
use clusterctl_proto::lineage::LineageId;
use clusterctl_proto::observe::{
    DataDirectory, GroupView, MemberState, MetadataCopy, MysqlFacts, ServerFacts, UnitState,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::conn::{Db, flag, number, text};
use super::error::MysqlError;
use super::server::{Row, Servers};
use super::standstill::Standstill;
use super::variables::UNKNOWN;
use super::{accounts, clone, data, group, log, metadata, schema_rules};
use crate::config::Config;
use crate::host::systemd::Unit;
use crate::host::unit_watch::UnitWatch;
use crate::host::{Host, HostError, packages};
use crate::lineage::log::{Log, Older};

/// Age at which the copy of the metadata is read again.
const METADATA_AGE: Duration = Duration::from_secs(5);
/// Age at which a stopped server's data directory is looked through again.
const DATA_AGE: Duration = Duration::from_secs(10);
/// Age at which the installed version is asked again.
const VERSION_AGE: Duration = Duration::from_secs(60);

/// How long the server's log is asked for.
const LOG: Duration = Duration::from_millis(500);

/// Neither the server nor systemd said anything.
const UNTOLD: &str = "mysqld does not answer, and systemd does not tell whether it runs";

/// The observer of the server on this host.
pub struct MysqlObserver {
    host: Arc<dyn Host>,
    servers: Arc<dyn Servers>,
    config: Arc<Config>,
    watches: Vec<UnitWatch>,
    kept: Mutex<Kept>,
    slow: Mutex<Slow>,
    standstill: Arc<Standstill>,
    /// How often the server was read.
    looks: AtomicU64,
    acted: AtomicBool,
    /// The same for what is looked at seldom.
    acted_slow: AtomicBool,
}

/// What the last look has brought beside the server's facts, for the record of its lineage.
#[derive(Default, Clone)]
pub struct Looked {
    /// The server's log of its membership, of one that was out of any group.
    pub log: Option<Log>,
    /// The newest line of its log before its sets were read, while it is out, in microseconds since 1970.
    pub at: Option<u64>,
    /// When the last clone onto it began; empty: there was none.
    pub cloned: Option<String>,
    /// Executed before the view was read: without what a group has written that was entered during the look.
    pub before: String,
    /// Its place among all looks of this process, from 1; the server is read by one at a time.
    pub number: u64,
}

/// The connection, and what was read over it.
#[derive(Default)]
struct Kept {
    db: Option<Db>,
    /// Start of the server, by our clock.
    started: Option<Instant>,
    x_port: Option<u16>,
    metadata: Option<(Instant, String, Option<MetadataCopy>)>,
    tables: Tables,
    looked: Looked,
    lacking_rights: Option<Vec<String>>,
    /// The view at the last look.
    view_id: String,
}

/// Last answers to full questions, so that they stand in the others, too.
#[derive(Default, Clone)]
struct Tables {
    without_key: Option<Vec<String>>,
    not_innodb: Option<Vec<String>>,
    schemas: Option<Vec<String>>,
}

/// What costs a process or a walk through a folder.
#[derive(Default)]
struct Slow {
    installed: Option<(Instant, Option<String>)>,
    data: Option<(Instant, bool, DataDirectory)>,
}

impl MysqlObserver {
    /// Nothing seen yet.
    pub fn new(host: Arc<dyn Host>, servers: Arc<dyn Servers>, config: Arc<Config>) -> Self {
        Self {
            watches: config.mysql.units.iter().map(UnitWatch::new).collect(),
            host,
            servers,
            config,
            kept: Mutex::default(),
            slow: Mutex::default(),
            standstill: Arc::default(),
            looks: AtomicU64::new(0),
            acted: AtomicBool::new(false),
            acted_slow: AtomicBool::new(false),
        }
    }

    /// For how long the group has agreed on nothing, for a step that rests on it.
    pub fn standstill(&self) -> Arc<Standstill> {
        Arc::clone(&self.standstill)
    }

    /// A step has ended here: the next look reads what it may have changed, and a plan made after it is not made of what was before.
    pub fn acted(&self) {
        self.acted.store(true, Ordering::Relaxed);
        self.acted_slow.store(true, Ordering::Relaxed);
        self.watches.iter().for_each(UnitWatch::acted);
    }

    /// Looks now; a server that has not answered within `patience` is said not to.
    pub async fn observe(&self, full: bool, patience: Duration) -> (MysqlFacts, Looked) {
        let limit = patience.saturating_sub(Duration::from_millis(200));
        let (server, slow) = tokio::join!(
            tokio::time::timeout(limit, self.server(full)),
            tokio::time::timeout(limit, self.slow(full)),
        );
        let (installed, told, data) = match slow {
            Ok(seen) => seen,
            Err(_) => self.remembered(),
        };
        let unit = told.as_ref().map(|unit| unit.state);
        let mut looked = Looked::default();
        let (server, error) = match server {
            Ok(Ok((server, beside))) => {
                looked = beside;
                (Some(server), None)
            }
            Ok(Err(MysqlError::NotRunning { .. })) if unit.is_none() => (None, Some(UNTOLD.to_owned())),
            Ok(Err(MysqlError::NotRunning { .. })) if unit != Some(UnitState::Running) => (None, None),
            Ok(Err(error)) => (None, Some(explain(&error))),
            // the dropped future took its connection with it
            Err(_) => (
                None,
                Some(format!("mysqld did not answer within {} ms", limit.as_millis())),
            ),
        };
        let data = match &server {
            Some(server) => data::refine(data, server),
            None => data,
        };
        let facts = MysqlFacts {
            installed,
            // on its way somewhere: neither up nor certainly down, so that nobody takes it for out of its group (safety rule 4)
            unit: unit.unwrap_or(UnitState::Starting),
            unit_result: told.map(|unit| unit.result).unwrap_or_default(),
            data,
            server,
            error,
        };
        (facts, looked)
    }

    /// Where looking took too long: nothing of the unit, of the rest what was seen last.
    fn remembered(&self) -> (Option<String>, Option<Unit>, DataDirectory) {
        let seen = self.slow.try_lock().ok();
        let installed = seen
            .as_ref()
            .and_then(|slow| slow.installed.as_ref())
            .and_then(|(_, version)| version.clone());
        let data = seen
            .as_ref()
            .and_then(|slow| slow.data.as_ref())
            .map(|(_, _, data)| data.clone());
        // what was not looked at must not be taken for empty
        let data = data.unwrap_or_else(|| DataDirectory::Foreign {
            what: format!("{} in time", DataDirectory::UNSEEN),
        });
        (installed, None, data)
    }

    /// The server's own log of its membership, and whether it tells that it installed the first view of this lineage, alone in it. The log
    /// outlives a restart (manual, "The error_log Table"); none: it did not answer now.
    pub async fn log(&self, began: Option<&LineageId>) -> Option<(Log, bool)> {
        let look = async {
            let mut db = Db::local(&*self.servers, &self.config.mysql).await?;
            let told = log::told(&mut db, began).await;
            db.close().await;
            told
        };
        match tokio::time::timeout(LOG, look).await {
            Ok(Ok(told)) => Some(told),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// What the server's log tells of views beyond its newest lines; none: it did not answer now.
    pub async fn older(&self, lineage: &LineageId, counter: u64) -> Option<Older> {
        let look = async {
            let mut db = Db::local(&*self.servers, &self.config.mysql).await?;
            let told = log::older(&mut db, lineage, counter).await;
            db.close().await;
            told
        };
        tokio::time::timeout(LOG, look).await.ok()?.ok()
    }

    async fn server(&self, full: bool) -> Result<(ServerFacts, Looked), MysqlError> {
        let mut kept = self.kept.lock().await;
        let mut db = match kept.db.take() {
            Some(db) if db.usable() => db,
            _ => {
                let mut db = Db::local(&*self.servers, &self.config.mysql).await?;
                *kept = Kept::default();
                kept.learn(&mut db).await?;
                db
            }
        };
        if self.acted.swap(false, Ordering::Relaxed) {
            kept.metadata = None;
        }
        kept.looked.number = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        let facts = kept.look(&mut db, &self.standstill, full).await;
        kept.db = db.usable().then_some(db);
        // Of this very look: another may come between before the caller takes it into account.
        facts.map(|facts| (facts, kept.looked.clone()))
    }

    /// The unit's state is none where systemd does not tell it.
    async fn slow(&self, full: bool) -> (Option<String>, Option<Unit>, DataDirectory) {
        let mut slow = self.slow.lock().await;
        if self.acted_slow.swap(false, Ordering::Relaxed) {
            slow.data = None;
        }
        let unit = match self.unit().await {
            Ok(unit) => Some(unit),
            Err(error) => {
                tracing::warn!(%error, "systemd does not tell whether mysqld runs");
                None
            }
        };
        let running = unit.as_ref().is_some_and(|unit| unit.state == UnitState::Running);
        let host = &*self.host;
        if full
            || slow
                .installed
                .as_ref()
                .is_none_or(|(at, _)| at.elapsed() >= VERSION_AGE)
        {
            match packages::first_installed(host, &self.config.packages.server).await {
                Ok(version) => slow.installed = Some((Instant::now(), version)),
                Err(error) => tracing::warn!(%error, "cannot tell which MySQL is installed"),
            }
        }
        let fresh = |(at, was, _): &(Instant, bool, DataDirectory)| *was == running && at.elapsed() < DATA_AGE;
        if full || !slow.data.as_ref().is_some_and(fresh) {
            match data::inspect(host, &self.config.mysql.data_dir, None).await {
                Ok(found) => slow.data = Some((Instant::now(), running, found)),
                Err(error) => {
                    tracing::warn!(%error, "cannot look through the data directory");
                    // what cannot be looked at must not be taken for empty
                    let what = format!("{}: {error}", DataDirectory::UNSEEN);
                    slow.data = Some((Instant::now(), running, DataDirectory::Foreign { what }));
                }
            }
        }
        let installed = slow.installed.as_ref().and_then(|(_, version)| version.clone());
        let data = slow.data.as_ref().map(|(_, _, data)| data.clone()).unwrap_or_default();
        (installed, unit, data)
    }

    async fn unit(&self) -> Result<Unit, HostError> {
        for watch in &self.watches {
            let unit = watch.unit(&*self.host).await?;
            if unit.state != UnitState::Absent {
                return Ok(unit);
            }
        }
        Ok(Unit::default())
    }
}

/// With the cause, which a person needs.
fn explain(error: &MysqlError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Kept {
    /// What does not change while the server runs.
    async fn learn(&mut self, db: &mut Db) -> Result<(), MysqlError> {
        let uptime = db
            .value("SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Uptime'")
            .await?;
        let uptime = uptime.and_then(|text| text.parse().ok()).unwrap_or(0);
        self.started = Instant::now().checked_sub(Duration::from_secs(uptime));
        let active = db
            .value("SELECT plugin_status FROM information_schema.plugins WHERE plugin_name = 'mysqlx'")
            .await?;
        if active.as_deref() == Some("ACTIVE") {
            self.x_port = db
                .value("SELECT @@GLOBAL.mysqlx_port")
                .await?
                .and_then(|port| port.parse().ok());
        }
        // A server that was cloned over has restarted since.
        self.looked.cloned = Some(clone::last(db).await?);
        Ok(())
    }

    async fn look(&mut self, db: &mut Db, standstill: &Standstill, full: bool) -> Result<ServerFacts, MysqlError> {
        let (row, plugin) = identity(db).await?;
        let before = db.value("SELECT @@GLOBAL.gtid_executed").await?.unwrap_or_default();
        self.looked.before = gtid(&before);
        let mut view = if plugin { group::view(db).await? } else { None };
        match &mut view {
            Some(view) if view.state == MemberState::Online => {
                view.standstill_ms = standstill.look(db).await?;
            }
            _ => standstill.forget(),
        }
        if let Some(view) = &mut view {
            // Without a majority no view is installed, and a question that waits here while a person forces the membership makes MySQL Shell
            // fail: its next statement finds the lock taken (error 3724; docs/lineages.md). A STOP there holds that lock for 80 s.
            let stands = view.state == MemberState::Online && !view.has_quorum() && !self.view_id.is_empty();
            if !stands {
                self.view_id = group::view_id(db).await?;
            }
            view.view_id.clone_from(&self.view_id);
        }
        let inside = |view: &GroupView| matches!(view.state, MemberState::Online | MemberState::Recovering);
        (self.looked.log, self.looked.at) = (None, None);
        let out = plugin && !view.as_ref().is_some_and(inside);
        if out {
            self.looked.log = match log::membership(db).await {
                // A log that cannot be read tells nothing.
                Err(error) if log::is_closed(&error) => Some(Log::default()),
                lines => Some(lines?),
            };
            // Before the sets: what is entered later may be in them.
            self.looked.at = Some(log::newest_us(db).await?.unwrap_or(0));
        }
        // after the view: what a member had received when it left is in it (safety rule 2)
        let sets = db.row("SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged").await?;
        let (received, foreign_channels) = channels(db).await?;
        let view_key = view
            .as_ref()
            .map(|view| format!("{}{:?}{:?}", view.view_id, view.state, view.role))
            .unwrap_or_default();
        let known = self
            .metadata
            .as_ref()
            .is_some_and(|(at, key, _)| *key == view_key && at.elapsed() < METADATA_AGE);
        if full || !known {
            let copy = metadata::copy(db).await?;
            self.lacking_rights = match accounts::members_without_rights(db).await {
                Err(error) if error.code().is_some() => None,
                lacking => Some(lacking?),
            };
            self.metadata = Some((Instant::now(), view_key, copy));
        }
        if full {
            self.tables = Tables {
                without_key: Some(schema_rules::tables_without_key(db).await?),
                not_innodb: Some(schema_rules::tables_not_innodb(db).await?),
                schemas: Some(schema_rules::user_schemas(db).await?),
            };
        }
        // A server that was just started is asked at once: a copy onto it waits for this, and the next full question may be a minute away.
        if self.tables.schemas.is_none() {
            self.tables.schemas = Some(schema_rules::user_schemas(db).await?);
        }
        let queue = if view.is_some() { queue(db).await? } else { 0 };
        let uuid = text(&row, 0).parse().map_err(|_| MysqlError::Answer {
            what: "@@server_uuid".into(),
        })?;
        Ok(ServerFacts {
            server_uuid: uuid,
            server_id: ServerId(u32::try_from(number(&row, 1)).unwrap_or(0)),
            version: text(&row, 2),
            report_host: text(&row, 3),
            port: u16::try_from(number(&row, 4)).unwrap_or(0),
            x_port: self.x_port,
            uptime_seconds: self.started.map_or(0, |at| at.elapsed().as_secs()),
            gtid_executed: gtid(&text(&sets, 0)),
            gtid_purged: gtid(&text(&sets, 1)),
            gtid_received: gtid(&received),
            super_read_only: flag(&row, 5),
            offline_mode: flag(&row, 6),
            bootstrap_flag: flag(&row, 7),
            group_name: text(&row, 8),
            force_members: text(&row, 9),
            group: view,
            tables_without_key: self.tables.without_key.clone(),
            tables_not_innodb: self.tables.not_innodb.clone(),
            user_schemas: self.tables.schemas.clone(),
            foreign_channels,
            lacking_rights: self.lacking_rights.clone(),
            metadata: self.metadata.as_ref().and_then(|(_, _, copy)| copy.clone()),
            queue,
        })
    }
}

/// Sets of more than one server are printed over several lines.
fn gtid(text: &str) -> String {
    text.split_whitespace().collect()
}

const IDENTITY: &str = "SELECT @@GLOBAL.server_uuid, @@GLOBAL.server_id, @@GLOBAL.version, \
    COALESCE(@@GLOBAL.report_host, @@GLOBAL.hostname), @@GLOBAL.port, @@GLOBAL.super_read_only, @@GLOBAL.offline_mode";

/// Who the server is; false: without the plugin of Group Replication.
async fn identity(db: &mut Db) -> Result<(Row, bool), MysqlError> {
    let with = format!(
        "{IDENTITY}, @@GLOBAL.group_replication_bootstrap_group, @@GLOBAL.group_replication_group_name, \
         @@GLOBAL.group_replication_force_members"
    );
    match db.row(&with).await {
        Ok(row) => Ok((row, true)),
        Err(error) if error.code() == Some(UNKNOWN) => Ok((db.row(&format!("{IDENTITY}, 0, '', ''")).await?, false)),
        Err(error) => Err(error),
    }
}

/// What the applier has received, and the channels that are not Group Replication's.
async fn channels(db: &mut Db) -> Result<(String, Vec<String>), MysqlError> {
    let rows = db
        .rows("SELECT channel_name, received_transaction_set FROM performance_schema.replication_connection_status")
        .await?;
    let received = rows
        .iter()
        .find(|row| text(row, 0) == group::APPLIER_CHANNEL)
        .map(|row| text(row, 1))
        .unwrap_or_default();
    let ours = [group::APPLIER_CHANNEL, group::RECOVERY_CHANNEL];
    let shown = |name: String| {
        if name.is_empty() {
            "the default channel".to_owned()
        } else {
            name
        }
    };
    let foreign = rows
        .iter()
        .map(|row| text(row, 0))
        .filter(|name| !ours.contains(&name.as_str()))
        .map(shown)
        .collect();
    Ok((received, foreign))
}

async fn queue(db: &mut Db) -> Result<u64, MysqlError> {
    Ok(number(&db.row(include_str!("progress.sql")).await?, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;
    use crate::mysql::Driver;

    fn observer(host: FakeHost) -> MysqlObserver {
        let mut config = Config::default();
        config.mysql.sockets = vec!["/nowhere/mysqld.sock".into()];
        MysqlObserver::new(Arc::new(host), Arc::new(Driver), Arc::new(config))
    }

    async fn look(host: FakeHost) -> MysqlFacts {
        observer(host).observe(false, Duration::from_secs(2)).await.0
    }

    #[tokio::test]
    async fn a_unit_that_nobody_can_look_at_is_not_told_as_down() {
        let down = FakeHost::new().on("systemctl show", "LoadState=loaded\nActiveState=inactive\n");
        let facts = look(down).await;
        assert_eq!((facts.unit, facts.error), (UnitState::Stopped, None));

        let killed = FakeHost::new().on(
            "systemctl show",
            "LoadState=loaded\nActiveState=failed\nResult=oom-kill\n",
        );
        let facts = look(killed).await;
        assert_eq!(
            (facts.unit, facts.unit_result.as_str()),
            (UnitState::Failed, "oom-kill")
        );

        let mute = FakeHost::new().on_failure("systemctl show", 1, "Failed to connect to bus");
        let facts = look(mute).await;
        assert_eq!(facts.unit, UnitState::Starting);
        assert!(facts.error.is_some_and(|error| error.contains("systemd")));

        // where the look itself took too long, nothing was seen before
        let (_, unit, data) = observer(FakeHost::new()).remembered();
        assert!(unit.is_none());
        assert!(matches!(data, DataDirectory::Foreign { .. }), "{data:?}");
    }

    #[tokio::test]
    async fn what_a_server_holds_is_read_after_its_view() {
        let mysqld = crate::mysql::fake::FakeMysqld::start();
        let set = "6266fad8-e63f-11f1-a438-8e247ed30bec:1-9";
        mysqld.with(|server| (server.executed, server.received) = (String::new(), set.to_owned()));
        let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
        let facts = Kept::default()
            .look(&mut db, &Standstill::default(), false)
            .await
            .unwrap();
        assert_eq!((facts.gtid_executed.as_str(), facts.gtid_received.as_str()), ("", set));
        assert!(facts.group.is_some_and(|view| view.is_out()));
        mysqld.with(|server| {
            let at = |part: &str| server.log.iter().position(|sql| sql.contains(part)).unwrap();
            let view = at("FROM performance_schema.replication_group_members");
            assert!(view < at("@@GLOBAL.gtid_executed, ") && view < at("received_transaction_set"));
            assert!(
                at("SELECT @@GLOBAL.gtid_executed") < view,
                "the base of what begins meanwhile"
            );
        });
    }
}
