//! A member leaves its group: by STOP, since it was expelled, or since it hears no majority. Then auto-rejoin tries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::member::{Gr, Left};
use super::net::Net;
use super::process::{AutoRejoin, Exit, Who};
use super::session::SqlError;
use super::world::{Id, World};

/// Between two tries of auto-rejoin.
const BETWEEN_TRIES: Duration = Duration::from_secs(300);

/// Why a member goes to ERROR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    Expelled,
    Alone,
    Forced,
    Recovery,
    Applier,
}

impl Net {
    /// To ERROR; auto-rejoin begins where it may.
    pub(crate) fn leave(self: &Arc<Self>, world: &mut World, id: Id, why: Why) {
        let unreachable = world.unreachable(id);
        let Some(process) = world.process_mut(id) else { return };
        let Gr::In(member) = &process.gr else { return };
        let shown = match why {
            Why::Alone | Why::Forced => Duration::from_secs(8),
            Why::Expelled | Why::Recovery | Why::Applier => Duration::ZERO,
        };
        let left = Left {
            view: member.view.clone(),
            unreachable,
            shown: Instant::now() + shown,
        };
        process.gr = Gr::Error(left);
        process.applier = false;
        process.vars.close();
        process.fail_waiting();
        let incarnation = process.incarnation;
        let (code, line) = match why {
            Why::Expelled => (
                "MY-011505",
                "Plugin group_replication reported: 'Member was expelled from the group due to network failures, changing member \
                 status to ERROR.'",
            ),
            Why::Alone | Why::Forced => (
                "MY-011711",
                "Plugin group_replication reported: 'This member could not reach a majority of the members for more than 20 seconds. \
                 The member will now leave the group as instructed by the group_replication_unreachable_majority_timeout option.'",
            ),
            Why::Applier => (
                "MY-011451",
                "Plugin group_replication reported: 'The applier thread execution was aborted. Unable to process more transactions, \
                 this member will now leave the group.'",
            ),
            Why::Recovery => (
                "MY-011620",
                "Plugin group_replication reported: 'Fatal error during the incremental recovery process of Group Replication. The \
                 server will leave the group.'",
            ),
        };
        world.log(id, "Error", code, line);
        world.count(match why {
            Why::Expelled => "expelled",
            Why::Alone => "majority lost",
            Why::Forced => "forced in vain",
            Why::Recovery => "recovery failed",
            Why::Applier => "applier failed",
        });
        if matches!(why, Why::Recovery | Why::Applier) {
            // It tells the others. Nothing rejoins by itself after that.
            if let Some(number) = world.group_with(id, incarnation) {
                world.remove_members(number, &BTreeSet::from([id]));
                self.deliver_soon(world, number);
            }
            self.exit(world, id);
        } else {
            self.rejoin_alone(world, id, incarnation);
        }
        world.forget_groups();
    }

    fn rejoin_alone(self: &Arc<Self>, world: &mut World, id: Id, incarnation: u64) {
        let tries = world
            .process(id)
            .map_or(0, |process| process.vars.number("group_replication_autorejoin_tries"));
        if tries == 0 {
            self.exit(world, id);
            return;
        }
        let net = Arc::clone(self);
        let work = async move {
            for _ in 0..tries {
                net.trying(id, incarnation, true);
                net.lock().servers[id].started = Some((Who::Itself, Instant::now()));
                if net.join(id, incarnation, false).await.is_ok() {
                    let mut world = net.lock();
                    world.count("auto-rejoined");
                    if let Some(process) = world.same(id, incarnation) {
                        process.auto_rejoin = None;
                    }
                    return;
                }
                net.trying(id, incarnation, false);
                if net.pause(id, incarnation, BETWEEN_TRIES).await.is_none() {
                    return;
                }
            }
            let mut world = net.lock();
            if let Some(process) = world.same(id, incarnation) {
                process.auto_rejoin = None;
                net.exit(&mut world, id);
            }
        };
        let task = self.task(world, id, work);
        if let Some(process) = world.process_mut(id) {
            process.auto_rejoin = Some(AutoRejoin { task, trying: true });
        }
    }

    fn trying(&self, id: Id, incarnation: u64, trying: bool) {
        let mut world = self.lock();
        if let Some(auto_rejoin) = world
            .same(id, incarnation)
            .and_then(|process| process.auto_rejoin.as_mut())
        {
            auto_rejoin.trying = trying;
        }
    }

    /// `group_replication_exit_state_action`.
    fn exit(self: &Arc<Self>, world: &mut World, id: Id) {
        let Some(process) = world.process_mut(id) else { return };
        match process.vars.text("group_replication_exit_state_action") {
            "OFFLINE_MODE" => process.vars.set_running("offline_mode", "ON"),
            "ABORT_SERVER" => self.end(world, id, Exit::Stopped),
            _ => {}
        }
    }

    /// `STOP GROUP_REPLICATION`.
    pub(crate) async fn stop_group(self: &Arc<Self>, id: Id, incarnation: u64) -> Result<(), SqlError> {
        let wait = {
            let mut world = self.lock();
            let (quick, behind, alone) = (
                world.rng.ms(150, 400),
                world.rng.ms(20_000, 60_000),
                world.rng.ms(5000, 9000),
            );
            let in_quorum = world.group_with(id, incarnation).and_then(|group| world.quorum(group));
            let process = world.same(id, incarnation).ok_or_else(SqlError::lost)?;
            if let Some(busy) = process.busy {
                return Err(SqlError::new(
                    3663,
                    format!(
                        "The {busy} GROUP_REPLICATION command failed as the previous {busy} or STOP is in progress."
                    ),
                ));
            }
            process.busy = Some("STOP");
            let tries = process.auto_rejoin.take();
            let is_trying = tries.as_ref().is_some_and(|tries| tries.trying);
            if let Some(task) = tries.and_then(|tries| tries.task) {
                task.abort();
            }
            match &process.gr {
                Gr::Error(_) if is_trying => behind,
                Gr::In(_) if !in_quorum.is_some_and(|quorum| quorum.contains(&id)) => alone,
                Gr::Offline | Gr::In(_) | Gr::Error(_) => quick,
            }
        };
        self.pause(id, incarnation, wait).await.ok_or_else(SqlError::lost)?;
        let mut world = self.lock();
        self.part(&mut world, id, incarnation);
        let process = world.same(id, incarnation).ok_or_else(SqlError::lost)?;
        process.busy = None;
        Ok(())
    }

    /// Out in an orderly way: the others learn of it at once, if a majority is there.
    pub(crate) fn part(self: &Arc<Self>, world: &mut World, id: Id, incarnation: u64) {
        if let Some(number) = world.group_with(id, incarnation)
            && world.quorum(number).is_some_and(|quorum| quorum.contains(&id))
        {
            // What was agreed on before comes first.
            self.deliver_to(world, id, number);
            world.remove_members(number, &BTreeSet::from([id]));
            self.deliver_soon(world, number);
            self.agree_soon(world, number);
        }
        if let Some(process) = world.same(id, incarnation) {
            let was_started = !process.gr.is_offline();
            process.gr = Gr::Offline;
            process.applier = false;
            process.fail_waiting();
            if was_started {
                process.vars.close();
            }
        }
        world.forget_groups();
    }
}

impl World {
    /// The group that has this very process in its configuration.
    pub fn group_with(&self, id: Id, incarnation: u64) -> Option<u64> {
        let mut groups = self.groups.iter();
        let found = groups.find(|(_, group)| group.config.contains(&(id, incarnation)));
        found.map(|(number, _)| *number)
    }
}
