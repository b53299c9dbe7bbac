//! One host: its folders and files, its power switch.
//!
//! Called by `lab` (from outside) and `supervisor` (which boots it). A host's own layer and data lie in
//! `labs/LAB/hosts/HOST`; its root is mounted only inside its supervisor's mount namespace, so that
//! nothing is left mounted when the processes are gone. It must never write into the base.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::base::Base;
use crate::cgroup::{self, HostCgroup};
use crate::command::{output, tool};
use crate::error::{WithHint, hinted};
use crate::exec::Exec;
use crate::home::Home;
use crate::memory;
use crate::network;
use crate::state::LabState;
use crate::supervisor;
use crate::wait::wait_for;

/// What one sees of a host from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// Its fixed address.
    pub address: String,
    /// `off`, `frozen`, or what `systemctl is-system-running` says in it (`running`, `degraded`, …).
    pub state: String,
    /// Hosts that its packets do not reach.
    pub cut_from: Vec<String>,
}

/// Where a host's data lies, outside its own layer.
const DATA: &str = "data";
/// Where a coordinator's state lies, if its size is limited.
const COORDINATOR: &str = "coordinator";

/// A host of a lab.
#[derive(Debug, Clone)]
pub(crate) struct Host<'a> {
    pub home: &'a Home,
    pub lab: &'a LabState,
    pub name: &'a str,
}

impl<'a> Host<'a> {
    pub fn cgroup(&self) -> HostCgroup {
        HostCgroup::of(&self.lab.name, self.name)
    }

    pub fn folder(&self) -> PathBuf {
        self.home.host(&self.lab.name, self.name)
    }

    /// Makes the host's folders and the few files it starts with; a host that has them keeps them.
    pub fn prepare(&self) -> Result<()> {
        let folder = self.folder();
        if folder.join("prepared").exists() {
            return Ok(());
        }
        for name in ["upper/etc/apt", "work", "root", "data/mysql", "data/clusterctl"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let etc = folder.join("upper/etc");
        fs::write(etc.join("hostname"), format!("{}\n", self.name))?;
        fs::write(etc.join("hosts"), hosts_file(self.name))?;
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
        fs::write(etc.join("machine-id"), id)?;
        let sources = ["mirror", "clusterctl"].map(|name| format!("deb [trusted=yes] file:/srv/{name} ./\n"));
        fs::write(etc.join("apt/sources.list"), sources.concat())?;
        memory::tell(&etc)?;
        for (name, size) in self.limited()? {
            let image = folder.join(format!("{name}.img"));
            output(tool("truncate", ["-s", size]).arg(&image)).hint("a size is a number with K, M or G, as `2G`")?;
            output(tool("mkfs.ext4", ["-q", "-F", "-m", "0"]).arg(&image))?;
            fs::create_dir_all(folder.join(name))?;
        }
        fs::write(folder.join("prepared"), "")?;
        Ok(())
    }

    /// Mounts the host's root and, if its size is limited, its data; in the supervisor's namespace only.
    pub fn mount(&self) -> Result<()> {
        let base = Base::existing(self.home, &self.lab.base)
            .with_context(|| format!("the base {} is gone", self.lab.base))
            .hint("remove the lab and make it again")?;
        let folder = self.folder();
        let _ = fs::remove_dir_all(folder.join("work/work/incompat"));
        let layers = [
            ("lowerdir", base.root()),
            ("upperdir", folder.join("upper")),
            ("workdir", folder.join("work")),
        ];
        let layers = layers
            .map(|(name, path)| format!("{name}={}", path.display()))
            .join(",");
        output(tool("mount", ["-t", "overlay", "overlay", "-o", &layers]).arg(folder.join("root")))?;
        for (name, _) in self.limited()? {
            let image = folder.join(format!("{name}.img"));
            output(tool("mount", ["-o", "loop"]).arg(image).arg(folder.join(name)))?;
            // A data directory with a `lost+found` in it would not be empty.
            let inside: &[&str] = if name == DATA {
                &["mysql", "clusterctl"]
            } else {
                &["state"]
            };
            for name_inside in inside {
                fs::create_dir_all(folder.join(name).join(name_inside))?;
            }
        }
        Ok(())
    }

    /// Folders of limited size, with the size.
    fn limited(&self) -> Result<Vec<(&'static str, &'a str)>> {
        let spec = self.lab.spec(self.name)?;
        let all = [(DATA, &spec.data_size), (COORDINATOR, &spec.coordinator_size)];
        Ok(all
            .into_iter()
            .filter_map(|(name, size)| Some((name, size.as_deref()?)))
            .collect())
    }

    /// The nspawn command that is this host.
    pub fn nspawn(&self) -> Result<Command> {
        let base = Base::existing(self.home, &self.lab.base).context("the base is gone")?;
        let folder = self.folder();
        let bind = |option: &str, from: &Path, to: &str| format!("--{option}={}:{to}", from.display());
        let mut command = tool("systemd-nspawn", ["--quiet", "--boot", "--register=no", "--keep-unit"]);
        command
            .arg(format!("--directory={}", folder.join("root").display()))
            .arg(format!("--machine={}", machine(&self.lab.name, self.name)))
            .arg(format!("--hostname={}", self.name))
            .arg(format!(
                "--network-namespace-path={}",
                network::namespace_path(&self.lab.name, self.name)
            ))
            .args([
                // nspawn forbids mlock, which real machines allow and by which Router keeps passwords out of swap.
                "--system-call-filter=@memlock",
                "--resolv-conf=off",
                "--timezone=off",
                "--link-journal=no",
                "--console=pipe",
            ])
            .arg(bind("bind-ro", &base.pool(), "/srv/mirror"))
            .arg(bind("bind-ro", &self.home.packages(&self.lab.name), "/srv/clusterctl"))
            .arg(bind("bind", &folder.join("data/mysql"), "/var/lib/mysql"))
            .arg(bind("bind", &folder.join("data/clusterctl"), "/var/lib/clusterctl"));
        if self.lab.spec(self.name)?.coordinator_size.is_some() {
            let state = folder.join(COORDINATOR).join("state");
            command.arg(bind("bind", &state, "/var/lib/clusterctl-coordinator"));
        }
        Ok(command)
    }

    pub fn is_on(&self) -> bool {
        self.cgroup().init().is_some()
    }

    /// Switches the power on; returns at once. A host that is on stays so.
    pub fn power_on(&self) -> Result<bool> {
        if self.is_on() {
            return Ok(false);
        }
        self.power_off()?;
        cgroup::mount_hierarchy()?;
        supervisor::spawn(self)?;
        Ok(true)
    }

    /// Takes the power away: the cable first, so that no process gets to say goodbye.
    pub fn power_off(&self) -> Result<()> {
        network::detach(&self.lab.name, self.name)?;
        self.cgroup().kill()?;
        network::detach(&self.lab.name, self.name)
    }

    /// Waits until its systemd has started everything.
    pub fn wait_booted(&self) -> Result<()> {
        let what = format!("{} has booted", self.name);
        wait_for(&what, Duration::from_secs(90), || {
            Ok(matches!(self.system_state()?.as_str(), "running" | "degraded"))
        })
        .hint(format!(
            "what it printed: `cargo lab --name {} logs {} --console`",
            self.lab.name, self.name
        ))
    }

    /// What systemd in the host says of itself.
    pub fn system_state(&self) -> Result<String> {
        if self.cgroup().is_frozen() {
            return Ok("frozen".to_owned());
        }
        let Some(init) = self.cgroup().init() else {
            return Ok("off".to_owned());
        };
        let asked = Exec::new(self, init, "root")?.run(&["timeout", "5", "systemctl", "is-system-running"], "")?;
        Ok(match asked.stdout.trim() {
            "" | "unknown" | "offline" => "booting".to_owned(),
            state => state.to_owned(),
        })
    }

    /// The process to enter the host by; an error that says what to do if there is none.
    pub fn init(&self) -> Result<u32> {
        let (lab, name) = (&self.lab.name, self.name);
        if self.cgroup().is_frozen() {
            return Err(hinted(
                format!("{name} is frozen"),
                format!("`cargo lab --name {lab} thaw {name}`"),
            ));
        }
        self.cgroup().init().ok_or_else(|| {
            hinted(
                format!("{name} is off"),
                format!("`cargo lab --name {lab} power-on {name}`"),
            )
        })
    }

    /// An orderly reboot, from the inside; returns when it is up again.
    pub fn reboot(&self) -> Result<()> {
        let before = self.init()?;
        let asked = Exec::new(self, before, "root")?.run(&["systemctl", "reboot"], "")?;
        if asked.status != 0 && self.cgroup().init() == Some(before) {
            bail!("systemctl reboot in {} failed: {}", self.name, asked.stderr.trim());
        }
        wait_for(&format!("{} goes down", self.name), Duration::from_secs(150), || {
            Ok(self.cgroup().init() != Some(before))
        })?;
        self.wait_booted()
    }
}

/// The host's name among nspawn's machines.
fn machine(lab: &str, host: &str) -> String {
    format!("clusterctl-{lab}-{host}")
}

/// Removes what nspawn leaves behind of a host that is gone for good.
pub(crate) fn forget(lab: &str, host: &str) {
    for kind in ["propagate", "unix-export"] {
        let _ = fs::remove_dir(Path::new("/run/systemd/nspawn").join(kind).join(machine(lab, host)));
    }
}

/// What a fresh Debian installation writes: the host's own name leads to 127.0.1.1.
fn hosts_file(name: &str) -> String {
    format!(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n\n\
         # The following lines are desirable for IPv6 capable hosts\n\
         ::1     localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
    )
}
