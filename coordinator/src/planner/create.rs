//! A new cluster: every host prepared side by side, one bootstrap, members one after another, routers.
//!
//! Level-triggered: where the group is seen to live already (an earlier attempt came so far), it goes on from there.

use std::collections::{BTreeMap, BTreeSet};

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{HostName, HostRole, StepNumber};
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{Recovery, Step};

use super::builder::{Builder, listed};
use super::context::{Context, unknown_host};
use super::group::{self, Joiner, Passing};
use super::live::{self, Out, Primary};
use super::prepare::{self, Prepared, Purpose};
use super::world::{Planning, Stop, World};
use super::{preflight, recovery, router, settings, version};
use crate::model::operation::RecoveryWish;
use crate::model::{Cluster, Member, MemberPhase, Operation, OperationKind, PlanDraft, RouterPhase};

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
            OperationKind::Create { primary, with, routers, ignore_checks, buffer_pool_bytes } => Some(Self {
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
    let Some(cluster) = world.model.clusters.get(&op.cluster) else { return Ok(()) };
    if cluster.created_by == op.id && op.id.0 != 0 {
        return Ok(());
    }
    let belongs = |host: &&HostName| cluster.members.get(host).is_some_and(|member| member.phase == MemberPhase::Member);
    let serves = |host: &&HostName| cluster.routers.get(host).is_some_and(|router| router.phase == RouterPhase::Router);
    let pool_same = wanted.buffer_pool_bytes.is_none() || wanted.buffer_pool_bytes == cluster.buffer_pool_bytes;
    if cluster.formed && members.iter().all(belongs) && wanted.routers.iter().all(|host| serves(&host)) && pool_same {
        return Err(Stop::Already(format!("{} is formed already: {}", cluster.name, who(cluster))));
    }
    let first = world.model.operations.get(&cluster.created_by).and_then(|first| Wanted::of(&first.kind));
    let same_hosts = members.iter().copied().collect::<BTreeSet<_>>() == cluster.members.keys().collect::<BTreeSet<_>>()
        && wanted.routers.iter().collect::<BTreeSet<_>>() == cluster.routers.keys().collect::<BTreeSet<_>>();
    let same_first = first.is_none_or(|first| first.primary == wanted.primary || !cluster.members.contains_key(first.primary));
    if !cluster.formed && same_hosts && same_first && pool_same {
        return Ok(());
    }
    Err(exists_otherwise(world, cluster).into())
}

fn once(hosts: &[&HostName], what: &str) -> Planning<()> {
    let mut seen = BTreeSet::new();
    match hosts.iter().find(|host| !seen.insert(**host)) {
        None => Ok(()),
        Some(twice) => Err(Failure::new("named_twice", format!("{twice} is named twice as a {what}"))
            .hint("name each host once")
            .exit(ExitClass::Usage)
            .into()),
    }
}

/// The refusal for more members than Group Replication takes.
pub(crate) fn too_many(members: usize) -> Failure {
    Failure::refused("too_many_members", format!("a group has at most {MOST_MEMBERS} members"))
        .fact(format!("members wanted: {members}"))
        .hint("use fewer members, or a second cluster")
}

fn exists_otherwise(world: &World<'_>, cluster: &Cluster) -> Failure {
    let failure = Failure::new("cluster_exists", format!("cluster {} exists already, made with other arguments", cluster.name))
        .fact(who(cluster))
        .exit(ExitClass::Conflict);
    let made = world.model.operations.get(&cluster.created_by);
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
    if cluster.routers.is_empty() { members } else { format!("{members}; routers {}", listed(cluster.routers.keys())) }
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
    let live = match live::primaries(&context.world, cluster).as_slice() {
        [] => {
            nobody_inside(context, cluster)?;
            None
        }
        [one] => Some(*one),
        _ => return Err(live::need_primary(context, cluster).err().unwrap_or_else(|| Stop::Wait("the group is split".to_owned()))),
    };
    Forming { context, cluster, wanted, live, builder: Builder::default() }.plan()
}

/// No member of a group that is to be bootstrapped may be in one (safety rule 1).
fn nobody_inside(context: &Context<'_>, cluster: &Cluster) -> Planning<()> {
    for host in cluster.members.keys() {
        let why = match live::out(&context.world, host) {
            Out::Yes => continue,
            Out::No(why) | Out::Unknown(why) => why,
        };
        return Err(context.not_yet(
            Failure::refused("member_not_out", format!("{} cannot be bootstrapped: {why}", cluster.name))
                .hint(format!("if it comes to rest by itself this passes; see: clusterctl status {}", cluster.name))
                .transient(),
        ));
    }
    let known: BTreeSet<String> = cluster.members.keys().map(ToString::to_string).collect();
    let strangers: Vec<String> = live::everyone(&context.world, cluster).difference(&known).cloned().collect();
    if strangers.is_empty() {
        return Ok(());
    }
    Err(Failure::refused("unknown_member", format!("members of {} that this coordinator does not know may be in its group", cluster.name))
        .fact(format!("in a member's metadata or view: {}", strangers.join(", ")))
        .hint("enrol these hosts, or take them out of the metadata on the member that lists them")
        .into())
}

struct Forming<'a> {
    context: &'a Context<'a>,
    cluster: &'a Cluster,
    wanted: &'a Wanted<'a>,
    live: Option<Primary<'a>>,
    builder: Builder,
}

/// Steps on which the joins hang.
struct Formed {
    /// After it a member may join.
    group: Vec<StepNumber>,
    /// After it the metadata may be written.
    metadata: StepNumber,
    /// After it a member's account is known to all.
    accounts: StepNumber,
}

impl Forming<'_> {
    fn plan(mut self) -> Planning {
        let primary = self.live.map_or(self.wanted.primary, |live| live.host).clone();
        // First in number, so first on each agent: nothing else may come before (rule 1).
        let promises = if self.live.is_none() { self.promises() } else { Vec::new() };
        let prepared = self.prepare()?;
        let member = self.cluster.members.get(&primary);
        let member = member.ok_or_else(|| Failure::new("no_intent", format!("{primary} is not to be a member")))?;
        let formed = self.form((&primary, member), &promises, &prepared);
        let names: Vec<StepNumber> = prepared.values().flat_map(|host| host.names.iter().copied()).collect();
        // Before the joins: writes on the primary go one after another, and Router need not wait for every member.
        let routers = self.router_accounts(&primary, &formed);
        let registered = self.joins(&primary, &formed, &prepared, &names)?;
        self.routers(&primary, routers, &registered, &prepared);
        let message = self.message(&primary);
        Ok::<PlanDraft, _>(self.builder.finish(self.context, message))
    }

    fn promises(&mut self) -> Vec<StepNumber> {
        let members = self.cluster.members.keys();
        let step = |host| {
            let title = format!("have {host} promise to stay out of any group that this plan does not make");
            self.builder.step(host, Step::Promise {}, title, &[])
        };
        members.map(step).collect()
    }

    fn prepare(&mut self) -> Planning<BTreeMap<HostName, Prepared>> {
        let (context, cluster) = (self.context, self.cluster);
        let mut all = BTreeMap::new();
        let hosts = self.wanted.members().chain(self.wanted.routers);
        for host in hosts {
            if all.contains_key(host) {
                continue;
            }
            let member = cluster.members.get(host);
            let purpose = Purpose { member: member.is_some(), router: cluster.routers.contains_key(host) };
            let mut prepared = prepare::base(&mut self.builder, context, cluster, host, purpose)?;
            // A server that takes part in the group is configured, and never restarted by us (rule 8).
            if let Some(member) = member
                && live::out(&context.world, host) == Out::Yes
            {
                prepare::server(&mut self.builder, context, cluster, host, member, &mut prepared)?;
                let accounts = group::accounts(context, cluster);
                let title = format!("make the members' accounts known to mysqld on {host}");
                let step = Step::LocalMemberAccounts { accounts };
                prepared.server = vec![self.builder.step(host, step, title, &prepared.server)];
            }
            all.insert(host.clone(), prepared);
        }
        Ok(all)
    }

    fn form(&mut self, (primary, member): (&HostName, &Member), promises: &[StepNumber], prepared: &BTreeMap<HostName, Prepared>) -> Formed {
        let (context, cluster) = (self.context, self.cluster);
        let own = prepared.get(primary).cloned().unwrap_or_default();
        let issuer = context.world.issuer;
        let mut group = own.names.clone();
        if self.live.is_none() {
            let memory = context.world.sight.get(primary).and_then(|seen| seen.host.as_ref()).map(|facts| facts.memory_bytes);
            let first: Vec<HostName> = self.wanted.members().cloned().collect();
            let peers = group::peers(cluster, primary, &first);
            let config = settings::group(cluster, primary, member, &peers, memory, issuer);
            let after: Vec<StepNumber> = own.server.iter().chain(&own.names).chain(promises).copied().collect();
            let title = format!("bootstrap the group of {} on {primary}", cluster.name);
            group = vec![self.builder.step(primary, Step::BootstrapGroup { group: config }, title, &after)];
        } else {
            self.builder.note(format!("the group lives already, with {primary} as primary: it goes on from there"));
        }
        let accounts = self.builder.write(
            primary,
            Step::MemberAccounts { accounts: group::accounts(context, cluster) },
            "make the members' accounts, which replicate".to_owned(),
            &group,
        );
        let x_port = group::x_port(context, primary);
        let metadata = Step::Metadata {
            cluster: settings::metadata_cluster(cluster, issuer),
            instance: settings::metadata_member(
                primary,
                member,
                x_port,
                false,
            ),
        };
        let title = format!("make the metadata of {} and register {primary}", cluster.name);
        let metadata = self.builder.write(primary, metadata, title, &group);
        Formed { group, metadata, accounts }
    }

    /// Answers the steps after which every member stands in the metadata.
    fn joins(
        &mut self,
        primary: &HostName,
        formed: &Formed,
        prepared: &BTreeMap<HostName, Prepared>,
        names: &[StepNumber],
    ) -> Planning<Vec<StepNumber>> {
        let (context, cluster) = (self.context, self.cluster);
        let mut registered = vec![formed.metadata];
        let mut turn = formed.group.clone();
        let mut inside = vec![primary.clone()];
        for host in self.wanted.members().filter(|host| *host != primary) {
            let Some(member) = cluster.members.get(host) else { continue };
            let state = self.live.and_then(|live| live.state(&context.world, host));
            if state == Some(MemberState::Online) {
                let after = [formed.metadata];
                registered.push(group::register(&mut self.builder, context, cluster, primary, host, member, &after));
                inside.push(host.clone());
                continue;
            }
            let (recovery, group_gtid) = self.recovery(primary, host)?;
            let own = prepared.get(host).cloned().unwrap_or_default();
            let mut after = turn.clone();
            after.push(formed.accounts);
            after.extend(own.server.iter().chain(&own.names).chain(names));
            let joiner = Joiner { host, member, recovery, group_gtid, first: &inside };
            let joined = group::join(&mut self.builder, context, cluster, joiner, &after);
            let after = [joined, formed.metadata];
            registered.push(group::register(&mut self.builder, context, cluster, primary, host, member, &after));
            // One at a time (rule 6): two at once take ten times as long.
            turn = vec![joined];
            inside.push(host.clone());
        }
        Ok(registered)
    }

    fn recovery(&mut self, primary: &HostName, host: &HostName) -> Planning<(Recovery, String)> {
        if live::out(&self.context.world, host) != Out::Yes {
            self.builder.note(format!("{host} is on its way into the group already"));
            return Ok((Recovery::Incremental, String::new()));
        }
        let (choice, gtid) = match &self.live {
            Some(live) => {
                let choice = recovery::choose(self.context, self.cluster, live, host, RecoveryWish::Auto)?;
                (choice, live.server.gtid_executed.clone())
            }
            None => (recovery::choose_at_create(self.context, self.cluster, primary, host)?, String::new()),
        };
        self.builder.note(format!("{host} gets its data by {}", choice.told()));
        Ok((choice.recovery, gtid))
    }

    fn router_accounts(&mut self, primary: &HostName, formed: &Formed) -> Vec<(Passing, Vec<StepNumber>)> {
        let after = [formed.metadata];
        let account = |host| {
            let live = self.live.as_ref();
            router::account(&mut self.builder, self.context, self.cluster, host, primary, live, &after)
        };
        self.wanted.routers.iter().map(account).collect()
    }

    fn routers(
        &mut self,
        primary: &HostName,
        accounts: Vec<(Passing, Vec<StepNumber>)>,
        registered: &[StepNumber],
        prepared: &BTreeMap<HostName, Prepared>,
    ) {
        let cluster = self.cluster;
        let mut proofs = Vec::new();
        for (host, (account, mut after)) in self.wanted.routers.iter().zip(accounts) {
            let Some(intent) = cluster.routers.get(host) else { continue };
            let own = prepared.get(host).cloned().unwrap_or_default();
            let builder = &mut self.builder;
            after.extend(router::ready(builder, cluster, host, &own));
            let done = router::bootstrap(builder, cluster, (host, intent), primary, &account, &after);
            // Started while members still join; proven when all are there.
            let started = if registered.len() > 1 { router::start(builder, cluster, (host, intent), &[done]) } else { done };
            let mut after = registered.to_vec();
            after.push(started);
            let proven = router::prove(builder, cluster, (host, intent), &account, &after);
            proofs.push((account, proven));
        }
        for (account, proven) in proofs {
            group::drop_passing(&mut self.builder, primary, &account, &[proven]);
        }
    }

    fn message(&self, primary: &HostName) -> String {
        let members = self.cluster.members.len();
        let survives = match live::tolerance(members) {
            0 => "tolerates no failure".to_owned(),
            1 => "tolerates 1 failure".to_owned(),
            n => format!("tolerates {n} failures"),
        };
        let members = if members == 1 { "1 member".to_owned() } else { format!("{members} members") };
        let routers = match self.wanted.routers {
            [] => String::new(),
            routers => format!(", Router on {}", listed(routers)),
        };
        format!("{} is formed: {members}, primary {primary}{routers}, {survives}", self.cluster.name)
    }
}
