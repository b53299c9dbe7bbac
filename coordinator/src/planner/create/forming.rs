//! The steps of `create`, once it is known that they may be: prepare side by side, bootstrap, join one after another, routers.

use std::collections::BTreeMap;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::{HostName, StepNumber};
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::{Recovery, Step};

use super::Wanted;
use crate::model::operation::RecoveryWish;
use crate::model::{Cluster, Member, PlanDraft};
use crate::planner::builder::{Builder, listed};
use crate::planner::context::Context;
use crate::planner::group::{self, Joiner, Passing};
use crate::planner::join::survives;
use crate::planner::live::{self, Out, Primary};
use crate::planner::prepare::{self, Prepared, Purpose};
use crate::planner::world::Planning;
use crate::planner::{recovery, router, settings};

/// A plan in the making.
pub(super) struct Forming<'a> {
    pub context: &'a Context<'a>,
    pub cluster: &'a Cluster,
    pub wanted: &'a Wanted<'a>,
    pub live: Option<Primary<'a>>,
    /// The primary, or who is to be.
    pub first: &'a HostName,
    pub builder: Builder,
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
    /// The plan.
    pub fn plan(mut self) -> Planning {
        let primary = self.first.clone();
        if primary != *self.wanted.primary {
            let named = self.wanted.primary;
            self.builder.note(format!(
                "{primary} leads instead of {named}: an earlier attempt came so far"
            ));
        }
        // First in number, so first on each agent: nothing else may come before (rule 1).
        let promises = if self.live.is_none() {
            self.promises()
        } else {
            Vec::new()
        };
        let prepared = self.prepare()?;
        let member = self.cluster.members.get(&primary);
        let member = member.ok_or_else(|| Failure::new("no_intent", format!("{primary} is not to be a member")))?;
        let formed = self.form((&primary, member), &promises, &prepared);
        let names: Vec<StepNumber> = prepared.values().flat_map(|host| host.names.iter().copied()).collect();
        let registered = self.joins(&primary, &formed, &prepared, &names)?;
        // After the joins: a change of accounts that waits for the group keeps logins waiting, and members enter by a login
        // (`check`: accounts_and_joins_apart).
        let routers = self.router_accounts(&primary, &registered);
        self.routers(&primary, routers, &prepared);
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
            let purpose = Purpose {
                member: member.is_some(),
                router: cluster.routers.contains_key(host),
            };
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

    fn form(
        &mut self,
        (primary, member): (&HostName, &Member),
        promises: &[StepNumber],
        prepared: &BTreeMap<HostName, Prepared>,
    ) -> Formed {
        let (context, cluster) = (self.context, self.cluster);
        let own = prepared.get(primary).cloned().unwrap_or_default();
        let issuer = context.world.issuer;
        let mut group = own.names.clone();
        if self.live.is_none() {
            let memory = context
                .world
                .sight
                .get(primary)
                .and_then(|seen| seen.host.as_ref())
                .map(|facts| facts.memory_bytes);
            let first: Vec<HostName> = self.wanted.members().cloned().collect();
            let peers = group::peers(cluster, primary, &first);
            let config = settings::group(cluster, primary, member, &peers, memory, issuer);
            // Every member's mysqld runs by then, and lets the first one's agent in to ask whether it is in a group.
            let servers = prepared.values().flat_map(|host| &host.server);
            let before = own.names.iter().chain(promises).chain(servers);
            let before: Vec<StepNumber> = before.copied().collect();
            let mut after = vec![group::promise_last(&mut self.builder, primary, &before)];
            after.extend(before);
            let asked = group::bootstrap_peers(&context.world, cluster, primary, &[]);
            let title = format!("bootstrap the group of {} on {primary}", cluster.name);
            group = vec![self.builder.step(
                primary,
                Step::BootstrapGroup {
                    group: config,
                    holds: GtidSet::new(),
                    lineage: None,
                    peers: asked,
                },
                title,
                &after,
            )];
        } else {
            self.builder.note(format!(
                "the group lives already, with {primary} as primary: it goes on from there"
            ));
        }
        let accounts = self.builder.write(
            primary,
            Step::MemberAccounts {
                accounts: group::accounts(context, cluster),
            },
            "make the members' accounts, which replicate".to_owned(),
            &group,
        );
        let x_port = group::x_port(context, primary);
        // One that leads because the first was lost on the way has joined, too.
        let joined = self.live.is_some() && primary != self.wanted.primary;
        let metadata = Step::Metadata {
            cluster: settings::metadata_cluster(cluster, issuer),
            instance: settings::metadata_member(primary, member, x_port, joined),
        };
        let title = format!("make the metadata of {} and register {primary}", cluster.name);
        let metadata = self.builder.write(primary, metadata, title, &group);
        Formed {
            group,
            metadata,
            accounts,
        }
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
            let Some(member) = cluster.members.get(host) else {
                continue;
            };
            let state = self.live.and_then(|live| live.state(&context.world, host));
            if state == Some(MemberState::Online) {
                let after = [formed.metadata];
                registered.push(group::register(
                    &mut self.builder,
                    context,
                    cluster,
                    primary,
                    host,
                    member,
                    &after,
                ));
                inside.push(host.clone());
                continue;
            }
            let (recovery, group_gtid) = self.recovery(primary, host)?;
            let own = prepared.get(host).cloned().unwrap_or_default();
            let mut after = turn.clone();
            after.push(formed.accounts);
            after.extend(own.server.iter().chain(&own.names).chain(names));
            let joiner = Joiner {
                host,
                member,
                recovery,
                group_gtid,
                first: &inside,
            };
            let joined = group::join(&mut self.builder, context, cluster, joiner, &after);
            let after = [joined, formed.metadata];
            registered.push(group::register(
                &mut self.builder,
                context,
                cluster,
                primary,
                host,
                member,
                &after,
            ));
            // One at a time (rule 6): two at once take ten times as long.
            turn = vec![joined];
            inside.push(host.clone());
        }
        Ok(registered)
    }

    fn recovery(&mut self, primary: &HostName, host: &HostName) -> Planning<(Recovery, String)> {
        if live::out(&self.context.world, host) != Out::Yes {
            self.builder
                .note(format!("{host} is on its way into the group already"));
            return Ok((Recovery::Incremental, String::new()));
        }
        let (choice, gtid) = match &self.live {
            Some(live) => {
                let choice = recovery::choose(self.context, self.cluster, live, host, RecoveryWish::Auto)?;
                (choice, live.server.gtid_executed.clone())
            }
            None => {
                // What the first one holds, the group will have: a joiner that holds a part of it is not refused for it.
                let held = recovery::held(self.context, primary, self.context.certain(primary)?)?;
                let choice = recovery::choose_at_create(self.context, self.cluster, primary, host)?;
                (choice, held.to_string())
            }
        };
        self.builder.note(format!("{host} gets its data by {}", choice.told()));
        Ok((choice.recovery, gtid))
    }

    fn router_accounts(&mut self, primary: &HostName, after: &[StepNumber]) -> Vec<(Passing, Vec<StepNumber>)> {
        let account = |host| {
            let live = self.live.as_ref();
            router::account(
                &mut self.builder,
                self.context,
                self.cluster,
                host,
                primary,
                live,
                after,
            )
        };
        self.wanted.routers.iter().map(account).collect()
    }

    fn routers(
        &mut self,
        primary: &HostName,
        accounts: Vec<(Passing, Vec<StepNumber>)>,
        prepared: &BTreeMap<HostName, Prepared>,
    ) {
        let cluster = self.cluster;
        let mut proofs = Vec::new();
        for (host, (account, mut after)) in self.wanted.routers.iter().zip(accounts) {
            let Some(intent) = cluster.routers.get(host) else {
                continue;
            };
            let own = prepared.get(host).cloned().unwrap_or_default();
            let builder = &mut self.builder;
            after.extend(router::ready(builder, cluster, host, &own));
            let done = router::bootstrap(builder, cluster, (host, intent), primary, &account, &after);
            let proven = router::prove(builder, cluster, (host, intent), &account, &[done]);
            proofs.push((account, proven));
        }
        for (account, proven) in proofs {
            group::drop_passing(&mut self.builder, primary, &account, &[proven]);
        }
    }

    fn message(&self, primary: &HostName) -> String {
        let routers = match self.wanted.routers {
            [] => String::new(),
            routers => format!(", Router on {}", listed(routers)),
        };
        let members = survives(self.cluster.members.len());
        format!("{} is formed: primary {primary}{routers}, {members}", self.cluster.name)
    }
}
