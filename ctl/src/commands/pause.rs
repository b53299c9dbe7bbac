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
    /// Also stop operations that operators asked for, at their next safe point, and begin no other
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    why: Why,
}

const HELP: &str = "\
For work by hand on several members. Neither the coordinator nor an agent does anything there by itself meanwhile; MySQL \
does what it always does: the group elects another primary when the primary fails. The status shows who paused it, when \
and why. For a single host: clusterctl maintenance on HOST

A repair that is being carried out stops at its next safe point: a member that has joined still gets its row in the metadata. \
Operations that operators asked for go on; with --all they stop alike, and go on after clusterctl resume.

Example:
  clusterctl pause prod --reason 'new switches' --for 2h";

/// Pauses it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let cluster = args.cluster.map(|name| name.to_string()).unwrap_or_default();
    let mut request = hands_off::on(cluster, String::new(), args.why);
    request.everything = args.all;
    hands_off::run(context, request).await
}
