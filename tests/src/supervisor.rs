//! The process behind each running host: it plugs the network in and runs nspawn, again when the host
//! rebooted from inside.
//!
//! Started by `host` as `lab supervise`, detached from everything; it runs `lab boot`, which mounts the
//! host's root in a mount namespace of its own and becomes nspawn. It ends when the host is switched off. Killing it alone leaves the host running without the ability to
//! reboot. It must never hold anything that outlives it, except the network namespace.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cgroup::{scope, systemd_is_pid_1};
use crate::command::{code, output, tool};
use crate::error::{WithHint, hinted};
use crate::home::Home;
use crate::host::Host;
use crate::network;

/// How nspawn ends when the host asked for a reboot.
const REBOOT: i32 = 133;

/// Starts the supervisor of a host and returns once the host's PID 1 is there.
pub(crate) fn spawn(host: &Host) -> Result<()> {
    let log = log(host, "supervisor.log")?;
    let mut words = vec!["--fork".to_owned()];
    if systemd_is_pid_1() {
        let unit = format!("--unit={}", scope(&host.lab.name, host.name));
        let fixed = [
            "--scope",
            "--quiet",
            "--collect",
            "--slice=clusterctl.slice",
            "--property=Delegate=yes",
        ];
        words.extend(["systemd-run"].iter().chain(&fixed).map(|word| (*word).to_owned()));
        words.push(unit);
    }
    words.push(program()?.display().to_string());
    words.extend(["--name", &host.lab.name, "supervise", host.name].map(String::from));
    let mut command = tool("setsid", words);
    command.env("CLUSTERCTL_LAB_DIR", host.home.path()).current_dir("/");
    command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
    let before = log_of(host).len();
    command.status().context("cannot start the supervisor")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !host.is_on() {
        // It says nothing but bad news.
        let said = log_of(host).split_off(before);
        if !said.is_empty() || Instant::now() > deadline {
            let why = said
                .lines()
                .last()
                .unwrap_or("nothing was logged")
                .trim_start_matches("error: ");
            let hint = format!("see supervisor.log and console.log in {}", host.folder().display());
            return Err(hinted(format!("{} does not start: {why}", host.name), hint));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn log_of(host: &Host) -> String {
    fs::read_to_string(host.folder().join("supervisor.log")).unwrap_or_default()
}

/// The `lab` binary: this program itself, or the one built beside the tests that run now.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    if own.file_name().is_some_and(|name| name == "lab") {
        return Ok(own);
    }
    let mut folders = own.ancestors().skip(1).take(2);
    folders
        .find_map(|folder| Some(folder.join("lab")).filter(|path| path.is_file()))
        .ok_or_else(|| {
            hinted(
                "the binary `lab` is not beside this program",
                "cargo build -p clusterctl-lab",
            )
        })
}

/// The supervisor's whole life.
pub(crate) fn run(home: &Home, lab: &str, name: &str) -> Result<()> {
    let state = home.read(lab)?;
    let host = Host {
        home,
        lab: &state,
        name,
    };
    let address = state.address(name)?;
    host.cgroup().enter_as_supervisor()?;
    loop {
        host.cgroup().kill_machine()?;
        network::attach(lab, name, address)?;
        let status = boot(&host);
        network::detach(lab, name)?;
        match status? {
            REBOOT => eprintln!("{name} reboots"),
            status => {
                eprintln!("{name} is off (nspawn's exit status {status})");
                return Ok(());
            }
        }
    }
}

/// Runs the host until it ends, in a mount namespace that ends with it. What is unmounted outside (the
/// network of a lab that is removed) is unmounted in there, too; nothing that is mounted there gets out.
fn boot(host: &Host) -> Result<i32> {
    let console = log(host, "console.log")?;
    let mut command = tool("unshare", ["--mount", "--propagation=slave"]);
    command
        .arg(program()?)
        .args(["--name", &host.lab.name, "boot", host.name]);
    command
        .stdout(Stdio::from(console.try_clone()?))
        .stderr(Stdio::from(console));
    Ok(code(command.status().context("cannot run unshare")?))
}

/// The life of one boot: mounts, then becomes nspawn.
pub(crate) fn become_machine(home: &Home, lab: &str, name: &str) -> Result<()> {
    let state = home.read(lab)?;
    let host = Host {
        home,
        lab: &state,
        name,
    };
    host.cgroup().enter_as_machine()?;
    if !systemd_is_pid_1() {
        // nspawn would take a hybrid hierarchy for the old kind; this shows it the new one alone.
        output(&mut tool("mount", ["-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]))?;
    }
    host.mount()?;
    Err(host.nspawn()?.exec()).hint("is systemd-container installed?")
}

fn log(host: &Host, name: &str) -> Result<File> {
    Ok(OpenOptions::new()
        .create(true)
        .append(true)
        .open(host.folder().join(name))?)
}
