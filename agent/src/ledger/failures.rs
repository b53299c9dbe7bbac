//! Why the ledger refuses, in words. Used by `ledger.rs` only.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, Generation};

/// The refusal while the ledger is lost.
pub fn lost() -> Failure {
    Failure::refused(
        "ledger_lost",
        "the agent of this host has lost its ledger and cannot tell what it has promised",
    )
    .hint("nothing is to be done: the leading coordinator tells its committed index within seconds, and plans again")
    .transient()
}

/// The refusal while it cannot be read.
pub fn unreadable(why: &str) -> Failure {
    Failure::refused(
        "ledger_unreadable",
        "the agent of this host cannot read its ledger, which may be whole",
    )
    .fact(why.to_owned())
    .hint("make /var/lib/clusterctl/ledger.json readable again: journalctl -u clusterctl-agent, dmesg; it is read again every second. Where a newer version of the agent wrote it: install that version again")
    .transient()
}

/// An order that is older than what was obeyed.
pub fn stale(cluster: &ClusterName, generation: Generation, newest: Generation) -> Failure {
    Failure::new(
        "stale_generation",
        format!("the order is older than what this host has obeyed for {cluster}"),
    )
    .fact(format!("order {generation}, newest obeyed {newest}"))
    .exit(ExitClass::Conflict)
}

/// A START that is barred by a promise.
pub fn promised(cluster: &ClusterName, generation: Generation, promise: Generation) -> Failure {
    Failure::refused(
        "promised",
        format!("this host has promised not to enter a group of {cluster} below generation {promise}"),
    )
    .fact(format!("it is asked for by generation {generation}"))
}

/// The agent may not bring a server back that no step brought in.
pub fn never_entered(cluster: &ClusterName) -> Failure {
    Failure::refused(
        "never_entered",
        format!("the ledger knows no step by which this server entered a group of {cluster}"),
    )
}

/// There is no room for one more cancelled step.
pub fn full() -> Failure {
    Failure::new("ledger_full", "too many cancelled steps to remember one more").transient()
}
