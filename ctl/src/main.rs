//! `clusterctl`: what a person or a script types.
//!
//! Parses, calls the coordinator, shows what it answers. It decides nothing: plans, refusals and verdicts are the
//! coordinator's. Data goes to stdout, progress and errors to stderr.

mod account_name;
mod ask;
mod cli;
mod commands;
mod config;
mod connect;
mod context;
mod follow;
mod hands_off;
#[cfg(test)]
mod hints_tests;
mod operation;
mod output;
mod progress;
mod submit;
mod units;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Format};
use crate::context::Context;
use crate::output::errors;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(err) => return errors::usage(&err),
    };
    let format = cli.global.output;
    let context = Context::new(cli.global);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            let failure = clusterctl_proto::failure::Failure::new("runtime", format!("cannot start: {err}"));
            return errors::report(&failure, format == Format::Json, false);
        }
    };
    let ended = runtime.block_on(commands::run(&context, cli.command));
    let status = match ended {
        Ok(status) => ExitCode::from(status),
        Err(failure) => errors::report(&failure, format == Format::Json, context.colour_err),
    };
    // A blocked read of stdin or a name look-up must not hold the process.
    runtime.shutdown_background();
    status
}
