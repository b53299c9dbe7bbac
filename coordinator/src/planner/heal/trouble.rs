//! One thing that is wrong, and the care that it gets.

use clusterctl_proto::ids::HostName;

use crate::model::{Cluster, HandsOff, OperationKind, UnixMs};

/// What is in trouble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    /// The group as a whole.
    Cluster,
    /// A member or a router.
    Host(HostName),
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Trouble {
    /// Whose.
    pub subject: Subject,
    /// Stable, `member_out`.
    pub code: &'static str,
    /// One sentence, without its end: `node3 is not in the group`.
    pub wrong: String,
    /// What was seen, and by whose agent.
    pub evidence: Vec<Evidence>,
    /// What is done about it.
    pub care: Care,
    /// It is told only when it lasts: agents that are away are back seconds after a coordinator.
    pub patient: bool,
}

/// Something that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Evidence {
    /// `mysqld runs, out of any group`.
    pub text: String,
    /// Whose agent tells it: how surely and when follows from its answers.
    pub host: HostName,
}

/// What is done about a trouble.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Care {
    /// This operation mends it.
    Act(OperationKind),
    /// Nothing is done, for a reason.
    Not(Not),
}

/// What a trouble hangs on for which nothing is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It passes by itself, or something outside has to happen.
    Waiting,
    /// A rule forbids it until a person does something.
    Blocked,
    /// Somebody wants it so.
    LeftAlone,
}

impl Standing {
    /// As interfaces name it: `left_alone`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::LeftAlone => "left_alone",
        }
    }
}

/// Why nothing is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Not {
    /// What it hangs on.
    pub standing: Standing,
    /// One sentence.
    pub why: String,
    /// What would change it; empty: it passes by itself.
    pub unlock: String,
    /// The exact command for that; empty: none.
    pub command: String,
}

impl Care {
    /// It passes by itself, or waits for something outside.
    pub fn wait(why: impl Into<String>) -> Self {
        Self::not(Standing::Waiting, why, "", "")
    }

    /// A rule forbids it until somebody does something.
    pub fn blocked(why: impl Into<String>, unlock: impl Into<String>, command: impl Into<String>) -> Self {
        Self::not(Standing::Blocked, why, unlock, command)
    }

    /// Somebody wants it so, or it is not ours to touch.
    pub fn left_alone(why: impl Into<String>, unlock: impl Into<String>, command: impl Into<String>) -> Self {
        Self::not(Standing::LeftAlone, why, unlock, command)
    }

    /// Nothing is done, for this reason.
    pub fn not(
        standing: Standing,
        why: impl Into<String>,
        unlock: impl Into<String>,
        command: impl Into<String>,
    ) -> Self {
        Self::Not(Not {
            standing,
            why: why.into(),
            unlock: unlock.into(),
            command: command.into(),
        })
    }
}

impl Trouble {
    /// The same where `remove` would be refused: no advice names it, the trouble of the cluster comes first.
    pub fn not_by_removing(mut self, cluster: &Cluster) -> Self {
        if let Care::Not(not) = &mut self.care
            && not.command.split(' ').nth(1) == Some("remove")
        {
            not.unlock =
                "see what is wrong with the cluster first: while that lasts, nobody can be taken out".to_owned();
            not.command = format!("clusterctl why -c {}", cluster.name);
        }
        self
    }

    /// Whether it is this host's.
    pub fn is_of(&self, host: &HostName) -> bool {
        matches!(&self.subject, Subject::Host(subject) if subject == host)
    }

    /// About the group as a whole.
    pub fn of_cluster(code: &'static str, wrong: impl Into<String>, care: Care) -> Self {
        Self {
            subject: Subject::Cluster,
            code,
            wrong: wrong.into(),
            evidence: Vec::new(),
            care,
            patient: false,
        }
    }

    /// About a host.
    pub fn of(host: &HostName, code: &'static str, wrong: impl Into<String>, care: Care) -> Self {
        Self {
            subject: Subject::Host(host.clone()),
            code,
            wrong: wrong.into(),
            evidence: Vec::new(),
            care,
            patient: false,
        }
    }

    /// Told only when it lasts.
    pub fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// Adds something seen by this host's agent.
    pub fn seen(mut self, host: &HostName, text: impl Into<String>) -> Self {
        self.evidence.push(Evidence {
            text: text.into(),
            host: host.clone(),
        });
        self
    }

    /// Where an operator wants it left alone, nothing is done.
    pub fn respect(&mut self, cluster: &Cluster, now: UnixMs) {
        if !matches!(self.care, Care::Act(_)) {
            return;
        }
        let host = match &self.subject {
            Subject::Host(host) => Some(host),
            Subject::Cluster => None,
        };
        let paused = cluster.paused_now(now);
        let said = match host {
            Some(host) => cluster.hands_off(host, now),
            None => paused,
        };
        let Some(said) = said else { return };
        let (what, command) = match (host, paused) {
            (_, Some(_)) => (
                format!("{} is paused", cluster.name),
                format!("clusterctl resume {}", cluster.name),
            ),
            (Some(host), None) => (
                format!("{host} is in maintenance"),
                format!("clusterctl maintenance off {host}"),
            ),
            (None, None) => return,
        };
        let why = format!("{what}, {}", told(said));
        self.care = Care::left_alone(why, "end it when the work is done", command);
    }
}

/// `said by operator/alice: new disks`.
pub(crate) fn told(said: &HandsOff) -> String {
    if said.reason.is_empty() {
        format!("said by {}", said.by)
    } else {
        format!("said by {}: {}", said.by, said.reason)
    }
}
