//! `clusterctl ops list`.

use std::time::SystemTime;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::control::{ListOperationsRequest, Operation};

use crate::cli::WhichCluster;
use crate::context::Context;
use crate::output::table::Columns;
use crate::output::{self, json};
use crate::units;

/// List operations, newest last
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl ops list --limit 5")]
pub struct Args {
    #[command(flatten)]
    which: WhichCluster,
    /// At most this many, the newest
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Asks and prints.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let request = ListOperationsRequest {
        cluster: args.which.for_api(),
        limit: args.limit,
    };
    let mut reply = client
        .call(|mut api| async move { api.list_operations(request).await })
        .await?;
    reply.operations.sort_by_key(|operation| operation.id);
    if context.json() {
        json::print(reply);
    } else if reply.operations.is_empty() {
        output::data("no operation yet");
    } else {
        output::data(&as_text(&reply.operations, context.wide(), SystemTime::now()));
    }
    Ok(0)
}

fn as_text(operations: &[Operation], wide: bool, now: SystemTime) -> String {
    let mut table = Columns::new(&["ID", "STATE", "WHAT", "CLUSTER", "BY", "SUBMITTED", "TOOK", "MESSAGE"]);
    for operation in operations {
        let submitted = if wide {
            operation.submitted_at.clone()
        } else {
            units::relative(&operation.submitted_at, now)
        };
        let took = units::between(&operation.submitted_at, &operation.ended_at).map(units::elapsed);
        table.row([
            operation.id.to_string(),
            operation.state.clone(),
            operation.title.clone(),
            operation.cluster.clone(),
            operation.by.clone(),
            submitted,
            took.unwrap_or_default(),
            operation.message.clone(),
        ]);
    }
    table.render()
}
