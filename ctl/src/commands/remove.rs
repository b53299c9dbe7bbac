//! `clusterctl remove`: a member leaves; its data stays on its host.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::control::RemoveMember;
use clusterctl_proto::wire::control::submit_request::What;

use crate::cli::{Change, WhichCluster};
use crate::context::Context;
use crate::submit::{self, Order};

/// Take a member out of a cluster; its data stays on its host
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl remove node3 --dry-run")]
pub struct Args {
    /// The member's host
    #[arg(value_name = "HOST")]
    host: HostName,
    #[command(flatten)]
    which: WhichCluster,
    /// The host is gone for good: do not wait for its answer
    #[arg(long)]
    force: bool,
    /// Agree that the cluster survives fewer failures afterwards, as the refusal tells
    #[arg(long)]
    accept_lower_tolerance: bool,
    #[command(flatten)]
    change: Change,
}

/// Submits it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let remove = RemoveMember {
        cluster: args.which.for_api(),
        host: args.host.to_string(),
        force: args.force,
    };
    let order = Order {
        what: Some(What::Remove(remove)),
        change: args.change,
        accept_lower_tolerance: args.accept_lower_tolerance,
        ..Order::default()
    };
    submit::run(context, order).await
}
