//! `cargo lab simulate`: many seeds of the simulator (`tests/sim`), on every processor.
//!
//! Called by `cli` and, with [`IN_TEST`] seeds, by `stages`. It builds the simulator optimised and hands over; what was seen, which seed
//! failed and how it is replayed is printed by that program.

use anyhow::Result;

use crate::packages::cargo;
use crate::stages::shown;

/// Seeds of `cargo lab test`.
pub(crate) const IN_TEST: u64 = 2000;

/// From so many seeds on link-time optimisation is worth the minutes that it takes to build: 40 seeds a second instead of 28 on two cores.
const MANY: u64 = 10_000;

/// What a person may ask for.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Options {
    /// How many seeds
    #[arg(long, default_value_t = IN_TEST, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 1)]
    pub(crate) from: u64,
    /// Show the story of each seed
    #[arg(long)]
    pub(crate) story: bool,
    /// Show what the programs log, as RUST_LOG would say: `info`, `clusterctl_agent=debug`
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// Runs seeds; answers 0 if none failed and everything that matters was seen.
pub(crate) fn run(options: &Options) -> Result<u8> {
    let (seeds, from) = (options.seeds.to_string(), options.from.to_string());
    let mut command = cargo(&["run", "--quiet", "--profile", "simulate", "-p", "clusterctl-sim"])?;
    if options.seeds >= MANY {
        command.args(["--config", "profile.simulate.lto=\"thin\""]);
    }
    command.args(["--", "--seeds", &seeds, "--from", &from]);
    if options.story {
        command.arg("--story");
    }
    if let Some(filter) = &options.log {
        command.args(["--log", filter]);
    }
    shown(&mut command)
}
