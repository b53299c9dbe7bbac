//! `clusterctl init`: the first host gets a coordinator, an operator and its own agent.
//!
//! Every part is looked at first and made only if it is missing, so a second run repairs what a first one left undone.

mod agent;
mod local;

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::HostRole;
use clusterctl_proto::wire::control::VersionRequest;
use serde::Serialize;
use tokio::time::Instant;

use crate::account_name::parse_operator;
use crate::cli::Global;
use crate::config;
use crate::connect::Client;
use crate::context::Context;
use crate::output::{self, json};

const COORDINATOR: &str = "clusterctl-coordinator";
/// Made by `clusterctl-coordinator init`.
const COORDINATOR_IDENTITY: &str = "/var/lib/clusterctl-coordinator/identity/cert.pem";
const OPERATOR_IDENTITY: &str = "/etc/clusterctl/operator/cert.pem";

/// For the coordinator to lead, and for the agent to be seen by it.
const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Make this host the first: CA, coordinator, operator certificate, its own agent (as root)
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  sudo clusterctl init")]
pub struct Args {
    /// Address at which other hosts reach this one; may be repeated; without it every address of this host
    #[arg(long = "address", value_name = "IP", value_delimiter = ',')]
    addresses: Vec<IpAddr>,
    /// Name of the first operator, who has role admin
    #[arg(long, value_name = "NAME", default_value = "admin", value_parser = parse_operator)]
    operator: String,
    /// What this host may be used for besides being a coordinator: db, router
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',', default_value = "db")]
    roles: Vec<HostRole>,
    /// Print what would be done; touch nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    dry_run: bool,
    already: bool,
    message: &'a str,
    /// What was done, or would be.
    done: &'a [String],
    host: Option<&'a str>,
    config: &'a str,
}

/// Makes what is missing.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    if args.dry_run {
        let missing = missing().await;
        let message = match missing.len() {
            0 => "already so: nothing would be done".to_owned(),
            _ => format!("would do:\n  {}\nnothing was touched", missing.join("\n  ")),
        };
        show(context, &missing, None, true, &message);
        return Ok(0);
    }
    local::require_root()?;
    // Both are needed in the end: better known before anything is made.
    let programs = (local::program(COORDINATOR)?, local::program(agent::UNIT)?);
    let mut done = Vec::new();

    coordinator(context, &args, &programs.0, &mut done).await?;
    let client = connected(context).await?;
    let name = agent::ensure(context, &args.roles, &programs.1, &client, &mut done).await?;

    let message = if done.is_empty() {
        format!("already so: coordinator, operator certificate and agent of {name} are in place")
    } else {
        format!("{name} is the first host: coordinator, operator certificate and agent are in place")
    };
    show(context, &done, Some(&name), false, &message);
    if !done.is_empty() {
        context.remark(&next_steps());
    }
    Ok(0)
}

fn show(context: &Context, done: &[String], host: Option<&str>, dry_run: bool, message: &str) {
    if !context.json() {
        return output::data(message);
    }
    json::print(Answer {
        dry_run,
        already: done.is_empty(),
        message,
        done,
        host,
        config: config::SYSTEM_FILE,
    });
}

/// What a run would do, as far as can be seen from here.
async fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !there(COORDINATOR_IDENTITY) {
        missing.push("make a certificate authority and this coordinator's data".to_owned());
    }
    if !there(config::SYSTEM_FILE) || !there(OPERATOR_IDENTITY) {
        missing.push(format!("make the operator's certificate and {}", config::SYSTEM_FILE));
    }
    if !local::is_active(COORDINATOR).await {
        missing.push(format!("enable and start {COORDINATOR}"));
    }
    if !there(agent::ENROLMENT) {
        missing.push("enrol this host's agent".to_owned());
    }
    if !local::is_active(agent::UNIT).await {
        missing.push(format!("enable and start {}", agent::UNIT));
    }
    missing
}

/// Folders of others may hide a file: then it is taken as there, and what needs it says so.
fn there(path: &str) -> bool {
    Path::new(path).try_exists().unwrap_or(true)
}

fn step(context: &Context, done: &mut Vec<String>, what: impl Into<String>) {
    let what = what.into();
    context.remark(&format!("==> {what}"));
    done.push(what);
}

async fn coordinator(context: &Context, args: &Args, program: &Path, done: &mut Vec<String>) -> Result<(), Failure> {
    // Always: it knows itself what is there, and repairs what is missing or about to expire.
    let mut words = vec!["init".to_owned(), "--operator".to_owned(), args.operator.clone()];
    for address in &args.addresses {
        words.extend(["--address".to_owned(), address.to_string()]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = local::run(program, &words, None).await?;
    for line in what_was_done(&said) {
        step(context, done, line);
    }
    if !local::is_active(COORDINATOR).await {
        step(context, done, format!("start {COORDINATOR}"));
    }
    // Also when it runs: it may be disabled.
    local::enable_now(COORDINATOR).await
}

/// A line for each thing that was made.
fn what_was_done(said: &str) -> impl Iterator<Item = &str> {
    said.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("already"))
}

/// Waits until the coordinator that was just started answers.
async fn connected(context: &Context) -> Result<Client, Failure> {
    let global = Global {
        config: Some(config::SYSTEM_FILE.into()),
        ..context.global.clone()
    };
    let settings = config::load(&global)?;
    patiently(async || {
        let client = Client::connect(&settings, context.global.timeout.min(START)).await?;
        client
            .call(|mut api| async move { api.version(VersionRequest {}).await })
            .await?;
        Ok(client)
    })
    .await
}

/// Asks again for a while where nobody answers or leads yet.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    let deadline = Instant::now() + START;
    loop {
        match ask().await {
            Err(failure) if failure.exit == ExitClass::Unreachable && Instant::now() < deadline => {
                tokio::time::sleep(POLL).await;
            }
            other => return other,
        }
    }
}

fn next_steps() -> String {
    let user = std::env::var("SUDO_USER").ok().filter(|user| user != "root");
    let group = match user {
        Some(user) => format!("as {user} without sudo: usermod -aG clusterctl-admin {user}, then log in again\n"),
        None => String::new(),
    };
    format!(
        "{group}next: clusterctl token create --role db, and on each further host: clusterctl-agent enroll --token-file -"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_counts_as_done() {
        let said = "made a certificate authority\n\nwrote /etc/clusterctl/ctl.toml\n";
        assert_eq!(what_was_done(said).count(), 2);
        assert_eq!(what_was_done("already so: everything is there\n").count(), 0);
    }

    #[tokio::test]
    async fn a_coordinator_that_starts_is_waited_for_and_a_refusal_is_not() {
        let asked = std::cell::Cell::new(0);
        let ask = async || {
            asked.set(asked.get() + 1);
            match asked.get() {
                1 | 2 => Err(Failure::new("coordinator_unreachable", "no").exit(ExitClass::Unreachable)),
                _ => Err(Failure::new("denied", "no").exit(ExitClass::Denied)),
            }
        };
        let ended: Result<(), Failure> = patiently(ask).await;
        assert_eq!(ended.unwrap_err().code, "denied");
        assert_eq!(asked.get(), 3);
    }
}
