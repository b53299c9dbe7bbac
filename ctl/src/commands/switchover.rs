//! `clusterctl switchover`: another member becomes primary, as planned.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::control::Switchover;
use clusterctl_proto::wire::control::submit_request::What;

use crate::cli::{Change, WhichCluster};
use crate::context::Context;
use crate::submit::{self, Order};

/// Make another member the primary
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl switchover --to node2")]
pub struct Args {
    /// The member that becomes primary; without it the best secondary
    #[arg(long, value_name = "HOST")]
    to: Option<HostName>,
    #[command(flatten)]
    which: WhichCluster,
    #[command(flatten)]
    change: Change,
}

/// Submits it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let switchover = Switchover {
        cluster: args.which.for_api(),
        to: args.to.map(|host| host.to_string()).unwrap_or_default(),
    };
    let order = Order {
        what: Some(What::Switchover(switchover)),
        change: args.change,
        ..Order::default()
    };
    submit::run(context, order).await
}
