//! `cargo lab simulate`: many seeds of the simulator, on every processor, with the command that replays one that fails.
//!
//! Called by `cli`. The simulator is a test of the coordinator; this builds it optimised, and runs ranges of seeds as processes of
//! their own, so that a seed that fails or hangs stops no other. It must never know what a seed does.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};

use crate::cargo_test::{Built, CargoTest, Ended, Program};
use crate::packages::{repository, target_folder};

/// The simulator's tests; each reads `SIM_FROM` and `SIM_SEEDS`, and prints `seed N failed` before it panics.
const COMMAND: &str = "cargo test --profile simulate -p clusterctl-coordinator --lib \
    planner::tests::sim::many_seeds planner::tests::sim_heal::bad_days -- --exact --test-threads=1";
/// Seeds of one process.
const RANGE: u64 = 250;
/// The longest time that one process may take.
const LIMIT: Duration = Duration::from_secs(900);
/// Failing seeds after which no new range is begun.
const ENOUGH: usize = 10;
/// How often progress is printed.
const PROGRESS: Duration = Duration::from_secs(15);

/// A seed that failed, and why.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Failing {
    seed: u64,
    why: String,
}

struct Run {
    command: CargoTest,
    programs: Vec<Program>,
    logs: PathBuf,
    start: Instant,
    end: u64,
    next: AtomicU64,
    done: AtomicU64,
    failing: Mutex<Vec<Failing>>,
}

/// Runs `seeds` seeds starting with `from`; answers 0 if none failed.
pub(crate) fn run(seeds: u64, from: u64) -> Result<u8> {
    let command = CargoTest::parse(COMMAND)?;
    let programs = match command.build(&repository()?, None)? {
        Built::Programs(programs) => programs,
        Built::Broken(why) => bail!("the simulator does not build:\n{why}"),
    };
    ensure!(
        !programs.is_empty(),
        "cargo built no test program of {}",
        command.package
    );
    let logs = target_folder()?.join("simulate-logs");
    std::fs::create_dir_all(&logs)?;
    let run = Run {
        command,
        programs,
        logs,
        start: Instant::now(),
        end: from.saturating_add(seeds),
        next: AtomicU64::new(from),
        done: AtomicU64::new(0),
        failing: Mutex::default(),
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..processors)
            .map(|worker| {
                scope.spawn({
                    let run = &run;
                    move || run.work(worker)
                })
            })
            .collect();
        let mut printed = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            if printed.elapsed() >= PROGRESS {
                printed = Instant::now();
                eprintln!("    {} of {seeds} seeds, {:.0} a second", run.done(), run.speed());
            }
        }
        let ends = workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?);
        ends.collect()
    })?;
    let mut failing = run.failing.lock().unwrap_or_else(PoisonError::into_inner);
    failing.sort();
    for Failing { seed, why } in failing.iter() {
        println!("seed {seed} failed: {why}\n    again: cargo lab simulate --seeds 1 --from {seed}");
    }
    println!(
        "{} seeds from {from}, {} failed, {:.0} seeds a second, {:.0} s",
        run.done(),
        failing.len(),
        run.speed(),
        run.start.elapsed().as_secs_f32()
    );
    Ok(u8::from(!failing.is_empty()))
}

impl Run {
    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    fn speed(&self) -> f64 {
        self.done() as f64 / self.start.elapsed().as_secs_f64().max(0.001)
    }

    /// Takes ranges until there are none, or enough seeds have failed.
    fn work(&self, worker: usize) -> Result<()> {
        loop {
            let first = self.next.fetch_add(RANGE, Ordering::Relaxed);
            let end = first.saturating_add(RANGE).min(self.end);
            let mut at = first;
            while at < end {
                let failed = self.range(worker, at, end - at)?;
                let next = failed.as_ref().map_or(end, |failing| failing.seed + 1);
                self.done.fetch_add(next - at, Ordering::Relaxed);
                at = next;
                let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
                failing.extend(failed);
                if failing.len() >= ENOUGH {
                    return Ok(());
                }
            }
            if end >= self.end {
                return Ok(());
            }
        }
    }

    /// Runs a range; answers the first seed of it that failed.
    fn range(&self, worker: usize, from: u64, seeds: u64) -> Result<Option<Failing>> {
        let log = self.logs.join(format!("{worker}.log"));
        let variables = [("SIM_FROM", from), ("SIM_SEEDS", seeds)];
        let ended = self
            .command
            .with_variables(variables)
            .run(&self.programs, LIMIT, &log)?;
        match ended {
            Ended::Passed(tests) if tests > 0 => Ok(None),
            Ended::Passed(_) => bail!("`{}` ran no test", self.command.text),
            Ended::TimedOut if seeds > 1 => {
                // Half of the range at a time, until one seed is left that does not end.
                let half = seeds / 2;
                match self.range(worker, from, half)? {
                    Some(failing) => Ok(Some(failing)),
                    None => self.range(worker, from + half, seeds - half),
                }
            }
            Ended::TimedOut => Ok(Some(Failing {
                seed: from,
                why: format!("no end within {} s", LIMIT.as_secs()),
            })),
            Ended::Failed(_) => {
                let printed = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
                let failing = first_failing(&printed);
                match failing {
                    Some(failing) if (from..from + seeds).contains(&failing.seed) => {
                        let kept = self.logs.join(format!("seed-{}.log", failing.seed));
                        std::fs::rename(&log, kept)?;
                        Ok(Some(failing))
                    }
                    _ => bail!(
                        "seeds {from} to {} failed, and no seed is named: {}",
                        from + seeds - 1,
                        log.display()
                    ),
                }
            }
        }
    }
}

/// The smallest seed that failed, with the words of the panic.
fn first_failing(printed: &str) -> Option<Failing> {
    let seeds = printed.lines().filter_map(|line| {
        let (seed, _) = line.strip_prefix("seed ")?.split_once(" failed")?;
        seed.parse().ok()
    });
    let seed = seeds.min()?;
    let mut lines = printed.lines().skip_while(|line| !line.contains("panicked at"));
    let place = lines.next().unwrap_or_default().trim();
    let words = lines.next().unwrap_or_default().trim();
    let place = place.split_once("panicked at ").map_or("", |(_, place)| place);
    let why: String = format!("{place} {words}").chars().take(300).collect();
    Some(Failing { seed, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_seed_is_read_from_what_the_simulator_prints() {
        let printed = "running 2 tests\n\nthread 'x' (9) panicked at coordinator/src/a.rs:7:5:\nlost: {3: 4}\nnote: run with\nseed 42 failed: SIM_SEED=42 cargo\n";
        let failing = first_failing(printed).unwrap();
        assert_eq!(
            (failing.seed, failing.why.as_str()),
            (42, "coordinator/src/a.rs:7:5: lost: {3: 4}")
        );
        assert_eq!(first_failing("test result: FAILED"), None);
        assert!(CargoTest::parse(COMMAND).is_ok());
    }
}
