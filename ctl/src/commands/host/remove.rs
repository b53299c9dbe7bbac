//! `clusterctl host remove`: a host is no longer known, its certificate no longer accepted.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::control::RemoveHostRequest;
use serde::Serialize;

use super::list;
use crate::context::Context;
use crate::output::{self, json};

/// Forget a host: its agent's certificate is no longer accepted; nothing on it is touched
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl host remove node9")]
pub struct Args {
    /// The host
    #[arg(value_name = "HOST")]
    host: HostName,
    /// Print what would be done; touch nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    dry_run: bool,
    already: bool,
    message: &'a str,
}

/// Removes it, or says what would be removed.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let name = args.host.to_string();
    let (already, message) = if args.dry_run {
        let known = list::fetch(&client)
            .await?
            .hosts
            .into_iter()
            .find(|host| host.name == name);
        match known {
            None => (true, format!("already so: {name} is not enrolled")),
            Some(host) if !host.cluster.is_empty() => {
                return Err(
                    Failure::refused("host_in_use", format!("{name} belongs to cluster {}", host.cluster)).hint(
                        format!("take it out first: clusterctl remove {name} (or: clusterctl router remove {name})"),
                    ),
                );
            }
            Some(host) => (
                false,
                format!(
                    "would forget {name} (roles {}, agent {}); nothing was touched",
                    host.roles.join(","),
                    host.agent
                ),
            ),
        }
    } else {
        let request = RemoveHostRequest { name: name.clone() };
        let reply = client
            .call(|mut api| async move { api.remove_host(request).await })
            .await?;
        let message = match reply.already {
            true => format!("already so: {name} is not enrolled"),
            false => format!("{name} is forgotten; its agent's certificate is no longer accepted"),
        };
        (reply.already, message)
    };
    if context.json() {
        json::print(Answer {
            dry_run: args.dry_run,
            already,
            message: &message,
        });
    } else {
        output::data(&message);
    }
    Ok(0)
}
