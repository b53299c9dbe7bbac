//! The steps of a plan, one file each: `ensure` looks, acts if it must, looks again.
//!
//! Called by `session/` once the ledger has written the plan's generation. Each `ensure` is idempotent, may be killed anywhere and
//! started again, carries out exactly its fields and chooses nothing.

mod account;
mod bootstrap_group;
#[cfg(test)]
mod by_hand;
mod clone_data;
pub mod context;
mod drop_account;
mod drop_secret;
mod entering;
mod forget_instance;
mod forget_router;
pub mod history;
mod hosts_file;
pub mod join_group;
mod leave_group;
mod local_member_accounts;
mod machine_id;
mod make_secret;
mod member_accounts;
mod metadata;
mod metadata_instance;
mod packages;
mod persist;
mod promise;
mod promised;
mod prove;
mod router_bootstrap;
mod router_client;
pub mod router_files;
mod router_gone;
mod router_half;
pub mod router_host;
mod router_running;
mod server;
mod server_certificate;
mod set_primary;
pub mod start_server;
#[cfg(test)]
pub mod testing;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use clusterctl_proto::test_point;
use tokio::time::Instant;

pub use context::{
    CONFIRM, Confirmation, Context, Found, Leader, NoLeader, ProgressLine, ProgressSink, Signer, not_confirmed,
};

/// How an `ensure` went well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// It was so already.
    Unchanged,
    /// One line says what changed.
    Changed(String),
}

impl Done {
    /// Changed, in these words.
    pub fn changed(what: impl Into<String>) -> Self {
        Self::Changed(what.into())
    }

    /// Unchanged if nothing stands in the list, else changed, its parts joined by `; `.
    pub fn from_changes(changes: Vec<String>) -> Self {
        if changes.is_empty() {
            Self::Unchanged
        } else {
            Self::Changed(changes.join("; "))
        }
    }
}

/// Runs one step to its end. Test points `agent.<step>.before` and `agent.<step>.after` stand around the acting.
pub async fn run(step: &Step, cx: &Context) -> StepOutcome {
    let name = step.name();
    let started = Instant::now();
    test_point::reach(&format!("agent.{name}.before")).await;
    let result = ensure(step, cx).await;
    test_point::reach(&format!("agent.{name}.after")).await;
    let found = cx.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    StepOutcome {
        result: match result {
            Ok(Done::Unchanged) => StepResult::Unchanged,
            Ok(Done::Changed(what)) => StepResult::Changed { what },
            Err(failure) => StepResult::Failed { failure },
        },
        data: found.data.clone(),
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        spent_ms: found.spent_ms.clone(),
    }
}

async fn ensure(step: &Step, cx: &Context) -> Result<Done, Failure> {
    match step {
        Step::HostsFile { entries } => hosts_file::ensure(entries, cx).await,
        Step::MachineId { not } => machine_id::ensure(not, cx).await,
        Step::Packages { required, optional } => packages::ensure(required, optional, cx).await,
        Step::ServerCertificate { host, addresses } => server_certificate::ensure(host, addresses, cx).await,
        Step::Server { config } => server::ensure(config, cx).await,
        Step::Promise {} => promise::ensure(cx).await,
        Step::LocalMemberAccounts { accounts } => local_member_accounts::ensure(accounts, cx).await,
        Step::MemberAccounts { accounts } => member_accounts::ensure(accounts, cx).await,
        Step::BootstrapGroup {
            group,
            holds,
            peers,
            lineage,
        } => bootstrap_group::ensure(group, (holds, lineage.as_ref()), peers, cx).await,
        Step::Metadata { cluster, instance } => metadata::ensure(cluster, instance, cx).await,
        Step::JoinGroup {
            group,
            recovery,
            account,
            group_gtid,
            history,
        } => {
            let order = join_group::Order {
                group,
                recovery,
                account,
                group_gtid,
                history: history.as_ref(),
            };
            join_group::ensure(&order, cx).await
        }
        Step::CloneData {
            donor,
            port,
            group_name,
            account,
            group_gtid,
            history,
        } => {
            let copy = join_group::Copy {
                donor: donor.as_str(),
                port: *port,
                account,
                group_gtid,
                group_name: *group_name,
                history: history.as_ref(),
            };
            clone_data::ensure(&copy, cx).await
        }
        Step::MetadataInstance { cluster_id, instance } => metadata_instance::ensure(*cluster_id, instance, cx).await,
        Step::Persist { variables } => persist::ensure(variables, cx).await,
        Step::SetPrimary { timeout_seconds } => set_primary::ensure(*timeout_seconds, cx).await,
        Step::StartServer {} => start_server::ensure(cx).await,
        Step::ForgetInstance {
            address,
            server_uuid,
            account,
        } => forget_instance::ensure(address, *server_uuid, account, cx).await,
        Step::LeaveGroup { group_name } => leave_group::ensure(*group_name, cx).await,
        Step::MakeSecret { name } => make_secret::ensure(name, cx).await,
        Step::DropSecret { name } => drop_secret::ensure(name, cx).await,
        Step::Account { account, secret } => account::ensure(account, secret, cx).await,
        Step::DropAccount { user, from } => drop_account::ensure(user, from, cx).await,
        Step::RouterHost { cluster } => router_host::ensure(cluster, cx).await,
        Step::RouterBootstrap {
            cluster,
            group_name,
            primary,
            user,
            secret,
            ports,
        } => {
            let order = router_bootstrap::Order {
                cluster,
                group_name: *group_name,
                primary,
                user,
                secret,
                ports,
            };
            router_bootstrap::ensure(&order, cx).await
        }
        Step::RouterRunning {
            cluster,
            ports,
            proof,
            members,
        } => router_running::ensure(cluster, ports, proof.as_ref(), members, cx).await,
        Step::RouterGone { cluster } => router_gone::ensure(cluster, cx).await,
        Step::ForgetRouter { address, keep_account } => {
            forget_router::ensure(address, keep_account.as_deref(), cx).await
        }
        Step::Prove { proof } => prove::ensure(proof, cx).await,
    }
}
