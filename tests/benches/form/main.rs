//! `cargo lab bench form`: how long it takes to form a cluster, how much of that is MySQL's own, and what our programs cost.
//!
//! Optimised programs; packages of MySQL and ours are on the hosts, hosts are enrolled, and then the clock runs: three members and
//! a router, typed command by command, and on other hosts in one go. Prints a table for people, and as its last line one JSON
//! object.

#[path = "../bench.rs"]
mod bench;
mod hosts;
mod idle;
mod report;
mod timing;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use clusterctl_lab::Packages;

use hosts::Hosts;
use report::Report;

/// Three members and a router, formed with the commands; then what agent and coordinator cost while nothing happens
#[derive(Parser, Debug)]
#[command(name = "cargo lab bench form", bin_name = "cargo lab bench form")]
struct Options {
    /// How often each way is measured, each time on fresh hosts; medians count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    runs: u32,
    /// How long agent and coordinator are watched while nothing happens, as 60s or 10m; 0s: not at all
    #[arg(long, default_value = "10m", value_parser = seconds)]
    idle: Duration,
    /// How often `clusterctl status` is run
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    status: u32,
    /// Only command by command, not in one go as well
    #[arg(long)]
    typed_only: bool,
    /// Leave the last lab standing
    #[arg(long)]
    keep: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no time: write 60s or 10m"))?;
    match unit {
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        _ => Err(format!("{text:?} is no time: write 60s or 10m")),
    }
}

/// The commands, each with whether it is part of what is measured.
const TYPED: [&str; 4] = [
    "create prod --primary node1",
    "join node2",
    "join node3",
    "router add router1",
];
const ONE_GO: [&str; 1] = ["create prod --primary node1 --with node2,node3 --router router1"];

fn main() -> Result<()> {
    let options = Options::parse();
    bench::run("form", options.keep, |name| {
        let report = measure(&options, name)?;
        Ok((report.table(), report.document()))
    })
}

fn measure(options: &Options, name: &str) -> Result<Report> {
    let packages = Packages::build(true)?;
    let mut report = Report::new(options.runs);
    let mut last = None;
    for run in 1..=options.runs {
        if !options.typed_only {
            let hosts = Hosts::ready(name, &packages).context("the hosts are not ready")?;
            let formed = timing::form(&hosts, &ONE_GO)?;
            eprintln!("    run {run} of {}, in one go: {:.1} s", options.runs, formed.total());
            report.one_go.push(formed);
        }
        let hosts = Hosts::ready(name, &packages).context("the hosts are not ready")?;
        let formed = timing::form(&hosts, &TYPED)?;
        eprintln!(
            "    run {run} of {}, command by command: {:.1} s",
            options.runs,
            formed.total()
        );
        report.typed.push(formed);
        last = Some(hosts);
    }
    let hosts = last.context("no run")?;
    report.status_ms = timing::status(&hosts, options.status)?;
    if !options.idle.is_zero() {
        eprintln!(
            "    watching agent and coordinator for {} s while nothing happens",
            options.idle.as_secs()
        );
        report.idle = Some(idle::watch(&hosts, options.idle)?);
    }
    Ok(report)
}
