//! This host's own agent: enrolled, running, seen by the coordinator.

use std::path::Path;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::HostRole;
use clusterctl_proto::wire::control::{CreateTokenRequest, Host};
use serde::Deserialize;
use tokio::time::Instant;

use super::{POLL, START, local, patiently, step};
use crate::commands::{host, token};
use crate::connect::Client;
use crate::context::Context;

/// Program and unit.
pub const UNIT: &str = "clusterctl-agent";
/// Made by `clusterctl-agent enroll`.
pub const ENROLMENT: &str = "/var/lib/clusterctl/enrolment.json";
const TOKEN_TTL: u64 = 600;

/// The part of the agent's file that matters here.
#[derive(Deserialize)]
struct Enrolment {
    host: String,
}

/// This host's agent is enrolled, runs, and is seen by the coordinator; answers its name.
pub async fn ensure(
    context: &Context,
    roles: &[HostRole],
    program: &Path,
    client: &Client,
    done: &mut Vec<String>,
) -> Result<String, Failure> {
    let known = |hosts: &[Host], name: &str| hosts.iter().any(|host| host.name == name);
    let before = enrolled_as();
    let hosts = patiently(async || host::list::fetch(client).await).await?.hosts;
    if before.is_none_or(|name| !known(&hosts, &name)) {
        step(context, done, "enrol this host's agent");
        let token = patiently(async || token::create::make(client, token_request(roles)).await).await?;
        // On stdin: a command line can be read by every user.
        local::run(
            program,
            &["enroll", "--token-file", "-"],
            Some(&format!("{}\n", token.token)),
        )
        .await?;
    }
    let name = enrolled_as().ok_or_else(|| {
        Failure::new(
            "not_enrolled",
            format!("{UNIT} enroll ended well, but {ENROLMENT} is not there or not readable"),
        )
        .hint(format!("see what it says: journalctl -u {UNIT} -n 50"))
    })?;
    if !local::is_active(UNIT).await {
        step(context, done, format!("start {UNIT}"));
    }
    local::enable_now(UNIT).await?;
    seen(client, &name).await?;
    Ok(name)
}

fn enrolled_as() -> Option<String> {
    let text = clusterctl_proto::files::read_text_limited(Path::new(ENROLMENT), 64 * 1024).ok()?;
    serde_json::from_str::<Enrolment>(&text)
        .ok()
        .map(|enrolment| enrolment.host)
}

fn token_request(wanted: &[HostRole]) -> CreateTokenRequest {
    let mut roles = vec![HostRole::Coordinator];
    roles.extend(wanted.iter().copied().filter(|role| *role != HostRole::Coordinator));
    CreateTokenRequest {
        roles: roles.iter().map(ToString::to_string).collect(),
        uses: 1,
        ttl_seconds: TOKEN_TTL,
        host: String::new(),
        replace: false,
    }
}

async fn seen(client: &Client, name: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + START;
    loop {
        let hosts = patiently(async || host::list::fetch(client).await).await?.hosts;
        if hosts.iter().any(|host| host.name == name && host.agent == "connected") {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(
                "agent_not_seen",
                format!("the agent of {name} is enrolled but does not connect"),
            )
            .hint(format!(
                "see why: journalctl -u {UNIT} -n 50; then again: clusterctl init"
            ))
            .exit(ExitClass::Unreachable));
        }
        tokio::time::sleep(POLL).await;
    }
}
