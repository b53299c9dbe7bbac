//! One mysqld with its host: power, process, disk. What a simulation's hosts, faults and invariants call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::data::Data;
use super::disk::Disk;
use super::net::Net;
use super::process::{Exit, Process, Who};
use super::session::{self, Session, SqlError};
use super::variables::Variables;
use super::world::{Id, World};

/// Told when a mysqld ends.
pub(crate) type OnExit = Arc<dyn Fn(Exit) + Send + Sync>;

/// A server.
pub struct Server {
    net: Arc<Net>,
    pub(crate) id: Id,
    host: String,
}

impl Server {
    pub(crate) fn new(net: Arc<Net>, id: Id, host: &str) -> Self {
        Self {
            net,
            id,
            host: host.to_owned(),
        }
    }

    /// Its host's name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The network that it stands in.
    pub fn net(&self) -> &Arc<Net> {
        &self.net
    }

    /// The host gets power, or loses it: the process ends, and what was not synced is lost. Nothing starts by itself.
    pub fn power(&self, on: bool) {
        let mut world = self.net.lock();
        if !on {
            self.net.end(&mut world, self.id, Exit::Killed);
            let unsynced = world.servers[self.id].disk.unsynced as u64;
            let lost = world.rng.below(unsynced + 1);
            world.servers[self.id]
                .disk
                .lose_tail(usize::try_from(lost).unwrap_or(0));
        }
        world.servers[self.id].powered = on;
        self.net.moved(&mut world);
    }

    /// `kill -9`.
    pub fn kill9(&self) {
        let mut world = self.net.lock();
        self.net.end(&mut world, self.id, Exit::Killed);
        self.net.moved(&mut world);
    }

    /// Starts mysqld; it listens a second or more later. False: it runs already, or there is no power.
    pub fn start_process(&self) -> bool {
        let mut world = self.net.lock();
        self.net.boot(&mut world, self.id)
    }

    /// Stops it in an orderly way; returns when it has ended. It goes on where the caller does not wait.
    pub async fn stop_process(&self) {
        let (net, id) = (Arc::clone(&self.net), self.id);
        let incarnation = {
            let mut world = net.lock();
            let Some(process) = world.process_mut(id) else { return };
            process.stopping = true;
            process.incarnation
        };
        let stop = tokio::spawn(async move { net.shut_down(id, incarnation).await });
        let _ = stop.await;
    }

    /// SIGSTOP: nothing of it runs, its sockets stay open.
    pub fn freeze(&self) {
        let mut world = self.net.lock();
        if let Some(process) = world.process_mut(self.id) {
            process.frozen = true;
        }
        self.net.moved(&mut world);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        let mut world = self.net.lock();
        let now = Instant::now();
        if let Some(process) = world.process_mut(self.id)
            && process.frozen
        {
            process.frozen = false;
            process.thawed = Some(now);
            if let Some(member) = process.gr.member_mut() {
                // It does not know how long it slept.
                member.heard.values_mut().for_each(|heard| *heard = now);
                member.alone = None;
                member.expelled = None;
            }
        }
        self.net.apply_soon(&mut world, self.id);
        self.net.moved(&mut world);
    }

    /// There is a process, frozen or not, also one that does not listen yet.
    pub fn is_running(&self) -> bool {
        self.net.lock().process(self.id).is_some()
    }

    /// The host has power.
    pub fn is_powered(&self) -> bool {
        self.net.lock().servers[self.id].powered
    }

    /// It listens.
    pub fn is_ready(&self) -> bool {
        self.net.lock().process(self.id).is_some_and(|process| process.ready)
    }

    /// Enters as this user from this host; `root` enters from its own host only. Waits while the server is frozen or out of reach.
    pub async fn connect(self: &Arc<Self>, user: &str, from: &str) -> Result<Session, SqlError> {
        session::connect(&self.net, self.id, &self.host, user, from).await
    }

    /// One statement of root.
    pub async fn root(self: &Arc<Self>, sql: &str) -> Result<Vec<Vec<Option<String>>>, SqlError> {
        let mut session = self.connect("root", &self.host).await?;
        session.query(sql).await.map(|answer| answer.rows)
    }

    /// A client's INSERT; its GTID when it is acknowledged. Error 3100 and a lost connection mean: not known.
    pub async fn write(self: &Arc<Self>, from: &str, row: u64) -> Result<String, SqlError> {
        self.net
            .until(|world| world.connects(from, &self.host).then_some(()))
            .await;
        let mut session = self.connect("root", &self.host).await?;
        session.from(from);
        let answer = session
            .query(&format!("INSERT INTO sim.written VALUES ({row})"))
            .await?;
        let gtid = answer.rows.into_iter().flatten().next().flatten();
        Ok(gtid.unwrap_or_default())
    }

    /// Called whenever its mysqld ends. Without one, the end of a clone starts it again.
    pub fn on_exit(&self, told: impl Fn(Exit) + Send + Sync + 'static) {
        self.net.lock().servers[self.id].on_exit = Some(Arc::new(told));
    }

    /// Option files for the next start.
    pub fn set_options(&self, options: BTreeMap<String, String>) {
        self.net.lock().servers[self.id].options = options;
    }

    /// The host's clock against the true time.
    pub fn set_clock(&self, skew_ms: i64) {
        self.net.lock().servers[self.id].skew_ms = skew_ms;
    }

    /// How long the applier works on each transaction.
    pub fn set_lag(&self, lag: Duration) {
        self.net.lock().servers[self.id].lag = lag;
    }

    /// How long a clone copies from here.
    pub fn set_copy_time(&self, time: Duration) {
        self.net.lock().servers[self.id].copy = time;
    }

    /// The binary logs are purged: a joiner that lacks something cannot get it here.
    pub fn purge_binlogs(&self) {
        let disk = &mut self.net.lock().servers[self.id].disk;
        disk.gtid_purged = disk.gtid_executed.clone();
    }

    /// The next transaction that its applier takes cannot be applied, until this is mended or the data are replaced by a clone.
    pub fn break_applier(&self, broken: bool) {
        self.net.lock().servers[self.id].disk.applier_breaks = broken;
    }

    /// Tables of AdminAPI's metadata cannot be read here (error 1812), or can again.
    pub fn break_metadata(&self, broken: bool) {
        self.net.lock().servers[self.id].metadata_breaks = broken;
    }

    /// The disk is replaced, or the data directory emptied, while mysqld does not run: an empty server with a new uuid.
    pub fn lose_data(&self, server_uuid: &str) {
        self.net.lock().servers[self.id].disk = Disk {
            uuid: server_uuid.to_owned(),
            data: Data::fresh(),
            ..Disk::default()
        };
    }
}

impl Net {
    pub(crate) fn woken(&self) {
        self.notify();
    }

    pub(crate) fn boot(self: &Arc<Self>, world: &mut World, id: Id) -> bool {
        if world.servers[id].process.is_some() || !world.servers[id].powered {
            return false;
        }
        let incarnation = world.fresh();
        let now = world.micros(id);
        let server = &mut world.servers[id];
        let vars = Variables::at_start(&server.name, &server.options, &server.disk.persisted);
        server.process = Some(Process::new(incarnation, now, vars));
        let time = world.rng.ms(1000, 2500);
        let net = Arc::clone(self);
        let work = async move {
            if net.pause(id, incarnation, time).await.is_none() {
                return;
            }
            let starts = {
                let mut world = net.lock();
                let is_installed = world.servers[id].disk.data.plugins.contains("group_replication");
                let Some(process) = world.same(id, incarnation) else {
                    return;
                };
                process.ready = true;
                is_installed
                    && !process.vars.is_off("group_replication_start_on_boot")
                    && !process.vars.text("group_replication_group_name").is_empty()
            };
            net.woken();
            if starts {
                let _ = net.start_group(id, incarnation, Who::Itself).await;
            }
        };
        self.task(world, id, work);
        true
    }

    /// The process is gone.
    pub(crate) fn end(self: &Arc<Self>, world: &mut World, id: Id, exit: Exit) {
        let Some(process) = world.servers[id].process.take() else {
            return;
        };
        process.tasks.iter().for_each(tokio::task::AbortHandle::abort);
        if exit != Exit::Restart
            && let Some(clone) = &mut world.servers[id].disk.clone
            && clone.state == "In Progress"
            && exit == Exit::Stopped
        {
            clone.state = "Failed";
        }
        world.forget_groups();
        if let Some(told) = world.servers[id].on_exit.clone() {
            // Not under the lock.
            tokio::spawn(async move { told(exit) });
        } else if exit == Exit::Restart {
            self.later(Duration::from_millis(200), move |net, world| {
                net.boot(world, id);
            });
        }
        self.notify();
    }

    async fn shut_down(self: &Arc<Self>, id: Id, incarnation: u64) {
        let first = self.draw(300, 800);
        if self.pause(id, incarnation, first).await.is_none() {
            return;
        }
        {
            let mut world = self.lock();
            self.part(&mut world, id, incarnation);
        }
        let rest = self.draw(700, 2000);
        if self.pause(id, incarnation, rest).await.is_some() {
            let mut world = self.lock();
            self.end(&mut world, id, Exit::Stopped);
            self.moved(&mut world);
        }
    }
}
