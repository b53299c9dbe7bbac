//! `cargo lab bench heal`: how long an application cannot write when something happens, with our programs and with MySQL's and
//! AdminAPI's defaults on the same hosts.
//!
//! Optimised programs; three members and a router; a client that writes without pause through Router. First the faults with agents
//! and coordinator, then, with these stopped and the defaults set, the same again. Prints a table for people, and as its last line one
//! JSON object.

#[path = "../bench.rs"]
mod bench;
mod cluster;
mod defaults;
mod faults;
#[path = "../form/hosts.rs"]
mod hosts;
#[path = "../../load/mod.rs"]
mod load;
mod report;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use clusterctl_lab::Packages;

use cluster::Cluster;
use faults::{FAULTS, Fault};
use report::{Report, Way};

/// Write gaps and times to return, with clusterctl and with MySQL's defaults
#[derive(Parser, Debug)]
#[command(name = "cargo lab bench heal", bin_name = "cargo lab bench heal")]
struct Options {
    /// How often each fault is made, each way; medians count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    runs: u32,
    /// Only these faults; may be repeated
    #[arg(long = "fault", value_parser = clap::builder::PossibleValuesParser::new(FAULTS.map(Fault::name)))]
    faults: Vec<String>,
    /// Leave the lab standing
    #[arg(long)]
    keep: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut ended_early = None;
    bench::run("heal", options.keep, |name| {
        let report = measure(&options, name)?;
        ended_early.clone_from(&report.ended_early);
        Ok((report.table(), report.document()))
    })?;
    ended_early.map_or(Ok(()), |why| Err(anyhow!("ended early: {why}")))
}

fn measure(options: &Options, name: &str) -> Result<Report> {
    let packages = Packages::build(true)?;
    let cluster = Cluster::form(name, &packages).context("no cluster was formed")?;
    let mut report = Report::new(options.runs);
    // What was measured before something went wrong is shown all the same.
    if let Err(error) = all(options, &cluster, &mut report) {
        report.ended_early = Some(format!("{error:#}"));
    }
    Ok(report)
}

fn all(options: &Options, cluster: &Cluster, report: &mut Report) -> Result<()> {
    let wanted = |fault: &Fault| options.faults.is_empty() || options.faults.iter().any(|name| name == fault.name());
    for way in [Way::Ours, Way::Theirs] {
        if way == Way::Theirs {
            defaults::set(cluster).context("MySQL's defaults are not set")?;
        }
        // All hosts off is last: with the defaults nobody comes back from it.
        for fault in FAULTS.into_iter().filter(wanted) {
            let once = way == Way::Theirs && fault == Fault::Outage;
            for run in 1..=if once { 1 } else { options.runs } {
                let seen = fault
                    .measure(cluster, way)
                    .with_context(|| format!("{}, {way:?}, run {run}", fault.name()))?;
                eprintln!("    {way:?} run {run} of {}: {}: {seen}", options.runs, fault.name());
                report.add(fault, way, seen);
            }
        }
    }
    Ok(())
}
