//! The command line: global options and the tree of commands.
//!
//! Each command's own arguments stand beside its code in `commands/`. Names are parsed into their types here, so that
//! nothing past this point holds an invalid one.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clusterctl_proto::ids::ClusterName;

use crate::commands;
use crate::units;

/// Exit statuses, as documented; `errors` and `clusterctl_proto::failure::ExitClass` agree with it.
const EXIT_CODES: &str = "\
Exit status:
  0    done, or it was so already
  1    failed
  2    usage: arguments or names that are not valid
  3    refused by a rule of safety or by a pre-flight check
  4    no coordinator, no quorum, or a host does not answer
  5    time ran out; the operation goes on (its id is printed)
  6    partly done; run the same command again
  7    certificate, token or role is not accepted
  8    something else is being done, or it exists with other arguments
  130  interrupted; a submitted operation goes on (its id is printed)

Environment: CLUSTERCTL_CONFIG, CLUSTERCTL_ENDPOINTS, CLUSTERCTL_CLUSTER, CLUSTERCTL_OUTPUT, CLUSTERCTL_TIMEOUT, NO_COLOR

Example:
  clusterctl status";

/// Turns plain hosts into a MySQL InnoDB Cluster and keeps it one.
#[derive(Parser, Debug)]
#[command(
    name = "clusterctl",
    version,
    about = "Turns plain hosts into a MySQL InnoDB Cluster and keeps it one",
    after_help = EXIT_CODES,
    subcommand_required = true,
    arg_required_else_help = true,
    propagate_version = false,
    max_term_width = 110
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Debug, Clone)]
pub struct Global {
    /// How data is printed on stdout: table, wide (more columns) or json (one document)
    #[arg(
        short = 'o',
        long,
        global = true,
        value_enum,
        hide_possible_values = true,
        value_name = "FORMAT",
        default_value = "table",
        env = "CLUSTERCTL_OUTPUT",
        hide_env = true,
        help_heading = "Global options"
    )]
    pub output: Format,
    /// Longest wait, e.g. 90s, 10m, 2h; then exit 5 while the operation goes on
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "10m",
        value_parser = units::parse_duration,
        env = "CLUSTERCTL_TIMEOUT",
        hide_env = true,
        help_heading = "Global options"
    )]
    pub timeout: Duration,
    /// Print no progress, only data and errors
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub quiet: bool,
    /// Print every progress line
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
    /// Print without colours (also NO_COLOR)
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_color: bool,
    /// Configuration file instead of ~/.config/clusterctl/config.toml or /etc/clusterctl/ctl.toml
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CLUSTERCTL_CONFIG",
        hide_env = true,
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
    /// Coordinator to call instead of the configured ones, ADDRESS:PORT; may be repeated
    #[arg(
        long = "endpoint",
        global = true,
        value_name = "ADDRESS:PORT",
        value_delimiter = ',',
        value_parser = units::parse_endpoint,
        env = "CLUSTERCTL_ENDPOINTS",
        hide_env = true,
        help_heading = "Global options"
    )]
    pub endpoints: Vec<String>,
}

/// How data is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// One JSON document
    Json,
}

/// Options of commands that submit an operation.
#[derive(Args, Debug, Clone, Default)]
pub struct Change {
    /// Print the plan that would be adopted; touch nothing
    #[arg(long, help_heading = "Options of an operation")]
    pub dry_run: bool,
    /// Print the operation's id and do not wait for its end
    #[arg(long, conflicts_with = "dry_run", help_heading = "Options of an operation")]
    pub no_wait: bool,
}

/// Which cluster, for commands that take it as an option.
#[derive(Args, Debug, Clone, Default)]
pub struct WhichCluster {
    /// The cluster; not needed while there is only one
    #[arg(short = 'c', long, value_name = "NAME", env = "CLUSTERCTL_CLUSTER", hide_env = true)]
    pub cluster: Option<ClusterName>,
}

impl WhichCluster {
    /// As the API takes it: empty for "the only one".
    pub fn for_api(&self) -> String {
        self.cluster.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    Init(commands::init::Args),
    #[command(subcommand)]
    Token(commands::token::Command),
    #[command(subcommand)]
    Operator(commands::operator::Command),
    #[command(visible_alias = "ls")]
    Hosts(commands::host::list::Args),
    #[command(subcommand)]
    Host(commands::host::Command),
    Check(commands::check::Args),
    Create(commands::create::Args),
    Join(commands::join::Args),
    #[command(visible_alias = "rm")]
    Remove(commands::remove::Args),
    #[command(subcommand)]
    Router(commands::router::Command),
    #[command(subcommand)]
    Account(commands::account::Command),
    Status(commands::status::Args),
    Why(commands::why::Args),
    Verify(commands::verify::Args),
    Switchover(commands::switchover::Args),
    Recover(commands::recover::Args),
    Pause(commands::pause::Args),
    Resume(commands::resume::Args),
    #[command(subcommand)]
    Maintenance(commands::maintenance::Command),
    #[command(subcommand)]
    Ops(commands::ops::Command),
    Events(commands::events::Args),
    Completion(commands::completion::Args),
    Version(commands::version::Args),
}
