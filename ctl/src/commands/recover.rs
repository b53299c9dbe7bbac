//! `clusterctl recover`: after an outage of all members, now; or without members that are gone for good.

use std::collections::HashSet;
use std::time::Duration;

use clap::ArgGroup;
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, HostName};
use clusterctl_proto::wire::control::RecoverCluster;
use clusterctl_proto::wire::control::submit_request::What;

use crate::cli::Change;
use crate::context::Context;
use crate::submit::{self, Order};
use crate::units;

/// An approval holds for so long where nothing else is said.
const APPROVED_FOR: Duration = Duration::from_secs(15 * 60);

/// Bring a cluster back after an outage of all its members
#[derive(clap::Args, Debug)]
#[command(after_help = HELP, group(ArgGroup::new("approval").args(["without", "accept_loss"]).multiple(true)))]
pub struct Args {
    /// The cluster; not needed while there is only one
    #[arg(value_name = "CLUSTER", env = "CLUSTERCTL_CLUSTER", hide_env = true)]
    cluster: Option<ClusterName>,
    /// Forced recovery: members that are gone for good; what only they hold is given up
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    without: Vec<HostName>,
    /// Agree to the loss that the refusal showed, by its code
    #[arg(long, value_name = "CODE", value_parser = parse_code)]
    accept_loss: Option<String>,
    /// How long the approval holds [default: 15m]
    #[arg(
        long,
        value_name = "DURATION",
        requires = "approval",
        value_parser = units::parse_duration
    )]
    expires: Option<Duration>,
    #[command(flatten)]
    change: Change,
}

const HELP: &str = "\
It comes back by itself as soon as every member answers: the group is started from the member that has everything. This \
command asks for it now and, while it may not be, tells why not.

With --without, members that are gone for good are not waited for, and what only they hold is given up. The first call is \
refused: it shows what is known, what would be risked, and the exact command with its code. The code stands for just what \
was shown; when that changes, another one is needed. Role admin.

Example:
  clusterctl recover prod
  clusterctl recover prod --without node2";

fn parse_code(text: &str) -> Result<String, String> {
    let code = text.trim();
    if code.is_empty() || code.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "{text:?} is no code: it stands in the refusal of the same command without it"
        ));
    }
    Ok(code.to_owned())
}

/// Submits it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    refuse_doubles(&args.without)?;
    let approves = !args.without.is_empty() || args.accept_loss.is_some();
    let recover = RecoverCluster {
        cluster: args.cluster.map(|name| name.to_string()).unwrap_or_default(),
        without: args.without.iter().map(ToString::to_string).collect(),
        accept_loss: args.accept_loss.unwrap_or_default(),
        expires_seconds: if approves {
            units::whole_seconds(args.expires.unwrap_or(APPROVED_FOR))
        } else {
            0
        },
    };
    let order = Order {
        what: Some(What::Recover(recover)),
        change: args.change,
        ..Order::default()
    };
    submit::run(context, order).await
}

fn refuse_doubles(hosts: &[HostName]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    match hosts.iter().find(|host| !seen.insert(*host)) {
        None => Ok(()),
        Some(host) => Err(Failure::new("named_twice", format!("{host} is named twice"))
            .exit(ExitClass::Usage)
            .hint("name each member that is gone once, with --without")),
    }
}
