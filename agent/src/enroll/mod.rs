//! `clusterctl-agent enroll`: a token buys this host a certificate.
//!
//! Called by `main`. The token comes from standard input or a file, never from the command line. A token is spent only when
//! there is something to gain: a host that is enrolled in the same group already says so and ends well. A host that was enrolled in the
//! token's group keeps its name and its key, unless forced: a member whose certificate expired enrols again as itself. It must never begin
//! an empty ledger on a host that had a cluster's data: what that host has promised is unknown then.

mod record;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clusterctl_proto::clock;
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::files;
use clusterctl_proto::identity::{Identity, fingerprint, new_key_and_request, request_for_key};
use clusterctl_proto::ids::HostName;
use clusterctl_proto::tls::{self, Credentials};
use clusterctl_proto::token::Token;
use clusterctl_proto::wire::enrolment::enrolment_client::EnrolmentClient;
use clusterctl_proto::wire::enrolment::{EnrollReply, EnrollRequest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;

use crate::config::Config;
use crate::host::{Host, network, systemd};
use crate::ledger::Ledger;
use crate::mysql::data::MARKER;
use crate::status;

pub use record::Enrolment;

const CALL: Duration = Duration::from_secs(20);
const UNIT: &str = "clusterctl-agent.service";
/// How long the agent's first connection is waited for.
const CONNECTION: Duration = Duration::from_secs(5);
/// A coordinator takes no more.
const MAX_ADDRESSES: usize = 16;
/// Longer than any token, short enough to be read by mistake.
const TOKEN_LIMIT: u64 = 64 * 1024;

/// As typed.
pub struct Arguments {
    /// `-`: standard input.
    pub token_file: PathBuf,
    /// Instead of the host's own name.
    pub host: Option<String>,
    /// Leaves another group.
    pub force: bool,
    /// Does not start the agent.
    pub no_start: bool,
}

/// What this host is already.
#[derive(Debug)]
enum Before {
    /// Not enrolled, or with an identity that is of no use any more.
    Nothing,
    /// Enrolled with a valid certificate.
    Enrolled { enrolment: Enrolment, ca_sha256: String },
}

/// Enrols; answers what to tell the person.
pub async fn run(arguments: Arguments, config: &Config, host: &dyn Host) -> Result<String, Failure> {
    let token = read_token(&arguments.token_file)?;
    let own = own(config, &token)?;
    let name = choose_name(
        arguments.host.as_deref().or(own.host.as_ref().map(HostName::as_str)),
        &rustix::system::uname().nodename().to_string_lossy(),
    )?;
    let before = before(config)?;
    let other_group = match judge(&before, &token, arguments.host.as_ref().map(|_| &name), arguments.force)? {
        Verdict::Already(text) => {
            let started = start(host, &arguments, false).await?;
            return Ok(format!("{text}{started}"));
        }
        Verdict::Enrol { other_group } => other_group,
    };
    files::ensure_directory(&config.state_dir, 0o700)?;
    let key_pem = match own.key_pem {
        Some(key_pem) if !arguments.force => key_pem,
        _ => pending_key(config)?,
    };
    let reply = ask(&token, &name, host, request_for_key(&key_pem)?).await?;
    let credentials = check(&reply, &key_pem, &token)?;
    if other_group {
        // its generations are of another log and cannot be compared with the new ones
        record::set_aside(&config.state_dir.join("ledger.json"))?;
    }
    let enrolment = Enrolment::new(&credentials, &reply)?;
    store(config, &enrolment, &reply, &key_pem)?;
    let started = start(host, &arguments, true).await?;
    let roles = enrolment.roles.join(", ");
    Ok(format!(
        "enrolled as {} (roles: {roles}; certificate valid until {}){started}",
        enrolment.host,
        credentials.facts().expires()
    ))
}

fn read_token(path: &Path) -> Result<Token, Failure> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .take(TOKEN_LIMIT)
            .read_to_string(&mut text)
            .map_err(|e| {
                Failure::new(
                    "bad_token",
                    format!("the token cannot be read from standard input: {e}"),
                )
                .exit(ExitClass::Usage)
            })?;
        text
    } else {
        files::read_text_limited(path, TOKEN_LIMIT).map_err(|e| Failure::from(e).exit(ExitClass::Usage))?
    };
    Ok(text.parse::<Token>()?)
}

/// The name to propose: as given, else the host's own.
fn choose_name(given: Option<&str>, own: &str) -> Result<HostName, Failure> {
    let text = given.unwrap_or(own).to_ascii_lowercase();
    let first = text.split('.').next().unwrap_or("");
    if matches!(first, "localhost" | "localhost4" | "localhost6" | "(none)" | "") && given.is_none() {
        return Err(Failure::new(
            "no_host_name",
            format!("this host's name is {own:?}, which says nothing"),
        )
        .hint("give it a name of its own: hostnamectl set-hostname node2; then enrol again")
        .exit(ExitClass::Refused));
    }
    text.parse::<HostName>().map_err(|error| {
        Failure::new("bad_host_name", error.to_string())
            .hint("hostnamectl set-hostname node2, or name it: clusterctl-agent enroll --host node2 --token-file -")
            .exit(ExitClass::Usage)
    })
}

fn before(config: &Config) -> Result<Before, Failure> {
    let enrolment = match Enrolment::load(config) {
        Ok(Some(enrolment)) => enrolment,
        Ok(None) => return Ok(Before::Nothing),
        Err(failure) if failure.code == "file_error" => return Err(failure),
        Err(_) => return Ok(Before::Nothing),
    };
    let now = i64::try_from(clock::now_ms() / 1000).unwrap_or(i64::MAX);
    match Credentials::load(&config.identity_dir()) {
        Ok(credentials) if credentials.facts().not_after > now => Ok(Before::Enrolled {
            ca_sha256: fingerprint(credentials.ca_der()),
            enrolment,
        }),
        _ => Ok(Before::Nothing),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing to do; the token is not spent.
    Already(String),
    /// Go on.
    Enrol { other_group: bool },
}

fn judge(before: &Before, token: &Token, asked_name: Option<&HostName>, force: bool) -> Result<Verdict, Failure> {
    let Before::Enrolled { enrolment, ca_sha256 } = before else {
        return Ok(Verdict::Enrol { other_group: false });
    };
    let conflict = |code: &str, text: String| Failure::new(code, text).exit(ExitClass::Conflict);
    if *ca_sha256 != token.ca_sha256 {
        if force {
            return Ok(Verdict::Enrol { other_group: true });
        }
        return Err(conflict(
            "enrolled_elsewhere",
            format!(
                "this host is enrolled as {} in another coordinator group",
                enrolment.host
            ),
        )
        .fact(format!("its coordinators: {}", enrolment.endpoints.join(", ")))
        .fact(format!("the token's coordinators: {}", token.endpoints.join(", ")))
        .hint("to leave that group for good: clusterctl-agent enroll --force --token-file -"));
    }
    if let Some(name) = asked_name
        && *name != enrolment.host
    {
        return Err(conflict(
            "enrolled_otherwise",
            format!("this host is enrolled in this group already, as {}", enrolment.host),
        )
        .hint(format!(
            "a host keeps its name; to give it another: clusterctl host remove {}, then enrol again with --force",
            enrolment.host
        )))
        .or_else(|failure| {
            if force {
                Ok(Verdict::Enrol { other_group: false })
            } else {
                Err(failure)
            }
        });
    }
    if force {
        return Ok(Verdict::Enrol { other_group: false });
    }
    Ok(Verdict::Already(format!(
        "this host is enrolled already, as {}; the token was not used",
        enrolment.host
    )))
}

/// What is left of an enrolment in a token's group, also where its certificate has expired or is gone.
#[derive(Default)]
struct Own {
    host: Option<HostName>,
    key_pem: Option<String>,
}

fn own(config: &Config, token: &Token) -> Result<Own, Failure> {
    let read = |name: &str| match files::read_text_limited(&config.identity_dir().join(name), TOKEN_LIMIT) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(Failure::from(error)),
    };
    let ca = read("ca.pem")?.and_then(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).ok());
    if ca.is_none_or(|ca| fingerprint(&ca) != token.ca_sha256) {
        return Ok(Own::default());
    }
    let host = match Enrolment::load(config) {
        Ok(enrolment) => enrolment.map(|enrolment| enrolment.host),
        Err(failure) if failure.code == "file_error" => return Err(failure),
        Err(_) => None,
    };
    Ok(Own {
        host,
        key_pem: read("key.pem")?.filter(|key| request_for_key(key).is_ok()),
    })
}

/// The key of an attempt that was interrupted is used again: its request may have been granted.
fn pending_key(config: &Config) -> Result<String, Failure> {
    let path = pending_path(config);
    match files::read_text_limited(&path, TOKEN_LIMIT) {
        Ok(key) if request_for_key(&key).is_ok() => return Ok(key),
        Ok(_) => {}
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error.into()),
    }
    let key = new_key_and_request()?.key_pem;
    files::write_atomic(&path, key.as_bytes(), 0o600)?;
    Ok(key)
}

fn pending_path(config: &Config) -> PathBuf {
    config.state_dir.join("enrolling.key")
}

async fn ask(token: &Token, name: &HostName, host: &dyn Host, csr_der: Vec<u8>) -> Result<EnrollReply, Failure> {
    let towards = token
        .endpoints
        .iter()
        .find_map(|endpoint| network::source_towards(endpoint.parse::<SocketAddr>().ok()?));
    let addresses = network::prefer(network::addresses(host).await.unwrap_or_default(), towards);
    let (channel, _) = tls::pinned_connect(&token.endpoints, &token.ca_sha256).await?;
    let mut request = tonic::Request::new(EnrollRequest {
        token_id: token.id.clone(),
        token_secret: token.secret.clone(),
        host: name.to_string(),
        addresses: addresses.iter().take(MAX_ADDRESSES).map(ToString::to_string).collect(),
        csr_der,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    request.set_timeout(CALL);
    Ok(EnrolmentClient::new(channel).enroll(request).await?.into_inner())
}

/// What came must load, be of the pinned CA, and name the agent of the host that the reply names.
fn check(reply: &EnrollReply, key_pem: &str, token: &Token) -> Result<Credentials, Failure> {
    let bad = |why: String| {
        Failure::new("bad_enrolment", "the coordinator's answer cannot be used")
            .fact(why)
            .exit(ExitClass::Denied)
    };
    let credentials =
        Credentials::from_pem(&reply.ca_pem, &reply.certificate_pem, key_pem).map_err(|e| bad(e.message))?;
    if fingerprint(credentials.ca_der()) != token.ca_sha256 {
        return Err(bad("its CA is not the one that the token names".to_owned()));
    }
    match &credentials.peer().identity {
        Identity::Agent(host) if host.as_str() == reply.host => Ok(credentials),
        other => Err(bad(format!(
            "the certificate is for {other}, the answer for {}",
            reply.host
        ))),
    }
}

/// The certificate is written last: it is what makes this host enrolled, for the unit's condition, too.
fn store(config: &Config, enrolment: &Enrolment, reply: &EnrollReply, key_pem: &str) -> Result<(), Failure> {
    let folder = config.identity_dir();
    files::ensure_directory(&folder, 0o700)?;
    files::remove_if_there(&folder.join("cert.pem"))?;
    files::write_atomic(&folder.join("key.pem"), key_pem.as_bytes(), 0o600)?;
    files::write_atomic(&folder.join("ca.pem"), reply.ca_pem.as_bytes(), 0o644)?;
    enrolment.save(config)?;
    if !had_ledger(config, reply) {
        Ledger::create(&config.state_dir)?;
    }
    files::write_atomic(&folder.join("cert.pem"), reply.certificate_pem.as_bytes(), 0o644)?;
    files::remove_if_there(&pending_path(config))?;
    Ok(())
}

/// A host that is a member, or has a cluster's data, once had a ledger: an empty one would say that it has promised nothing. Where the
/// data directory cannot be looked at (its volume is not mounted, say) the coordinator still knows that the host is a member.
fn had_ledger(config: &Config, reply: &EnrollReply) -> bool {
    let marker = config.mysql.data_dir.join(MARKER);
    reply.member || !matches!(marker.try_exists(), Ok(false))
}

/// Starts the agent where systemd is; a fresh identity needs a fresh process.
async fn start(host: &dyn Host, arguments: &Arguments, fresh: bool) -> Result<String, Failure> {
    if arguments.no_start {
        return Ok(String::new());
    }
    if host.stat(Path::new("/run/systemd/system")).await?.is_none() {
        return Ok("; there is no systemd here, start it with: clusterctl-agent run".to_owned());
    }
    systemd::enable(host, UNIT).await?;
    if fresh {
        systemd::restart(host, UNIT).await?;
    } else {
        systemd::start(host, UNIT).await?;
    }
    Ok(wait_connected(host, CONNECTION).await)
}

/// The next command is typed at once, and is to find this host connected.
async fn wait_connected(host: &dyn Host, longest: Duration) -> String {
    let end = Instant::now() + longest;
    loop {
        match status::connected(host).await {
            Ok(()) => return "; clusterctl-agent.service runs and is connected".to_owned(),
            Err(why) if Instant::now() >= end => {
                return format!("; clusterctl-agent.service runs, but says: {why}; see: clusterctl-agent status");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
