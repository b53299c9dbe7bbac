//! Clocks of simulated machines: one true time, which begins with the simulation, and how far each machine's wall clock is off it.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::machine::Machine;
use tokio::time::Instant;

use crate::chance::Chance;

/// Wall clock when a simulation begins, Unix milliseconds; that of the simulated mysqlds, too.
const BEGIN_MS: u64 = 1_795_949_000_000;

std::thread_local! {
    static BEGAN: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// The simulation of this thread begins now.
pub fn begin() {
    BEGAN.set(Some(Instant::now()));
}

/// A machine that was started so long ago, whose wall clock is off by so many milliseconds.
pub fn machine(up: Duration, off_ms: i64) -> Arc<Machine> {
    Machine::new(up, now_ms().saturating_add_signed(off_ms))
}

/// How far a clock may be off: hosts without time synchronisation, a clock in local time, or nothing to speak of.
pub fn off_ms(chance: &Chance) -> i64 {
    const MOST: [u64; 4] = [300, 5000, 120_000, 7_200_000];
    let most = *chance.pick(&MOST);
    let off = i64::try_from(chance.below(2 * most + 1)).unwrap_or_default();
    off - i64::try_from(most).unwrap_or_default()
}

/// The true wall clock, Unix milliseconds.
pub fn now_ms() -> u64 {
    let passed = BEGAN.get().map_or(Duration::ZERO, |began| began.elapsed());
    BEGIN_MS + u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}
