//! `clusterctl maintenance off`: a host is healed again.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;

use crate::context::Context;
use crate::hands_off;

/// End the maintenance of a host: it is healed again
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl maintenance off node3")]
pub struct Args {
    /// The host of a member or router
    #[arg(value_name = "HOST")]
    host: HostName,
}

/// Ends it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    hands_off::run(context, hands_off::off(String::new(), args.host.to_string())).await
}
