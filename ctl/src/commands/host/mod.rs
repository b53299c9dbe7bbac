//! `clusterctl host …` and `clusterctl hosts`.

pub mod list;
pub mod remove;

use clusterctl_proto::failure::Failure;

use crate::context::Context;

/// List or remove enrolled hosts
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  clusterctl host list")]
pub enum Command {
    #[command(visible_alias = "ls", after_help = "Example:\n  clusterctl host list -o wide")]
    List(list::Args),
    #[command(visible_alias = "rm")]
    Remove(remove::Args),
}

/// Runs one of them.
pub async fn run(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::List(args) => list::run(context, args).await,
        Command::Remove(args) => remove::run(context, args).await,
    }
}
