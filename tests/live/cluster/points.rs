//! Test points: pauses agent and coordinator at named places, and kills them exactly there.
//!
//! Both look for them only where a drop-in of ours sets `CLUSTERCTL_TEST_POINTS`. A program that comes to a paused point waits
//! there, so a point is never missed; one that is not come to is found out at the end.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clusterctl_lab::Output;

use super::desk::{Desk, HOSTS};
use super::story::say;

/// Where the points' files lie in every host.
pub const FOLDER: &str = "/run/clusterctl-test";
/// Longest that anything may take between two points.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long after the end of a command somebody may still come to a point.
const LAST: Duration = Duration::from_secs(2);

/// Points of the coordinator that may be missed.
const MISSED: usize = 3;

/// Who comes to a point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Program {
    /// clusterctl-agent of the host.
    Agent,
    /// clusterctl-coordinator, on node1.
    Coordinator,
}

impl Program {
    fn unit(self) -> &'static str {
        match self {
            Self::Agent => "clusterctl-agent",
            Self::Coordinator => "clusterctl-coordinator",
        }
    }
}

type Point = (&'static str, Program, String);

/// The points that are paused.
pub struct Points<'a> {
    desk: &'a Desk,
    left: RefCell<BTreeSet<Point>>,
}

impl<'a> Points<'a> {
    /// Lets the programs look for test points, from a restart on; one that does so already goes on.
    pub fn arm(desk: &'a Desk) -> Result<Self> {
        for host in HOSTS {
            for program in [Program::Coordinator, Program::Agent] {
                if program == Program::Coordinator && host != "node1" {
                    continue;
                }
                let unit = program.unit();
                // The agent's unit has no mount namespace, and shall not get one by a test.
                let writable = if program == Program::Coordinator {
                    format!("ReadWritePaths=-{FOLDER}\\n")
                } else {
                    String::new()
                };
                let line = format!(
                    "install -d -m 1777 {FOLDER}; rm -f {FOLDER}/*; conf=/etc/systemd/system/{unit}.service.d/test.conf; [ -f $conf ] && exit 0; \
                     mkdir -p $(dirname $conf); printf '[Service]\\nEnvironment=CLUSTERCTL_TEST_POINTS={FOLDER}\\n{writable}' >$conf; \
                     systemctl daemon-reload; systemctl restart {unit}"
                );
                desk.lab.sh(host, &line)?;
            }
        }
        desk.connected(&HOSTS)?;
        Ok(Self {
            desk,
            left: RefCell::default(),
        })
    }

    /// The program waits here when it comes to it.
    pub fn pause(&self, host: &'static str, program: Program, name: &str) -> Result<()> {
        self.desk.lab.sh(host, &format!("touch {FOLDER}/{name}.pause"))?;
        self.left.borrow_mut().insert((host, program, name.to_owned()));
        Ok(())
    }

    /// Many at once.
    pub fn pause_all(&self, host: &'static str, program: Program, names: &[String]) -> Result<()> {
        let files: Vec<_> = names.iter().map(|name| format!("{FOLDER}/{name}.pause")).collect();
        self.desk.lab.sh(host, &format!("touch {}", files.join(" ")))?;
        self.left
            .borrow_mut()
            .extend(names.iter().map(|name| (host, program, name.clone())));
        Ok(())
    }

    /// Lets go whoever waits at this point, alive.
    pub fn release(&self, host: &'static str, program: Program, name: &str) -> Result<()> {
        self.left.borrow_mut().remove(&(host, program, name.to_owned()));
        self.desk
            .lab
            .sh(host, &format!("rm -f {FOLDER}/{name}.pause {FOLDER}/{name}.reached"))
            .map(drop)
    }

    /// Waits until somebody waits at this point.
    pub fn reached(&self, host: &str, name: &str) -> Result<()> {
        clusterctl_lab::wait_for(&format!("{name} is reached on {host}"), PATIENCE, || {
            Ok(self
                .desk
                .run(host, "root", &["test", "-e", &format!("{FOLDER}/{name}.reached")], "")?
                .status
                == 0)
        })
    }

    /// Types a command as the DBA and kills, with SIGKILL, whoever comes to a paused point, once at each, until the command ends.
    /// `at` is called before each kill. It is an error if a point was never come to.
    pub fn kill_during(&self, argv: &[&str], mut at: impl FnMut(&str, &str) -> Result<()>) -> Result<Output> {
        let desk = self.desk;
        let words: Vec<_> = std::iter::once("clusterctl").chain(argv.iter().copied()).collect();
        let (mut kills, mut last) = (0, Instant::now());
        let result = std::thread::scope(|scope| {
            let typed = scope.spawn(|| desk.run("node1", "admin", &words, ""));
            let mut ended = None;
            let watched = loop {
                if typed.is_finished() {
                    // Its last outcome is known to the command a moment before the coordinator waits behind it.
                    let end = *ended.get_or_insert_with(Instant::now);
                    if self.left.borrow().is_empty() || end.elapsed() > LAST {
                        break Ok(());
                    }
                }
                match self.round(&mut at) {
                    Ok(0) if last.elapsed() > PATIENCE => break Err(anyhow!("nothing happens any more")),
                    Ok(0) => std::thread::sleep(Duration::from_millis(50)),
                    Ok(killed) => (kills, last) = (kills + killed, Instant::now()),
                    Err(error) => break Err(error),
                }
            };
            if watched.is_err() {
                // The command ends only if the programs go on.
                for host in HOSTS {
                    let _ = desk.lab.sh(host, &format!("rm -f {FOLDER}/*"));
                }
            }
            let output = typed.join().map_err(|_| anyhow!("a thread panicked"));
            watched.and(output?)
        });
        let left: Vec<String> = self
            .left
            .borrow()
            .iter()
            .map(|(host, _, name)| format!("{host}: {name}"))
            .collect();
        for host in HOSTS {
            desk.lab.sh(host, &format!("rm -f {FOLDER}/*"))?;
        }
        self.left.borrow_mut().clear();
        say(&format!(
            "                     {kills} kills at test points during: {}",
            words.join(" ")
        ));
        let output = result.with_context(|| format!("points not come to: {}", left.join(", ")))?;
        // Steps of several hosts go on side by side: a coordinator that dies at one point of two takes the way to the other
        // with it. An agent has one step at a time and misses none.
        let agents: Vec<&String> = left.iter().filter(|point| point.contains(": agent.")).collect();
        if output.status == 0 && (!agents.is_empty() || left.len() > MISSED) {
            bail!(
                "it ended well, but these points were never come to: {}",
                left.join(", ")
            );
        }
        if !left.is_empty() {
            say(&format!("                     not come to: {}", left.join(", ")));
        }
        Ok(output)
    }

    /// Kills, with SIGKILL, whoever comes to a paused point, once at each, until `done`; points that nobody came to are told.
    pub fn kill_until(&self, limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<usize> {
        let begun = Instant::now();
        let mut kills = 0;
        let result = loop {
            match self.round(&mut |_, _| Ok(())) {
                Ok(killed) => kills += killed,
                Err(error) => break Err(error),
            }
            match done() {
                Ok(true) => break Ok(()),
                Ok(false) | Err(_) if begun.elapsed() < limit => std::thread::sleep(Duration::from_millis(50)),
                Ok(false) => break Err(anyhow!("not within {limit:?}, after {kills} kills")),
                Err(error) => break Err(error),
            }
        };
        for host in HOSTS {
            self.desk.lab.sh(host, &format!("rm -f {FOLDER}/*"))?;
        }
        let left: Vec<_> = self
            .left
            .take()
            .into_iter()
            .map(|(host, _, name)| format!("{host}: {name}"))
            .collect();
        say(&format!(
            "                     {kills} kills at test points; not come to: {}",
            left.join(", ")
        ));
        result.map(|()| kills)
    }

    /// Looks at every host once and kills whoever waits; answers how many programs.
    fn round(&self, at: &mut impl FnMut(&str, &str) -> Result<()>) -> Result<usize> {
        let hosts: BTreeSet<&'static str> = self.left.borrow().iter().map(|(host, _, _)| *host).collect();
        let mut kills = 0;
        for host in hosts {
            let look = format!(
                "cd {FOLDER} 2>/dev/null && for file in *.reached; do [ -s $file ] && echo \"${{file%.reached}} $(cat $file)\"; done; true"
            );
            let found = self.desk.lab.sh(host, &look)?;
            for program in [Program::Agent, Program::Coordinator] {
                let waits: Vec<(&str, &str)> = found
                    .lines()
                    .filter_map(|line| line.split_once(' '))
                    .filter(|(name, _)| self.left.borrow().contains(&(host, program, (*name).to_owned())))
                    .collect();
                kills += self.kill(host, program, &waits, at)?;
            }
        }
        Ok(kills)
    }

    /// Kills the program if it is the one that waits, and not an earlier life of it; all points at which it waited are done with.
    fn kill(
        &self,
        host: &'static str,
        program: Program,
        waits: &[(&str, &str)],
        at: &mut impl FnMut(&str, &str) -> Result<()>,
    ) -> Result<usize> {
        if waits.is_empty() {
            return Ok(0);
        }
        let unit = program.unit();
        let pid = self
            .desk
            .lab
            .sh(host, &format!("systemctl show -p MainPID --value {unit}"))?;
        let pid = pid.trim();
        let here: Vec<&str> = waits
            .iter()
            .filter(|(_, waiter)| *waiter == pid)
            .map(|(name, _)| *name)
            .collect();
        if here.is_empty() || pid == "0" {
            return Ok(0);
        }
        for name in &here {
            at(host, name)?;
        }
        let files: Vec<_> = here
            .iter()
            .map(|name| format!("{FOLDER}/{name}.pause {FOLDER}/{name}.reached"))
            .collect();
        self.desk
            .lab
            .sh(host, &format!("kill -KILL {pid} && rm -f {}", files.join(" ")))?;
        for name in here {
            ensure!(
                self.left.borrow_mut().remove(&(host, program, name.to_owned())),
                "{name} was not paused"
            );
        }
        Ok(1)
    }
}
