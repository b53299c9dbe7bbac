//! `clusterctl resume`: a paused cluster is healed again.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;

use crate::context::Context;
use crate::hands_off;

/// Heal a paused cluster again; hosts in maintenance stay so
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl resume prod")]
pub struct Args {
    /// The cluster; not needed while there is only one
    #[arg(value_name = "CLUSTER", env = "CLUSTERCTL_CLUSTER", hide_env = true)]
    cluster: Option<ClusterName>,
}

/// Resumes it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let cluster = args.cluster.map(|name| name.to_string()).unwrap_or_default();
    hands_off::run(context, hands_off::off(cluster, String::new())).await
}
