//! `clusterctl token revoke`.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::wire::control::{ListTokensRequest, RevokeTokenRequest};
use serde::Serialize;

use crate::context::Context;
use crate::output::{self, json};

/// Make a token worthless; hosts that used it stay enrolled
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl token revoke 4f2a9c")]
pub struct Args {
    /// The token's id, as `token list` shows it
    #[arg(value_name = "ID")]
    id: String,
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

/// Checked here and not by the parser of arguments, which would repeat what was typed: it may be a whole token.
fn check_id(text: &str) -> Result<(), Failure> {
    let bad = |message: &str| Failure::new("bad_token_id", message).exit(ExitClass::Usage);
    if text.starts_with("cct1.") {
        return Err(
            bad("this is a token, and it stands in your shell's history now: revoke it by its id")
                .hint("clusterctl token list"),
        );
    }
    if text.is_empty() || text.len() > 128 || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return Err(bad("a token's id has letters, digits, '-', '_' and '.' only").hint("clusterctl token list"));
    }
    Ok(())
}

/// Revokes it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    check_id(&args.id)?;
    let client = context.connect().await?;
    let id = args.id;
    let (already, message) = if args.dry_run {
        let reply = client
            .call(|mut api| async move { api.list_tokens(ListTokensRequest {}).await })
            .await?;
        match reply.tokens.iter().find(|token| token.id == id) {
            None => {
                return Err(
                    Failure::new("unknown_token", format!("there is no token {id}")).hint("clusterctl token list")
                );
            }
            Some(token) if token.state == "valid" => (
                false,
                format!(
                    "would revoke token {id} (roles {}); nothing was touched",
                    token.roles.join(",")
                ),
            ),
            Some(token) => (true, format!("already so: token {id} is {}", token.state)),
        }
    } else {
        let request = RevokeTokenRequest { id: id.clone() };
        let reply = client
            .call(|mut api| async move { api.revoke_token(request).await })
            .await?;
        match reply.already {
            true => (true, format!("already so: token {id} is worthless")),
            false => (false, format!("token {id} is revoked")),
        }
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
