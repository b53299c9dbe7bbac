//! `clusterctl-coordinator init`: a new coordinator group of one.
//!
//! Makes CA, coordinator certificate, raft file, operator certificate and `ctl.toml`; `owner.json` is written last. Run
//! again it repairs what is missing and goes on where it was killed; it never makes a new CA over one that was in use.

pub mod account;
mod identity;
pub mod owner;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clusterctl_proto::clock;
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::files;

use crate::addresses;
use crate::config::{self, Config};
use crate::machine::{Change, Command};
use crate::model::operation::COORDINATOR;
use crate::pki::{Authority, CaFiles};
use crate::raft::{self, NodeId, Voter};
use owner::Owner;

const FIRST: NodeId = 1;

/// What `init` was told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Data directory, if another than the configuration says.
    pub data_dir: Option<PathBuf>,
    /// Configuration directory.
    pub config_dir: PathBuf,
    /// Addresses that others are told; none: all global ones.
    pub addresses: Vec<IpAddr>,
    /// Address and port to listen at.
    pub listen: Option<SocketAddr>,
    /// Name of the first operator.
    pub operator: String,
}

/// Does it. Answers what was done, a line each; nothing: it was all there.
pub async fn run(options: &Options) -> Result<Vec<String>, Failure> {
    let mut done = Vec::new();
    if !options.config_dir.is_dir() {
        files::ensure_directory(&options.config_dir, 0o755)?;
    }
    write_config(options, &mut done)?;
    let config = Config::load(&options.config_dir)?;
    let data = options.data_dir.clone().unwrap_or_else(|| config.data_dir.clone());
    if let Some(listen) = options.listen.filter(|listen| *listen != config.listen) {
        let path = options.config_dir.join(config::FILE);
        return Err(Failure::new(
            "listen_differs",
            format!("{} says listen = \"{}\"", path.display(), config.listen),
        )
        .hint(format!(
            "write there: listen = \"{listen}\"; then type the command again without --listen"
        ))
        .exit(ExitClass::Conflict));
    }
    files::ensure_directory(&data, 0o700)?;

    let known = Owner::read(&data)?;
    let complete = known.is_some();
    let owner = match known {
        Some(owner) => same_addresses(options, owner)?,
        None => begin(options, &data)?,
    };
    let ca = authority(&data, complete, &mut done)?;
    let life = config.certificates;
    identity::coordinator(&data, &ca, &owner, life.coordinator(), &mut done)?;
    if !complete {
        found(&data, &owner).await?;
        done.push("made an empty log with this coordinator as its only voter".to_owned());
    }
    let advertised = if config.advertise.is_empty() {
        &owner.addresses
    } else {
        &config.advertise
    };
    let endpoints: Vec<String> = advertised
        .iter()
        .map(|address| SocketAddr::new(*address, config.listen.port()).to_string())
        .collect();
    identity::operator(
        &options.config_dir,
        &ca,
        &owner,
        &options.operator,
        life.operator(),
        &endpoints,
        &mut done,
    )?;
    account::give_to_coordinator(&data)?;
    if !complete {
        owner.write(&data)?;
        account::give_to_coordinator(&data)?;
    }
    Owner::remove_begun(&data)?;
    Ok(done)
}

fn write_config(options: &Options, done: &mut Vec<String>) -> Result<(), Failure> {
    let path = options.config_dir.join(config::FILE);
    if path.try_exists().unwrap_or(true) {
        return Ok(());
    }
    let mut text = String::from("# clusterctl-coordinator. Everything is optional. An unknown key is an error.\n");
    if let Some(listen) = options.listen {
        text.push_str(&format!("listen = \"{listen}\"\n"));
    }
    if let Some(data) = &options.data_dir {
        let data = data
            .to_str()
            .ok_or_else(|| Failure::new("bad_path", "the data directory's path is not UTF-8"))?;
        text.push_str(&format!("data_dir = {}\n", toml::Value::String(data.to_owned())));
    }
    files::write_atomic(&path, text.as_bytes(), 0o644)?;
    done.push(format!("wrote {}", path.display()));
    Ok(())
}

/// A directory that is complete keeps its addresses.
fn same_addresses(options: &Options, owner: Owner) -> Result<Owner, Failure> {
    if options.addresses.is_empty() || options.addresses == owner.addresses {
        return Ok(owner);
    }
    let shown: Vec<String> = owner.addresses.iter().map(ToString::to_string).collect();
    Err(
        Failure::new("init_differs", "this coordinator exists already, with other addresses")
            .fact(format!("addresses: {}", shown.join(", ")))
            .hint(format!(
                "to tell others: advertise = [\"ADDRESS\"] in {}/{}",
                options.config_dir.display(),
                config::FILE
            ))
            .exit(ExitClass::Conflict),
    )
}

/// Takes up an `init` that was killed, or starts one.
fn begin(options: &Options, data: &Path) -> Result<Owner, Failure> {
    let addresses = if options.addresses.is_empty() {
        addresses::global()
    } else {
        options.addresses.clone()
    };
    if addresses.is_empty() {
        return Err(
            Failure::new("no_address", "this host has no address that other hosts could reach")
                .hint("name one: --address IP")
                .exit(ExitClass::Usage),
        );
    }
    let group = match Owner::read_begun(data)? {
        Some(begun) => begun.group,
        None if is_empty(data)? => uuid::Uuid::new_v4(),
        None => {
            return Err(Failure::new(
                "foreign_data",
                format!("{} is not empty and not a coordinator's", data.display()),
            )
            .hint("name another directory with --data-dir, or move this one away")
            .exit(ExitClass::Refused));
        }
    };
    let owner = Owner::new(group, FIRST, addresses);
    owner.write_begun(data)?;
    Ok(owner)
}

fn is_empty(directory: &Path) -> Result<bool, Failure> {
    let unreadable = |error| Failure::new("file_error", format!("cannot read {}: {error}", directory.display()));
    // A file system of its own has this folder.
    let mut names = fs::read_dir(directory)
        .map_err(unreadable)?
        .flatten()
        .map(|entry| entry.file_name());
    Ok(names.all(|name| name == "lost+found"))
}

fn authority(data: &Path, complete: bool, done: &mut Vec<String>) -> Result<Authority, Failure> {
    let at = CaFiles::in_data_directory(data);
    let there = at.certificate.exists() && at.key.exists();
    if complete && !there {
        return Err(Failure::new(
            "ca_lost",
            format!("the certificate authority's files are gone from {}", data.display()),
        )
        .fact("every certificate of this group was signed by it: a new one would shut everybody out")
        .hint(format!(
            "put back {} and {} from a backup",
            at.certificate.display(),
            at.key.display()
        ))
        .exit(ExitClass::Refused));
    }
    if !there {
        // Half-made: nobody has a certificate of it, since `init` has not ended.
        if let Some(folder) = at.key.parent() {
            files::ensure_directory(folder, 0o700)?;
        }
        let made = Authority::generate()?;
        files::write_atomic(&at.key, made.key_pem.as_bytes(), 0o600)?;
        files::write_atomic(&at.certificate, made.certificate_pem.as_bytes(), 0o644)?;
        done.push("made a certificate authority".to_owned());
    }
    Authority::load(&at)
}

/// An empty log with one voter. What a killed `init` left of it was never used: it is made anew.
async fn found(data: &Path, owner: &Owner) -> Result<(), Failure> {
    files::remove_if_there(&data.join(raft::voter::FILE))?;
    let voter = Voter::start(data, owner.group, owner.node).await?;
    voter.found().await?;
    voter.wait_for_leader(Duration::from_secs(20)).await?;
    let at = i64::try_from(clock::now_ms()).unwrap_or(i64::MAX);
    let command = Command {
        at,
        by: format!("{COORDINATOR}{}", owner.node),
        change: Change::Found { group: owner.group },
    };
    voter.node().propose(command).await?;
    voter.stop().await;
    Ok(())
}
