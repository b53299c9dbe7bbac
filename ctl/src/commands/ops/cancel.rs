//! `clusterctl ops cancel`: no further step is sent; the one that runs is let end.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::control::{CancelOperationRequest, GetOperationRequest};

use crate::context::Context;
use crate::operation;
use crate::output::{self, json};

/// Cancel an operation: nothing further is begun; what was done stays
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl ops cancel 7")]
pub struct Args {
    /// The operation
    #[arg(value_name = "ID", value_parser = crate::units::parse_operation)]
    id: u64,
    /// Print what would be done; touch nothing
    #[arg(long)]
    dry_run: bool,
}

/// Cancels it, or says what would be.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let id = args.id;
    let client = context.connect().await?;
    let before = client
        .call(|mut api| async move { api.get_operation(GetOperationRequest { id }).await })
        .await?;
    if operation::has_ended(&before.state) || args.dry_run {
        let sentence = if operation::has_ended(&before.state) {
            format!(
                "already so: operation {id} ({}) has ended: {}",
                before.title, before.state
            )
        } else {
            format!(
                "would cancel operation {id} ({}), which is {}; nothing was touched",
                before.title, before.state
            )
        };
        if context.json() {
            json::print(before)
        } else {
            output::data(&sentence)
        }
        return Ok(0);
    }
    let after = client
        .call(|mut api| async move { api.cancel_operation(CancelOperationRequest { id }).await })
        .await?;
    let sentence = if after.state == "cancelled" {
        format!(
            "operation {id} ({}) is cancelled; what was done stays: clusterctl ops show {id}",
            after.title
        )
    } else {
        format!(
            "operation {id} ({}) ends after the step that runs: clusterctl ops watch {id}",
            after.title
        )
    };
    if context.json() {
        json::print(after)
    } else {
        output::data(&sentence)
    }
    Ok(0)
}
