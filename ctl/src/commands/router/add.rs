//! `clusterctl router add`: MySQL Router for a cluster, on an enrolled host.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::control::AddRouter;
use clusterctl_proto::wire::control::submit_request::What;

use crate::cli::{Change, WhichCluster};
use crate::context::Context;
use crate::submit::{self, Order};

/// Run MySQL Router for a cluster on an enrolled host
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl router add router1")]
pub struct Args {
    /// The enrolled host
    #[arg(value_name = "HOST")]
    host: HostName,
    #[command(flatten)]
    which: WhichCluster,
    /// Leave out a pre-flight check, by its name
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    ignore_check: Vec<String>,
    #[command(flatten)]
    change: Change,
}

/// Submits it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let add = AddRouter {
        cluster: args.which.for_api(),
        host: args.host.to_string(),
        ignore_checks: args.ignore_check,
    };
    let order = Order {
        what: Some(What::AddRouter(add)),
        change: args.change,
        ..Order::default()
    };
    submit::run(context, order).await
}
