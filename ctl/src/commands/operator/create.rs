//! `clusterctl operator create`: the key is made here and stays; the coordinator signs a request.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::files;
use clusterctl_proto::identity::new_key_and_request;
use clusterctl_proto::wire::control::CreateOperatorRequest;
use serde::Serialize;

use crate::account_name::parse_operator;
use crate::context::Context;
use crate::output::{self, json};
use crate::units;

/// Make a certificate for a person or a script, with the configuration to use it
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  clusterctl operator create alice --role operator --out ./alice")]
pub struct Args {
    /// Who; stands in the journal beside what they do
    #[arg(value_name = "NAME", value_parser = parse_operator)]
    name: String,
    /// What they may do
    #[arg(long, value_enum, value_name = "ROLE")]
    role: Role,
    /// Folder for ca.pem, cert.pem, key.pem and ctl.toml; made if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How long the certificate is valid; without it as long as the coordinator has it
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    ttl: Option<Duration>,
    /// Print what would be done; make nothing
    #[arg(long)]
    dry_run: bool,
}

/// What an operator may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    /// Reads
    Viewer,
    /// Also changes clusters
    Operator,
    /// Also changes trust: tokens, operators, hosts
    Admin,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    dry_run: bool,
    name: &'a str,
    role: &'a str,
    config: String,
    message: &'a str,
}

/// Makes it.
pub async fn run(context: &Context, args: Args) -> Result<u8, Failure> {
    let (name, role) = (args.name.as_str(), args.role.as_str());
    refuse_to_overwrite(&args.out)?;
    let config = args.out.join("ctl.toml");
    let message = if args.dry_run {
        format!(
            "would make a certificate for {name} with role {role} in {}; nothing was made",
            args.out.display()
        )
    } else {
        make(context, &args).await?;
        format!(
            "{name} may use: clusterctl --config {} status\n\
             the folder holds a private key: hand it over safely; as ~/.config/clusterctl, with ctl.toml named config.toml, it is found by itself",
            config.display()
        )
    };
    if context.json() {
        json::print(Answer {
            dry_run: args.dry_run,
            name,
            role,
            config: config.display().to_string(),
            message: message.lines().next().unwrap_or_default(),
        });
    } else {
        output::data(&message);
    }
    Ok(0)
}

async fn make(context: &Context, args: &Args) -> Result<(), Failure> {
    let out = &args.out;
    let client = context.connect().await?;
    // Before the call: a certificate that cannot be written would be one that nobody has. The mode of a folder that is
    // there is its owner's business; the key has its own.
    if !out.is_dir() {
        files::ensure_directory(out, 0o700)?;
    }
    let made = new_key_and_request()?;
    let request = CreateOperatorRequest {
        name: args.name.clone(),
        role: args.role.as_str().to_owned(),
        csr_der: made.csr_der,
        ttl_seconds: args.ttl.map_or(0, |ttl| ttl.as_secs()),
    };
    let reply = client
        .call(|mut api| async move { api.create_operator(request).await })
        .await?;
    files::write_atomic(&out.join("key.pem"), made.key_pem.as_bytes(), 0o600)?;
    files::write_atomic(&out.join("cert.pem"), reply.certificate_pem.as_bytes(), 0o644)?;
    files::write_atomic(&out.join("ca.pem"), reply.ca_pem.as_bytes(), 0o644)?;
    files::write_atomic(&out.join("ctl.toml"), settings_text(&reply.endpoints).as_bytes(), 0o644)?;
    Ok(())
}

fn refuse_to_overwrite(out: &Path) -> Result<(), Failure> {
    let taken = ["key.pem", "cert.pem", "ctl.toml"]
        .map(|name| out.join(name))
        .into_iter()
        .find(|path| path.exists());
    match taken {
        None => Ok(()),
        Some(path) => Err(Failure::new("already_there", format!("{} exists", path.display()))
            .hint("name another folder with --out, or remove this one if its certificate is no longer used")
            .exit(ExitClass::Conflict)),
    }
}

/// Paths count from the file's folder, so the folder can be moved as it is.
fn settings_text(endpoints: &[String]) -> String {
    let quoted: Vec<String> = endpoints.iter().map(|endpoint| format!("{endpoint:?}")).collect();
    format!(
        "# made by `clusterctl operator create`; paths count from this file's folder\n\
         endpoints = [{}]\nca = \"ca.pem\"\ncert = \"cert.pem\"\nkey = \"key.pem\"\n",
        quoted.join(", ")
    )
}
