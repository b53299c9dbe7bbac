//! `clusterctl pause`: nothing is healed in a cluster until it is resumed.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;

use crate::context::Context;
use crate::hands_off::{self, Why};

/// Leave a cluster alone: nothing is healed in it until it is resumed
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub struct Args {
    /// The cluster; not needed while there is only one
    #[arg(value_name = "CLUSTER", env = "CLUSTERCTL_CLUSTER", hide_env = true)]
    cluster: Option<ClusterName>,
    #[command(flatten)]
    why: Why,
}

const HELP: &str = "\
For work by hand on several members. Neither the coordinator nor an agent does anything there by itself meanwhile; MySQL \
does what it always does: the group elects another primary when the primary fails. The status shows who paused it, when \
and why. For a single host: clusterctl maintenance on HOST

Example:
  clusterctl pause prod --reason 'new switches' --for 2h";

/// Pauses it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let cluster = args.cluster.map(|name| name.to_string()).unwrap_or_default();
    hands_off::run(context, hands_off::on(cluster, String::new(), args.why)).await
}
