//! `clusterctl ops watch`: follow an operation as the command that submitted it did.

use clusterctl_proto::failure::Failure;
use tokio::time::Instant;

use crate::commands::verify;
use crate::context::Context;
use crate::follow::{self, Followed};
use crate::operation;
use crate::submit::{self, Submitted};

/// Follow an operation to its end; exits as the command that submitted it would
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl ops watch 7")]
pub struct Args {
    /// The operation
    #[arg(value_name = "ID", value_parser = crate::units::parse_operation)]
    id: u64,
}

/// Follows it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let deadline = Instant::now() + context.global.timeout;
    let client = context.connect().await?;
    let operation = match follow::follow(context, &client, args.id, deadline).await? {
        Followed::Interrupted => {
            return submit::finish(context, Submitted::Interrupted(Some(args.id)));
        }
        Followed::Ended(operation) => operation,
    };
    if !operation.proofs.is_empty() {
        let status = verify::show(context, &operation);
        if status != 0 {
            return Ok(status);
        }
        return operation::failure(&operation).map_or(Ok(0), Err);
    }
    let ended = match operation::failure(&operation) {
        Some(failure) => Submitted::Failed(operation, failure),
        None => Submitted::Done(operation),
    };
    submit::finish(context, ended)
}
