//! `START GROUP_REPLICATION`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::join::Refused;
use super::member::Gr;
use super::net::Net;
use super::process::Who;
use super::session::SqlError;
use super::variables::Variables;
use super::world::Id;

/// START keeps its client so long after the member is in the view.
const AFTER: Duration = Duration::from_secs(1);

impl Net {
    /// Runs it; the flag decides whether it bootstraps.
    pub(crate) async fn start_group(self: &Arc<Self>, id: Id, incarnation: u64, who: Who) -> Result<(), SqlError> {
        let (bootstraps, before) = self.begin_start(id, incarnation, who)?;
        let joined = self.join(id, incarnation, bootstraps).await;
        {
            let mut world = self.lock();
            let process = world.same(id, incarnation).ok_or_else(SqlError::lost)?;
            if joined.is_err() {
                process.busy = None;
                process.applier = false;
                before.restore(&mut process.vars);
                return Err(match joined {
                    Err(Refused::Gone) => SqlError::lost(),
                    _ => misconfigured(),
                });
            }
            process.statistics_wait = true;
        }
        self.pause(id, incarnation, AFTER).await.ok_or_else(SqlError::lost)?;
        let mut world = self.lock();
        let process = world.same(id, incarnation).ok_or_else(SqlError::lost)?;
        process.statistics_wait = false;
        process.busy = None;
        drop(world);
        self.woken();
        Ok(())
    }

    fn begin_start(&self, id: Id, incarnation: u64, who: Who) -> Result<(bool, Closed), SqlError> {
        let mut world = self.lock();
        let is_installed = world.servers[id].disk.data.plugins.contains("group_replication");
        let process = world.same(id, incarnation).ok_or_else(SqlError::lost)?;
        if !is_installed {
            return Err(misconfigured());
        }
        if let Some(busy) = process.busy {
            return Err(SqlError::new(
                3663,
                format!("The START GROUP_REPLICATION command failed as the previous {busy} is in progress."),
            ));
        }
        if !matches!(process.gr, Gr::Offline) {
            return Err(SqlError::new(
                3093,
                "The START GROUP_REPLICATION command failed since the group is already running.",
            ));
        }
        let bootstraps = !process.vars.is_off("group_replication_bootstrap_group");
        let empty = |name| process.vars.text(name).is_empty();
        let lacks = empty("group_replication_group_name")
            || empty("group_replication_local_address")
            || !bootstraps && empty("group_replication_group_seeds");
        let forced = !empty("group_replication_force_members");
        if lacks || forced {
            let (code, line) = if forced {
                (
                    "MY-011634",
                    "group_replication_force_members must be empty on group start.",
                )
            } else {
                ("MY-011674", "Group Replication: peers not configured.")
            };
            world.log(
                id,
                "Error",
                code,
                format!("Plugin group_replication reported: '{line}'"),
            );
            return Err(misconfigured());
        }
        process.busy = Some("START");
        process.was_started = true;
        let before = Closed::of(&process.vars);
        process.vars.close();
        world.servers[id].started = Some((who, Instant::now()));
        let channels = &mut world.servers[id].disk.channels;
        channels.extend(["group_replication_applier", "group_replication_recovery"]);
        Ok((bootstraps, before))
    }
}

/// What START closes, and opens again when it fails.
struct Closed {
    read_only: bool,
    super_read_only: bool,
}

impl Closed {
    fn of(variables: &Variables) -> Self {
        Self {
            read_only: !variables.is_off("read_only"),
            super_read_only: !variables.is_off("super_read_only"),
        }
    }

    fn restore(&self, variables: &mut Variables) {
        if !self.super_read_only {
            variables.set_running("super_read_only", "OFF");
        }
        if !self.read_only {
            variables.set_running("read_only", "OFF");
        }
    }
}

fn misconfigured() -> SqlError {
    SqlError::new(
        3092,
        "The server is not configured properly to be an active member of the group. Please see more details on error log.",
    )
}
