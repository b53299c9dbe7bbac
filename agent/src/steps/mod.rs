//! The steps of a plan, one file each: `ensure` looks, acts if it must, looks again.
//!
//! Called by `session/` once the ledger has written the plan's generation. Each `ensure` is idempotent, may be killed anywhere and
//! started again, carries out exactly its fields and chooses nothing.

pub mod context;
mod drop_secret;
mod hosts_file;
mod make_secret;
mod packages;
mod promise;
mod server_certificate;
#[cfg(test)]
pub mod testing;

use std::time::Instant;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use clusterctl_proto::test_point;

pub use context::{Context, Found, ProgressLine, ProgressSink, Signed, Signer};

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
    let found = cx
        .found
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
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
        Step::Packages { required, optional } => packages::ensure(required, optional, cx).await,
        Step::ServerCertificate { host, addresses } => server_certificate::ensure(host, addresses, cx).await,
        Step::Promise {} => promise::ensure(cx).await,
        Step::MakeSecret { name } => make_secret::ensure(name, cx).await,
        Step::DropSecret { name } => drop_secret::ensure(name, cx).await,
        // arms are added as their files come
        other => Err(Failure::new(
            "step_unknown",
            format!("this agent knows no step {}", other.name()),
        )
        .hint("upgrade clusterctl-agent on this host to the coordinator's version")),
    }
}
