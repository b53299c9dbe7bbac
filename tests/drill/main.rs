//! `cargo lab drill`: overlapping random faults on a cluster of three, under a client that writes, with nobody helping.
//!
//! Forms a cluster in a lab of its own, and plays rounds of a seeded schedule (`clusterctl_lab::schedule`). After each round every
//! fault is undone, and the cluster must become healthy by itself within the limit; then every acknowledged write must be on every
//! member once, with the right sums and equal checksums. A watch looks all the time for two members that lead. Fails on the first of
//! these that does not hold, keeps the evidence, and prints the command that replays the schedule.

#[allow(dead_code, reason = "the drill uses less of it than `bench heal`")]
#[path = "../benches/heal/cluster.rs"]
mod cluster;
mod converge;
mod evidence;
#[path = "../benches/form/hosts.rs"]
mod hosts;
mod inject;
#[path = "../load/mod.rs"]
mod load;
mod round;
mod story;
mod watch;

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use clusterctl_lab::drill::Options;
use clusterctl_lab::schedule::{NODES, Round};
use clusterctl_lab::{Lab, Packages};

use cluster::Cluster;
use round::Totals;
use story::Story;
use watch::Watch;

/// Overlapping random faults on a cluster of three
#[derive(Parser)]
#[command(name = "cargo lab drill", bin_name = "cargo lab drill")]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<()> {
    let options = Line::parse().options.seeded();
    ensure!(
        std::env::var("CLUSTERCTL_LIVE").is_ok_and(|value| value == "1"),
        "run it as `cargo lab drill`: it needs root and makes a lab of its own"
    );
    let name = std::env::var("CLUSTERCTL_LAB_NAME").unwrap_or_else(|_| "drill".to_owned());
    let drilled = drill(&options, &name);
    if options.keep {
        eprintln!("the lab `{name}` stays: cargo lab --name {name} shell node1");
    } else {
        Lab::down(&name)?;
    }
    drilled
}

fn drill(options: &Options, name: &str) -> Result<()> {
    let (story, watch, mut totals) = (Story::default(), Watch::default(), Totals::default());
    let seed = options.seed.unwrap_or_default();
    story.tell(&format!("seed {seed}; a cluster is formed in the lab `{name}`"));
    let packages = Packages::build(options.release)?;
    let cluster = Cluster::form(name, &packages).context("no cluster was formed")?;
    let since = SystemTime::now();
    let end = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch.run(cluster.lab(), &story));
        let end = rounds(options, &cluster, &story, &watch, &mut totals);
        watch.end();
        watching
            .join()
            .map_err(|_| anyhow::anyhow!("the watch panicked"))
            .and(end)
            .and_then(|()| watch.judge())
    });
    let replay = options.replay(totals.rounds + u32::from(end.is_err()));
    if let Err(error) = &end {
        story.tell(&format!("FAILED           {error:#}"));
        let folder = evidence::keep(cluster.lab(), seed, since, &story.text());
        println!("{}\nwhat explains it: {}", story.text().trim_end(), folder.display());
    }
    report(&totals, &watch, &replay, end.is_ok());
    end
}

/// Plays rounds until the time is over or one fails, then proves once more all that was ever acknowledged.
fn rounds(options: &Options, cluster: &Cluster, story: &Story, watch: &Watch, totals: &mut Totals) -> Result<()> {
    let (start, minutes) = (Instant::now(), Duration::from_secs(options.minutes * 60));
    let seed = options.seed.unwrap_or_default();
    let more = |number: u32| match options.rounds {
        Some(rounds) => number <= rounds,
        None => start.elapsed() < minutes,
    };
    for number in (1..).take_while(|number| more(*number)) {
        let limit = Duration::from_secs(options.within);
        round::play(cluster, story, &Round::new(seed, number), limit, totals)
            .with_context(|| format!("round {number}"))?;
        if let Some(split) = watch.seen().splits.first() {
            bail!("round {number}: {split}");
        }
    }
    for log in &totals.logs {
        log.prove(cluster.lab(), &NODES)
            .context("a write of an earlier round is missing")?;
    }
    Ok(())
}

/// The last line has the figures for a table.
fn report(totals: &Totals, watch: &Watch, replay: &str, good: bool) {
    let seen = watch.seen();
    println!("faults, by kind:");
    for (kind, count) in &totals.faults {
        println!("    {kind:<20} {count:>5}");
    }
    println!("    {:<20} {:>5}", "did not happen", totals.refused);
    let (slowest, slow_round) = totals.slowest;
    let (gap, gap_round) = totals.gap;
    println!(
        "longest time to converge: {:.1} s, in round {slow_round}",
        slowest.as_secs_f32()
    );
    println!("longest write gap: {:.1} s, in round {gap_round}", gap.as_secs_f32());
    println!(
        "two members said they lead: {} times in {} looks, for {:.1} s at most; splits: {}",
        seen.overlaps,
        seen.looks,
        seen.longest.as_secs_f32(),
        seen.splits.len()
    );
    println!("again: {replay}");
    let acknowledged: usize = totals.logs.iter().map(|log| log.times.len()).sum();
    let faults: u32 = totals.faults.values().sum();
    println!(
        "{}: {} rounds, {faults} faults, {acknowledged} acknowledged writes, gap {:.1} s, converged within {:.1} s, {} splits; {replay}",
        if good { "nothing lost" } else { "FAILED" },
        totals.rounds,
        gap.as_secs_f32(),
        slowest.as_secs_f32(),
        seen.splits.len()
    );
}
