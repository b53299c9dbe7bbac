//! What a planning function works with: the world with the operation's intent in it, and how it asks for evidence.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{HostName, HostRole};
use clusterctl_proto::observe::HostFacts;

use super::heal::TWO_MACHINES;
use super::world::{Doubt, Planning, Seen, Stop, World};
use crate::machine::{self, Answer, Change, hosts, operations};
use crate::model::{Cluster, Host, MemberPhase, Model, Operation, RouterPhase};

/// How long after it was stored an operation waits for what may pass by itself.
const WAIT_MS: i64 = 10 * 60 * 1000;

/// The world as one operation wants it.
pub(crate) struct Context<'a> {
    /// With the operation's intent in the model.
    pub world: World<'a>,
    /// The operation.
    pub op: &'a Operation,
}

impl<'a> Context<'a> {
    /// It stands in the log: what may pass by itself is waited for, not refused.
    pub fn stored(&self) -> bool {
        self.op.id.0 != 0
    }

    /// The coordinator itself asked for it.
    pub fn by_itself(&self) -> bool {
        self.op.by_itself()
    }

    /// The operation's cluster.
    pub fn cluster(&self) -> Planning<&'a Cluster> {
        let cluster = self.world.model.clusters.get(&self.op.cluster);
        cluster.ok_or_else(|| no_such_cluster(self.op).into())
    }

    /// The enrolled host.
    pub fn host(&self, name: &HostName) -> Planning<&'a Host> {
        let host = self.world.model.hosts.get(name);
        host.ok_or_else(|| unknown_host(&self.world, name).into())
    }

    /// The enrolled host, if it may be used for this.
    pub fn host_with_role(&self, name: &HostName, role: HostRole) -> Planning<&'a Host> {
        let host = self.host(name)?;
        if host.roles.contains(&role) {
            return Ok(host);
        }
        let has: Vec<&str> = host.roles.iter().map(|role| role.as_str()).collect();
        Err(
            Failure::refused("wrong_role", format!("{name} does not have the role {role}"))
                .fact(format!("roles of {name}: {}", has.join(", ")))
                .hint(self.how_to_get(name, &has, role))
                .into(),
        )
    }

    /// Roles come with the token: a host that is in no cluster can be enrolled anew.
    fn how_to_get(&self, name: &HostName, has: &[&str], role: HostRole) -> String {
        // What this very operation wants of the host is no reason yet.
        let serves = |cluster: &&Cluster| {
            let member = cluster
                .members
                .get(name)
                .is_some_and(|m| m.phase != MemberPhase::Joining);
            member
                || cluster
                    .routers
                    .get(name)
                    .is_some_and(|r| r.phase != RouterPhase::Adding)
        };
        match self.world.model.clusters.values().find(serves) {
            Some(cluster) => format!("{name} serves cluster {}: use another host for this", cluster.name),
            None => format!(
                "enrol it anew: clusterctl host remove {name}, clusterctl token create --role {}, then on {name}: \
                 clusterctl-agent enroll --force --token-file -",
                has.iter().copied().chain([role.as_str()]).collect::<Vec<_>>().join(",")
            ),
        }
    }

    /// What a host's agent certainly says now.
    pub fn certain(&self, name: &HostName) -> Planning<&'a Seen> {
        match self.world.sight.get(name) {
            Some(seen) if seen.is_certain() => Ok(seen),
            seen => Err(self.silent(name, seen)),
        }
    }

    /// What a host's agent certainly says now, with the facts of the machine.
    pub fn with_facts(&self, name: &HostName) -> Planning<(&'a Seen, &'a HostFacts)> {
        let seen = self.certain(name)?;
        match &seen.host {
            Some(facts) => Ok((seen, facts)),
            None => Err(self.not_yet(
                Failure::new("no_facts", format!("{name} has not told about itself yet"))
                    .hint("run the command again in a few seconds")
                    .exit(ExitClass::Unreachable)
                    .transient(),
            )),
        }
    }

    /// A stored operation waits a while for what may pass by itself; one that is not stored is refused.
    pub fn not_yet(&self, failure: Failure) -> Stop {
        let began = operations::began_at(self.world.model, self.op);
        let waited = self.world.now.saturating_sub(began);
        if !self.stored() {
            return failure.into();
        }
        if waited < WAIT_MS {
            return Stop::Wait(failure.message);
        }
        // Others stand in line behind it.
        Failure {
            retry: false,
            ..failure
        }
        .fact(format!(
            "waited for {}",
            seconds(u64::try_from(waited).unwrap_or_default())
        ))
        .into()
    }

    fn silent(&self, name: &HostName, seen: Option<&Seen>) -> Stop {
        let fact = match seen {
            None => format!("{name} has not answered since this coordinator leads"),
            Some(seen) => format!("{name}: {}", seen.why_uncertain().unwrap_or_default()),
        };
        let expired = |host: &Host| host.certificate_expires <= self.world.now;
        let twins = matches!(seen.map(|seen| &seen.doubt), Some(Some(Doubt::Twins(_))));
        let hint = if twins {
            format!("what to do about it: clusterctl why {name}")
        } else if self.world.model.hosts.get(name).is_some_and(expired) {
            format!("its certificate has expired: {}", hosts::enrol_again(name))
        } else {
            format!("is the host up? on {name}: systemctl status clusterctl-agent")
        };
        let (code, message) = if twins {
            (
                TWO_MACHINES,
                format!("two machines speak as {name}: nothing is ordered to it"),
            )
        } else {
            ("host_silent", format!("the agent of {name} does not answer"))
        };
        let failure = Failure::new(code, message)
            .fact(fact)
            .hint(hint)
            .exit(ExitClass::Unreachable)
            .transient();
        self.not_yet(failure)
    }
}

/// `12 s`, `3 min`.
pub(crate) fn seconds(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// The model as it would be if this operation were stored, by the machine's own hand.
pub(crate) fn imagine(world: &World<'_>, operation: &Operation) -> Result<Model, Failure> {
    let mut imagined = world.model.clone();
    let change = Change::Submit {
        operation: Operation {
            // Known ids answer with the operation of old.
            request_id: "imagined by the planner".to_owned(),
            ..operation.clone()
        },
        cluster_id: uuid::Uuid::nil(),
        group_name: uuid::Uuid::nil(),
        server_ids: (1..=64).map(clusterctl_proto::ids::ServerId).collect(),
    };
    let command = machine::Command {
        at: world.now,
        by: operation.by.clone(),
        change,
    };
    match machine::apply(&mut imagined, 0, &command) {
        Answer::Rejected(failure) => Err(failure),
        _ => Ok(imagined),
    }
}

/// The refusal for a cluster that is not there.
pub(crate) fn no_such_cluster(operation: &Operation) -> Failure {
    Failure::refused("no_such_cluster", format!("there is no cluster {}", operation.cluster)).hint(format!(
        "make it first: clusterctl create {} --primary HOST",
        operation.cluster
    ))
}

/// The refusal for a host that never enrolled.
pub(crate) fn unknown_host(world: &World<'_>, name: &HostName) -> Failure {
    let known: Vec<&str> = world.model.hosts.keys().map(HostName::as_str).collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    Failure::refused("unknown_host", format!("{name} is not enrolled"))
        .fact(format!("enrolled hosts: {known}"))
        .hint(format!(
            "clusterctl token create --role db, and on {name}: clusterctl-agent enroll --token-file -"
        ))
}
