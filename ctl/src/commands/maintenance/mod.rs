//! `clusterctl maintenance …`: a host is left alone while a person works on it.

pub mod off;
pub mod on;

use clusterctl_proto::failure::Failure;

use crate::context::Context;

/// Leave a host alone while you work on it; the status shows which are
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  clusterctl maintenance on node3 --reason 'new disks' --for 2h")]
pub enum Command {
    On(on::Args),
    Off(off::Args),
}

/// Runs one of them.
pub async fn run(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::On(args) => on::run(context, args).await,
        Command::Off(args) => off::run(context, args).await,
    }
}
