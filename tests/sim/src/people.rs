//! People with a mysql client and with clusterctl: they know what they see, and help in their own ways.
//!
//! They are careful in one thing: nobody bootstraps while he sees a group that lives, and nobody gives a host up that has power. What
//! they do is theirs: rows that a bootstrap by hand leaves behind are given up by its author (`watch`, once it was done).

use std::sync::Arc;
use std::time::Duration;

use clusterctl_coordinator::machine::Change;
use clusterctl_coordinator::model::{HandsOff, Operation, OperationKind};
use clusterctl_coordinator::planner::{self, Decision};
use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use uuid::Uuid;

use crate::clock;
use crate::names::{host, prod};
use crate::site::Site;
use crate::story::Mark;
use crate::world::World;

const ALICE: &str = "operator/alice";
/// A person waits so long for a statement.
const PATIENCE: Duration = Duration::from_secs(120);
/// An approval holds so long.
const APPROVAL_MS: i64 = 900_000;

/// A member whose mysqld answers and is in no group that lives.
pub fn out_and_up(world: &World) -> Vec<Arc<Site>> {
    let out =
        |site: &&Arc<Site>| site.server.is_ready() && !site.server.is_frozen() && site.server.online_in().is_none();
    world.sites.iter().filter(out).cloned().collect()
}

/// Makes the group anew on a member, and brings in others one after another.
pub async fn bootstrap(world: &Arc<World>) {
    if world.is_calm() {
        return;
    }
    let up = out_and_up(world);
    if !world.nobody_lives() || up.is_empty() {
        return;
    }
    let site = Arc::clone(world.chance.pick(&up));
    world.story.tell(format!("a person bootstraps on {}", site.name));
    world.mark(Mark::HandBootstrap);
    let sql = "SET GLOBAL group_replication_bootstrap_group = ON; START GROUP_REPLICATION; \
               SET GLOBAL group_replication_bootstrap_group = OFF";
    said(world, &site, sql).await;
    if world.chance.one_in(2) {
        return;
    }
    for other in up.iter().filter(|other| other.name != site.name) {
        tokio::time::sleep(world.chance.ms(100, 3000)).await;
        start(world, other).await;
    }
}

/// Starts Group Replication on a member that is out.
pub async fn start(world: &Arc<World>, site: &Arc<Site>) {
    if world.is_calm() {
        return;
    }
    if !site.server.is_ready() || site.server.online_in().is_some() {
        return;
    }
    world
        .story
        .tell(format!("a person starts Group Replication on {}", site.name));
    world.mark(Mark::HandStart);
    said(world, site, "START GROUP_REPLICATION").await;
}

/// Stops it.
pub async fn stop(world: &Arc<World>, site: &Arc<Site>) {
    if world.is_calm() {
        return;
    }
    world
        .story
        .tell(format!("a person stops Group Replication on {}", site.name));
    world.mark(Mark::HandStop);
    said(world, site, "STOP GROUP_REPLICATION").await;
}

/// Writes on a member that is out: transactions that the group will never see.
pub async fn write_alone(world: &Arc<World>) {
    if world.is_calm() {
        return;
    }
    let up = out_and_up(world);
    if up.is_empty() {
        return;
    }
    let site = world.chance.pick(&up);
    world.truth().opened.insert(site.name.clone());
    if said(
        world,
        site,
        "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF",
    )
    .await
    {
        for _ in 0..1 + world.chance.below(3) {
            let row = world.next_row();
            let written = tokio::time::timeout(PATIENCE, site.server.write(&site.name, row)).await;
            world
                .story
                .tell(format!("a person writes row {row} on {} alone: {written:?}", site.name));
        }
        world.mark(Mark::ErrantWrite);
    }
    said(world, site, "SET GLOBAL super_read_only = ON").await;
}

async fn said(world: &World, site: &Arc<Site>, sql: &str) -> bool {
    let typed = tokio::time::timeout(PATIENCE, site.server.root(sql)).await;
    match typed {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            world
                .story
                .tell(format!("{}: {}: {}", site.name, error.code, error.message));
            false
        }
        Err(_) => {
            world.story.tell(format!("{}: no answer", site.name));
            false
        }
    }
}

/// `clusterctl switchover`.
pub async fn switchover(world: &World) {
    if world.is_calm() {
        return;
    }
    submit(world, OperationKind::Switchover { to: None }).await;
}

/// `clusterctl recover prod --without …`, for members without power, with the code that the refusal shows.
pub async fn recover(world: &World) {
    if world.is_calm() {
        return;
    }
    let dark: Vec<HostName> = world
        .sites
        .iter()
        .filter(|site| !site.is_on())
        .map(|site| host(&site.name))
        .collect();
    if dark.is_empty() || dark.len() == world.sites.len() || !world.nobody_lives() {
        return;
    }
    let Some(leader) = world.leader() else { return };
    let wish = |accept_loss| OperationKind::Recover {
        without: dark.clone(),
        accept_loss,
        expires_at: Some(now(world) + APPROVAL_MS),
    };
    let asked = operation(world, wish(None));
    let answer = leader.look(|world| planner::decide(world, &asked));
    let Decision::Refuse(refusal) = answer else { return };
    let Some(code) = code_of(&refusal) else {
        return world
            .story
            .tell(format!("recover is refused: {}: {refusal}", refusal.code));
    };
    world.story.tell(format!("a person gives up {dark:?} with code {code}"));
    let names = dark.iter().map(ToString::to_string);
    world.truth().abandoned.extend(names);
    submit(world, wish(Some(code))).await;
}

/// The code in the command that a refusal ends with.
fn code_of(refusal: &Failure) -> Option<String> {
    let rest = refusal.hint.as_ref()?.split("--accept-loss ").nth(1)?;
    Some(rest.split_whitespace().next()?.to_owned())
}

/// Forces the membership of a member that has lost the majority because all others are dead.
pub async fn force(world: &Arc<World>) {
    if world.is_calm() {
        return;
    }
    let alone = world.sites.iter().filter(|site| site.server.online_in().is_some());
    let alone: Vec<&Arc<Site>> = alone.collect();
    let [site] = alone[..] else { return };
    let dead = world
        .sites
        .iter()
        .filter(|other| other.name != site.name)
        .all(|other| !other.is_on());
    if !dead || site.server.takes_writes() || site.server.is_frozen() {
        return;
    }
    world
        .story
        .tell(format!("a person forces the membership of {}", site.name));
    world.mark(Mark::ForcedMembership);
    let sql = format!("SET GLOBAL group_replication_force_members = '{}:3306'", site.name);
    // As MySQL's manual says, and MySQL Shell does.
    let at_once = world.chance.one_in(2);
    let sql = if at_once {
        format!("{sql}; SET GLOBAL group_replication_force_members = ''")
    } else {
        sql
    };
    said(world, site, &sql).await;
}

/// `clusterctl pause prod` and `clusterctl resume prod`.
pub async fn pause(world: &World, on: bool) {
    let Some(leader) = world.leader().filter(|_| !on || !world.is_calm()) else {
        return;
    };
    let is_so = leader
        .node
        .state()
        .read(|model| model.clusters[&prod()].paused.is_some());
    if is_so == on {
        return;
    }
    let said = on.then(|| HandsOff {
        by: ALICE.to_owned(),
        at: now(world),
        reason: "new disks".to_owned(),
        until: None,
        everything: world.chance.one_in(3),
    });
    let change = Change::HandsOff {
        cluster: prod(),
        host: None,
        said,
        only: None,
    };
    let done = leader.proposer.by(ALICE, change).await;
    world.story.tell(format!(
        "a person {} prod: {:?}",
        if on { "pauses" } else { "resumes" },
        done.is_ok()
    ));
    if on {
        world.mark(Mark::Paused);
    }
}

/// `clusterctl ops cancel`: the newest operation that has not ended.
pub async fn cancel(world: &World) {
    if world.is_calm() {
        return;
    }
    let Some(leader) = world.leader() else { return };
    let newest = leader
        .node
        .state()
        .read(|model| model.active_operations().map(|op| op.id).last());
    if let Some(operation) = newest {
        world.story.tell(format!("a person cancels operation {operation}"));
        let _ = leader.proposer.by(ALICE, Change::Cancel { operation }).await;
    }
}

async fn submit(world: &World, kind: OperationKind) {
    let Some(leader) = world.leader() else { return };
    let name = kind.name();
    let change = Change::Submit {
        operation: operation(world, kind),
        cluster_id: Uuid::nil(),
        group_name: Uuid::nil(),
        server_ids: Vec::new(),
    };
    let answer = leader.proposer.by(ALICE, change).await;
    world.story.tell(format!("a person asks for {name}: {answer:?}"));
    leader.wake();
}

fn operation(world: &World, kind: OperationKind) -> Operation {
    let request = format!("request-{}", world.chance.below(u64::MAX));
    Operation::wanted(request, prod(), kind, ALICE, now(world))
}

/// The wall clock of the coordinator that leads: it takes down what people ask for.
fn now(world: &World) -> i64 {
    let leads = world.log.leader();
    let centre = world.centres.iter().find(|centre| Some(centre.id) == leads);
    let now = centre.map_or_else(clock::now_ms, |centre| centre.now_ms());
    i64::try_from(now).unwrap_or(i64::MAX)
}
