//! `clusterctl-coordinator raise-epoch`: what an old copy of the coordinator's disk needs before it may lead again.
//!
//! Offline: it opens the log itself, so it fails while the coordinator runs. It writes one entry through raft, which the journal shows,
//! and changes nothing else. Called by `main`.

use std::path::PathBuf;
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};

use crate::config::Config;
use crate::init::account;
use crate::init::owner::Owner;
use crate::leader::proposer::Proposer;
use crate::machine::Change;
use crate::model::Model;
use crate::raft::{NodeId, Voter};

const LEADER_WAIT: Duration = Duration::from_secs(20);

/// What the command was given.
#[derive(Clone, Debug)]
pub struct Options {
    /// Data directory, if another than the configuration says.
    pub data_dir: Option<PathBuf>,
    /// Configuration directory.
    pub config_dir: PathBuf,
    /// The caller has read what it does.
    pub yes: bool,
}

/// Raises the recovery epoch by one and returns what was done, a line each. It fails with `raft_in_use` while a coordinator runs on
/// this data directory, and with `not_confirmed` without `yes`.
pub async fn run(options: &Options) -> Result<Vec<String>, Failure> {
    let config = Config::load(&options.config_dir)?;
    let data = options.data_dir.clone().unwrap_or_else(|| config.data_dir.clone());
    let owner = Owner::require(&data)?;
    let voter = Voter::start(&data, owner.group, owner.node).await?;
    let raised = raise(&voter, owner.node, options.yes).await;
    voter.stop().await;
    account::give_to_coordinator(&data)?;
    raised
}

async fn raise(voter: &Voter, id: NodeId, yes: bool) -> Result<Vec<String>, Failure> {
    let leader = voter.wait_for_leader(LEADER_WAIT).await?;
    if leader != id {
        return Err(Failure::refused(
            "not_alone",
            format!("coordinator {leader} leads: its log is the newest, the epoch needs no raise"),
        )
        .hint("start this coordinator again: systemctl start clusterctl-coordinator"));
    }
    voter.wait_until_current(LEADER_WAIT).await?;
    let node = voter.node();
    let (epoch, active) = node.state().read(|model| (model.epoch, unfinished(model)));
    if !yes {
        return Err(not_confirmed(epoch, &active));
    }
    Proposer::new(node.clone())
        .own(Change::RaiseEpoch { from: epoch })
        .await?;
    let raised = node.state().read(|model| model.epoch);
    let mut done = vec![format!("raised the recovery epoch from {epoch} to {raised}")];
    done.extend(active.iter().map(|operation| format!("cancelled {operation}")));
    done.push("start the coordinator: systemctl start clusterctl-coordinator".to_owned());
    Ok(done)
}

/// `operation 12 (join)`, a line each.
fn unfinished(model: &Model) -> Vec<String> {
    let line = |op: &crate::model::Operation| format!("operation {} ({} of {})", op.id, op.kind.name(), op.cluster);
    model.active_operations().map(line).collect()
}

fn not_confirmed(epoch: u64, active: &[String]) -> Failure {
    let mut failure = Failure::new(
        "not_confirmed",
        format!("the recovery epoch is {epoch}; nothing was changed, since --yes was not given"),
    )
    .fact("raise it only after an old copy of this coordinator's disk was put back and the newest one is lost")
    .fact("agents then obey this log again, and refuse every order of an earlier epoch, also of the lost one")
    .fact("what was decided after the copy was made stays unknown: hosts, members, accounts and tokens of that time");
    for operation in active {
        failure = failure.fact(format!("it also cancels {operation}"));
    }
    failure
        .hint("clusterctl-coordinator raise-epoch --yes")
        .exit(ExitClass::Usage)
}
