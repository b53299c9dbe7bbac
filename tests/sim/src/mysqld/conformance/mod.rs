//! One script that the simulated mysqld and the real one must both pass, so that the simulation is not our opinion.
//!
//! A test runs it on simulated servers, a live case on the lab's hosts (tests/live/heal/conformance.rs). It needs three configured
//! servers with a running mysqld each, nothing else that acts on them, and no other writers. It ends with a whole group, in which
//! the third server holds other transactions than the others: that server must be made anew.

mod failures;
mod lifecycle;
mod script;

use std::future::Future;

use super::SqlError;
use script::Script;

/// Cells as text; NULL is empty.
pub type Rows = Vec<Vec<String>>;

/// Servers to act on. `host` is one of [`Bench::hosts`].
pub trait Bench {
    /// Names of three hosts.
    fn hosts(&self) -> [&str; 3];
    /// Statements of root over the local socket, one connection for all of them.
    fn sql(&self, host: &str, text: &str) -> impl Future<Output = Result<Rows, SqlError>>;
    /// `kill -9` of mysqld. Nothing starts it again.
    fn kill(&self, host: &str) -> impl Future<Output = Result<(), String>>;
    /// Starts mysqld and waits until it answers.
    fn start(&self, host: &str) -> impl Future<Output = Result<(), String>>;
    /// SIGSTOP of mysqld.
    fn freeze(&self, host: &str) -> impl Future<Output = Result<(), String>>;
    /// SIGCONT.
    fn thaw(&self, host: &str) -> impl Future<Output = Result<(), String>>;
}

/// Runs all of it; `tell` hears what has held. The error names the expectation that did not hold.
pub async fn run(bench: &impl Bench, mut tell: impl FnMut(&str)) -> Result<(), String> {
    let script = Script::new(bench);
    macro_rules! cases {
        ($($name:literal: $case:expr;)*) => {
            $(
                $case.await.map_err(|why| format!("{}: {why}", $name))?;
                tell($name);
            )*
        };
    }
    cases! {
        "everybody is out": lifecycle::everybody_out(&script);
        "a run of mysqld, and when a variable was set": lifecycle::run_and_set_time(&script);
        "a bootstrap that comes too late": lifecycle::too_late(&script);
        "a bootstrap": lifecycle::bootstrap(&script, 0);
        "joins count the view up": lifecycle::joins(&script, &[1, 2]);
        "a write comes to all": lifecycle::write(&script);
        "STOP and START": lifecycle::stop_and_start(&script);
        "a refused START, and its number used again": lifecycle::used_again(&script);
        "a switchover keeps the view": lifecycle::switchover(&script);
        "a frozen secondary is expelled and comes back": failures::frozen(&script);
        "a killed primary is replaced": failures::killed(&script);
        "without a majority the primary leaves": failures::alone(&script);
        "a membership is forced": failures::forced(&script);
        "the majority comes back by itself": failures::back(&script);
        "everybody is out again": lifecycle::everybody_out(&script);
        "a START that finds nobody": lifecycle::nobody(&script);
        "a second bootstrap is another lineage": lifecycle::second_bootstrap(&script);
    }
    Ok(())
}
