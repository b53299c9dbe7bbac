//! A new cluster: every host prepared side by side, one bootstrap, members one after another, routers.
//!
//! Level-triggered: where the group is seen to live already (an earlier attempt came so far), it goes on from there.

mod forming;

use std::collections::BTreeSet;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::{HostName, HostRole};

use super::builder::{Builder, listed};
use super::context::{Context, unknown_host};
use super::live::{self, Out};
use super::world::{Planning, Stop, World};
use super::{preflight, recovery, version};
use crate::model::{Cluster, MemberPhase, Operation, OperationKind, RouterPhase};
use forming::Forming;

/// Most members that Group Replication takes.
pub(crate) const MOST_MEMBERS: usize = 9;

/// What `create` names.
pub(crate) struct Wanted<'a> {
    pub primary: &'a HostName,
    pub with: &'a [HostName],
    pub routers: &'a [HostName],
    pub ignore: &'a [String],
    pub buffer_pool_bytes: Option<u64>,
}

impl<'a> Wanted<'a> {
    pub fn of(kind: &'a OperationKind) -> Option<Self> {
        match kind {
            OperationKind::Create {
                primary,
                with,
                routers,
                ignore_checks,
                buffer_pool_bytes,
            } => Some(Self {
                primary,
                with,
                routers,
                ignore: ignore_checks,
                buffer_pool_bytes: *buffer_pool_bytes,
            }),
            _ => None,
        }
    }

    fn members(&self) -> impl Iterator<Item = &'a HostName> + use<'a> {
        std::iter::once(self.primary).chain(self.with)
    }
}

/// What can be said before intent is written: names, roles, a cluster that is there.
pub(crate) fn before_intent(world: &World<'_>, op: &Operation, wanted: &Wanted<'_>) -> Planning<()> {
    let members: Vec<&HostName> = wanted.members().collect();
    for host in members.iter().copied().chain(wanted.routers) {
        if !world.model.hosts.contains_key(host) {
            return Err(unknown_host(world, host).into());
        }
    }
    once(&members, "member")?;
    once(&wanted.routers.iter().collect::<Vec<_>>(), "router")?;
    if members.len() > MOST_MEMBERS {
        return Err(too_many(members.len()).into());
    }
    let Some(cluster) = world.model.clusters.get(&op.cluster) else {
        return Ok(());
    };
    if cluster.created_by == op.id && op.id.0 != 0 && !cluster.formed {
        return Ok(());
    }
    let belongs = |host: &&HostName| {
        cluster
            .members
            .get(host)
            .is_some_and(|member| member.phase == MemberPhase::Member)
    };
    let serves = |host: &&HostName| {
        cluster
            .routers
            .get(host)
            .is_some_and(|router| router.phase == RouterPhase::Router)
    };
    let pool_same = wanted.buffer_pool_bytes.is_none() || wanted.buffer_pool_bytes == cluster.buffer_pool_bytes;
    let first = world
        .model
        .operations
        .get(&cluster.created_by)
        .and_then(|first| Wanted::of(&first.kind));
    let same_first =
        first.is_none_or(|first| first.primary == wanted.primary || !cluster.members.contains_key(first.primary));
    let all_there = members.iter().all(belongs) && wanted.routers.iter().all(|host| serves(&host));
    if cluster.formed && all_there && pool_same && same_first {
        return Err(Stop::Already(format!(
            "{} is formed already: {}",
            cluster.name,
            who(cluster)
        )));
    }
    let same_hosts = members.iter().copied().collect::<BTreeSet<_>>()
        == cluster.members.keys().collect::<BTreeSet<_>>()
        && wanted.routers.iter().collect::<BTreeSet<_>>() == cluster.routers.keys().collect::<BTreeSet<_>>();
    if !cluster.formed && same_hosts && same_first && pool_same {
        return Ok(());
    }
    Err(exists_otherwise(world, cluster).into())
}

fn once(hosts: &[&HostName], what: &str) -> Planning<()> {
    let mut seen = BTreeSet::new();
    match hosts.iter().find(|host| !seen.insert(**host)) {
        None => Ok(()),
        Some(twice) => Err(
            Failure::new("named_twice", format!("{twice} is named twice as a {what}"))
                .hint("name each host once")
                .exit(ExitClass::Usage)
                .into(),
        ),
    }
}

/// The refusal for more members than Group Replication takes.
pub(crate) fn too_many(members: usize) -> Failure {
    Failure::refused(
        "too_many_members",
        format!("a group has at most {MOST_MEMBERS} members"),
    )
    .fact(format!("members wanted: {members}"))
    .hint("use fewer members, or a second cluster")
}

fn exists_otherwise(world: &World<'_>, cluster: &Cluster) -> Failure {
    let failure = Failure::new(
        "cluster_exists",
        format!("cluster {} exists already, made with other arguments", cluster.name),
    )
    .fact(who(cluster))
    .exit(ExitClass::Conflict);
    let made = world.model.operations.get(&cluster.created_by);
    let failure = match made {
        Some(made) => failure.fact(format!(
            "it was made by: clusterctl {}",
            crate::machine::describe::title(&made.kind, cluster.name.as_str())
        )),
        None => failure,
    };
    match made {
        Some(made) if !cluster.formed => failure.hint(format!(
            "finish what was begun: clusterctl {}",
            crate::machine::describe::title(&made.kind, cluster.name.as_str())
        )),
        _ => failure.hint(format!(
            "change it by: clusterctl join HOST, clusterctl remove HOST, clusterctl router add HOST; see: clusterctl status {}",
            cluster.name
        )),
    }
}

fn who(cluster: &Cluster) -> String {
    let members = format!("members {}", listed(cluster.members.keys()));
    if cluster.routers.is_empty() {
        members
    } else {
        format!("{members}; routers {}", listed(cluster.routers.keys()))
    }
}

/// The plan.
pub(crate) fn plan(context: &Context<'_>, wanted: &Wanted<'_>) -> Planning {
    let cluster = context.cluster()?;
    for host in wanted.members() {
        context.host_with_role(host, HostRole::Db)?;
    }
    for host in wanted.routers {
        context.host_with_role(host, HostRole::Router)?;
    }
    let hosts: BTreeSet<&HostName> = wanted.members().chain(wanted.routers).collect();
    for host in &hosts {
        context.with_facts(host)?;
    }
    let hosts: Vec<&HostName> = hosts.into_iter().collect();
    preflight::demand(context, cluster, &hosts, wanted.ignore)?;
    version::alike(context, &wanted.members().collect::<Vec<_>>())?;
    let (live, first) = match live::primaries(&context.world, cluster).as_slice() {
        [] => {
            nobody_inside(context, cluster)?;
            (None, who_has_everything(context, wanted)?)
        }
        [one] => (Some(*one), one.host),
        _ => {
            return Err(live::need_primary(context, cluster)
                .err()
                .unwrap_or_else(|| Stop::Wait("the group is split".to_owned())));
        }
    };
    Forming {
        context,
        cluster,
        wanted,
        live,
        first,
        builder: Builder::default(),
    }
    .plan()
}

/// Who bootstraps: the one that was named, unless an earlier attempt came so far that another holds more (safety rule 2).
fn who_has_everything<'a>(context: &Context<'_>, wanted: &Wanted<'a>) -> Planning<&'a HostName> {
    let mut sets = Vec::new();
    for host in wanted.members() {
        sets.push((host, recovery::held(context, host, context.certain(host)?)?));
    }
    let all = sets.iter().fold(GtidSet::new(), |all, (_, set)| all.union(set));
    if let Some((host, _)) = sets.iter().find(|(_, set)| set.contains(&all)) {
        return Ok(host);
    }
    let mut failure = Failure::refused("diverged", "the hosts hold different transactions, and none holds them all").hint(
        "decide which host is right; empty the others (after a backup), and type it again; what is in a transaction: mysqlbinlog --include-gtids=SET BINLOG",
    );
    for (host, set) in &sets {
        failure = failure.fact(format!("{host} holds: {}", recovery::shown(set)));
        failure = failure.fact(format!("{host} lacks: {}", recovery::shown(&all.subtract(set))));
    }
    Err(failure.into())
}

/// No member of a group that is to be bootstrapped may be in one (safety rule 1).
fn nobody_inside(context: &Context<'_>, cluster: &Cluster) -> Planning<()> {
    for host in cluster.members.keys() {
        let why = match live::out(&context.world, host) {
            Out::Yes => continue,
            Out::No(why) | Out::Unknown(why) => why,
        };
        return Err(context.not_yet(
            Failure::refused(
                "member_not_out",
                format!("{} cannot be bootstrapped: {why}", cluster.name),
            )
            .hint(format!(
                "if it comes to rest by itself this passes; see: clusterctl status {}",
                cluster.name
            ))
            .transient(),
        ));
    }
    let known: BTreeSet<String> = cluster.members.keys().map(ToString::to_string).collect();
    let strangers: Vec<String> = live::everyone(&context.world, cluster)
        .difference(&known)
        .cloned()
        .collect();
    if strangers.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(
        "unknown_member",
        format!(
            "members of {} that this coordinator does not know may be in its group",
            cluster.name
        ),
    )
    .fact(format!("in a member's metadata or view: {}", strangers.join(", ")))
    .hint("enrol these hosts, or take them out of the metadata on the member that lists them")
    .into())
}
