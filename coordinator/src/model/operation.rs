//! What an operator asked for, once: it survives from the moment it is stored.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, HostName, OperationId, PlanId};
use clusterctl_proto::step::Account;
use serde::{Deserialize, Serialize};

use super::UnixMs;

/// One operation. Its id is the log index of the entry that stored it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Made by the caller: the same request again is the same operation.
    pub request_id: String,
    /// The cluster it is about.
    pub cluster: ClusterName,
    /// What is wanted.
    pub kind: OperationKind,
    /// Who wants it, `operator/alice`.
    pub by: String,
    /// When it was stored.
    pub submitted_at: UnixMs,
    /// When it ended.
    pub ended_at: Option<UnixMs>,
    /// Where it stands.
    pub state: OperationState,
    /// The operator was told that tolerance falls, and agreed (rule 5).
    pub accept_lower_tolerance: bool,
    /// Plans adopted for it, in order.
    pub plans: Vec<PlanId>,
    /// Failed attempts so far that may be tried again: the back-off grows with it.
    pub attempts: u32,
    /// Not planned again before this moment.
    pub not_before: UnixMs,
    /// When its turn came: an older operation of the cluster ended, or a pause with all operations. 0: it waited for none, or of feature
    /// levels below 4.
    #[serde(default, skip_serializing_if = "is_unset")]
    pub turn_at: UnixMs,
    /// Bytes of it and its plans, measured once when it has ended; 0: not measured.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_unset(at: &UnixMs) -> bool {
    *at == 0
}

/// What precedes a coordinator's number where it wants something itself: `coordinator/1`.
pub const COORDINATOR: &str = "coordinator/";

impl Operation {
    /// As it is before it is stored: without an id, not planned yet.
    pub fn wanted(request_id: String, cluster: ClusterName, kind: OperationKind, by: &str, at: UnixMs) -> Self {
        Self {
            id: OperationId(0),
            request_id,
            cluster,
            kind,
            by: by.to_owned(),
            submitted_at: at,
            ended_at: None,
            state: OperationState::Waiting {
                why: "not planned yet".to_owned(),
            },
            accept_lower_tolerance: false,
            plans: Vec::new(),
            attempts: 0,
            not_before: 0,
            turn_at: 0,
            bytes: 0,
        }
    }

    /// No operator asked for it: a coordinator did, to heal.
    pub fn by_itself(&self) -> bool {
        self.by.starts_with(COORDINATOR)
    }
}

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OperationKind {
    /// A new cluster.
    Create {
        /// First member.
        primary: HostName,
        /// Further members, in the order of joining.
        with: Vec<HostName>,
        /// Routers.
        routers: Vec<HostName>,
        /// Pre-flight checks left out by name.
        ignore_checks: Vec<String>,
        /// Buffer pool wanted.
        buffer_pool_bytes: Option<u64>,
    },
    /// A further member.
    Join {
        /// The host.
        host: HostName,
        /// As the operator wants it.
        recovery: RecoveryWish,
        /// Pre-flight checks left out by name.
        ignore_checks: Vec<String>,
    },
    /// A member leaves for good.
    Remove {
        /// The host.
        host: HostName,
        /// It answers no more and is gone for good.
        force: bool,
    },
    /// A router is added.
    AddRouter {
        /// The host.
        host: HostName,
        /// Pre-flight checks left out by name.
        ignore_checks: Vec<String>,
    },
    /// A router is removed.
    RemoveRouter {
        /// The host.
        host: HostName,
        /// It answers no more and is gone for good.
        force: bool,
    },
    /// An account is made.
    CreateAccount {
        /// The account.
        account: Account,
    },
    /// An account is dropped.
    DropAccount {
        /// User part.
        user: String,
        /// Host part.
        from: String,
    },
    /// The primary moves.
    Switchover {
        /// To this host; none: the best secondary.
        to: Option<HostName>,
    },
    /// The walkthrough is proven.
    Verify,
    /// A member that fell out of the group, or whose mysqld failed, comes back. Asked for by the coordinator itself.
    Rejoin {
        /// The member.
        host: HostName,
    },
    /// After an outage of all members the group is bootstrapped again. Asked for by the coordinator itself, or by an operator.
    Recover {
        /// Members that are given up, as a break-glass.
        without: Vec<HostName>,
        /// The code of the refusal that showed what would be risked.
        accept_loss: Option<String>,
        /// End of the approval.
        expires_at: Option<UnixMs>,
    },
    /// A router whose process failed runs again. Asked for by the coordinator itself.
    StartRouter {
        /// Its host.
        host: HostName,
    },
    /// The metadata row and the recovery account of an abandoned member are removed. Asked for by the coordinator itself.
    Forget {
        /// The member.
        host: HostName,
    },
}

impl OperationKind {
    /// Stable name, `create`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Join { .. } => "join",
            Self::Remove { .. } => "remove",
            Self::AddRouter { .. } => "add_router",
            Self::RemoveRouter { .. } => "remove_router",
            Self::CreateAccount { .. } => "create_account",
            Self::DropAccount { .. } => "drop_account",
            Self::Switchover { .. } => "switchover",
            Self::Verify => "verify",
            Self::Rejoin { .. } => "rejoin",
            Self::Recover { .. } => "recover",
            Self::StartRouter { .. } => "start_router",
            Self::Forget { .. } => "forget",
        }
    }

    /// It mends what is there and wants nothing new: it stands back where an operator wants something.
    pub fn heals(&self) -> bool {
        matches!(
            self,
            Self::Rejoin { .. } | Self::Recover { .. } | Self::StartRouter { .. } | Self::Forget { .. }
        )
    }

    /// Hosts that it names.
    pub fn hosts(&self) -> Vec<&HostName> {
        match self {
            Self::Create {
                primary, with, routers, ..
            } => std::iter::once(primary).chain(with).chain(routers).collect(),
            Self::Join { host, .. }
            | Self::Remove { host, .. }
            | Self::AddRouter { host, .. }
            | Self::RemoveRouter { host, .. }
            | Self::Rejoin { host }
            | Self::StartRouter { host }
            | Self::Forget { host } => vec![host],
            Self::Recover { without, .. } => without.iter().collect(),
            Self::Switchover { to } => to.iter().collect(),
            Self::CreateAccount { .. } | Self::DropAccount { .. } | Self::Verify => Vec::new(),
        }
    }
}

/// How a joiner is to get its data, if the operator has a wish.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryWish {
    /// By the rules.
    #[default]
    Auto,
    /// From binary logs, or not at all.
    Incremental,
    /// By a copy of the donor.
    Clone,
}

/// Where an operation stands.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OperationState {
    /// Stored; the planner has not made a plan of it yet, for this reason.
    Waiting {
        /// `operation 12 is running`.
        why: String,
    },
    /// A plan of it is being carried out.
    Running,
    /// What was wanted is so.
    Done {
        /// Result line.
        message: String,
    },
    /// It ended without.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// An operator cancelled it.
    Cancelled {
        /// Who.
        by: String,
    },
}

impl OperationState {
    /// Nothing more happens to it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. } | Self::Cancelled { .. })
    }
}
