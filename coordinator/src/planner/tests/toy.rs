//! A toy world: hosts that carry out steps in memory, one group, a clock. Strict where an agent is strict, so that a plan that
//! is wired wrongly fails here. What must never happen is written to `alarms`.

use std::collections::{BTreeMap, BTreeSet};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::{ClusterName, HostName, HostRole, ServerId};
use clusterctl_proto::observe::{
    DataDirectory, GroupMember, GroupView, HostFacts, LedgerFacts, MemberRole, MemberState, MetadataCopy, MetadataInstance,
    MetadataRouter, MysqlFacts, Observation, PackageNames, RouterFacts, ServerFacts, UnitState,
};
use clusterctl_proto::step::{AccountKind, Recovery, Step, StepData, StepOutcome, StepResult};
use uuid::Uuid;

use crate::planner::Seen;

pub const ISSUER: &str = "/CN=clusterctl CA";

pub fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

/// One host.
#[derive(Clone)]
pub struct ToyHost {
    pub number: u8,
    /// Its agent answers.
    pub answers: bool,
    pub facts: HostFacts,
    pub mysql_installed: bool,
    pub router_installed: bool,
    pub certificate: bool,
    pub data: DataDirectory,
    /// Runs.
    pub up: bool,
    pub server: Option<ServerFacts>,
    pub accounts: BTreeSet<String>,
    pub promised: bool,
    pub secrets: BTreeSet<String>,
    pub router_for: Option<ClusterName>,
    pub router_runs: bool,
    /// What the leader saw last, and when.
    pub seen: Option<(Observation, i64)>,
}

/// The live group.
#[derive(Clone)]
pub struct ToyGroup {
    pub name: Uuid,
    pub primary: HostName,
    pub members: BTreeSet<HostName>,
}

#[derive(Clone, Default)]
pub struct ToyWorld {
    pub now: i64,
    pub hosts: BTreeMap<HostName, ToyHost>,
    pub group: Option<ToyGroup>,
    pub bootstraps: u32,
    pub alarms: Vec<String>,
}

impl ToyWorld {
    /// Bare hosts.
    pub fn add(&mut self, host: &str) {
        let number = u8::try_from(self.hosts.len() + 1).unwrap();
        let candidates = ["mysql-server", "mysql-client", "mysql-router"].map(|p| (p.to_owned(), Some("9.7.4-1".to_owned())));
        let facts = HostFacts {
            hostname: host.to_owned(),
            os: "Debian GNU/Linux forky/sid".to_owned(),
            os_id: "debian".to_owned(),
            architecture: "x86_64".to_owned(),
            addresses: vec![std::net::IpAddr::from([10, 0, 0, number])],
            cpus: 2,
            memory_bytes: 4 << 30,
            machine_id: format!("machine-{number}"),
            clock_synchronised: Some(true),
            data_free_bytes: 50 << 30,
            package_manager: Some("apt".to_owned()),
            packages: PackageNames::default(),
            candidates: candidates.into_iter().collect(),
            systemd: true,
            ..HostFacts::default()
        };
        let host_state = ToyHost {
            number,
            answers: true,
            facts,
            mysql_installed: false,
            router_installed: false,
            certificate: false,
            data: DataDirectory::Absent,
            up: false,
            server: None,
            accounts: BTreeSet::new(),
            promised: false,
            secrets: BTreeSet::new(),
            router_for: None,
            router_runs: false,
            seen: None,
        };
        self.hosts.insert(name(host), host_state);
    }

    pub fn host(&mut self, host: &str) -> &mut ToyHost {
        self.hosts.get_mut(&name(host)).unwrap()
    }

    pub fn server(&mut self, host: &str) -> &mut ServerFacts {
        self.host(host).server.as_mut().unwrap()
    }

    /// Every agent that answers is asked.
    pub fn look(&mut self) {
        let names: Vec<HostName> = self.hosts.keys().cloned().collect();
        for host in names {
            if self.hosts[&host].answers {
                let observation = self.observe(&host);
                let now = self.now;
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.facts.clock_unix_ms = now;
                    host.seen = Some((observation, now));
                }
            }
        }
    }

    pub fn sight(&self) -> BTreeMap<HostName, Seen> {
        let seen = self.hosts.iter().filter_map(|(name, host)| {
            let (observation, at) = host.seen.clone()?;
            let age_ms = u64::try_from(self.now - at).unwrap();
            let facts = HostFacts { clock_unix_ms: at, ..host.facts.clone() };
            let seen = Seen { observation, host: Some(facts), host_age_ms: age_ms, age_ms, connected: host.answers };
            Some((name.clone(), seen))
        });
        seen.collect()
    }

    fn observe(&self, name: &HostName) -> Observation {
        let host = &self.hosts[name];
        let server = host.server.clone().filter(|_| host.up).map(|server| ServerFacts {
            group: Some(self.view(name, &server)),
            super_read_only: self.group.as_ref().is_none_or(|group| group.primary != *name),
            ..server
        });
        let unit = match (host.mysql_installed, host.up) {
            (false, _) => UnitState::Absent,
            (true, true) => UnitState::Running,
            (true, false) => UnitState::Stopped,
        };
        Observation {
            boot_id: "boot".to_owned(),
            agent_version: "0.1.0".to_owned(),
            ledger: LedgerFacts { known: true, ..LedgerFacts::default() },
            host: None,
            mysql: MysqlFacts {
                installed: host.mysql_installed.then(|| "9.7.4-1".to_owned()),
                unit,
                data: host.data.clone(),
                server,
                error: None,
            },
            router: RouterFacts {
                installed: host.router_installed.then(|| "9.7.4-1".to_owned()),
                unit: if host.router_runs { UnitState::Running } else { UnitState::Stopped },
                cluster: host.router_for.clone(),
                listening: if host.router_runs { vec![6446, 6447, 6448, 6449, 6450] } else { Vec::new() },
            },
        }
    }

    fn view(&self, name: &HostName, server: &ServerFacts) -> GroupView {
        let inside = self.group.as_ref().filter(|group| group.members.contains(name));
        let row = |host: &HostName, state, role| GroupMember {
            server_uuid: self.hosts[host].server.as_ref().map_or(Uuid::nil(), |server| server.server_uuid),
            host: host.to_string(),
            port: 3306,
            state,
            role,
            version: "9.7.4".to_owned(),
        };
        let role = |group: &ToyGroup, host: &HostName| if group.primary == *host { MemberRole::Primary } else { MemberRole::Secondary };
        match inside {
            Some(group) => GroupView {
                state: MemberState::Online,
                role: role(group, name),
                view_id: "view".to_owned(),
                members: group.members.iter().map(|host| row(host, MemberState::Online, role(group, host))).collect(),
                auto_rejoin: false,
                channel_error: None,
            },
            None => GroupView {
                state: MemberState::Offline,
                role: MemberRole::None,
                view_id: String::new(),
                members: vec![GroupMember { server_uuid: server.server_uuid, ..row(name, MemberState::Offline, MemberRole::None) }],
                auto_rejoin: false,
                channel_error: None,
            },
        }
    }

    fn alarm(&mut self, what: impl Into<String>) {
        self.alarms.push(what.into());
    }

    /// The mysqld of this host goes down and comes up out of the group.
    pub fn restart(&mut self, host: &HostName) {
        if let Some(group) = &mut self.group {
            group.members.remove(host);
            match group.members.first().cloned() {
                None => self.group = None,
                Some(next) if group.primary == *host => group.primary = next,
                Some(_) => {}
            }
        }
    }

    /// Something is written on the primary.
    pub fn write(&mut self) {
        let Some(group) = self.group.clone() else { return };
        let server = self.hosts.get_mut(&group.primary).and_then(|host| host.server.as_mut()).unwrap();
        let executed: GtidSet = server.gtid_executed.parse().unwrap();
        let next = executed.of(group.name).count() + 1;
        let one: GtidSet = format!("{}:{next}", group.name).parse().unwrap();
        let executed = executed.union(&one).to_string();
        let (metadata, accounts) = (server.metadata.clone(), self.hosts[&group.primary].accounts.clone());
        for member in &group.members {
            let host = self.hosts.get_mut(member).unwrap();
            host.accounts.extend(accounts.iter().cloned());
            let server = host.server.as_mut().unwrap();
            server.gtid_executed = executed.clone();
            server.metadata = metadata.clone();
        }
    }

    /// Carries out one step.
    pub fn run(&mut self, on: &HostName, step: &Step) -> StepOutcome {
        let (result, data) = match self.act(on, step) {
            Ok(data) => (StepResult::Changed { what: step.name().to_owned() }, data),
            Err(failure) => (StepResult::Failed { failure }, None),
        };
        StepOutcome { result, data, elapsed_ms: 1, spent_ms: BTreeMap::new() }
    }

    fn act(&mut self, on: &HostName, step: &Step) -> Result<Option<StepData>, Failure> {
        let online = self.group.as_ref().is_some_and(|group| group.members.contains(on));
        let leads = self.group.as_ref().is_some_and(|group| group.primary == *on);
        let need = |holds: bool, what: &str| {
            if holds { Ok(()) } else { Err(Failure::new("toy", format!("{on}: {}: {what}", step.name())).transient()) }
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
                need(host.mysql_installed && host.certificate, "not installed or without a certificate")?;
                if online {
                    self.alarm(format!("mysqld of {on} is configured while it is in the group"));
                    return Ok(None);
                }
                let uuid = Uuid::from_u128(u128::from(host.number));
                host.server.get_or_insert_with(|| fresh_server(on, uuid));
                host.server.as_mut().unwrap().server_id = config.server_id;
                host.data = DataDirectory::Ours { cluster: Some(config.cluster.clone()) };
                host.up = true;
            }
            Step::Promise {} => {
                need(!online, "is in a group")?;
                host.promised = true;
            }
            Step::LocalMemberAccounts { accounts } => {
                need(host.up, "no server")?;
                host.accounts.extend(accounts.iter().map(|account| account.user.clone()));
            }
            Step::MemberAccounts { accounts } => {
                need(leads, "not the primary")?;
                host.accounts.extend(accounts.iter().map(|account| account.user.clone()));
                self.write();
            }
            Step::BootstrapGroup { group } => {
                if leads {
                    return Ok(None);
                }
                need(host.up && host.accounts.contains(&group.account.user), "no server, or without its account")?;
                host.server.as_mut().unwrap().group_name = group.group_name.to_string();
                self.bootstraps += 1;
                if self.group.is_some() {
                    self.alarm(format!("{on} bootstraps while the group lives"));
                }
                let unsworn: Vec<String> =
                    self.hosts.iter().filter(|(_, host)| host.mysql_installed && !host.promised).map(|(name, _)| name.to_string()).collect();
                if !unsworn.iter().all(|name| name.starts_with("router")) {
                    self.alarm(format!("bootstrap without a promise of {unsworn:?}"));
                }
                self.group = Some(ToyGroup { name: group.group_name, primary: on.clone(), members: BTreeSet::from([on.clone()]) });
                self.write();
            }
            Step::Metadata { cluster, instance } => {
                need(leads, "not the primary")?;
                let server = host.server.as_mut().unwrap();
                let copy = MetadataCopy {
                    version: "2.4.0".to_owned(),
                    cluster_name: cluster.name.to_string(),
                    cluster_id: cluster.cluster_id.to_string(),
                    group_name: server.group_name.clone(),
                    instances: vec![instance_row(instance.host.as_str(), server.server_uuid, server.server_id)],
                    routers: Vec::new(),
                };
                server.metadata.get_or_insert(copy);
                self.write();
            }
            Step::JoinGroup { group, recovery, account, .. } => {
                if online {
                    return Ok(None);
                }
                need(host.up && host.accounts.contains(&account.user), "no server, or without its account")?;
                let (held, accounts) = (host.server.clone().unwrap(), host.accounts.clone());
                let live = self.group.clone().ok_or_else(|| Failure::new("toy", "no group to join").transient())?;
                need(live.name == group.group_name, "another group")?;
                let primary = self.hosts[&live.primary].clone();
                let theirs = primary.server.unwrap();
                let set = |text: &str| text.parse::<GtidSet>().unwrap();
                need(primary.accounts.contains(&account.user), "the group does not know its account")?;
                let known = primary.accounts.iter().filter(|user| user.starts_with("mysql_innodb_cluster_"));
                need(known.clone().all(|user| accounts.contains(user)), "it does not know the members' accounts")?;
                if !set(&theirs.gtid_executed).contains(&set(&held.gtid_executed)) {
                    return Err(Failure::refused("errant_transactions", "toy"));
                }
                let host = self.hosts.get_mut(on).unwrap();
                let own = host.server.as_mut().unwrap();
                match recovery {
                    Recovery::Incremental => need(set(&held.gtid_executed).contains(&set(&theirs.gtid_purged)), "purged")?,
                    Recovery::Clone { .. } => own.gtid_purged = theirs.gtid_executed.clone(),
                }
                own.group_name = group.group_name.to_string();
                own.gtid_executed = theirs.gtid_executed;
                own.metadata = theirs.metadata;
                self.group.as_mut().unwrap().members.insert(on.clone());
                self.write();
            }
            Step::MetadataInstance { instance, .. } => {
                need(leads, "not the primary")?;
                let joined = self.group.as_ref().is_some_and(|group| group.members.contains(&instance.host));
                need(joined, "not a member")?;
                let member = self.hosts[&instance.host].server.clone().unwrap();
                let copy = self.metadata(on)?;
                copy.instances.retain(|row| row.server_uuid != member.server_uuid);
                copy.instances.push(instance_row(instance.host.as_str(), member.server_uuid, member.server_id));
                self.write();
            }
            Step::Persist { .. } => need(host.up, "no server")?,
            Step::SetPrimary { .. } => {
                need(online, "not ONLINE")?;
                self.group.as_mut().unwrap().primary = on.clone();
            }
            Step::ForgetInstance { address, account, .. } => {
                need(leads, "not the primary")?;
                self.metadata(on)?.instances.retain(|row| row.address != *address);
                for host in self.hosts.values_mut() {
                    host.accounts.remove(account);
                }
                self.write();
            }
            Step::LeaveGroup {} => {
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
                let kept = secret.starts_with("account:") || self.hosts.values().any(|host| host.secrets.contains(secret));
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
            Step::RouterBootstrap { cluster, user, secret, primary, .. } => {
                need(host.router_installed && host.secrets.contains(secret), "no package or no password")?;
                host.router_for = Some(cluster.clone());
                let leader = self.group.as_ref().map(|group| group.primary.clone());
                let leader = leader.filter(|leader| primary.starts_with(&format!("{leader}:")));
                let leader = leader.ok_or_else(|| Failure::new("toy", "that is not the primary").transient())?;
                need(self.hosts[&leader].accounts.contains(user), "no such account")?;
                let copy = self.metadata(&leader)?;
                copy.routers.retain(|row| row.address != on.as_str());
                let id = u32::try_from(copy.routers.len() + 1).unwrap();
                let account = Some(format!("mysql_router{id}_abc"));
                copy.routers.push(MetadataRouter { id, address: on.to_string(), name: String::new(), version: None, account });
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
                return Ok(Some(StepData::Proof { step: 9, title, passed: true, evidence }));
            }
        }
        Ok(None)
    }

    fn metadata(&mut self, on: &HostName) -> Result<&mut MetadataCopy, Failure> {
        let server = self.hosts.get_mut(on).and_then(|host| host.server.as_mut());
        server.and_then(|server| server.metadata.as_mut()).ok_or_else(|| Failure::new("toy", "no metadata").transient())
    }
}

fn instance_row(host: &str, server_uuid: Uuid, server_id: ServerId) -> MetadataInstance {
    MetadataInstance { address: format!("{host}:3306"), server_uuid, server_id: Some(server_id) }
}

pub fn fresh_server(host: &HostName, server_uuid: Uuid) -> ServerFacts {
    ServerFacts {
        server_uuid,
        server_id: ServerId(1),
        version: "9.7.4".to_owned(),
        report_host: host.to_string(),
        port: 3306,
        x_port: Some(33060),
        uptime_seconds: 1,
        gtid_executed: String::new(),
        gtid_purged: String::new(),
        gtid_received: String::new(),
        super_read_only: false,
        offline_mode: false,
        bootstrap_flag: false,
        group_name: String::new(),
        group: None,
        tables_without_key: Some(Vec::new()),
        tables_not_innodb: Some(Vec::new()),
        user_schemas: Some(Vec::new()),
        foreign_channels: Vec::new(),
        metadata: None,
        queue: 0,
    }
}

/// Roles by name: `router…` is a router, all others are database hosts, `node1` carries the coordinator, too.
pub fn roles(host: &HostName) -> BTreeSet<HostRole> {
    match host.as_str() {
        "node1" => BTreeSet::from([HostRole::Db, HostRole::Coordinator]),
        name if name.starts_with("router") => BTreeSet::from([HostRole::Router]),
        _ => BTreeSet::from([HostRole::Db]),
    }
}
