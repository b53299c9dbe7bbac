//! `clusterctl version`: this program's, and the coordinator's where one answers.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::control::{VersionReply, VersionRequest};
use serde::Serialize;

use crate::context::Context;
use crate::output::{self, errors, json};

/// Print the versions of clusterctl and of the coordinator, and who you are to it
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl version")]
pub struct Args {
    /// Do not ask a coordinator
    #[arg(long)]
    client: bool,
}

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    /// None where none was asked or none answered.
    coordinator: Option<VersionReply>,
}

/// Prints them; a coordinator that does not answer is remarked, not a failure.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let client = env!("CARGO_PKG_VERSION");
    if !context.json() {
        output::data(&format!("clusterctl {client}"));
    }
    let mut coordinator = None;
    if !args.client {
        match ask(context).await {
            Ok(reply) => coordinator = Some(reply),
            Err(failure) if failure.code == "no_configuration" => {}
            Err(failure) => output::note(&format!(
                "no coordinator's version:\n{}",
                errors::as_text(&failure, context.colour_err)
            )),
        }
    }
    if context.json() {
        json::print(Versions { client, coordinator });
    } else if let Some(reply) = coordinator {
        output::data(&format!(
            "coordinator {} {}\nyou are {}, role {}",
            reply.coordinator, reply.version, reply.caller, reply.role
        ));
    }
    Ok(0)
}

async fn ask(context: &Context) -> Result<VersionReply, Failure> {
    let client = context.connect().await?;
    client
        .call(|mut api| async move { api.version(VersionRequest {}).await })
        .await
}
