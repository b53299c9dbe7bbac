//! What an agent does for each step, in the toy world.

use std::collections::{BTreeMap, BTreeSet};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::{CopyOf, LineageId, Measure, MemberLineage, Span, Trust};
use clusterctl_proto::observe::{DataDirectory, MetadataCopy, MetadataRouter};
use clusterctl_proto::step::{AccountKind, History, Recovery, Step, StepData, StepOutcome, StepResult};
use uuid::Uuid;

use super::toy::{ToyGroup, ToyWorld, fresh_server, instance_row};

impl ToyWorld {
    /// Carries out one step.
    pub fn run(&mut self, on: &HostName, step: &Step) -> StepOutcome {
        let (result, data) = match self.act(on, step) {
            Ok(data) => (
                StepResult::Changed {
                    what: step.name().to_owned(),
                },
                data,
            ),
            Err(failure) => (StepResult::Failed { failure }, None),
        };
        StepOutcome {
            result,
            data,
            elapsed_ms: 1,
            spent_ms: BTreeMap::new(),
        }
    }

    fn act(&mut self, on: &HostName, step: &Step) -> Result<Option<StepData>, Failure> {
        let online = self.group.as_ref().is_some_and(|group| group.members.contains(on));
        let leads = self.group.as_ref().is_some_and(|group| group.primary == *on);
        let need = |holds: bool, what: &str| {
            if holds {
                Ok(())
            } else {
                Err(Failure::new("toy", format!("{on}: {}: {what}", step.name())).transient())
            }
        };
        let host = self.hosts.get_mut(on).unwrap();
        match step {
            Step::HostsFile { entries } => need(entries.iter().any(|entry| entry.name == *on), "does not know itself")?,
            Step::MachineId { .. } => host.facts.machine_id = format!("own-{}", host.number),
            Step::Packages { required, .. } => {
                host.mysql_installed |= required.iter().any(|package| package == "mysql-server");
                host.router_installed |= required.iter().any(|package| package == "mysql-router");
            }
            Step::ServerCertificate { .. } => {
                need(host.mysql_installed, "no user mysql yet")?;
                host.certificate = true;
            }
            Step::Server { config } => {
                need(
                    host.mysql_installed && host.certificate,
                    "not installed or without a certificate",
                )?;
                if online {
                    self.alarm(format!("mysqld of {on} is configured while it is in the group"));
                    return Ok(None);
                }
                let uuid = Uuid::from_u128(u128::from(host.number));
                host.server.get_or_insert_with(|| fresh_server(on, uuid));
                host.server.as_mut().unwrap().server_id = config.server_id;
                host.data = DataDirectory::Ours {
                    cluster: Some(config.cluster.clone()),
                };
                host.up = true;
            }
            Step::Promise {} => {
                let halted = self.group.as_ref().is_some_and(|group| group.standstill_ms >= 40_000);
                need(!online || halted, "is in a group")?;
                if online {
                    self.group = None;
                }
                host.promised = true;
                host.stuck = false;
            }
            Step::LocalMemberAccounts { accounts } => {
                need(host.up, "no server")?;
                if !online {
                    host.accounts.retain(|user| !user.starts_with("mysql_innodb_cluster_"));
                }
                host.accounts
                    .extend(accounts.iter().map(|account| account.user.clone()));
            }
            Step::MemberAccounts { accounts } => {
                need(leads, "not the primary")?;
                host.accounts
                    .extend(accounts.iter().map(|account| account.user.clone()));
                self.write();
            }
            Step::BootstrapGroup {
                group, holds, lineage, ..
            } => {
                if leads {
                    return Ok(None);
                }
                need(
                    host.up && host.accounts.contains(&group.account.user),
                    "no server, or without its account",
                )?;
                let own = host.lineage.as_ref().and_then(|own| own.verified());
                need(
                    lineage.is_none() || own == lineage.as_ref(),
                    "its data are of another lineage",
                )?;
                let server = host.server.as_mut().unwrap();
                let here: GtidSet = server
                    .gtid_executed
                    .parse::<GtidSet>()
                    .unwrap()
                    .union(&server.gtid_received.parse().unwrap());
                need(here.contains(holds), "holds less")?;
                server.group_name = group.group_name.to_string();
                // What it had received is applied before it serves.
                let received: GtidSet = server.gtid_received.parse().unwrap();
                let executed: GtidSet = server.gtid_executed.parse().unwrap();
                server.gtid_executed = executed.union(&received).to_string();
                self.bootstraps += 1;
                if self.hosts[on].half_copied {
                    self.alarm(format!("{on} bootstraps with half of a copy"));
                }
                if self.group.is_some() {
                    self.alarm(format!("{on} bootstraps while the group lives"));
                }
                let unsworn: Vec<String> = self
                    .hosts
                    .iter()
                    // One that is silent is the rule's to judge: only a break-glass leaves it out.
                    .filter(|(_, host)| host.mysql_installed && host.answers && !host.promised)
                    .filter(|(name, _)| !self.given_up.contains(name))
                    .map(|(name, _)| name.to_string())
                    .collect();
                if !unsworn.iter().all(|name| name.starts_with("router")) {
                    self.alarm(format!("bootstrap without a promise of {unsworn:?}"));
                }
                let generation = self.generation;
                let lineage = self.bootstrapped(on, generation);
                self.hosts.get_mut(on).unwrap().promised = false;
                self.group = Some(ToyGroup {
                    counter: 7,
                    name: group.group_name,
                    lineage,
                    primary: on.clone(),
                    members: BTreeSet::from([on.clone()]),
                    standstill_ms: 0,
                });
                self.write();
                let lineage = self.hosts[on].lineage.clone().unwrap();
                return Ok(Some(StepData::Bootstrapped {
                    lineage: Box::new(lineage),
                }));
            }
            Step::Metadata { cluster, instance } => {
                need(leads, "not the primary")?;
                let server = host.server.as_mut().unwrap();
                let copy = MetadataCopy {
                    version: "2.4.0".to_owned(),
                    cluster_name: cluster.name.to_string(),
                    cluster_id: cluster.cluster_id.to_string(),
                    group_name: server.group_name.clone(),
                    instances: vec![instance_row(
                        instance.host.as_str(),
                        server.server_uuid,
                        server.server_id,
                    )],
                    routers: Vec::new(),
                };
                server.metadata.get_or_insert(copy);
                self.write();
            }
            Step::JoinGroup {
                group,
                recovery,
                account,
                history,
                ..
            } => {
                if online {
                    self.hosts.get_mut(on).unwrap().promised = false;
                    return Ok(None);
                }
                let before = self.held(on);
                let host = self.hosts.get_mut(on).unwrap();
                if let Some(history) = history {
                    host.lineages.merge(&history.lineages);
                }
                need(
                    host.up && host.accounts.contains(&account.user),
                    "no server, or without its account",
                )?;
                let (held, accounts) = (host.server.clone().unwrap(), host.accounts.clone());
                let live = self
                    .group
                    .clone()
                    .ok_or_else(|| Failure::new("toy", "no group to join").transient())?;
                need(live.name == group.group_name, "another group")?;
                let primary = self.hosts[&live.primary].clone();
                let theirs = primary.server.unwrap();
                let set = |text: &str| text.parse::<GtidSet>().unwrap();
                need(
                    primary.accounts.contains(&account.user),
                    "the group does not know its account",
                )?;
                let members = live
                    .members
                    .iter()
                    .filter_map(|member| self.hosts[member].server.as_ref());
                let donors: Vec<String> = members.clone().map(|server| server.gtid_purged.clone()).collect();
                let users = members.map(|server| format!("mysql_innodb_cluster_{}", server.server_id));
                need(
                    users.into_iter().all(|user| accounts.contains(&user)),
                    "it does not know the members' accounts",
                )?;
                need(!self.hosts[on].half_copied, "it holds half of a copy")?;
                self.measured(on, history.as_ref(), &theirs.gtid_executed, (&before, &live.lineage))?;
                let into = self.hosts[on].lineage.as_ref().unwrap().id.clone();
                need(into == live.lineage, "the group lives in another lineage")?;
                if !set(&theirs.gtid_executed).contains(&set(&held.gtid_executed)) {
                    return Err(Failure::refused("errant_transactions", "toy"));
                }
                let host = self.hosts.get_mut(on).unwrap();
                let own = host.server.as_mut().unwrap();
                match recovery {
                    Recovery::Incremental => {
                        need(
                            donors
                                .iter()
                                .any(|purged| set(&held.gtid_executed).contains(&set(purged))),
                            "purged",
                        )?;
                        for (number, which) in &primary.rows {
                            host.rows.entry(*number).or_insert(*which);
                        }
                    }
                    Recovery::Clone { .. } => {
                        own.gtid_purged = theirs.gtid_executed.clone();
                        host.rows.clone_from(&primary.rows);
                    }
                }
                let alike = host.rows == primary.rows;
                host.stuck = false;
                // It was let in: another bootstrap needs another promise.
                host.promised = false;
                own.group_name = group.group_name.to_string();
                own.gtid_executed = theirs.gtid_executed;
                own.metadata = theirs.metadata;
                if !alike {
                    self.alarm(format!("{on} enters with other transactions under the same numbers"));
                }
                self.group.as_mut().unwrap().members.insert(on.clone());
                self.write();
            }
            Step::CloneData {
                donor,
                account,
                group_gtid,
                history,
                ..
            } => {
                need(!online, "is in a group")?;
                need(host.up, "no server")?;
                let before = self.held(on);
                let live = self.group.clone();
                let live = live.ok_or_else(|| Failure::new("toy", "no group to copy").transient())?;
                let from = self.hosts[donor].clone();
                need(
                    from.up && from.accounts.contains(&account.user) && live.members.contains(donor),
                    "the donor is away, or does not know its account",
                )?;
                if from.half_copied {
                    self.alarm(format!("{donor}, which holds half of a copy, gives it to {on}"));
                }
                self.measured(on, history.as_ref(), group_gtid, (&before, &live.lineage))?;
                let theirs = from.server.unwrap();
                let host = self.hosts.get_mut(on).unwrap();
                let own = host.server.as_mut().unwrap();
                own.gtid_executed = theirs.gtid_executed.clone();
                own.gtid_purged = theirs.gtid_executed;
                own.gtid_received = String::new();
                own.metadata = theirs.metadata;
                host.rows = from.rows;
                host.accounts = from.accounts;
                (host.half_copied, host.stuck) = (self.unvouched, false);
                let record = host.lineage.as_mut().filter(|_| self.unvouched);
                if let Some(record) = record {
                    let donor = format!("{donor}:3306");
                    record.donors.insert(donor.clone(), Span { since: 5, until: 5 });
                    let id = record.id.clone();
                    record.copy_of = Some(CopyOf { donor, id });
                }
            }
            Step::MetadataInstance { instance, .. } => {
                need(leads, "not the primary")?;
                let joined = self
                    .group
                    .as_ref()
                    .is_some_and(|group| group.members.contains(&instance.host));
                need(joined, "not a member")?;
                let member = self.hosts[&instance.host].server.clone().unwrap();
                let copy = self.metadata(on)?;
                copy.instances.retain(|row| row.server_uuid != member.server_uuid);
                copy.instances.push(instance_row(
                    instance.host.as_str(),
                    member.server_uuid,
                    member.server_id,
                ));
                self.write();
            }
            Step::StartServer {} => {
                host.up = true;
                host.failed = false;
            }
            Step::Persist { .. } => need(host.up, "no server")?,
            Step::SetPrimary { .. } => {
                need(online, "not ONLINE")?;
                self.group.as_mut().unwrap().primary = on.clone();
            }
            Step::ForgetInstance { address, account, .. } => {
                need(leads, "not the primary")?;
                self.metadata(on)?.instances.retain(|row| row.address != *address);
                // Whoever is out keeps its own copy.
                let members = self.group.as_ref().unwrap().members.clone();
                for (_, host) in self.hosts.iter_mut().filter(|(name, _)| members.contains(*name)) {
                    host.accounts.remove(account);
                }
                self.write();
            }
            Step::LeaveGroup { .. } => {
                self.restart(on);
            }
            Step::MakeSecret { name } => {
                host.secrets.insert(name.clone());
            }
            Step::DropSecret { name } => {
                host.secrets.remove(name);
            }
            Step::Account { account, secret } => {
                need(leads, "not the primary")?;
                if account.kind == AccountKind::RouterBootstrap {
                    self.metadata(on)?;
                }
                let kept =
                    secret.starts_with("account:") || self.hosts.values().any(|host| host.secrets.contains(secret));
                need(kept, "nobody made that password")?;
                self.hosts.get_mut(on).unwrap().accounts.insert(account.user.clone());
                self.write();
            }
            Step::DropAccount { user, .. } => {
                need(leads, "not the primary")?;
                for host in self.hosts.values_mut() {
                    host.accounts.remove(user);
                }
                self.write();
            }
            Step::RouterHost { .. } => need(host.router_installed, "no package")?,
            Step::RouterBootstrap {
                cluster,
                user,
                secret,
                primary,
                ..
            } => {
                need(
                    host.router_installed && host.secrets.contains(secret),
                    "no package or no password",
                )?;
                host.router_for = Some(cluster.clone());
                let leader = self.group.as_ref().map(|group| group.primary.clone());
                let leader = leader.filter(|leader| primary.starts_with(&format!("{leader}:")));
                let leader = leader.ok_or_else(|| Failure::new("toy", "that is not the primary").transient())?;
                need(self.hosts[&leader].accounts.contains(user), "no such account")?;
                let copy = self.metadata(&leader)?;
                copy.routers.retain(|row| row.address != on.as_str());
                let id = u32::try_from(copy.routers.len() + 1).unwrap();
                let account = Some(format!("mysql_router{id}_abc"));
                copy.routers.push(MetadataRouter {
                    id,
                    address: on.to_string(),
                    name: String::new(),
                    version: None,
                    account,
                });
                self.write();
            }
            Step::RouterRunning { proof, .. } => {
                need(host.router_for.is_some(), "not bootstrapped")?;
                if let Some((_, secret)) = proof {
                    need(host.secrets.contains(secret), "no password")?;
                }
                host.router_runs = true;
            }
            Step::RouterGone { .. } => {
                host.router_for = None;
                host.router_runs = false;
            }
            Step::ForgetRouter { address, .. } => {
                need(leads, "not the primary")?;
                self.metadata(on)?.routers.retain(|row| row.address != address.as_str());
                self.write();
            }
            Step::Prove { .. } => {
                let (title, evidence) = ("proof".to_owned(), "toy".to_owned());
                return Ok(Some(StepData::Proof {
                    step: 9,
                    title,
                    passed: true,
                    evidence,
                }));
            }
        }
        Ok(None)
    }

    /// As the agent does: its data are measured before a start or a copy, and belong to the group's lineage from then on.
    fn measured(
        &mut self,
        on: &HostName,
        history: Option<&History>,
        group_has: &str,
        (before, lives_in): (&GtidSet, &LineageId),
    ) -> Result<(), Failure> {
        let host = self.hosts.get_mut(on).unwrap();
        if let Some(history) = history {
            host.lineages.merge(&history.lineages);
        }
        let half = |own: &MemberLineage| Some(own.id.clone()).filter(|_| host.half_copied);
        let own = host.lineage.as_ref();
        let own = own.and_then(|own| own.verified().cloned().or_else(|| half(own)));
        let own = own.or_else(|| host.adopts.then(LineageId::origin));
        let into = history.map_or(lives_in.clone(), |history| history.group.clone());
        let group_has: GtidSet = group_has.parse().unwrap();
        let measured = match &own {
            Some(own) => host.lineages.measure(own, before, &into, &group_has),
            None if before.is_empty() => Measure::Inside,
            None => Measure::Unknown,
        };
        if measured != Measure::Inside {
            return Err(Failure::new("toy", "its data are not measured to be the group's").transient());
        }
        host.lineage = Some(MemberLineage {
            id: into.clone(),
            trust: Trust::Verified,
            server_uuid: host.server.as_ref().unwrap().server_uuid,
            branch: host
                .lineage
                .take()
                .and_then(|own| own.branch.filter(|_| own.id == into)),
            before: None,
            counter: 0,
            span: None,
            donors: Default::default(),
            copy_of: None,
            past: Vec::new(),
        });
        Ok(())
    }

    fn metadata(&mut self, on: &HostName) -> Result<&mut MetadataCopy, Failure> {
        let server = self.hosts.get_mut(on).and_then(|host| host.server.as_mut());
        server
            .and_then(|server| server.metadata.as_mut())
            .ok_or_else(|| Failure::new("toy", "no metadata").transient())
    }
}
