//! A mysqld for unit tests: speaks the protocol on a socket in a temporary folder, and behaves as Group Replication does where the
//! agent's questions and statements reach it.
//!
//! A statement that it does not know is error 1105, so that a test sees what it forgot. Nothing here waits but a question that the
//! real server keeps waiting, too.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clusterctl_proto::gtid::GtidSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::config::MysqlConfig;

/// The server's state, and what was done to it.
pub struct Server {
    /// The plugin is installed.
    pub plugin: bool,
    /// `member_state` of its own row.
    pub state: String,
    /// `member_role` of its own row.
    pub role: String,
    /// Host and state of the other members in its view.
    pub others: Vec<(String, String)>,
    /// `group_replication_group_name`.
    pub group_name: String,
    /// `group_replication_bootstrap_group`.
    pub flag: bool,
    /// The same for the next start of mysqld.
    pub persisted_flag: bool,
    /// Setting the flag does nothing.
    pub flag_is_stuck: bool,
    /// `super_read_only`.
    pub super_read_only: bool,
    /// `read_only`.
    pub read_only: bool,
    /// It is elected primary, by a person's START, while `super_read_only = ON` waits for an open transaction.
    pub elected_while_closed: bool,
    /// A person's START brings it in while `offline_mode` is set ON.
    pub enters_while_shut: bool,
    /// `offline_mode`.
    pub offline_mode: bool,
    /// `group_replication_force_members`.
    pub force_members: String,
    /// `gtid_executed`.
    pub executed: String,
    /// What the applier has received.
    pub received: String,
    /// Its clock, from some moment on.
    pub clock_ms: u64,
    /// A START runs: the statistics wait.
    pub starting: bool,
    /// Whoever asks may read who is in the group.
    pub peers_may_read: bool,
    /// START fails with this error.
    pub start_fails: Option<u16>,
    /// START goes on, also without its client, until a test ends it.
    pub start_goes_on: bool,
    /// Account and text of each notice that a session has left here.
    pub notices: Vec<(String, String)>,
    /// `group_replication_local_address`.
    pub local_address: String,
    /// What a copy of the donor's data holds.
    pub donor_holds: String,
    /// The START or STOP that some session runs.
    pub under_way: Option<String>,
    /// `Gr_last_consensus_end_timestamp`; it changes only where a test changes it.
    pub agreed: String,
    /// `group_replication_start_on_boot`, running and persisted.
    pub start_on_boot: bool,
    /// CLONE fails with this error when the data have been dropped.
    pub clone_fails: Option<u16>,
    /// CLONE goes on, also without its client, until it is killed.
    pub clone_goes_on: bool,
    /// State and source of the last clone.
    pub cloned: Option<(String, String)>,
    /// The session that began it.
    pub cloned_by: u64,
    /// Sessions in which clones of a member's account are served here.
    pub serves_clones: Vec<u64>,
    /// `group_replication_member_weight`.
    pub weight: u64,
    /// The views that it has installed, the oldest first: when, in seconds since 1970, and their ids.
    pub views: Vec<(u64, String)>,
    /// Schemas that people made.
    pub schemas: Vec<String>,
    /// The flag at each START that was carried out.
    pub starts: Vec<bool>,
    /// Every statement, in order.
    pub log: Vec<String>,
    /// When this run of it began.
    pub run: String,
    /// When each variable was set last. NOW(6) is always the beginning of 2026.
    pub set_time: String,
    /// Number of the newest session, and of the one whose statement runs.
    pub sessions: (u64, u64),
}

impl Default for Server {
    fn default() -> Self {
        Self {
            plugin: true,
            state: "OFFLINE".to_owned(),
            role: String::new(),
            others: Vec::new(),
            group_name: String::new(),
            flag: false,
            persisted_flag: false,
            flag_is_stuck: false,
            super_read_only: true,
            read_only: true,
            elected_while_closed: false,
            enters_while_shut: false,
            offline_mode: false,
            force_members: String::new(),
            executed: String::new(),
            received: String::new(),
            clock_ms: 0,
            starting: false,
            peers_may_read: true,
            start_fails: None,
            start_goes_on: false,
            notices: Vec::new(),
            local_address: "node1:3306".to_owned(),
            donor_holds: String::new(),
            under_way: None,
            agreed: "2026-01-01 00:00:00.000000".to_owned(),
            start_on_boot: false,
            clone_fails: None,
            clone_goes_on: false,
            cloned: None,
            cloned_by: 7,
            serves_clones: Vec::new(),
            weight: 50,
            views: Vec::new(),
            schemas: Vec::new(),
            starts: Vec::new(),
            log: Vec::new(),
            run: "2026-01-01 00:00:00".to_owned(),
            set_time: "2026-01-01 00:00:00.000000".to_owned(),
            sessions: (100, 0),
        }
    }
}

/// The server, listening.
pub struct FakeMysqld {
    _folder: tempfile::TempDir,
    config: MysqlConfig,
    server: Arc<Mutex<Server>>,
}

impl FakeMysqld {
    /// Starts it on a socket of its own. To be called inside a runtime.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket: PathBuf = folder.path().join("mysqld.sock");
        let server = Arc::<Mutex<Server>>::default();
        listen(&socket, Arc::clone(&server));
        let config = MysqlConfig {
            sockets: vec![socket],
            ..MysqlConfig::default()
        };
        Self {
            _folder: folder,
            config,
            server,
        }
    }

    /// How to enter it.
    pub fn config(&self) -> &MysqlConfig {
        &self.config
    }

    /// Looks at it or changes it.
    pub fn with<T>(&self, work: impl FnOnce(&mut Server) -> T) -> T {
        work(&mut self.server.lock().unwrap())
    }

    /// What it is, for who changes it while something else runs.
    pub fn server(&self) -> Arc<Mutex<Server>> {
        Arc::clone(&self.server)
    }
}

enum Reply {
    Ok,
    Rows(Vec<Vec<String>>),
    Error(u16, &'static str),
    /// No answer ever.
    Silence,
}

fn one(value: impl ToString) -> Reply {
    Reply::Rows(vec![vec![value.to_string()]])
}

fn switch(on: bool) -> &'static str {
    if on { "1" } else { "0" }
}

impl Server {
    /// Whether the clock is before the number in `UNIX_TIMESTAMP(SYSDATE(6)) < NUMBER`.
    fn is_before(&self, sql: &str) -> bool {
        let rest = sql.split("UNIX_TIMESTAMP(SYSDATE(6)) < ").nth(1);
        let at = rest.and_then(|rest| rest.split([',', ' ']).next()?.parse::<f64>().ok());
        at.is_some_and(|at| self.seconds(0) < at)
    }

    fn seconds(&self, plus: u64) -> f64 {
        f64::from(u32::try_from(self.clock_ms).unwrap()) / 1000.0
            + 1_700_000_000.0
            + f64::from(u32::try_from(plus).unwrap())
    }

    fn set_flag(&mut self, on: bool) {
        if !self.flag_is_stuck {
            self.flag = on;
        }
    }

    fn answer(&mut self, session: u64, sql: &str) -> Reply {
        self.log.push(sql.to_owned());
        self.sessions.1 = session;
        let has = |part: &str| sql.contains(part);
        if sql.starts_with("SET SESSION") {
            return Reply::Ok;
        }
        if has("@@max_allowed_packet") {
            return Reply::Rows(vec![vec!["67108864".to_owned(), "28800".to_owned()]]);
        }
        let told = self.observed(sql).or_else(|| self.notice(sql));
        if let Some(reply) = told.or_else(|| self.error_log(sql)) {
            return reply;
        }
        if let Some(reply) = self.statement(sql) {
            return reply;
        }
        if has("replication_group_member_stats WHERE") && !has("count_transactions") {
            return self.statistics();
        }
        if has("FROM performance_schema.replication_group_members") {
            return self.members(sql);
        }
        if has("@@GLOBAL.super_read_only, @@GLOBAL.offline_mode") {
            return self.settings(sql);
        }
        if has("mysql_innodb_cluster_metadata") && !has("information_schema") {
            return Reply::Error(1049, "Unknown database");
        }
        if has("SELECT @@GLOBAL.group_replication_bootstrap_group") {
            return one(switch(self.flag));
        }
        if has("COUNT(*) FROM performance_schema.persisted_variables WHERE") {
            return one(switch(self.persisted_flag));
        }
        if has("count_transactions_in_queue") {
            return Reply::Rows(vec![vec![self.executed.clone(), "0".to_owned()]]);
        }
        self.value(sql)
    }

    /// What changes something.
    fn statement(&mut self, sql: &str) -> Option<Reply> {
        if sql.starts_with("SET GLOBAL group_replication_bootstrap_group = IF(") {
            let read_back = sql.contains("@@GLOBAL.group_replication_bootstrap_group = 1 AND");
            let holds = self.is_before(sql) && (!read_back || self.flag);
            let values: Vec<&str> = sql.split('\'').skip(1).step_by(2).collect();
            match values[if holds { 0 } else { 1 }] {
                "ON" => self.set_flag(true),
                "OFF" => self.set_flag(false),
                _ => return Some(Reply::Error(1231, "can't be set to the value of 'EXPIRED'")),
            }
        } else if sql == "SET GLOBAL group_replication_bootstrap_group = OFF" {
            self.set_flag(false);
        } else if sql == "RESET PERSIST IF EXISTS group_replication_bootstrap_group" {
            self.persisted_flag = false;
        } else if sql == "START GROUP_REPLICATION" {
            if self.start_goes_on {
                self.under_way = Some(sql.to_owned());
                return Some(Reply::Silence);
            }
            let forced = (!self.force_members.is_empty()).then_some(3092);
            if let Some(code) = self.start_fails.or(forced) {
                return Some(Reply::Error(code, "START fails"));
            }
            self.starts.push(self.flag);
            self.state = "ONLINE".to_owned();
            self.role = if self.flag { "PRIMARY" } else { "SECONDARY" }.to_owned();
            self.super_read_only = !self.flag;
        } else if let Some(name) = sql.strip_prefix("SET PERSIST group_replication_group_name = ") {
            self.group_name = name.trim_matches('\'').to_owned();
        } else if sql == "STOP GROUP_REPLICATION" {
            self.state = "OFFLINE".to_owned();
            self.role = String::new();
        } else if let Some(from) = sql.strip_prefix("CLONE INSTANCE FROM ") {
            let source = from.split('@').nth(1).unwrap_or_default();
            let source = source.split(' ').next().unwrap_or_default().replace('\'', "");
            if self.cloned.as_ref().is_some_and(|(state, _)| state == "In Progress") {
                return Some(Reply::Error(3634, "Too many concurrent clone operations"));
            }
            if self.clone_goes_on {
                self.executed = String::new();
                self.cloned = Some(("In Progress".to_owned(), source));
                self.cloned_by = self.sessions.1;
                return Some(Reply::Silence);
            }
            if let Some(code) = self.clone_fails {
                self.executed = String::new();
                self.cloned = Some(("Failed".to_owned(), source));
                return Some(Reply::Error(code, "the donor is gone"));
            }
            self.executed = self.donor_holds.clone();
            self.cloned = Some(("Completed".to_owned(), source));
            // Persisted, and here after its restart.
            self.super_read_only = true;
        } else if let Some(served) = self.serves_clones.iter().position(|id| sql == format!("KILL {id}")) {
            self.serves_clones.remove(served);
        } else if sql == format!("KILL QUERY {}", self.cloned_by) {
            self.cloned = self.cloned.take().map(|(_, source)| ("Failed".to_owned(), source));
        } else if sql == "SET PERSIST group_replication_start_on_boot = OFF" {
            self.start_on_boot = false;
        } else if let Some(weight) = sql.strip_prefix("SET GLOBAL group_replication_member_weight = ") {
            self.weight = weight.parse().unwrap();
        } else if sql.starts_with("SET GLOBAL super_read_only = IF(") {
            let measured = sql.split('\'').nth(1).unwrap_or_default();
            let set = |text: &str| text.parse::<GtidSet>().unwrap();
            let both = sql.contains(" AND GTID_SUBSET(@@GLOBAL.gtid_executed, '");
            if !self.is_before(sql) || both && !set(measured).contains(&set(&self.executed)) {
                return Some(Reply::Error(1231, "can't be set to the value of 'EXPIRED'"));
            }
            self.super_read_only = false;
        } else if sql.starts_with("SET GLOBAL super_read_only = ") {
            self.super_read_only = sql.ends_with("ON");
            // As mysqld does it.
            self.read_only |= self.super_read_only;
            if self.super_read_only && std::mem::take(&mut self.elected_while_closed) {
                (self.state, self.role) = ("ONLINE".to_owned(), "PRIMARY".to_owned());
            }
        } else if sql == "SET GLOBAL read_only = OFF" {
            self.read_only = false;
        } else if sql == "SET GLOBAL group_replication_force_members = ''" {
            self.force_members.clear();
        } else if sql.starts_with("SET GLOBAL offline_mode = ") {
            self.offline_mode = sql.ends_with("ON");
            if self.offline_mode && std::mem::take(&mut self.enters_while_shut) {
                self.state = "RECOVERING".to_owned();
            }
        } else if !(sql.starts_with("SET PERSIST")
            || sql.starts_with("SET GLOBAL clone_")
            || sql.starts_with("CHANGE REPLICATION SOURCE"))
        {
            return None;
        }
        Some(Reply::Ok)
    }

    /// What only the observer asks.
    fn observed(&self, sql: &str) -> Option<Reply> {
        let row = |cells: &[&str]| Some(Reply::Rows(vec![cells.iter().map(|&cell| cell.to_owned()).collect()]));
        if sql.starts_with("SELECT @@GLOBAL.server_uuid") {
            let (read_only, offline) = (switch(self.super_read_only), switch(self.offline_mode));
            let uuid = "6ced32ca-e649-11f1-bb94-02fc00000001";
            let mut cells = vec![uuid, "1", "9.7.4", "node1", "3306", read_only, offline];
            cells.extend([switch(self.flag), self.group_name.as_str(), ""]);
            return row(&cells);
        }
        if sql.starts_with("SELECT processlist_info FROM performance_schema.threads") {
            return Some(Reply::Rows(
                self.under_way.iter().map(|sql| vec![sql.clone()]).collect(),
            ));
        }
        if sql == "SHOW PROCESSLIST" {
            let row = |id: u64, user: &str, command: &str| {
                let cells = [&id.to_string(), user, "", "", command];
                cells.map(str::to_owned).to_vec()
            };
            // Who may see all sees another member's, too.
            let others = [row(3, "root", "Sleep"), row(4, "mysql_innodb_cluster_9", "clone")];
            let own = self.serves_clones.iter();
            let own = own.map(|id| row(*id, "mysql_innodb_cluster_1", "clone"));
            return Some(Reply::Rows(others.into_iter().chain(own).collect()));
        }
        if sql.starts_with("SELECT c.pid FROM performance_schema.clone_status") {
            let runs = self.cloned.iter().filter(|(state, _)| state == "In Progress");
            return Some(Reply::Rows(runs.map(|_| vec![self.cloned_by.to_string()]).collect()));
        }
        if sql.contains("FROM performance_schema.clone_status") {
            let Some((state, source)) = &self.cloned else {
                return Some(Reply::Rows(Vec::new()));
            };
            let began = "2026-01-01 00:00:00.000000";
            if sql.starts_with("SELECT CAST(begin_time AS CHAR)") {
                return row(&[began]);
            }
            return row(&[
                state,
                source,
                "0",
                "",
                &self.executed,
                began,
                switch(state == "In Progress"),
            ]);
        }
        if sql.starts_with("SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged") {
            return row(&[&self.executed, "", "1767225600.000000"]);
        }
        if sql.starts_with("SELECT channel_name, received_transaction_set") {
            return row(&["group_replication_applier", &self.received]);
        }
        None
    }

    /// Lines of views only.
    fn error_log(&self, sql: &str) -> Option<Reply> {
        let line = |(at, view): &(u64, String)| {
            let moment = format!("{at:012}");
            let data = format!("Group membership changed to node1:3306 on view {view}.");
            vec![moment, format!("{at}.000000"), "MY-011503".to_owned(), data]
        };
        let lines = self.views.iter().rev().map(line);
        if sql.starts_with("SELECT logged, UNIX_TIMESTAMP(logged), error_code, data") {
            return Some(Reply::Rows(lines.take(80).collect()));
        }
        if let Some(rest) = sql.strip_prefix("SELECT MAX(IF(data LIKE '% on view ") {
            let (view, rest) = rest.split_once(".%', logged, NULL)), MAX(IF(data LIKE '% on view ")?;
            let (prefix, _) = rest.split_once("%', NULL, logged)) FROM performance_schema.error_log")?;
            let moment = |found: Option<&(u64, String)>| found.map_or_else(String::new, |(at, _)| format!("{at:012}"));
            let own = self.views.iter().rfind(|(_, id)| id == view);
            let other = self.views.iter().rfind(|(_, id)| !id.starts_with(prefix));
            return Some(Reply::Rows(vec![vec![moment(own), moment(other)]]));
        }
        let pattern = sql.strip_prefix(
            "SELECT COUNT(*) FROM performance_schema.error_log WHERE error_code = 'MY-011503' AND data LIKE '%",
        )?;
        let part = pattern.trim_end_matches("%'");
        Some(one(lines.filter(|line| line[3].contains(part)).count()))
    }

    /// A notice that is left, and those that were. Every session is a member's: its name is not known here.
    fn notice(&mut self, sql: &str) -> Option<Reply> {
        if let Some(text) = sql.strip_prefix("SET @clusterctl_notice = '") {
            let text = text.strip_suffix('\'')?.replace("\\\\", "\\").replace("''", "'");
            self.notices.push(("mysql_innodb_cluster_2".to_owned(), text));
            return Some(Reply::Ok);
        }
        if !sql.contains("performance_schema.user_variables_by_thread") {
            return None;
        }
        let members_only = sql.contains("processlist_user LIKE 'mysql|_innodb|_cluster|_%' ESCAPE '|'")
            && sql.contains("connection_type = 'SSL/TLS'");
        let heard = |(user, _): &&(String, String)| !members_only || user.starts_with("mysql_innodb_cluster_");
        let rows = self.notices.iter().filter(heard);
        Some(Reply::Rows(rows.map(|(_, text)| vec![text.clone()]).collect()))
    }

    fn statistics(&self) -> Reply {
        if self.starting {
            return Reply::Silence;
        }
        if !self.peers_may_read {
            return Reply::Error(1142, "SELECT command denied");
        }
        one(if self.state == "OFFLINE" { "" } else { "17:1" })
    }

    fn members(&self, sql: &str) -> Reply {
        if !self.peers_may_read {
            return Reply::Error(1142, "SELECT command denied");
        }
        if sql.starts_with("SELECT (SELECT member_state") {
            return Reply::Rows(vec![vec![self.state.clone(), switch(self.super_read_only).to_owned()]]);
        }
        if !self.plugin {
            return Reply::Rows(Vec::new());
        }
        let own = ("node1".to_owned(), self.state.clone(), self.role.clone(), "1");
        let others = self.others.iter();
        let all =
            std::iter::once(own).chain(others.map(|(host, state)| (host.clone(), state.clone(), String::new(), "0")));
        let row = |(host, state, role, own): (String, String, String, &str)| {
            let uuid = format!("6ced32ca-e649-11f1-bb94-02fc0000000{}", &host[host.len() - 1..]);
            if sql.starts_with("SELECT member_id IN") {
                return vec![own.to_owned(), state, role, uuid];
            }
            vec![
                uuid,
                host,
                "3306".to_owned(),
                state,
                role,
                "9.7.4".to_owned(),
                own.to_owned(),
            ]
        };
        Reply::Rows(all.map(row).collect())
    }

    fn settings(&self, sql: &str) -> Reply {
        if !self.plugin && sql.contains("group_replication_group_name") {
            return Reply::Error(1193, "Unknown system variable");
        }
        let cells = [
            switch(self.super_read_only),
            switch(self.offline_mode),
            &self.group_name,
            &self.executed,
        ];
        Reply::Rows(vec![cells.map(str::to_owned).to_vec()])
    }

    fn value(&self, sql: &str) -> Reply {
        match sql {
            "SELECT @@GLOBAL.group_replication_group_name" => one(&self.group_name),
            "SELECT @@GLOBAL.group_replication_force_members" => one(&self.force_members),
            "SELECT @@GLOBAL.group_replication_member_weight" => one(self.weight),
            "SELECT @@GLOBAL.offline_mode" => one(switch(self.offline_mode)),
            "SELECT @@GLOBAL.super_read_only" => one(switch(self.super_read_only)),
            "SELECT @@GLOBAL.gtid_executed" => one(&self.executed),
            "SELECT CONNECTION_ID()" => one(self.sessions.1),
            _ if sql.starts_with("SELECT @@GLOBAL.group_replication_group_seeds") => {
                Reply::Rows(vec![vec![String::new(), self.local_address.clone()]])
            }
            _ if sql.starts_with("SELECT NOW() - INTERVAL CAST(variable_value AS UNSIGNED) SECOND") => one(&self.run),
            _ if sql.contains("variable_name = 'Uptime'") => one("60"),
            _ if sql.contains("variable_name = 'Gr_last_consensus_end_timestamp'") => one(&self.agreed),
            // More at each look.
            _ if sql.contains("variable_name = 'Gr_extended_consensus_count'") => one(self.log.len()),
            _ if sql.contains("plugin_name = 'mysqlx'") => Reply::Rows(Vec::new()),
            "SELECT 1" => one("1"),
            "SELECT NOW(6) + INTERVAL 60 SECOND" => one("2026-01-01 00:01:00.000000"),
            _ if sql.starts_with("SELECT CAST(set_time AS CHAR) FROM performance_schema.variables_info") => {
                one(&self.set_time)
            }
            "SELECT NOW(6)" => one("2026-01-01 00:00:00.000000"),
            _ if sql.starts_with("SELECT UNIX_TIMESTAMP(SYSDATE(6)) + ") => {
                let seconds = sql.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
                one(format!("{:.6}", self.seconds(seconds.unwrap_or(0))))
            }
            _ if sql.starts_with("SELECT received_transaction_set") => one(&self.received),
            _ if sql.starts_with("SELECT COUNT(*) FROM performance_schema.threads") => one("0"),
            _ if sql.starts_with("SELECT schema_name FROM information_schema.schemata") => {
                Reply::Rows(self.schemas.iter().map(|name| vec![name.clone()]).collect())
            }
            _ if sql.starts_with("SELECT LOWER(g.variable_name)") => self.variables(sql),
            _ if sql.contains("performance_schema.threads")
                || sql.contains("performance_schema.clone_progress")
                || sql.contains("information_schema.tables")
                || sql.contains("information_schema.schemata")
                || sql.contains("performance_schema.error_log")
                || sql.contains("last_error_number")
                || sql.contains("replication_connection_configuration") =>
            {
                Reply::Rows(Vec::new())
            }
            _ => Reply::Error(1105, "the fake mysqld does not know this statement"),
        }
    }

    /// Every variable that is asked exists; all but one have another value than is wanted.
    fn variables(&self, sql: &str) -> Reply {
        let list = sql.rsplit("IN (").next().unwrap_or_default();
        let names = list.trim_end_matches(')').split(", ");
        let row = |name: &str| {
            let name = name.trim_matches('\'').to_owned();
            let value = match name.as_str() {
                "group_replication_start_on_boot" if self.start_on_boot => "ON",
                "group_replication_start_on_boot" => "OFF",
                _ => "other",
            };
            vec![name, value.to_owned(), "COMPILED".to_owned(), value.to_owned()]
        };
        Reply::Rows(names.map(row).collect())
    }
}

fn listen(socket: &Path, server: Arc<Mutex<Server>>) {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&server)));
        }
    });
}

/// `CLIENT_LONG_PASSWORD`, `PROTOCOL_41`, `TRANSACTIONS`, `SECURE_CONNECTION`, `MULTI_STATEMENTS`, `MULTI_RESULTS`, `PLUGIN_AUTH`.
const CAPABILITIES: u32 = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x1_0000 | 0x2_0000 | 0x8_0000;
const AUTOCOMMIT: u16 = 0x2;
const MORE_RESULTS: u16 = 0x8;

async fn serve(mut stream: UnixStream, server: Arc<Mutex<Server>>) -> Option<()> {
    send(&mut stream, &mut 0, &greeting()).await?;
    let (mut sequence, _) = receive(&mut stream).await?;
    let session = {
        let mut server = server.lock().unwrap();
        server.sessions.0 += 1;
        server.sessions.0
    };
    send(&mut stream, &mut sequence, &ok(AUTOCOMMIT)).await?;
    loop {
        let (mut sequence, packet) = receive(&mut stream).await?;
        match packet.split_first()? {
            (0x03, sql) => {
                let text = String::from_utf8_lossy(sql).into_owned();
                let statements: Vec<&str> = text.split("; ").collect();
                for (n, sql) in statements.iter().enumerate() {
                    let more = if n + 1 < statements.len() { MORE_RESULTS } else { 0 };
                    let reply = server.lock().unwrap().answer(session, sql);
                    match reply {
                        Reply::Silence => std::future::pending().await,
                        Reply::Ok => send(&mut stream, &mut sequence, &ok(AUTOCOMMIT | more)).await?,
                        Reply::Rows(rows) => send_rows(&mut stream, &mut sequence, &rows, AUTOCOMMIT | more).await?,
                        Reply::Error(code, message) => {
                            send(&mut stream, &mut sequence, &error(code, message)).await?;
                            break;
                        }
                    }
                }
            }
            (0x01, _) => return None,
            _ => {
                send(
                    &mut stream,
                    &mut sequence,
                    &error(1105, "no such command in the fake mysqld"),
                )
                .await?
            }
        }
    }
}

async fn receive(stream: &mut UnixStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
    let mut packet = vec![0; length];
    stream.read_exact(&mut packet).await.ok()?;
    Some((head[3].wrapping_add(1), packet))
}

async fn send(stream: &mut UnixStream, sequence: &mut u8, payload: &[u8]) -> Option<()> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], *sequence];
    packet.extend_from_slice(payload);
    *sequence = sequence.wrapping_add(1);
    stream.write_all(&packet).await.ok()
}

async fn send_rows(stream: &mut UnixStream, sequence: &mut u8, rows: &[Vec<String>], status: u16) -> Option<()> {
    let columns = rows.first().map_or(1, Vec::len);
    send(stream, sequence, &[u8::try_from(columns).unwrap()]).await?;
    for _ in 0..columns {
        let mut column = Vec::new();
        for text in ["def", "", "", "", "c", "c"] {
            put_text(&mut column, text);
        }
        // utf8mb4, a length, VAR_STRING
        column.extend_from_slice(&[0x0c, 45, 0, 0, 1, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
        send(stream, sequence, &column).await?;
    }
    send(stream, sequence, &end(status)).await?;
    for row in rows {
        let mut cells = Vec::new();
        row.iter().for_each(|cell| put_text(&mut cells, cell));
        send(stream, sequence, &cells).await?;
    }
    send(stream, sequence, &end(status)).await
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length) if length < 0xfb => to.push(length),
        _ => {
            to.push(0xfc);
            to.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
        }
    }
    to.extend_from_slice(text.as_bytes());
}

fn greeting() -> Vec<u8> {
    let capabilities = CAPABILITIES.to_le_bytes();
    let mut packet = b"\x0a9.7.4\0".to_vec();
    packet.extend_from_slice(&[1, 0, 0, 0]);
    packet.extend_from_slice(b"01234567\0");
    packet.extend_from_slice(&capabilities[..2]);
    packet.extend_from_slice(&[45, 2, 0]);
    packet.extend_from_slice(&capabilities[2..]);
    packet.push(21);
    packet.extend_from_slice(&[0; 10]);
    packet.extend_from_slice(b"012345678901\0mysql_native_password\0");
    packet
}

fn ok(status: u16) -> Vec<u8> {
    let [low, high] = status.to_le_bytes();
    vec![0, 0, 0, low, high, 0, 0]
}

fn end(status: u16) -> Vec<u8> {
    let [low, high] = status.to_le_bytes();
    vec![0xfe, 0, 0, low, high]
}

fn error(code: u16, message: &str) -> Vec<u8> {
    let [low, high] = code.to_le_bytes();
    let mut packet = vec![0xff, low, high];
    packet.extend_from_slice(b"#HY000");
    packet.extend_from_slice(message.as_bytes());
    packet
}
