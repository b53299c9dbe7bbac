//! `clusterctl ops …`: operations, past and present.

pub mod cancel;
pub mod list;
pub mod show;
pub mod watch;

use clusterctl_proto::failure::Failure;

use crate::context::Context;

/// List, show, follow or cancel operations
#[derive(clap::Subcommand, Debug)]
#[command(after_help = "Example:\n  clusterctl ops list")]
pub enum Command {
    #[command(visible_alias = "ls")]
    List(list::Args),
    Show(show::Args),
    Watch(watch::Args),
    Cancel(cancel::Args),
}

/// Runs one of them.
pub async fn run(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::List(args) => list::run(context, args).await,
        Command::Show(args) => show::run(context, args).await,
        Command::Watch(args) => watch::run(context, args).await,
        Command::Cancel(args) => cancel::run(context, args).await,
    }
}
