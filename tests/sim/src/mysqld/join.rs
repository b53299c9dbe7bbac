//! A server enters a group: as START and auto-rejoin do it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::gtid::GtidSet;
use tokio::time::Instant;

use super::group::Group;
use super::member::{Gr, Member};
use super::net::Net;
use super::numbers::Numbers;
use super::truth::Lineage;
use super::world::{Id, World};

/// Longest wait for a view.
const VIEW: Duration = Duration::from_secs(60);
/// Then it leaves what it has asked for.
const LEAVE: Duration = Duration::from_secs(30);
/// Tries to find a member to talk to.
const TRIES: Duration = Duration::from_secs(2);
/// Between looks while it waits.
const LOOK: Duration = Duration::from_millis(250);

/// Why a server did not enter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// The process has ended.
    Gone,
    /// No view came.
    NoView,
    /// It holds more than the group, by numbers.
    Errant,
}

enum Look {
    /// In this group, and whether it is a member yet.
    Entered,
    Errant,
    /// Another one is being added.
    Busy,
    /// The group has no majority.
    Blocked,
    /// The group still lists an earlier process of this server, or nobody answers.
    Hopeless,
}

impl Net {
    /// Enters; returns when the member is in the view, RECOVERING. One that bootstraps is ONLINE, unless it has to apply what it had
    /// received first: the group is there all the same (docs/mysql-facts.md).
    pub(crate) async fn join(self: &Arc<Self>, id: Id, incarnation: u64, bootstraps: bool) -> Result<(), Refused> {
        if bootstraps {
            let time = self.draw(40, 100);
            self.pause(id, incarnation, time).await.ok_or(Refused::Gone)?;
            return self.bootstrap(id, incarnation);
        }
        let begun = Instant::now();
        let contact = self.contact(id, incarnation).await?;
        let Some(number) = contact else {
            return self
                .in_vain(id, incarnation, begun, VIEW + Duration::from_secs(1))
                .await;
        };
        let time = self.draw(600, 1200);
        self.pause(id, incarnation, time).await.ok_or(Refused::Gone)?;
        loop {
            let look = {
                let mut world = self.lock();
                self.enter(&mut world, id, incarnation, number)
            };
            match look {
                Look::Entered => return Ok(()),
                Look::Errant => return Err(Refused::Errant),
                Look::Hopeless => return self.in_vain(id, incarnation, begun, VIEW + LEAVE).await,
                Look::Busy => {
                    let time = self.draw(12_000, 18_000);
                    self.pause(id, incarnation, time).await.ok_or(Refused::Gone)?;
                }
                Look::Blocked if begun.elapsed() >= VIEW => {
                    return self.in_vain(id, incarnation, begun, VIEW + LEAVE).await;
                }
                Look::Blocked => self.pause(id, incarnation, LOOK).await.ok_or(Refused::Gone)?,
            }
        }
    }

    async fn in_vain(
        self: &Arc<Self>,
        id: Id,
        incarnation: u64,
        begun: Instant,
        whole: Duration,
    ) -> Result<(), Refused> {
        let left = whole.saturating_sub(begun.elapsed());
        self.pause(id, incarnation, left).await.ok_or(Refused::Gone)?;
        let mut world = self.lock();
        world.log(
            id,
            "Error",
            "MY-011640",
            "Plugin group_replication reported: 'Timeout on wait for view after joining group'",
        );
        Err(Refused::NoView)
    }

    /// A member of the group that answers.
    async fn contact(self: &Arc<Self>, id: Id, incarnation: u64) -> Result<Option<u64>, Refused> {
        let begun = Instant::now();
        loop {
            {
                let mut world = self.lock();
                world.same(id, incarnation).ok_or(Refused::Gone)?;
                match world.find_contact(id) {
                    Ok(number) => return Ok(Some(number)),
                    Err(why) if begun.elapsed() >= TRIES => {
                        world.log(
                            id,
                            "Error",
                            "MY-011735",
                            format!("Plugin group_replication reported: '[GCS] {why}'"),
                        );
                        return Ok(None);
                    }
                    Err(_) => {}
                }
            }
            self.pause(id, incarnation, LOOK).await.ok_or(Refused::Gone)?;
        }
    }

    fn bootstrap(self: &Arc<Self>, id: Id, incarnation: u64) -> Result<(), Refused> {
        let mut world = self.lock();
        world.same(id, incarnation).ok_or(Refused::Gone)?;
        let number = world.fresh();
        let mut prefix = world.micros(id) * 10 + world.rng.below(10);
        while !world.prefixes.insert(prefix) {
            prefix += 1;
        }
        let disk = &world.servers[id].disk;
        let lineage = Lineage {
            number,
            prefix,
            forced: None,
            parent: disk.lineage.map(|lineage| lineage.number),
        };
        let held = disk.held();
        let process = world.same(id, incarnation).ok_or(Refused::Gone)?;
        let name = process.vars.text("group_replication_group_name").to_owned();
        let block = process
            .vars
            .number("group_replication_gtid_assignment_block_size")
            .max(1);
        process.gr = Gr::In(Box::new(Member::new(number, 0, prefix)));
        process.channel_error = None;
        let numbers = Numbers::of(&held, &name);
        let mut group = Group::new(name, lineage, (id, incarnation), numbers, block);
        group.install();
        world.groups.insert(number, group);
        world.servers[id].disk.lineage = Some(lineage);
        world.count("bootstrapped");
        if world.servers[id].disk.received.is_empty() {
            process_applies(&mut world, id);
            world.declare_online(id, number);
        } else {
            let net = Arc::clone(self);
            let work = async move {
                net.found(id, incarnation, number).await;
            };
            self.task(&mut world, id, work);
        }
        self.deliver_to(&mut world, id, number);
        Ok(())
    }

    /// The founder applies what it had received; only then it is ONLINE, and leads.
    async fn found(self: &Arc<Self>, id: Id, incarnation: u64, number: u64) -> Option<()> {
        self.apply_backlog(id, incarnation, number).await?;
        let mut world = self.lock();
        process_applies(&mut world, id);
        world.declare_online(id, number);
        self.deliver_soon(&mut world, number);
        Some(())
    }

    fn enter(self: &Arc<Self>, world: &mut World, id: Id, incarnation: u64, number: u64) -> Look {
        let blocked = world
            .quorum(number)
            .is_none_or(|quorum| !quorum.iter().all(|other| world.linked(id, *other)));
        let Some(group) = world.groups.get(&number) else {
            return Look::Hopeless;
        };
        if group.has(id) {
            return Look::Hopeless;
        }
        if blocked {
            return Look::Blocked;
        }
        if let Some((other, process)) = group.entering
            && (other, process) != (id, incarnation)
            && world.same(other, process).is_some()
        {
            return Look::Busy;
        }
        let held = world.servers[id].disk.held();
        let theirs = world.held_by(number);
        let Some(group) = world.groups.get_mut(&number) else {
            return Look::Hopeless;
        };
        group.config.push((id, incarnation));
        group.install();
        let is_second = group.config.len() == 2;
        let mut member = Member::new(number, group.log.len(), group.lineage.prefix);
        member.view.counter = group.counter;
        member.view.members = group.config.iter().map(|(member, _)| *member).collect();
        member.view.online = group.online.clone();
        member.view.primary = group.primary;
        let now = Instant::now();
        member.heard = member.view.members.iter().map(|other| (*other, now)).collect();
        group.entering = Some((id, incarnation));
        self.later(Duration::from_secs(1), move |_, world| {
            if let Some(group) = world.groups.get_mut(&number)
                && group.entering == Some((id, incarnation))
            {
                group.entering = None;
            }
        });
        self.deliver_soon(world, number);
        if !theirs.contains(&held) {
            world.count("refused");
            world.remove_members(number, &BTreeSet::from([id]));
            world.log(
                id,
                "Error",
                "MY-011526",
                format!(
                    "Plugin group_replication reported: 'This member has more executed transactions than those present in the group. \
                     Local transactions: {held} > Group transactions: {theirs}'"
                ),
            );
            world.log_installed(id, &member.view);
            return Look::Errant;
        }
        if let Some(process) = world.process_mut(id) {
            process.gr = Gr::In(Box::new(member));
            process.applier = false;
            process.channel_error = None;
        }
        world.log_view(id);
        if is_second {
            self.enters_as_second(world.servers[id].name.clone());
        }
        world.count("joined");
        self.recover(world, id, incarnation, number);
        Look::Entered
    }
}

fn process_applies(world: &mut World, id: Id) {
    if let Some(process) = world.process_mut(id) {
        process.applier = true;
    }
}

impl World {
    /// By the seeds; a member lets in whom it has an account for, and the joiner lets it in.
    fn find_contact(&self, id: Id) -> Result<u64, String> {
        let Some(process) = self.process(id) else {
            return Err("gone".to_owned());
        };
        let name = process.vars.text("group_replication_group_name");
        let seeds = process.vars.text("group_replication_group_seeds");
        let own = &self.servers[id].disk.data;
        let Some(user) = &own.recovery_user else {
            return Err("the recovery channel has no user".to_owned());
        };
        let mut why = "Error connecting to all peers".to_owned();
        for seed in seeds.split(',') {
            let host = seed.trim().split(':').next().unwrap_or_default();
            let Some(&other) = self.names.get(host) else {
                continue;
            };
            let Some(number) = self
                .process(other)
                .and_then(|process| process.gr.member())
                .map(|m| m.group)
            else {
                continue;
            };
            if other == id || !self.active(other, number) || !self.linked(id, other) {
                continue;
            }
            let theirs = &self.servers[other].disk.data;
            let enters = theirs
                .account(user)
                .is_some_and(|account| account.holds("", "", "GROUP_REPLICATION_STREAM"));
            let back = theirs
                .recovery_user
                .as_ref()
                .is_some_and(|user| own.account(user).is_some());
            if !enters || !back {
                why = format!("Access denied for user '{user}' at {seed}");
                continue;
            }
            if self.groups.get(&number).is_some_and(|group| group.name == name) {
                return Ok(number);
            }
        }
        Err(why)
    }

    /// What the members of a group have together.
    fn held_by(&self, number: u64) -> GtidSet {
        let Some(group) = self.groups.get(&number) else {
            return GtidSet::new();
        };
        let members = group.config.iter().filter(|(id, _)| self.active(*id, number));
        members.fold(GtidSet::new(), |all, (id, _)| all.union(&self.servers[*id].disk.held()))
    }
}
