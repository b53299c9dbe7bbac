//! `clusterctl router remove`: a router is stopped and forgotten; its package stays.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::control::RemoveRouter;
use clusterctl_proto::wire::control::submit_request::What;

use crate::cli::{Change, WhichCluster};
use crate::context::Context;
use crate::submit::{self, Order};

/// Stop MySQL Router on a host and forget it; its package stays
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl router remove router1")]
pub struct Args {
    /// The router's host
    #[arg(value_name = "HOST")]
    host: HostName,
    #[command(flatten)]
    which: WhichCluster,
    /// The host is gone for good: do not wait for its answer
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    change: Change,
}

/// Submits it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let remove = RemoveRouter {
        cluster: args.which.for_api(),
        host: args.host.to_string(),
        force: args.force,
    };
    let order = Order {
        what: Some(What::RemoveRouter(remove)),
        change: args.change,
        ..Order::default()
    };
    submit::run(context, order).await
}
