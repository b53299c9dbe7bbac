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
    after_help = "Example:\n  clusterctl token create --role db | ssh root@node2 clusterctl-agent enroll --token-file -\n  \
                  clusterctl token create --host node2 --replace | ssh root@node2 clusterctl-agent enroll --token-file -"
)]
pub struct Args {
    /// What the hosts may be used for: db, router, coordinator
    #[arg(
        long = "role",
        value_name = "ROLE",
        required_unless_present = "replace",
        value_delimiter = ','
    )]
    roles: Vec<HostRole>,
    /// How many hosts may use it
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "replace", value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
    /// How long it is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = units::parse_duration)]
    ttl: Duration,
    /// Only this host may use it
    #[arg(long, value_name = "NAME")]
    host: Option<HostName>,
    /// Enrol that host again as itself: its new key replaces the old one (its certificate expired, or its system disk was replaced)
    #[arg(long, requires = "host")]
    replace: bool,
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
        replace: args.replace,
    };
    let whose = args
        .host
        .map_or_else(|| count(args.uses as usize, "host"), |host| host.to_string());
    let role = match roles.join(",") {
        own if own.is_empty() => "its own roles".to_owned(),
        roles => format!("role {roles}"),
    };
    let replaces = if args.replace { ", whose key it replaces," } else { "" };
    let what = format!(
        "a token for {whose}{replaces} with {role}, valid for {}",
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
    let where_to = if args.replace { whose.as_str() } else { "the new host" };
    context.remark(&format!(
        "{what}: id {}, until {}\non {where_to}, as root: clusterctl-agent enroll --token-file -   (the token on stdin)\n\
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
