//! The applier of a secondary: received transactions are executed one after another, as fast as the server's lag allows.

use std::sync::Arc;
use std::time::Duration;

use super::data::Trx;
use super::leave::Why;
use super::net::Net;
use super::world::{Id, World};

impl Net {
    /// Begins with the next one, unless one is at hand.
    pub(crate) fn apply_soon(self: &Arc<Self>, world: &mut World, id: Id) {
        let (waits, lag) = {
            let server = &world.servers[id];
            (!server.disk.received.is_empty(), server.lag)
        };
        let Some(process) = world.process_mut(id) else { return };
        if !waits || process.applying || !process.applier || process.frozen {
            return;
        }
        process.applying = true;
        let incarnation = process.incarnation;
        self.later(lag, move |net, world| net.apply(world, id, incarnation));
    }

    /// What the relay log holds when a member enters is applied before anything of the group; none: the member left, or could not.
    pub(crate) async fn apply_backlog(self: &Arc<Self>, id: Id, incarnation: u64, number: u64) -> Option<()> {
        let (mut left, lag) = {
            let server = &self.lock().servers[id];
            (server.disk.received.len(), server.lag)
        };
        while left > 0 {
            self.pause(id, incarnation, lag).await?;
            let mut world = self.lock();
            if !world.lives(id, incarnation, number) {
                return None;
            }
            if world.servers[id].disk.applier_breaks {
                self.applier_fails(&mut world, id);
                return None;
            }
            world.execute_received(id);
            left -= 1;
        }
        Some(())
    }

    fn applier_fails(self: &Arc<Self>, world: &mut World, id: Id) {
        if let Some(process) = world.process_mut(id) {
            process.applier = false;
            let words = "Could not execute Update_rows event on table sim.written; Can't find record in 'written'";
            process.channel_error = Some(("group_replication_applier", 1032, words.to_owned()));
        }
        self.leave(world, id, Why::Applier);
    }

    fn apply(self: &Arc<Self>, world: &mut World, id: Id, incarnation: u64) {
        let breaks = world.servers[id].disk.applier_breaks;
        let Some(process) = world.same(id, incarnation) else {
            return;
        };
        process.applying = false;
        if process.frozen || !process.applier {
            return;
        }
        if breaks {
            self.applier_fails(world, id);
            return;
        }
        world.execute_received(id);
        self.apply_soon(world, id);
    }

    /// Waits until all that was received is executed; none: the process has ended, or its applier was stopped.
    pub(crate) async fn applied(self: &Arc<Self>, id: Id, incarnation: u64) -> Option<()> {
        loop {
            {
                let mut world = self.lock();
                if !world.same(id, incarnation)?.applier {
                    return None;
                }
                if world.servers[id].disk.received.is_empty() {
                    return Some(());
                }
                self.apply_soon(&mut world, id);
            }
            self.pause(id, incarnation, Duration::from_millis(10)).await?;
        }
    }
}

impl World {
    fn execute_received(&mut self, id: Id) {
        let disk = &mut self.servers[id].disk;
        if let Some(trx) = disk.received.pop_front() {
            disk.commit(&trx);
            disk.unsynced = disk.unsynced.min(disk.received.len());
        }
    }

    /// Received and not executed.
    pub fn queue(&self, id: Id) -> usize {
        let disk = &self.servers[id].disk;
        let lacks = |trx: &&Arc<Trx>| !disk.executed.contains_key(&(trx.source.clone(), trx.number));
        disk.received.iter().filter(lacks).count()
    }
}
