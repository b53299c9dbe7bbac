//! The network: all servers, who reaches whom, and the jobs of the simulation.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::data::Data;
use super::disk::Disk;
use super::server::Server;
use super::truth::{Lineage, Row};
use super::world::{Id, State, World};

/// Between two looks of the failure detectors.
const TICK: Duration = Duration::from_millis(250);

/// All servers and links. To be made inside a runtime whose time is paused.
pub struct Net {
    world: Mutex<World>,
    /// A link, a host or a process has changed.
    changed: Notify,
    /// A group of one lets in a second member, and does not know it yet.
    second: Notify,
    /// Who that was last.
    entered: Mutex<Option<String>>,
}

impl Net {
    /// An empty network. The same seed gives the same run.
    pub fn new(seed: u64) -> Arc<Self> {
        let net = Arc::new(Self {
            world: Mutex::new(World::new(seed)),
            changed: Notify::new(),
            second: Notify::new(),
            entered: Mutex::default(),
        });
        let watched = Arc::downgrade(&net);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(net) = watched.upgrade() else { return };
                let mut world = net.lock();
                net.tick(&mut world);
            }
        });
        net
    }

    /// A host with power and an installed, stopped mysqld that holds nothing.
    pub fn add(self: &Arc<Self>, host: &str, server_uuid: &str) -> Arc<Server> {
        let mut world = self.lock();
        let id = world.servers.len();
        world.names.insert(host.to_owned(), id);
        world.servers.push(State {
            name: host.to_owned(),
            powered: true,
            process: None,
            disk: Disk {
                uuid: server_uuid.to_owned(),
                data: Data::fresh(),
                ..Disk::default()
            },
            skew_ms: 0,
            options: BTreeMap::new(),
            lag: Duration::from_millis(2),
            on_exit: None,
            copy: Duration::from_secs(3),
            metadata_breaks: false,
            started: None,
        });
        drop(world);
        Arc::new(Server::new(Arc::clone(self), id, host))
    }

    /// Packets from one host to another are lost, or are not any more. Hosts without a mysqld have a name only.
    pub fn cut(self: &Arc<Self>, from: &str, to: &str, cut: bool) {
        let mut world = self.lock();
        let link = (from.to_owned(), to.to_owned());
        if cut {
            world.cuts.insert(link);
        } else {
            world.cuts.remove(&link);
        }
        self.moved(&mut world);
    }

    /// Packets arrive in this direction.
    pub fn reaches(&self, from: &str, to: &str) -> bool {
        self.lock().reaches(from, to)
    }

    /// Statements that no handler knows, and how often each came.
    pub fn unknown(&self) -> BTreeMap<String, u64> {
        self.lock().unknown.clone()
    }

    /// How often what has happened: `bootstrapped`, `joined`, `refused`, `expelled`, `majority lost`, `auto-rejoined`, `elected`,
    /// `forced`, `forced in vain`, `cloned`, `recovery failed`, `applier failed`.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counts.clone()
    }

    /// What servers have thrown away since this was asked last although no other server held it, with the host.
    pub fn take_discarded(&self) -> Vec<(String, Row)> {
        let all = std::mem::take(&mut self.lock().discarded);
        all.into_iter().map(|(host, trx)| (host, trx.shown())).collect()
    }

    /// Waits until something of a server, a link or a group has changed.
    pub async fn change(&self) {
        self.changed.notified().await;
    }

    /// Waits for the moment in which a group of one lets in a second member, whose host this is: if that dies before the first has installed
    /// their view, the group never agrees on anything again.
    pub async fn second_enters(&self) -> String {
        loop {
            self.second.notified().await;
            let entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(host) = entered {
                return host;
            }
        }
    }

    pub(super) fn enters_as_second(&self, host: String) {
        *self.entered.lock().unwrap_or_else(PoisonError::into_inner) = Some(host);
        self.second.notify_waiters();
    }

    /// Lineages that live: some mysqld takes part in them.
    pub fn lineages(&self) -> Vec<Lineage> {
        self.lock().groups.values().map(|group| group.lineage).collect()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something can go on that could not before.
    pub(crate) fn moved(self: &Arc<Self>, world: &mut World) {
        world.forget_groups();
        let groups: Vec<u64> = world.groups.keys().copied().collect();
        for group in groups {
            self.agree_soon(world, group);
        }
        self.changed.notify_waiters();
    }

    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Waits for something of the world.
    pub(crate) async fn until<T>(&self, look: impl Fn(&mut World) -> Option<T>) -> T {
        // Mostly there is nothing to wait for.
        if let Some(found) = look(&mut self.lock()) {
            return found;
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// Waits until this process is not frozen; none: it has ended.
    pub(crate) async fn awake(&self, id: Id, incarnation: u64) -> Option<()> {
        self.until(|world| match world.same(id, incarnation) {
            None => Some(None),
            Some(process) if process.frozen => None,
            Some(_) => Some(Some(())),
        })
        .await
    }

    /// Time of this process: it does not go on while it is frozen at its end.
    pub(crate) async fn pause(&self, id: Id, incarnation: u64, time: Duration) -> Option<()> {
        tokio::time::sleep(time).await;
        self.awake(id, incarnation).await
    }

    /// A drawn time.
    pub(crate) fn draw(&self, from: u64, to: u64) -> Duration {
        self.lock().rng.ms(from, to)
    }

    /// A job of the simulation, which no process owns.
    pub(crate) fn later(self: &Arc<Self>, time: Duration, job: impl FnOnce(&Arc<Self>, &mut World) + Send + 'static) {
        let net = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(net) = net.upgrade() {
                let mut world = net.lock();
                job(&net, &mut world);
            }
        });
    }

    /// A task of a process: it ends with it.
    pub(crate) fn task(
        self: &Arc<Self>,
        world: &mut World,
        id: Id,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Option<tokio::task::AbortHandle> {
        let process = world.process_mut(id)?;
        let handle = tokio::spawn(work).abort_handle();
        process.tasks.retain(|task| !task.is_finished());
        process.tasks.push(handle.clone());
        Some(handle)
    }
}
