//! One mysqld process: what a `kill -9` takes away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::data::Work;
use super::member::Gr;
use super::session::SqlError;
use super::variables::Variables;

/// How a mysqld ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// By SIGKILL, or its host lost power.
    Killed,
    /// In an orderly way.
    Stopped,
    /// After a clone: exit status 16, whoever supervises it starts it again.
    Restart,
}

/// Who starts Group Replication.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Who {
    /// A person.
    #[default]
    Person,
    /// This host's agent, by an order or by itself.
    Agent,
    /// mysqld: at its start, or by auto-rejoin.
    Itself,
}

/// A connection, as the process list shows it.
#[derive(Clone, Default)]
pub(crate) struct Connection {
    pub user: String,
    pub from: String,
    pub who: Who,
    /// Statement that it executes.
    pub sql: Option<Arc<str>>,
    /// Command of the process list, if not `Query` or `Sleep`.
    pub command: Option<&'static str>,
    pub unlogged: bool,
    pub gtid_next: Option<(String, u64)>,
    /// `@clusterctl_notice`.
    pub notice: Option<String>,
    /// An open transaction.
    pub open: Option<Vec<Work>>,
}

/// Who holds an advisory lock.
#[derive(Clone, Default)]
pub(crate) struct Lock {
    pub writer: Option<u64>,
    pub readers: BTreeSet<u64>,
}

/// Auto-rejoin of Group Replication.
pub(crate) struct AutoRejoin {
    pub task: Option<AbortHandle>,
    /// A try is under way; between tries it sleeps.
    pub trying: bool,
}

/// The process.
pub(crate) struct Process {
    /// Number of this process among all of the simulation.
    pub incarnation: u64,
    pub started: Instant,
    /// The same by its own clock, in microseconds since 1970.
    pub started_at: u64,
    /// When clients set variables last, by the same clock.
    pub set_at: BTreeMap<String, u64>,
    /// It listens.
    pub ready: bool,
    pub frozen: bool,
    pub thawed: Option<Instant>,
    pub stopping: bool,
    pub vars: Variables,
    /// When the bootstrap flag was set ON last.
    pub flag_on: Option<Instant>,
    pub gr: Gr,
    /// START or STOP that runs.
    pub busy: Option<&'static str>,
    /// Group Replication was started in this process.
    pub was_started: bool,
    /// The statistics wait: START has entered the view and has not returned, or a membership is being forced.
    pub statistics_wait: bool,
    pub auto_rejoin: Option<AutoRejoin>,
    pub channel_error: Option<(&'static str, u16, String)>,
    /// Clients that wait for the group, by the transaction's identity.
    pub waiting: BTreeMap<u64, oneshot::Sender<Result<String, SqlError>>>,
    pub connections: BTreeMap<u64, Connection>,
    pub lock: Lock,
    pub tasks: Vec<AbortHandle>,
    /// The applier has a transaction at hand.
    pub applying: bool,
    /// The applier's channel runs.
    pub applier: bool,
    /// A clone gives its data away from here, to this server.
    pub donates_to: Option<String>,
    pub clone_stage: Option<&'static str>,
    /// Somebody ends the clone onto this server.
    pub clone_killed: bool,
}

impl Process {
    pub fn new(incarnation: u64, started_at: u64, vars: Variables) -> Self {
        Self {
            incarnation,
            started: Instant::now(),
            started_at,
            set_at: BTreeMap::new(),
            ready: false,
            frozen: false,
            thawed: None,
            stopping: false,
            vars,
            flag_on: None,
            gr: Gr::Offline,
            busy: None,
            was_started: false,
            statistics_wait: false,
            auto_rejoin: None,
            channel_error: None,
            waiting: BTreeMap::new(),
            connections: BTreeMap::new(),
            lock: Lock::default(),
            tasks: Vec::new(),
            applying: false,
            applier: false,
            donates_to: None,
            clone_stage: None,
            clone_killed: false,
        }
    }

    /// Runs and takes part.
    pub fn awake(&self) -> bool {
        self.ready && !self.frozen
    }

    /// Ends what waits for the group: nobody knows what becomes of it.
    pub fn fail_waiting(&mut self) {
        for (_, client) in std::mem::take(&mut self.waiting) {
            let _ = client.send(Err(SqlError::unknown_outcome()));
        }
    }
}
