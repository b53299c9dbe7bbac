//! Clocks of simulated machines: one true time, which begins with the simulation.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::machine::Machine;
use tokio::time::Instant;

/// Wall clock when a simulation begins, Unix milliseconds; that of the simulated mysqlds, too.
const BEGIN_MS: u64 = 1_795_949_000_000;

std::thread_local! {
    static BEGAN: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// The simulation of this thread begins now.
pub fn begin() {
    BEGAN.set(Some(Instant::now()));
}

/// A machine that was started so long ago.
pub fn machine(up: Duration) -> Arc<Machine> {
    Machine::new(up, now_ms())
}

/// The true wall clock, Unix milliseconds.
pub fn now_ms() -> u64 {
    let passed = BEGAN.get().map_or(Duration::ZERO, |began| began.elapsed());
    BEGIN_MS + u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}
