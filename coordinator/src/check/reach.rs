//! What a step can do to a group and its data, and whether a pause may stop a plan behind it. Each is one exhaustive match: a new kind
//! of step does not compile before somebody has decided.

use std::collections::BTreeSet;

use clusterctl_proto::ids::StepNumber;
use clusterctl_proto::step::{Recovery, Step};

use crate::machine::plans;
use crate::model::Plan;

/// What a step can do to a group and its data: what has to be looked at again before it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Nothing that a later look could not put right: it touches no member's data and brings nobody in or out, and what it makes or drops
    /// is made again by the next step of its kind. `DropAccount` drops what an operator named or a plan made for itself, never a member's
    /// account (the agent refuses that).
    Harmless,
    /// It may restart a mysqld.
    Restarts,
    /// It brings a member into the group, with its own data.
    Joins,
    /// It replaces the data of a host.
    Destroys,
    /// It makes a member the primary.
    Leads,
    /// It takes a member out of the group.
    Leaves,
    /// It makes a new group.
    Bootstraps,
    /// It takes a member out of the metadata.
    Forgets,
}

/// Of this step.
pub fn reach(step: &Step) -> Reach {
    match step {
        Step::Server { .. } => Reach::Restarts,
        Step::JoinGroup {
            recovery: Recovery::Incremental,
            ..
        } => Reach::Joins,
        Step::JoinGroup {
            recovery: Recovery::Clone { .. },
            ..
        }
        | Step::CloneData { .. } => Reach::Destroys,
        Step::SetPrimary { .. } => Reach::Leads,
        Step::LeaveGroup { .. } => Reach::Leaves,
        Step::BootstrapGroup { .. } => Reach::Bootstraps,
        Step::ForgetInstance { .. } => Reach::Forgets,
        Step::HostsFile { .. }
        | Step::MachineId { .. }
        | Step::Packages { .. }
        | Step::ServerCertificate { .. }
        | Step::Promise {}
        | Step::LocalMemberAccounts { .. }
        | Step::MemberAccounts { .. }
        | Step::Metadata { .. }
        | Step::MetadataInstance { .. }
        | Step::Persist { .. }
        | Step::StartServer {}
        | Step::MakeSecret { .. }
        | Step::DropSecret { .. }
        | Step::Account { .. }
        | Step::DropAccount { .. }
        | Step::RouterHost { .. }
        | Step::RouterBootstrap { .. }
        | Step::RouterRunning { .. }
        | Step::RouterGone { .. }
        | Step::ForgetRouter { .. }
        | Step::Prove { .. } => Reach::Harmless,
    }
}

/// Where a paused plan may stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Halt {
    /// The plan may stop after it.
    MayStop,
    /// It begins what must reach its safe point first: the steps that finish it are sent although the cluster is paused.
    Begins,
    /// It finishes what another step began.
    Finishes,
}

/// Of this step.
pub fn halt(step: &Step) -> Halt {
    match step {
        // A member without its row is known to nobody who reads the metadata; a row without its member misleads Router.
        Step::BootstrapGroup { .. } | Step::JoinGroup { .. } | Step::LeaveGroup { .. } => Halt::Begins,
        // A router that is configured and does not run, or is gone and still registered.
        Step::RouterBootstrap { .. } | Step::RouterGone { .. } => Halt::Begins,
        Step::Metadata { .. }
        | Step::MetadataInstance { .. }
        | Step::ForgetInstance { .. }
        | Step::Persist { .. }
        | Step::RouterRunning { .. }
        | Step::ForgetRouter { .. } => Halt::Finishes,
        Step::HostsFile { .. }
        | Step::MachineId { .. }
        | Step::Packages { .. }
        | Step::ServerCertificate { .. }
        | Step::Server { .. }
        | Step::Promise {}
        // The entry is a plan of its own.
        | Step::CloneData { .. }
        | Step::LocalMemberAccounts { .. }
        | Step::MemberAccounts { .. }
        | Step::SetPrimary { .. }
        | Step::StartServer {}
        | Step::MakeSecret { .. }
        | Step::DropSecret { .. }
        | Step::Account { .. }
        | Step::DropAccount { .. }
        | Step::RouterHost { .. }
        | Step::Prove { .. } => Halt::MayStop,
    }
}

/// Steps of this plan that a pause does not hold: clean-up, and what is needed to reach the safe point of what has begun.
pub fn needed(plan: &Plan) -> BTreeSet<StepNumber> {
    let before = |number: StepNumber| before(plan, number);
    let began = |number: &StepNumber| {
        let step = plans::find(plan, *number).filter(|step| halt(&step.step) == Halt::Begins);
        step.map(|step| plans::has_ended(step) && plans::failure_of(step).is_none())
    };
    let mut needed = BTreeSet::new();
    for step in &plan.draft.steps {
        if step.finally {
            needed.insert(step.number);
            continue;
        }
        if halt(&step.step) != Halt::Finishes {
            continue;
        }
        let earlier = before(step.number);
        let begun: Vec<bool> = earlier.iter().filter_map(began).collect();
        if !begun.is_empty() && begun.iter().all(|begun| *begun) {
            needed.extend(earlier);
            needed.insert(step.number);
        }
    }
    needed
}

/// Every step that a step waits for, through all steps between.
pub(super) fn before(plan: &Plan, number: StepNumber) -> BTreeSet<StepNumber> {
    let mut all = BTreeSet::new();
    let mut open = vec![number];
    while let Some(next) = open.pop() {
        let direct = plans::find(plan, next).map_or(&[][..], |step| &step.after);
        open.extend(direct.iter().filter(|number| all.insert(**number)));
    }
    all
}
