//! `clusterctl token …`: what lets a new host in.

pub mod create;
pub mod list;
pub mod revoke;

use clusterctl_proto::failure::Failure;

use crate::context::Context;

/// Create, list or revoke enrolment tokens
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  clusterctl token create --role db")]
pub enum Command {
    Create(create::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    #[command(visible_alias = "rm")]
    Revoke(revoke::Args),
}

/// Runs one of them.
pub async fn run(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Create(args) => create::run(context, args).await,
        Command::List(args) => list::run(context, args).await,
        Command::Revoke(args) => revoke::run(context, args).await,
    }
}
