//! `clusterctl token list`: what tokens there are; their secrets are kept nowhere.

use std::time::SystemTime;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::control::ListTokensRequest;

use crate::context::Context;
use crate::output::table::Columns;
use crate::output::{self, json};
use crate::units;

/// List enrolment tokens
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl token list")]
pub struct Args {}

/// Asks and prints.
pub async fn run(context: &Context, _: Args) -> Result<u8, Failure> {
    let client = context.connect().await?;
    let reply = client
        .call(|mut api| async move { api.list_tokens(ListTokensRequest {}).await })
        .await?;
    if context.json() {
        json::print(reply);
        return Ok(0);
    }
    if reply.tokens.is_empty() {
        output::data("no token");
        return Ok(0);
    }
    let mut table = Columns::new(&["ID", "ROLES", "STATE", "USES-LEFT", "EXPIRES", "BY"]);
    let now = SystemTime::now();
    for token in &reply.tokens {
        let expires = if context.wide() {
            token.expires_at.clone()
        } else {
            units::relative(&token.expires_at, now)
        };
        table.row([
            &token.id,
            &token.roles.join(","),
            &token.state,
            &token.uses_left.to_string(),
            &expires,
            &token.created_by,
        ]);
    }
    output::data(&table.render());
    Ok(0)
}
