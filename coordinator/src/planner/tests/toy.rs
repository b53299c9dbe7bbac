//! A toy world: hosts that carry out steps in memory, one group, a clock. Strict where an agent is strict, so that a plan that
//! is wired wrongly fails here. What must never happen is written to `alarms`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::{ClusterName, Generation, HostName, HostRole, ServerId};
use clusterctl_proto::lineage::{Before, Branch, LineageId, Lineages, MemberLineage, Trust};
use clusterctl_proto::observe::{
    DataDirectory, GroupMember, GroupView, HostFacts, LedgerFacts, MemberRole, MemberState, MetadataInstance,
    MysqlFacts, Observation, PackageNames, RouterFacts, ServerFacts, UnitState,
};
use uuid::Uuid;

use crate::planner::{Doubt, Seen};

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
    /// The group was seen without it since it answered.
    pub missed: bool,
    /// More than one stream speaks for it.
    pub doubt: Option<Doubt>,
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
    /// mysqld's unit has failed.
    pub failed: bool,
    /// Group Replication runs there without serving.
    pub stuck: bool,
    pub secrets: BTreeSet<String>,
    pub router_for: Option<ClusterName>,
    pub router_runs: bool,
    /// What the group's transactions are here, by their numbers: a number may be used twice after a loss.
    pub rows: BTreeMap<u128, u64>,
    /// What its agent's ledger says of its data.
    pub lineage: Option<MemberLineage>,
    /// Its ledger says that a copy was begun, and not that it is complete.
    pub half_copied: bool,
    /// Its ledger is of the release before, which recorded no lineages.
    pub adopts: bool,
    /// What its agent knows of lineages.
    pub lineages: Lineages,
    /// What the leader saw last, and when.
    pub seen: Option<(Observation, i64)>,
    /// Orders in its ledger that the coordinator's log does not contain.
    pub foreign: crate::planner::restored::ForeignOrders,
}

/// The live group.
#[derive(Clone)]
pub struct ToyGroup {
    /// Of its view.
    pub counter: u64,
    pub name: Uuid,
    pub lineage: LineageId,
    pub primary: HostName,
    pub members: BTreeSet<HostName>,
    /// For how long it has agreed on nothing.
    pub standstill_ms: u64,
}

#[derive(Clone, Default)]
pub struct ToyWorld {
    pub now: i64,
    pub hosts: BTreeMap<HostName, ToyHost>,
    pub group: Option<ToyGroup>,
    pub bootstraps: u32,
    /// Given up by the plan that is carried out: they need not promise.
    pub given_up: Vec<HostName>,
    /// Transactions so far; each is another.
    pub writes: u64,
    /// The generation of the plan that is carried out.
    pub generation: Option<Generation>,
    /// Bootstraps so far, by anybody.
    pub lineages: u64,
    /// Copies are half of one until somebody vouches for their donor ([`Self::vouch_for`]).
    pub unvouched: bool,
    /// All agents are of a release before, which took copies for whole.
    pub asks_no_donors: bool,
    pub alarms: Vec<String>,
}

impl ToyWorld {
    /// Bare hosts.
    pub fn add(&mut self, host: &str) {
        let number = u8::try_from(self.hosts.len() + 1).unwrap();
        let candidates =
            ["mysql-server", "mysql-client", "mysql-router"].map(|p| (p.to_owned(), Some("9.7.4-1".to_owned())));
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
            doubt: None,
            facts,
            mysql_installed: false,
            router_installed: false,
            certificate: false,
            data: DataDirectory::Absent,
            up: false,
            server: None,
            accounts: BTreeSet::new(),
            promised: false,
            failed: false,
            stuck: false,
            secrets: BTreeSet::new(),
            router_for: None,
            router_runs: false,
            rows: BTreeMap::new(),
            lineage: None,
            half_copied: false,
            missed: false,
            adopts: false,
            lineages: Lineages::default(),
            seen: None,
            foreign: crate::planner::restored::ForeignOrders::new(),
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
                    host.missed = false;
                }
            } else if self.group.as_ref().is_some_and(|group| !group.members.contains(&host)) {
                // Whoever was in it is seen to be gone.
                self.host(host.as_str()).missed = true;
            }
        }
    }

    pub fn sight(&self) -> BTreeMap<HostName, Seen> {
        let seen = self.hosts.iter().filter_map(|(name, host)| {
            let (observation, at) = host.seen.clone()?;
            let age_ms = u64::try_from(self.now - at).unwrap();
            let facts = HostFacts {
                clock_unix_ms: at,
                ..host.facts.clone()
            };
            let seen = Seen {
                observation: Arc::new(observation),
                host: Some(Arc::new(facts)),
                host_age_ms: age_ms,
                age_ms,
                connected: host.answers,
                doubt: host.doubt.clone(),
                foreign: host.foreign.clone(),
                missed: host.missed,
            };
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
            (true, false) if host.failed => UnitState::Failed,
            (true, false) => UnitState::Stopped,
        };
        Observation {
            boot_id: "boot".to_owned(),
            agent_version: "0.1.0".to_owned(),
            ledger: LedgerFacts {
                known: true,
                may_return: Some(BTreeSet::from(["prod".parse().unwrap()]))
                    .map(|all| if host.promised { BTreeSet::new() } else { all }),
                copies_are_vouched: !self.asks_no_donors,
                lineages: host
                    .lineage
                    .iter()
                    .map(|lineage| ("prod".parse().unwrap(), lineage.clone()))
                    .collect(),
                half_copied: host
                    .server
                    .iter()
                    .filter(|_| host.half_copied)
                    .map(|server| ("prod".parse().unwrap(), server.server_uuid))
                    .collect(),
                ..LedgerFacts::default()
            },
            host: None,
            mysql: MysqlFacts {
                installed: host.mysql_installed.then(|| "9.7.4-1".to_owned()),
                unit,
                unit_result: String::new(),
                data: host.data.clone(),
                server,
                error: None,
            },
            router: RouterFacts {
                installed: host.router_installed.then(|| "9.7.4-1".to_owned()),
                unit: if host.router_runs {
                    UnitState::Running
                } else if host.router_for.is_some() {
                    UnitState::Failed
                } else {
                    UnitState::Stopped
                },
                cluster: host.router_for.clone(),
                listening: if host.router_runs {
                    vec![6446, 6447, 6448, 6449, 6450]
                } else {
                    Vec::new()
                },
            },
            own_deeds: Vec::new(),
        }
    }

    fn view(&self, name: &HostName, server: &ServerFacts) -> GroupView {
        let inside = self.group.as_ref().filter(|group| group.members.contains(name));
        let row = |host: &HostName, state, role| GroupMember {
            server_uuid: self.hosts[host]
                .server
                .as_ref()
                .map_or(Uuid::nil(), |server| server.server_uuid),
            host: host.to_string(),
            port: 3306,
            state,
            role,
            version: "9.7.4".to_owned(),
        };
        let role = |group: &ToyGroup, host: &HostName| {
            if group.primary == *host {
                MemberRole::Primary
            } else {
                MemberRole::Secondary
            }
        };
        match inside {
            Some(group) => GroupView {
                state: MemberState::Online,
                role: role(group, name),
                view_id: format!("{}:{}", group.lineage, group.counter),
                members: group
                    .members
                    .iter()
                    .map(|host| row(host, MemberState::Online, role(group, host)))
                    .collect(),
                auto_rejoin: false,
                channel_error: None,
                standstill_ms: Some(group.standstill_ms),
            },
            None => GroupView {
                state: if self.hosts[name].stuck {
                    MemberState::Error
                } else {
                    MemberState::Offline
                },
                role: MemberRole::None,
                view_id: String::new(),
                members: vec![GroupMember {
                    server_uuid: server.server_uuid,
                    ..row(name, MemberState::Offline, MemberRole::None)
                }],
                auto_rejoin: false,
                channel_error: None,
                standstill_ms: None,
            },
        }
    }

    pub fn alarm(&mut self, what: impl Into<String>) {
        self.alarms.push(what.into());
    }

    /// A lineage that nothing had before.
    pub fn new_lineage(&mut self) -> LineageId {
        self.lineages += 1;
        (1000 + self.lineages).to_string().parse().unwrap()
    }

    /// What a server holds, applied or received.
    pub fn held(&self, host: &HostName) -> GtidSet {
        let Some(server) = &self.hosts[host].server else {
            return GtidSet::new();
        };
        let set = |text: &str| text.parse::<GtidSet>().unwrap();
        set(&server.gtid_executed).union(&set(&server.gtid_received))
    }

    /// This host's agent is told that the donor of its copy vouches for it.
    pub fn vouch_for(&mut self, host: &str) {
        let host = self.host(host);
        let record = host.lineage.as_mut().unwrap();
        record.donors.clear();
        (record.copy_of, host.half_copied) = (None, false);
    }

    /// The agent of the member that is bootstrapped records the lineage.
    pub fn bootstrapped(&mut self, on: &HostName, generation: Option<Generation>) -> LineageId {
        let (id, base) = (self.new_lineage(), self.held(on));
        let host = self.hosts.get_mut(on).unwrap();
        let branch = Branch {
            parent: match &host.lineage {
                Some(lineage) => Some(lineage.id.clone()),
                None => host.adopts.then(LineageId::origin),
            },
            base,
            generation,
            host: Some(on.clone()),
            abandoned: BTreeSet::new(),
        };
        host.lineages.add(id.clone(), branch.clone());
        host.lineage = Some(MemberLineage {
            id: id.clone(),
            trust: Trust::Verified,
            server_uuid: host.server.as_ref().unwrap().server_uuid,
            branch: Some(branch),
            before: None,
            counter: 0,
            span: None,
            donors: Default::default(),
            copy_of: None,
            past: Vec::new(),
        });
        id
    }

    /// A person bootstraps the group on the first of these, and starts it on the others, whatever their agents think of it.
    pub fn by_hand(&mut self, members: &[&str]) {
        let all: Vec<HostName> = members.iter().map(|member| name(member)).collect();
        let (first, group) = (
            all[0].clone(),
            Uuid::from_u128(0x0c10_0000_0000_4000_8000_0000_0000_0001),
        );
        let id = self.bootstrapped(&first, None);
        for other in &all[1..] {
            self.entered_unmeasured(other, &id);
        }
        self.group = Some(ToyGroup {
            counter: 7,
            name: group,
            lineage: id,
            primary: first,
            members: all.into_iter().collect(),
            standstill_ms: 0,
        });
    }

    /// A member gets into a group past its agent.
    pub fn entered_unmeasured(&mut self, on: &HostName, id: &LineageId) {
        let held = self.held(on);
        let host = self.hosts.get_mut(on).unwrap();
        let before = Before {
            id: host.lineage.as_ref().map(|lineage| lineage.id.clone()),
            held,
        };
        host.lineage = Some(MemberLineage {
            id: id.clone(),
            trust: Trust::Unverified,
            server_uuid: host.server.as_ref().unwrap().server_uuid,
            branch: None,
            before: Some(before),
            counter: 0,
            span: None,
            donors: Default::default(),
            copy_of: None,
            past: Vec::new(),
        });
    }

    /// Agents that answer are told what the coordinator knows of lineages; what that proves they record.
    pub fn teach(&mut self, lineages: &Lineages) {
        for host in self.hosts.values_mut().filter(|host| host.answers) {
            host.lineages.merge(lineages);
            if let Some(own) = host.lineage.as_mut().filter(|own| own.proven(&host.lineages)) {
                own.trust = Trust::Verified;
                own.before = None;
            }
        }
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
        self.lose_half_copy(host);
    }

    /// A server that goes down while it is copied comes up with system schemas only.
    fn lose_half_copy(&mut self, host: &HostName) {
        let host = self.hosts.get_mut(host).unwrap();
        if let Some(server) = host.server.as_mut().filter(|_| host.half_copied) {
            (server.gtid_executed, server.gtid_purged, server.metadata) = Default::default();
            server.gtid_received = String::new();
            host.rows.clear();
        }
    }

    /// The power of this host is cut.
    pub fn power_off(&mut self, host: &str) {
        self.restart(&name(host));
        self.host(host).answers = false;
    }

    /// And is there again: mysqld starts with its host, out of the group.
    pub fn power_on(&mut self, host: &str) {
        let host = self.host(host);
        host.answers = true;
        host.stuck = false;
    }

    /// No member of the group has binary logs of what it has executed so far.
    pub fn purge(&mut self) {
        for member in self.group.iter().flat_map(|group| &group.members) {
            let server = self
                .hosts
                .get_mut(member)
                .and_then(|host| host.server.as_mut())
                .unwrap();
            server.gtid_purged = server.gtid_executed.clone();
        }
    }

    /// Somebody writes on one server, past its group.
    pub fn write_alone(&mut self, host: &str) {
        let server = self.server(host);
        let own: GtidSet = format!("{}:1", server.server_uuid).parse().unwrap();
        let executed: GtidSet = server.gtid_executed.parse().unwrap();
        server.gtid_executed = executed.union(&own).to_string();
    }

    /// Something is written on the primary.
    pub fn write(&mut self) {
        let Some(group) = self.group.clone() else { return };
        let server = self
            .hosts
            .get_mut(&group.primary)
            .and_then(|host| host.server.as_mut())
            .unwrap();
        let executed: GtidSet = server.gtid_executed.parse().unwrap();
        let next = executed.of(group.name).count() + 1;
        self.writes += 1;
        let one: GtidSet = format!("{}:{next}", group.name).parse().unwrap();
        let executed = executed.union(&one).to_string();
        let (metadata, accounts) = (server.metadata.clone(), self.hosts[&group.primary].accounts.clone());
        for member in &group.members {
            let host = self.hosts.get_mut(member).unwrap();
            host.accounts.extend(accounts.iter().cloned());
            host.rows.insert(next, self.writes);
            let server = host.server.as_mut().unwrap();
            server.gtid_executed = executed.clone();
            server.metadata = metadata.clone();
        }
    }
}

pub fn instance_row(host: &str, server_uuid: Uuid, server_id: ServerId) -> MetadataInstance {
    MetadataInstance {
        address: format!("{host}:3306"),
        server_uuid,
        server_id: Some(server_id),
    }
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
        force_members: String::new(),
        group_name: String::new(),
        group: None,
        tables_without_key: Some(Vec::new()),
        tables_not_innodb: Some(Vec::new()),
        user_schemas: Some(Vec::new()),
        foreign_channels: Vec::new(),
        lacking_rights: None,
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
