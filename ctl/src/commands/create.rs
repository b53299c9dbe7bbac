//! `clusterctl create`: a cluster out of enrolled hosts.

use std::collections::HashSet;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, HostName};
use clusterctl_proto::wire::control::CreateCluster;
use clusterctl_proto::wire::control::submit_request::What;

use crate::cli::Change;
use crate::context::Context;
use crate::submit::{self, Order};
use crate::units;

/// Form a cluster from enrolled hosts
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl create prod --primary node1 --with node2,node3 --router router1")]
pub struct Args {
    /// Its name: at most 63 characters, a letter first, then letters, digits, '_', '-' or '.'
    #[arg(value_name = "NAME")]
    cluster: ClusterName,
    /// Host of the first member, which becomes the primary
    #[arg(long, value_name = "HOST")]
    primary: HostName,
    /// Hosts that join it, in this order
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    with: Vec<HostName>,
    /// Hosts that run MySQL Router for it
    #[arg(long = "router", value_name = "HOST", value_delimiter = ',')]
    routers: Vec<HostName>,
    /// InnoDB buffer pool of each member, e.g. 4G; without it sized for the host
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    buffer_pool: Option<u64>,
    /// Leave out a pre-flight check, by its name
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    ignore_check: Vec<String>,
    #[command(flatten)]
    change: Change,
}

/// Submits it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    refuse_doubles(&args)?;
    let names = |hosts: &[HostName]| hosts.iter().map(ToString::to_string).collect();
    let create = CreateCluster {
        cluster: args.cluster.to_string(),
        primary: args.primary.to_string(),
        with: names(&args.with),
        routers: names(&args.routers),
        ignore_checks: args.ignore_check,
        buffer_pool_bytes: args.buffer_pool.unwrap_or(0),
    };
    let order = Order {
        what: Some(What::Create(create)),
        change: args.change,
        ..Order::default()
    };
    submit::run(context, order).await
}

fn refuse_doubles(args: &Args) -> Result<(), Failure> {
    let members: Vec<&HostName> = std::iter::once(&args.primary).chain(&args.with).collect();
    let routers: Vec<&HostName> = args.routers.iter().collect();
    for (hosts, what) in [(members, "members"), (routers, "routers")] {
        let mut seen = HashSet::new();
        if let Some(host) = hosts.into_iter().find(|host| !seen.insert(*host)) {
            return Err(
                Failure::new("named_twice", format!("{host} is named twice among the {what}"))
                    .exit(ExitClass::Usage)
                    .hint("name the primary once, with --primary, and every other member once, with --with"),
            );
        }
    }
    Ok(())
}
