//! The command line of `cargo lab`, as clap reads it.
//!
//! Only `cli` uses it. It must never do anything but parse.

use clap::{Parser, Subcommand};

use crate::stages::STAGES;
use crate::{drill, night, simulate};

/// Simulated bare-metal hosts on this machine, for trying and testing clusterctl.
#[derive(Debug, Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Which lab, where several stand side by side
    #[arg(long, global = true, env = "CLUSTERCTL_LAB_NAME")]
    pub name: Option<String>,
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Make four hosts, install our packages, form a cluster; everything that is so already stays
    Up(Up),
    /// Remove the lab and everything it left
    Down {
        /// Every lab on this machine
        #[arg(long)]
        all: bool,
    },
    /// Run every check and test, the live ones on a lab of their own
    Test {
        /// Leave the tests' lab standing
        #[arg(long)]
        keep: bool,
        /// Only this stage; may be repeated
        #[arg(long = "stage", value_parser = clap::builder::PossibleValuesParser::new(STAGES))]
        stages: Vec<String>,
        /// Only live tests with this in their name
        filters: Vec<String>,
    },
    /// Overlapping random faults on a cluster of three, under a client that writes, with nobody helping
    ///
    /// Power cuts of one, two or all members, kill -9, frozen hosts, partitions in one or both directions, reboots, dead agents,
    /// coordinators and routers, STOP GROUP_REPLICATION by hand, switchovers. Fails if an acknowledged write is lost, if two
    /// members lead, or if the cluster does not become healthy by itself. The schedule follows from the seed.
    Drill(drill::Options),
    /// Run all that takes too long for `cargo lab test`, and print one table
    ///
    /// 100,000 seeds of the simulator, the planted faults, the model of the protocol, the script that the simulated mysqld and the
    /// real one must both pass, two drills. A stage that fails stops no other;
    /// the exit status is 1 if one failed.
    Night(night::Options),
    /// Plant faults one at a time, and fail if the tests do not find one of them
    ///
    /// Each file tests/mutants/NAME.patch breaks one rule in a copy of the tree and names the test command that must fail with it.
    /// The copy and its artefacts stay in target/mutants, so that the next run builds only what changed.
    Mutants {
        /// Only this fault; may be repeated
        #[arg(long, value_name = "NAME")]
        only: Vec<String>,
        /// Print the faults and the commands that find them
        #[arg(long, conflicts_with = "only")]
        list: bool,
    },
    /// Run many seeds of the simulator on all processors
    ///
    /// Prints seeds per second, what the seeds have seen, and for a seed that fails its story and the command that replays it.
    Simulate(simulate::Options),
    /// Run a benchmark of tests/benches
    Bench {
        /// Its name
        bench: String,
        /// Its own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// A shell in a host, or one command; its exit status is handed on
    Shell {
        /// The host
        host: String,
        /// As whom
        #[arg(long, default_value = "root")]
        user: String,
        /// The command
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// `clusterctl …` as the DBA (`admin`) on node1; its exit status is handed on
    #[command(disable_help_flag = true)]
    Ctl {
        /// clusterctl's arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The labs (or the one named), their hosts and what these do
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Cut the power of hosts: nothing is stopped, nothing is said
    PowerOff(Hosts),
    /// Switch hosts on and wait until they have booted
    PowerOn(Hosts),
    /// Reboot hosts in an orderly way, from the inside
    Reboot(Hosts),
    /// Stop every process of hosts where it stands
    Freeze(Hosts),
    /// Let frozen hosts go on
    Thaw(Hosts),
    /// Cut a host from the others; packets are lost silently
    Partition {
        /// The host
        host: String,
        /// Only from these
        #[arg(long, value_name = "HOST", num_args = 1..)]
        from: Vec<String>,
        /// Lose only what the host sends
        #[arg(long)]
        one_way: bool,
    },
    /// Heal every cut of a host, or of the lab
    Heal {
        /// The host; all if none is named
        host: Option<String>,
    },
    /// A host's journal, or its console
    Logs {
        /// The host
        host: String,
        /// What the console showed, also when the host is off
        #[arg(long)]
        console: bool,
        /// journalctl's own arguments, as `-u mysql -n 50`
        #[arg(last = true)]
        args: Vec<String>,
    },
    #[command(hide = true)]
    Supervise { host: String },
    #[command(hide = true)]
    Boot { host: String },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Hosts {
    /// The hosts
    #[arg(required = true)]
    pub hosts: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Stop when the hosts stand, with nothing of ours in them
    #[arg(long, conflicts_with = "installed")]
    pub bare: bool,
    /// Stop when our packages are installed, with nothing formed
    #[arg(long)]
    pub installed: bool,
    /// Build and install optimised programs
    #[arg(long)]
    pub release: bool,
    /// The Debian mirror to use instead of this machine's own
    #[arg(long, env = "CLUSTERCTL_LAB_MIRROR", value_name = "URI")]
    pub mirror: Option<String>,
    /// Limit the size of a host's /var/lib/mysql, as node3=2G; may be repeated
    #[arg(long, value_name = "HOST=SIZE")]
    pub disk: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_belongs_to_the_command_in_the_host() {
        let cli = Cli::try_parse_from(["lab", "shell", "node2", "--", "ls", "--all"]).unwrap();
        assert!(matches!(cli.action, Action::Shell { command, .. } if command == ["ls", "--all"]));
        let cli = Cli::try_parse_from(["lab", "ctl", "status", "-o", "json"]).unwrap();
        assert!(matches!(cli.action, Action::Ctl { args } if args == ["status", "-o", "json"]));
    }
}
