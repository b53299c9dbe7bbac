//! `clusterctl account …`: MySQL accounts for applications, monitoring and MySQL Shell.

pub mod create;
pub mod drop;

use clusterctl_proto::failure::Failure;

use crate::context::Context;

/// Create or drop MySQL accounts
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  clusterctl account create app --database appdb")]
pub enum Command {
    Create(Box<create::Args>),
    #[command(visible_alias = "rm")]
    Drop(drop::Args),
}

/// Runs one of them.
pub async fn run(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Create(args) => create::run(context, *args).await,
        Command::Drop(args) => drop::run(context, args).await,
    }
}
