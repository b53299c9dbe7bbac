//! `clusterctl token create`: the token alone on stdout, so that it can be piped.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, HostRole};
use clusterctl_proto::wire::control::{CreateTokenReply, CreateTokenRequest};
use serde::Serialize;

use crate::connect::Client;
use crate::context::Context;
use crate::output::{self, json};
use crate::progress::count;
use crate::units;

/// Make a token that lets new hosts enrol
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  clusterctl token create --role db | ssh root@node2 clusterctl-agent enroll --token-file -"
)]
pub struct Args {
    /// What the hosts may be used for: db, router, coordinator
    #[arg(long = "role", value_name = "ROLE", required = true, value_delimiter = ',')]
    roles: Vec<HostRole>,
    /// How many hosts may use it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
    /// How long it is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = units::parse_duration)]
    ttl: Duration,
    /// Only this host may use it
    #[arg(long, value_name = "NAME")]
    host: Option<HostName>,
    /// Print what would be done; make no token
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct DryRun<'a> {
    dry_run: bool,
    message: &'a str,
}

/// Makes one.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let roles: Vec<String> = args.roles.iter().map(ToString::to_string).collect();
    let request = CreateTokenRequest {
        roles: roles.clone(),
        uses: args.uses,
        ttl_seconds: args.ttl.as_secs().max(1),
        host: args.host.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let whose = args
        .host
        .map_or_else(|| count(args.uses as usize, "host"), |host| host.to_string());
    let what = format!(
        "a token for {whose} with role {}, valid for {}",
        roles.join(","),
        humantime::format_duration(args.ttl)
    );
    if args.dry_run {
        let message = format!("would make {what}; none was made");
        if context.json() {
            json::print(DryRun {
                dry_run: true,
                message: &message,
            });
        } else {
            output::data(&message);
        }
        return Ok(0);
    }
    let client = context.connect().await?;
    let reply = make(&client, request).await?;
    if context.json() {
        json::print(reply);
        return Ok(0);
    }
    context.remark(&format!(
        "{what}: id {}, until {}\non the new host, as root: clusterctl-agent enroll --token-file -   (the token on stdin)\n\
         it is a secret: keep it out of command lines and chats; undo it: clusterctl token revoke {}",
        reply.id, reply.expires_at, reply.id
    ));
    output::data(&reply.token);
    Ok(0)
}

/// Asks for one; `init` does, too.
pub async fn make(client: &Client, request: CreateTokenRequest) -> Result<CreateTokenReply, Failure> {
    client
        .call(|mut api| async move { api.create_token(request).await })
        .await
}
