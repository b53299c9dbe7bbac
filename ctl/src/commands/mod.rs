//! One file per command: its arguments, the call, how the answer is shown.

pub mod account;
pub mod check;
pub mod completion;
pub mod create;
pub mod events;
pub mod host;
pub mod init;
pub mod join;
pub mod maintenance;
pub mod operator;
pub mod ops;
pub mod pause;
pub mod recover;
pub mod remove;
pub mod resume;
pub mod router;
pub mod status;
pub mod switchover;
pub mod token;
pub mod verify;
pub mod version;
pub mod why;

use clusterctl_proto::failure::Failure;

use crate::cli::Command;
use crate::context::Context;

/// Runs a command; answers the exit status.
pub async fn run(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Init(args) => init::run(context, args).await,
        Command::Token(command) => token::run(context, command).await,
        Command::Operator(command) => operator::run(context, command).await,
        Command::Hosts(args) => host::list::run(context, args).await,
        Command::Host(command) => host::run(context, command).await,
        Command::Check(args) => check::run(context, args).await,
        Command::Create(args) => create::run(context, args).await,
        Command::Join(args) => join::run(context, args).await,
        Command::Remove(args) => remove::run(context, args).await,
        Command::Router(command) => router::run(context, command).await,
        Command::Account(command) => account::run(context, command).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Why(args) => why::run(context, args).await,
        Command::Verify(args) => verify::run(context, args).await,
        Command::Switchover(args) => switchover::run(context, args).await,
        Command::Recover(args) => recover::run(context, args).await,
        Command::Pause(args) => pause::run(context, args).await,
        Command::Resume(args) => resume::run(context, args).await,
        Command::Maintenance(command) => maintenance::run(context, command).await,
        Command::Ops(command) => ops::run(context, command).await,
        Command::Events(args) => events::run(context, args).await,
        Command::Completion(args) => completion::run(context, &args),
        Command::Version(args) => version::run(context, args).await,
    }
}
