//! What must still be done after a forced recovery, whatever becomes of its operation: the group forgets every abandoned member.
//!
//! Called by `plans` whenever a step has ended. The duty begins with the bootstrap that may have run and ends when the member is
//! forgotten, counts again, or is let in by a plan that proved it.

use clusterctl_proto::ids::{HostName, PlanId, StepNumber};
use clusterctl_proto::step::Step;

use super::{Command, plans};
use crate::model::{Cluster, ForgetDuty, Member, Model, PlannedStep};

/// Feature level from which every member is noted that a server was made to forget before a bootstrap; below it, those that the plan abandons.
const DROPPED_LEVEL: u32 = 4;

/// A step of this plan has ended: duties begin or end by it.
pub(super) fn after_step(model: &mut Model, command: &Command, plan: PlanId, number: StepNumber) {
    let Some(plan) = model.plans.get(&plan) else { return };
    let Some(step) = plans::find(plan, number).filter(|step| plans::may_have_run(plan, step)) else {
        return;
    };
    let everybody = model.feature_level >= DROPPED_LEVEL;
    let Some(cluster) = model.clusters.get_mut(&plan.draft.cluster) else {
        return;
    };
    let well = plans::has_ended(step) && plans::failure_of(step).is_none();
    match &step.step {
        Step::BootstrapGroup { .. } => {
            // Whose server was given all accounts before the start counts again, if it had been abandoned; so does every member where
            // no server had to be given any.
            let given = |step: &&PlannedStep| matches!(step.step, Step::LocalMemberAccounts { .. });
            let counts = |host: &HostName| plan.draft.steps.iter().filter(given).any(|step| step.host == *host);
            let everybody = plan.draft.given_up.is_none() && !plan.draft.steps.iter().any(|step| given(&step));
            cluster.duties.retain(|host, _| !everybody && !counts(host));
            cluster.accounts_dropped.retain(|host| !(well && counts(host)));
            if let Some(abandoned) = &plan.draft.given_up {
                for host in abandoned
                    .members
                    .iter()
                    .filter(|host| cluster.members.contains_key(*host))
                {
                    let duty = ForgetDuty {
                        by: plan.draft.operation,
                        since: command.at,
                    };
                    cluster.duties.entry(host.clone()).or_insert(duty);
                }
            }
        }
        Step::ForgetInstance { address, .. } if well => {
            let host = of_address(cluster, address);
            if let Some(host) = host {
                cluster.duties.remove(&host);
            }
        }
        // Its account and row are made anew by the plan that lets it in.
        Step::JoinGroup { .. } => {
            cluster.duties.remove(&step.host);
        }
        // The agent drops the accounts of members that are not in the list: of those that the plan abandons, and, before a bootstrap, of those
        // that were abandoned earlier.
        Step::LocalMemberAccounts { accounts } => {
            let abandons = |host: &HostName| plan.draft.given_up.iter().any(|lost| lost.members.contains(host));
            let bootstraps = |step: &PlannedStep| matches!(step.step, Step::BootstrapGroup { .. });
            let everybody = everybody && plan.draft.steps.iter().any(bootstraps);
            let listed = |user: &str| accounts.iter().any(|account| account.user == user);
            let lacks = |(host, member): &(&HostName, &Member)| {
                (everybody || abandons(host)) && !listed(&member.account_user())
            };
            let dropped = cluster.members.iter().filter(lacks);
            let dropped: Vec<HostName> = dropped.map(|(host, _)| host.clone()).collect();
            cluster.accounts_dropped.extend(dropped);
        }
        Step::MemberAccounts { accounts } if well => {
            let members = &cluster.members;
            cluster.accounts_dropped.retain(|host| {
                let made = |user: &str| accounts.iter().any(|account| account.user == user);
                members.get(host).is_some_and(|member| !made(&member.account_user()))
            });
        }
        _ => {}
    }
}

fn of_address(cluster: &Cluster, address: &str) -> Option<HostName> {
    let (name, _) = address.rsplit_once(':').unwrap_or((address, ""));
    let known = cluster.duties.keys();
    known
        .into_iter()
        .find(|host| host.as_str().eq_ignore_ascii_case(name))
        .cloned()
}
