//! What a person types: `cargo lab …`.
//!
//! Called by `main`. It parses, calls [`Lab`], prints. Exit status: 0, 1 for an error, 2 for wrong usage;
//! `shell`, `ctl`, `test` and `bench` hand on the status of what they ran. It must never decide anything
//! that a test would want to decide, too.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::error::{self, hinted};
use crate::lab::{Lab, Options};
use crate::network::Direction;
use crate::packages::Packages;
use crate::stages::{self, Plan, STAGES};
use crate::state::{Home, HostSpec};
use crate::{prerequisites, supervisor, transcript};

/// The hosts `up` makes.
const HOSTS: [&str; 4] = ["node1", "node2", "node3", "router1"];

/// Simulated bare-metal hosts on this machine, for trying and testing clusterctl.
#[derive(Debug, Parser)]
#[command(
    name = "cargo lab",
    bin_name = "cargo lab",
    disable_help_subcommand = true
)]
struct Cli {
    /// Which lab, where several stand side by side
    #[arg(long, global = true, env = "CLUSTERCTL_LAB_NAME")]
    name: Option<String>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
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
    Ctl {
        /// clusterctl's arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The labs, their hosts and what these do
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
struct Hosts {
    /// The hosts
    #[arg(required = true)]
    hosts: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Stop when the hosts stand, with nothing of ours in them
    #[arg(long, conflicts_with = "installed")]
    bare: bool,
    /// Stop when our packages are installed, with nothing formed
    #[arg(long)]
    installed: bool,
    /// Build and install optimised programs
    #[arg(long)]
    release: bool,
    /// The Debian mirror to use instead of this machine's own
    #[arg(long, env = "CLUSTERCTL_LAB_MIRROR", value_name = "URI")]
    mirror: Option<String>,
    /// Limit the size of a host's /var/lib/mysql, as node3=2G; may be repeated
    #[arg(long, value_name = "HOST=SIZE")]
    disk: Vec<String>,
}

/// Parses, runs, prints; the exit status is all there is to add.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match prerequisites::become_root().and_then(|()| run(cli)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            error::print(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<u8> {
    // The tests' lab is never the one somebody works in, unless they say so.
    let usual = if matches!(cli.action, Action::Test { .. } | Action::Bench { .. }) {
        "test"
    } else {
        "dev"
    };
    let name = cli.name.unwrap_or_else(|| usual.to_owned());
    let open = || Lab::open(&name);
    match cli.action {
        Action::Up(up) => return self::up(&name, &up).map(|()| 0),
        Action::Down { all } => down(&if all { Lab::names()? } else { vec![name] })?,
        Action::Test {
            keep,
            stages,
            filters,
        } => {
            return stages::run(&Plan {
                lab: name,
                stages,
                filters,
                keep,
            });
        }
        Action::Bench { bench, args } => return stages::bench(&name, &bench, &args),
        Action::Shell {
            host,
            user,
            command,
        } => {
            let argv = if command.is_empty() {
                vec!["bash", "-l"]
            } else {
                words(&command)
            };
            return Err(open()?.replace(&host, &user, &argv));
        }
        Action::Ctl { args } => {
            let argv: Vec<_> = std::iter::once("clusterctl").chain(words(&args)).collect();
            let lab = open()?;
            let first = lab
                .hosts()
                .first()
                .copied()
                .context("the lab has no host")?;
            return Err(lab.replace(first, "admin", &argv));
        }
        Action::Status { json } => print_status(&open()?, json)?,
        Action::PowerOff(Hosts { hosts }) => open()?.power_off_all(&words(&hosts))?,
        Action::PowerOn(Hosts { hosts }) => open()?.power_on_all(&words(&hosts))?,
        Action::Reboot(Hosts { hosts }) => each(&hosts, |host| open()?.reboot(host))?,
        Action::Freeze(Hosts { hosts }) => each(&hosts, |host| open()?.freeze(host))?,
        Action::Thaw(Hosts { hosts }) => each(&hosts, |host| open()?.thaw(host))?,
        Action::Partition {
            host,
            from,
            one_way,
        } => {
            let direction = if one_way {
                Direction::Outgoing
            } else {
                Direction::Both
            };
            if from.is_empty() {
                open()?.partition(&host, direction)?;
            } else {
                open()?.partition_from(&host, &words(&from), direction)?;
            }
        }
        Action::Heal { host: Some(host) } => open()?.heal(&host)?,
        Action::Heal { host: None } => open()?.heal_all()?,
        Action::Logs {
            host,
            console: true,
            ..
        } => print!("{}", open()?.console(&host)?),
        Action::Logs { host, args, .. } => {
            let argv: Vec<_> = ["journalctl", "--no-pager"]
                .into_iter()
                .chain(words(&args))
                .collect();
            return Err(open()?.replace(&host, "root", &argv));
        }
        Action::Supervise { host } => supervisor::run(&Home::open()?, &name, &host)?,
        Action::Boot { host } => supervisor::become_machine(&Home::open()?, &name, &host)?,
    }
    Ok(0)
}

fn up(name: &str, up: &Up) -> Result<()> {
    let start = Instant::now();
    let stood = Lab::names()?.iter().any(|known| known == name);
    let hosts = specs(&up.disk)?;
    eprintln!(
        "==> the hosts of lab `{name}`{}",
        if stood { ", which stands already" } else { "" }
    );
    let lab = Lab::up_with(
        name,
        &hosts,
        &Options {
            mirror: up.mirror.clone(),
        },
    )?;
    print_status(&lab, false)?;
    if !up.bare {
        eprintln!("==> building our programs and packages");
        let packages = Packages::build(up.release)?;
        eprintln!("==> installing our packages in the hosts");
        lab.install(&packages)?;
        if !up.installed {
            transcript::play(&lab)?;
        }
    }
    let option = if name == "dev" {
        String::new()
    } else {
        format!(" --name {name}")
    };
    eprintln!(
        "\n==> lab `{name}` stands, {:.1} s; next: cargo lab{option} shell node1, … ctl status, … down",
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

fn down(names: &[String]) -> Result<()> {
    for name in names {
        let there = Lab::down(name)?;
        eprintln!(
            "lab `{name}` {}",
            if there {
                "is removed"
            } else {
                "does not stand; nothing to remove"
            }
        );
    }
    Ok(())
}

fn specs(limits: &[String]) -> Result<Vec<HostSpec>> {
    let mut hosts = HOSTS.map(HostSpec::new).to_vec();
    for limit in limits {
        let (name, size) = limit.split_once('=').unwrap_or((limit, ""));
        let host = hosts
            .iter_mut()
            .find(|host| host.name == name && !size.is_empty());
        host.ok_or_else(|| {
            hinted(
                format!("`{limit}` limits no host's disk"),
                "write it as --disk node3=2G",
            )
        })?
        .data_size = Some(size.to_owned());
    }
    Ok(hosts)
}

fn print_status(lab: &Lab, json: bool) -> Result<()> {
    let hosts = lab.status()?;
    if json {
        println!(
            "{}",
            serde_json::json!({ "name": lab.name(), "hosts": hosts })
        );
        return Ok(());
    }
    println!("{:<10} {:<12} {:<10} CUT FROM", "HOST", "ADDRESS", "STATE");
    for host in hosts {
        println!(
            "{:<10} {:<12} {:<10} {}",
            host.name,
            host.address,
            host.state,
            host.cut_from.join(" ")
        );
    }
    Ok(())
}

/// One after another: the first error names the host it happened on.
fn each(hosts: &[String], action: impl Fn(&str) -> Result<()>) -> Result<()> {
    ensure!(!hosts.is_empty(), "no host is named");
    hosts.iter().try_for_each(|host| action(host))
}

fn words(strings: &[String]) -> Vec<&str> {
    strings.iter().map(String::as_str).collect()
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

    #[test]
    fn disks_are_limited_by_name() {
        assert_eq!(
            specs(&["node3=2G".into()]).unwrap()[2].data_size.as_deref(),
            Some("2G")
        );
        assert!(specs(&["node9=2G".into()]).is_err() && specs(&["node3".into()]).is_err());
    }
}
