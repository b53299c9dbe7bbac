//! A lab: hosts on a network of their own, and all one can do to them.
//!
//! The one interface for `cli` and for live tests. Every method works on what runs now, also in a lab that
//! another process made. It must never leave a half-made lab that [`Lab::down`] could not remove.

use std::collections::BTreeSet;
use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::base;
use crate::cgroup::{self, HostCgroup};
use crate::error::{WithHint, hinted};
use crate::exec::{Exec, Output};
use crate::home::{Home, names_in, remove_tree};
use crate::host::{self, Host, HostStatus};
use crate::network;
use crate::packages::{self, Packages};
use crate::prerequisites;
use crate::state::{HostSpec, LabState, check_name};

/// How a lab is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The Debian mirror to use instead of the machine's own.
    pub mirror: Option<String>,
}

/// A lab that stands.
#[derive(Debug)]
pub struct Lab {
    home: Home,
    state: LabState,
}

impl Lab {
    /// Makes a lab of bare hosts and waits until they have booted; one that stands already is used as it
    /// is, its hosts switched on, thawed and connected again.
    pub fn up(name: &str, hosts: &[&str]) -> Result<Self> {
        let hosts: Vec<_> = hosts.iter().map(|host| HostSpec::new(host)).collect();
        Self::up_with(name, &hosts, &Options::default())
    }

    /// As [`Lab::up`], then with our packages in every host: those of `CLUSTERCTL_LAB_PACKAGES`, else built now.
    pub fn up_installed(name: &str, hosts: &[&str]) -> Result<Self> {
        let lab = Self::up(name, hosts)?;
        lab.install(&Packages::from_environment_or_build()?)?;
        Ok(lab)
    }

    /// As [`Lab::up`], with everything said.
    pub fn up_with(name: &str, hosts: &[HostSpec], options: &Options) -> Result<Self> {
        check_name("lab", name, 20)?;
        for host in hosts {
            check_name("host", &host.name, 12)?;
        }
        ensure!(
            !hosts.is_empty()
                && hosts.len() <= 200
                && hosts.iter().map(|host| &host.name).collect::<BTreeSet<_>>().len() == hosts.len(),
            "a lab has between 1 and 200 hosts, each with a name of its own"
        );
        ensure!(
            rustix::process::geteuid().is_root(),
            hinted("the lab needs root", "run the tests as `cargo lab test`")
        );
        prerequisites::ensure()?;
        let home = Home::open()?;
        let _lock = home.lock(&format!("lab-{name}"))?;
        let state = find_or_plan(&home, name, hosts, options)?;
        let lab = Self { home, state };
        lab.start()?;
        Ok(lab)
    }

    /// The lab of that name, as it stands.
    pub fn open(name: &str) -> Result<Self> {
        check_name("lab", name, 20)?;
        let home = Home::open()?;
        let state = home.read(name)?;
        Ok(Self { home, state })
    }

    /// Removes a lab with all it left: processes, cgroups, namespaces, folders; also one that a crash or a
    /// machine's reboot left in pieces. Answers whether there was anything.
    pub fn down(name: &str) -> Result<bool> {
        check_name("lab", name, 20)?;
        let home = Home::open()?;
        let _lock = home.lock(&format!("lab-{name}"))?;
        let folder = home.lab(name);
        let mut hosts = cgroup::hosts_of(name)?;
        let there = folder.exists() || !hosts.is_empty();
        hosts.extend(names_in(&folder.join("hosts"))?);
        for host in hosts {
            network::detach(name, &host)?;
            HostCgroup::of(name, &host).kill()?;
            host::forget(name, &host);
        }
        network::remove(name)?;
        cgroup::remove_lab(name)?;
        remove_tree(&folder)?;
        cgroup::unmount_hierarchy();
        Ok(there)
    }

    /// The labs there are on this machine.
    pub fn names() -> Result<Vec<String>> {
        Home::open()?.labs()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Its hosts, in the order of their addresses.
    pub fn hosts(&self) -> Vec<&str> {
        self.state.hosts.iter().map(|host| host.name.as_str()).collect()
    }

    /// A host's fixed address.
    pub fn address(&self, host: &str) -> Result<String> {
        Ok(self.state.address(host)?.to_string())
    }

    /// Installs our packages in every host where these very ones are not installed yet.
    pub fn install(&self, packages: &Packages) -> Result<()> {
        packages::publish(packages, &self.home.packages(self.name()))?;
        self.on_all(|host| packages::install(self, host, packages).map(drop))
    }

    /// Runs a command in a host to its end, as `root`, `admin`, …; its failure is in the [`Output`].
    pub fn exec(&self, host: &str, user: &str, argv: &[&str], stdin: &str) -> Result<Output> {
        self.enter(host, user)?.run(argv, stdin)
    }

    /// As [`Lab::exec`], ended (exit status 124) after `limit`.
    pub fn exec_within(&self, limit: Duration, host: &str, user: &str, argv: &[&str], stdin: &str) -> Result<Output> {
        self.enter(host, user)?.within(limit).run(argv, stdin)
    }

    /// A line for the host's shell, as root: its stdout, or an error with all it said.
    pub fn sh(&self, host: &str, line: &str) -> Result<String> {
        let output = self.exec(host, "root", &["sh", "-c", line], "")?;
        output.success().with_context(|| format!("{host}# {line}"))
    }

    /// Runs a command with this process's own stdin (or `stdin`), stdout, stderr; answers its exit status.
    pub fn stream(&self, host: &str, user: &str, argv: &[&str], stdin: Option<&str>) -> Result<i32> {
        self.enter(host, user)?.stream(argv, stdin)
    }

    /// Becomes a command in a host; returns only an error.
    pub(crate) fn replace(&self, host: &str, user: &str, argv: &[&str]) -> anyhow::Error {
        self.enter(host, user)
            .map_or_else(|error| error, |way| way.replace(argv))
    }

    /// Starts a command with pipes on its stdin, stdout and stderr; the caller looks after it.
    pub fn spawn(&self, host: &str, user: &str, argv: &[&str]) -> Result<Child> {
        self.enter(host, user)?.spawn(argv)
    }

    /// Moves the calling thread, for the rest of its life, to the lab's bridge: what it opens then is a client of the hosts
    /// from outside, which no partition cuts off.
    pub fn enter_network(&self) -> Result<()> {
        network::enter(self.name(), self.state.bridge_address())
    }

    /// What each host does now.
    pub fn status(&self) -> Result<Vec<HostStatus>> {
        let cuts = network::cuts(self.name()).unwrap_or_default();
        self.hosts()
            .into_iter()
            .map(|name| {
                let cut_from = cuts
                    .iter()
                    .filter(|(from, _)| from == name)
                    .map(|(_, to)| to.clone())
                    .collect();
                let state = self.host(name)?.system_state().unwrap_or_else(|_| "off".to_owned());
                Ok(HostStatus {
                    name: name.to_owned(),
                    address: self.address(name)?,
                    state,
                    cut_from,
                })
            })
            .collect()
    }

    /// What a host's console has shown since it was made.
    pub fn console(&self, host: &str) -> Result<String> {
        let text = fs::read(self.host(host)?.folder().join("console.log")).unwrap_or_default();
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The folder outside where the lab keeps a host's things.
    pub(crate) fn folder_of(&self, host: &str) -> Result<std::path::PathBuf> {
        Ok(self.host(host)?.folder())
    }

    fn enter(&self, host: &str, user: &str) -> Result<Exec> {
        let host = self.host(host)?;
        Exec::new(&host, host.init()?, user)
    }

    pub(crate) fn host<'a>(&'a self, name: &'a str) -> Result<Host<'a>> {
        self.state.spec(name)?;
        Ok(Host {
            home: &self.home,
            lab: &self.state,
            name,
        })
    }

    fn start(&self) -> Result<()> {
        let new = !self.home.packages(self.name()).exists();
        packages::index_once(&self.home.packages(self.name()))?;
        cgroup::mount_hierarchy()?;
        network::create(self.name(), self.state.bridge_address())?;
        self.heal_all()?;
        self.on_all(|host| {
            host.prepare()?;
            self.thaw(host.name)?;
            if host.power_on()? && !new {
                eprintln!("{} was off: switched on", host.name);
            }
            host.wait_booted()?;
            packages::update_once(self, host.name)
        })
    }

    fn on_all(&self, action: impl Fn(&Host) -> Result<()> + Sync) -> Result<()> {
        self.on(&self.hosts(), action)
    }

    /// Does the same to several hosts at the same time; the first error is the answer.
    pub(crate) fn on(&self, hosts: &[&str], action: impl Fn(&Host) -> Result<()> + Sync) -> Result<()> {
        let hosts = hosts.iter().map(|host| self.host(host)).collect::<Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let action = &action;
            let running: Vec<_> = hosts.iter().map(|host| scope.spawn(move || action(host))).collect();
            let ends = running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))));
            ends.collect::<Vec<_>>().into_iter().collect()
        })
    }
}

/// The record of a lab that stands, or a new one with its base and subnet.
fn find_or_plan(home: &Home, name: &str, hosts: &[HostSpec], options: &Options) -> Result<LabState> {
    let _labs = home.lock("labs")?;
    if home.lab(name).join("lab.json").exists() {
        let state = home.read(name)?;
        ensure!(
            state.hosts == hosts,
            hinted(
                format!("lab `{name}` stands already, with other hosts"),
                format!("remove it (`cargo lab --name {name} down`) or choose another --name")
            )
        );
        base::Base::existing(home, &state.base)
            .context("the base it stands on is gone")
            .hint(format!("`cargo lab --name {name} down`, then up again"))?;
        return Ok(state);
    }
    let base = base::ensure(home, options.mirror.as_deref())?;
    let state = LabState {
        name: name.to_owned(),
        base: base.key,
        subnet: home.free_subnet()?,
        hosts: hosts.to_vec(),
    };
    home.write(&state)?;
    base::prune(home, &state.base)?;
    Ok(state)
}
