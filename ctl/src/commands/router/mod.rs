//! `clusterctl router …`: MySQL Router on hosts of its own.

pub mod add;
pub mod list;
pub mod remove;

use clusterctl_proto::failure::Failure;

use crate::context::Context;

/// Add, remove or list routers
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  clusterctl router add router1")]
pub enum Command {
    Add(add::Args),
    #[command(visible_alias = "rm")]
    Remove(remove::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
}

/// Runs one of them.
pub async fn run(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Add(args) => add::run(context, args).await,
        Command::Remove(args) => remove::run(context, args).await,
        Command::List(args) => list::run(context, args).await,
    }
}
