//! How long steps may take: to find their host, to give a sign of life, to end when they are cancelled.
//!
//! Used by `dispatch`. Durations only: nothing here waits.

use std::time::Duration;

use clusterctl_proto::step::Step;

use crate::model::{Plan, PlanState, PlannedStep};

/// A step waits so long for a host that is away, or for evidence that is missing.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// A copy takes hours and holds nobody up: it is not given up while its host restarts on the copy and recovers the redo log.
const OF_A_COPY: Duration = Duration::from_secs(20 * 60);
/// One whose failure ends nothing, that only cleans up, or whose plan has stopped, waits less.
pub(super) const LITTLE_PATIENCE: Duration = Duration::from_secs(30);
/// A cancelled step has so long to end: a START of Group Replication cannot be interrupted and takes a minute to fail. Then its host
/// counts as busy, and the cluster goes on without it.
pub(super) const CANCELLED: Duration = Duration::from_secs(2 * 60);

const MINUTE: u64 = 60;

/// How long a step of this plan waits for its host.
pub(super) fn patience(heals: bool, plan: &Plan, step: &PlannedStep) -> Duration {
    if matches!(step.step, Step::CloneData { .. }) && plan.state == PlanState::Running {
        return OF_A_COPY;
    }
    // What heals must not hold up what else is to be healed; but whether a bootstrap ran is waited for.
    if heals && !matches!(step.step, Step::BootstrapGroup { .. }) {
        return LITTLE_PATIENCE;
    }
    if step.best_effort || step.finally || plan.state != PlanState::Running {
        LITTLE_PATIENCE
    } else {
        PATIENCE
    }
}

/// A step that was sent and told nothing for so long is cancelled. Every line of progress begins it anew. Longer than the agent's own
/// time limits, which end a step that hangs with a reason.
pub(super) fn deadline(step: &Step) -> Duration {
    let minutes = match step {
        // Package managers and large downloads; crash recovery; a transaction that is applied for half an hour.
        Step::Packages { .. } | Step::Server { .. } | Step::StartServer {} | Step::BootstrapGroup { .. } => 45,
        Step::JoinGroup { .. } | Step::CloneData { .. } => 60,
        Step::LeaveGroup { .. } | Step::SetPrimary { .. } | Step::Promise {} => 20,
        Step::HostsFile { .. }
        | Step::MachineId { .. }
        | Step::ServerCertificate { .. }
        | Step::LocalMemberAccounts { .. }
        | Step::MemberAccounts { .. }
        | Step::Metadata { .. }
        | Step::MetadataInstance { .. }
        | Step::Persist { .. }
        | Step::ForgetInstance { .. }
        | Step::MakeSecret { .. }
        | Step::DropSecret { .. }
        | Step::Account { .. }
        | Step::DropAccount { .. }
        | Step::RouterHost { .. }
        | Step::RouterBootstrap { .. }
        | Step::RouterRunning { .. }
        | Step::RouterGone { .. }
        | Step::ForgetRouter { .. }
        | Step::Prove { .. } => 15,
    };
    Duration::from_secs(minutes * MINUTE)
}
