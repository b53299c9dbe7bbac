//! What a person types: `cargo lab …`.
//!
//! Called by `main`. It parses, calls [`Lab`], prints. Exit status: 0, 1 for an error, 2 for wrong usage;
//! `shell`, `ctl`, `test`, `drill` and `bench` hand on the status of what they ran. It must never decide anything
//! that a test would want to decide, too.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::args::{Action, Cli, Hosts, Up};
use crate::error::{self, hinted};
use crate::home::Home;
use crate::lab::{Lab, Options};
use crate::network::Direction;
use crate::packages::Packages;
use crate::stages::{self, Plan};
use crate::state::HostSpec;
use crate::{mutants, night, prerequisites, simulate, supervisor, transcript};

/// The hosts `up` makes.
const HOSTS: [&str; 4] = ["node1", "node2", "node3", "router1"];

/// Parses, runs, prints; the exit status is all there is to add.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // What only builds and runs tests stays with the user: nothing in their folders becomes root's.
    let ready = match &cli.action {
        Action::Mutants { .. } | Action::Simulate(_) => Ok(()),
        Action::Drill(options) if options.list => Ok(()),
        _ => prerequisites::become_root(),
    };
    match ready.and_then(|()| run(cli)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            error::print(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<u8> {
    // The tests' lab is never the one somebody works in, unless they say so.
    let usual = match cli.action {
        Action::Test { .. } | Action::Bench { .. } => "test",
        Action::Drill(_) | Action::Night(_) => "drill",
        _ => "dev",
    };
    let named = cli.name;
    let name = named.clone().unwrap_or_else(|| usual.to_owned());
    let open = || Lab::open(&name);
    match cli.action {
        Action::Up(up) => return self::up(&name, &up).map(|()| 0),
        Action::Down { all } => down(&if all { Lab::names()? } else { vec![name] })?,
        Action::Test { keep, stages, filters } => {
            return stages::run(&Plan {
                lab: name,
                stages,
                filters,
                keep,
            });
        }
        Action::Drill(options) if options.list => print!("{}", options.seeded().schedule()),
        Action::Drill(options) => return stages::drill(&name, &options.seeded()),
        Action::Night(options) => return night::run(&name, &options),
        Action::Mutants { list: true, .. } => return mutants::list(),
        Action::Mutants { only, .. } => return mutants::run(&only),
        Action::Simulate(options) => return simulate::run(&options),
        Action::Bench { bench, args } => return stages::bench(&name, &bench, &args),
        Action::Shell { host, user, command } => {
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
            let first = lab.hosts().first().copied().context("the lab has no host")?;
            return Err(lab.replace(first, "admin", &argv));
        }
        Action::Status { json } => status(named.as_deref(), json)?,
        Action::PowerOff(Hosts { hosts }) => open()?.power_off_all(&words(&hosts))?,
        Action::PowerOn(Hosts { hosts }) => open()?.power_on_all(&words(&hosts))?,
        Action::Reboot(Hosts { hosts }) => each(&hosts, |host| open()?.reboot(host))?,
        Action::Freeze(Hosts { hosts }) => each(&hosts, |host| open()?.freeze(host))?,
        Action::Thaw(Hosts { hosts }) => each(&hosts, |host| open()?.thaw(host))?,
        Action::Partition { host, from, one_way } => {
            let direction = if one_way { Direction::Outgoing } else { Direction::Both };
            if from.is_empty() {
                open()?.partition(&host, direction)?;
            } else {
                open()?.partition_from(&host, &words(&from), direction)?;
            }
        }
        Action::Heal { host: Some(host) } => open()?.heal(&host)?,
        Action::Heal { host: None } => open()?.heal_all()?,
        Action::Logs {
            host, console: true, ..
        } => print!("{}", open()?.console(&host)?),
        Action::Logs { host, args, .. } => {
            let argv: Vec<_> = ["journalctl", "--no-pager"].into_iter().chain(words(&args)).collect();
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
    print_hosts(&[&lab])?;
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
        let host = hosts.iter_mut().find(|host| host.name == name && !size.is_empty());
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

/// The lab of that name, or every one.
fn status(name: Option<&str>, json: bool) -> Result<()> {
    let names = name.map_or_else(Lab::names, |name| Ok(vec![name.to_owned()]))?;
    let labs = names.iter().map(|name| Lab::open(name)).collect::<Result<Vec<_>>>()?;
    if json {
        let labs = labs
            .iter()
            .map(|lab| Ok(serde_json::json!({ "name": lab.name(), "hosts": lab.status()? })));
        println!("{}", serde_json::Value::Array(labs.collect::<Result<_>>()?));
    } else if labs.is_empty() {
        println!("no lab stands; `cargo lab up` makes one");
    } else {
        print_hosts(&labs.iter().collect::<Vec<_>>())?;
    }
    Ok(())
}

fn print_hosts(labs: &[&Lab]) -> Result<()> {
    println!(
        "{:<10} {:<10} {:<13} {:<10} CUT FROM",
        "LAB", "HOST", "ADDRESS", "STATE"
    );
    for lab in labs {
        for host in lab.status()? {
            let cut = host.cut_from.join(" ");
            let line = format!(
                "{:<10} {:<10} {:<13} {:<10} {cut}",
                lab.name(),
                host.name,
                host.address,
                host.state
            );
            println!("{}", line.trim_end());
        }
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

    #[test]
    fn disks_are_limited_by_name() {
        assert_eq!(specs(&["node3=2G".into()]).unwrap()[2].data_size.as_deref(), Some("2G"));
        assert!(specs(&["node9=2G".into()]).is_err() && specs(&["node3".into()]).is_err());
    }
}
