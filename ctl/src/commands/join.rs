//! `clusterctl join`: a further member.

use clap::ValueEnum;
use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::control::JoinMember;
use clusterctl_proto::wire::control::submit_request::What;

use crate::cli::{Change, WhichCluster};
use crate::context::Context;
use crate::submit::{self, Order};

/// Add a member to a cluster
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl join node3")]
pub struct Args {
    /// The enrolled host that becomes a member
    #[arg(value_name = "HOST")]
    host: HostName,
    #[command(flatten)]
    which: WhichCluster,
    /// How it gets its data
    #[arg(long, value_enum, value_name = "METHOD", default_value = "auto")]
    recovery: Recovery,
    /// Leave out a pre-flight check, by its name
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    ignore_check: Vec<String>,
    #[command(flatten)]
    change: Change,
}

/// How a joiner gets its data.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Recovery {
    /// Binary logs where they are complete, else a copy of a member
    Auto,
    /// Binary logs only; refused where they are not complete
    Incremental,
    /// A copy of a member's data directory
    Clone,
}

/// Submits it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let recovery = match args.recovery {
        Recovery::Auto => "auto",
        Recovery::Incremental => "incremental",
        Recovery::Clone => "clone",
    };
    let join = JoinMember {
        cluster: args.which.for_api(),
        host: args.host.to_string(),
        recovery: recovery.to_owned(),
        ignore_checks: args.ignore_check,
    };
    let order = Order {
        what: Some(What::Join(join)),
        change: args.change,
        ..Order::default()
    };
    submit::run(context, order).await
}
