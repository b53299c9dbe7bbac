//! `clusterctl operator …`: certificates of people and scripts.

pub mod create;

use clusterctl_proto::failure::Failure;

use crate::context::Context;

/// Certificates of people and scripts
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  clusterctl operator create alice --role operator --out ./alice")]
pub enum Command {
    Create(create::Args),
}

/// Runs one of them.
pub async fn run(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Create(args) => create::run(context, args).await,
    }
}
