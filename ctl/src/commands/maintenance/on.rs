//! `clusterctl maintenance on`: nothing is healed on a host until its maintenance ends.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;

use crate::context::Context;
use crate::hands_off::{self, Why};

/// Leave a member or router alone: nothing is healed on its host until its maintenance ends
///
/// Neither the coordinator nor the host's agent starts, rejoins or repairs anything there by itself meanwhile. The member
/// stays in the group while its server runs; make another one the primary first where it is: clusterctl switchover.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl maintenance on node3 --reason 'new disks' --for 2h")]
pub struct Args {
    /// The host of a member or router
    #[arg(value_name = "HOST")]
    host: HostName,
    #[command(flatten)]
    why: Why,
}

/// Begins it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let request = hands_off::on(String::new(), args.host.to_string(), args.why);
    hands_off::run(context, request).await
}
