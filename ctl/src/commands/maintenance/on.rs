//! `clusterctl maintenance on`: nothing is healed on a host until its maintenance ends.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;

use crate::context::Context;
use crate::hands_off::{self, Why};

/// Leave a member or router alone: nothing is healed on its host until its maintenance ends
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub struct Args {
    /// The host of a member or router
    #[arg(value_name = "HOST")]
    host: HostName,
    #[command(flatten)]
    why: Why,
}

const HELP: &str = "\
Neither the coordinator nor the host's agent starts, rejoins or repairs anything there by itself meanwhile. A member stays \
in the group as long as its server runs; if it is the primary, make another one that first: clusterctl switchover

Example:
  clusterctl maintenance on node3 --reason 'new disks' --for 2h";

/// Begins it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let request = hands_off::on(String::new(), args.host.to_string(), args.why);
    hands_off::run(context, request).await
}
