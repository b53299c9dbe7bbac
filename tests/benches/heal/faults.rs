//! What is done to the cluster, and what a client sees of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::cluster::{Cluster, NODES};
use crate::load::Writer;
use crate::report::{Seen, Way};

/// Longest that anything may take to be over.
const LIMIT: Duration = Duration::from_secs(180);
/// How long one waits for a write of which none is expected.
const NEVER: Duration = Duration::from_secs(60);

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    Kill,
    PowerOff,
    Freeze,
    Restart,
    Reboot,
    Switchover,
    Outage,
}

/// In the order of measuring: a complete outage is last.
pub const FAULTS: [Fault; 7] = [
    Fault::Kill,
    Fault::PowerOff,
    Fault::Freeze,
    Fault::Restart,
    Fault::Reboot,
    Fault::Switchover,
    Fault::Outage,
];

impl Fault {
    /// Its name in options and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerOff => "power_off",
            Self::Freeze => "freeze",
            Self::Restart => "restart",
            Self::Reboot => "reboot",
            Self::Switchover => "switchover",
            Self::Outage => "outage",
        }
    }

    /// What it is, for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the primary's mysqld",
            Self::PowerOff => "the primary's host loses power",
            Self::Freeze => "the primary's host freezes",
            Self::Restart => "systemctl restart mysql on the primary",
            Self::Reboot => "systemctl reboot of the primary's host",
            Self::Switchover => "switchover",
            Self::Outage => "all hosts lose power: last boot to a write",
        }
    }

    /// The most that our gap may be of theirs.
    pub const fn aim(self) -> Option<f64> {
        match self {
            Self::Kill | Self::PowerOff | Self::Freeze => Some(0.35),
            Self::Restart | Self::Reboot => Some(0.1),
            Self::Switchover | Self::Outage => None,
        }
    }

    /// Does it once; the cluster is whole afterwards, and nothing that was acknowledged is lost.
    pub fn measure(self, cluster: &Cluster, way: Way) -> Result<Seen> {
        let writer = cluster.writer()?;
        // A second of writing without any fault, so that the gap is the fault's.
        std::thread::sleep(Duration::from_secs(1));
        let mut seen = Seen::default();
        if self == Self::Outage {
            seen.gap = outage(cluster, way, &writer)?;
            if way == Way::Theirs {
                return Ok(seen);
            }
            whole(cluster, way)?;
        } else {
            let primary = cluster.primary()?;
            std::thread::scope(|scope| -> Result<()> {
                let start = writer.mark();
                // Only their first part is the fault; what the return costs is another figure.
                let lab = cluster.lab();
                let restarted = matches!(self, Self::Restart | Self::Reboot).then(|| {
                    scope.spawn(move || match self {
                        Self::Reboot => lab.reboot(primary).map(drop),
                        _ => lab.sh(primary, "systemctl restart mysql").map(drop),
                    })
                });
                self.happen(cluster, way, &writer, primary)?;
                seen.gap = Some(writer.longest_gap_since(start));
                let over = writer.mark();
                match restarted {
                    Some(restarted) => restarted.join().map_err(|_| anyhow!("the restart panicked"))??,
                    None if self == Self::PowerOff => {
                        let on = Instant::now();
                        lab.power_on(primary)?;
                        cluster.back(primary, LIMIT)?;
                        seen.online = Some(on.elapsed());
                    }
                    None => {}
                }
                whole(cluster, way)?;
                if self != Self::Switchover {
                    seen.rejoin = Some(writer.longest_gap_since(over));
                }
                Ok(())
            })?;
        }
        let log = writer.stop()?;
        log.prove(cluster.lab(), &NODES)?;
        Ok(seen)
    }

    /// Until another one leads and takes writes.
    fn happen(self, cluster: &Cluster, way: Way, writer: &Writer, primary: &str) -> Result<()> {
        let lab = cluster.lab();
        match self {
            Self::Kill => lab.sh(primary, "systemctl kill -s KILL mysql").map(drop)?,
            Self::PowerOff => lab.power_off(primary)?,
            Self::Freeze => {
                lab.freeze(primary)?;
                let over = lost(cluster, writer, primary);
                lab.thaw(primary)?;
                return over;
            }
            Self::Switchover => {
                let next = NODES.into_iter().find(|host| *host != primary).context("a member")?;
                match way {
                    Way::Ours => cluster.ctl(&format!("switchover --to {next}"))?,
                    // What AdminAPI's setPrimaryInstance() does.
                    Way::Theirs => {
                        let uuid = cluster.sql(next, "SELECT @@server_uuid")?;
                        cluster.sql(next, &format!("SELECT group_replication_set_as_primary('{uuid}')"))?;
                    }
                }
            }
            // Two run already, the third has a way of its own.
            Self::Restart | Self::Reboot | Self::Outage => {}
        }
        lost(cluster, writer, primary)
    }
}

/// All hosts at once: from the last one's boot to the first write.
fn outage(cluster: &Cluster, way: Way, writer: &Writer) -> Result<Option<Duration>> {
    let lab = cluster.lab();
    lab.power_off_all(&NODES)?;
    std::thread::sleep(Duration::from_secs(1));
    let dark = writer.mark();
    lab.power_on_all(&NODES)?;
    let booted = writer.mark();
    let limit = if way == Way::Ours { LIMIT } else { NEVER };
    match (writer.wait_for_write(dark, limit), way) {
        (Err(_), Way::Theirs) => Ok(None),
        (Err(error), Way::Ours) => Err(error),
        // It may have come before the last host had booted.
        (Ok(_), _) => Ok(writer.first_after(dark, booted)),
    }
}

/// Waits until another one leads and takes writes.
fn lost(cluster: &Cluster, writer: &Writer, primary: &str) -> Result<()> {
    cluster.taken_over(primary, LIMIT)?;
    writer.wait_for_write(writer.mark(), LIMIT).map(drop)
}

/// Waits until all is as before; with the defaults a person helps where nobody comes back, which is not measured.
fn whole(cluster: &Cluster, way: Way) -> Result<()> {
    match (cluster.whole(LIMIT), way) {
        (Err(error), Way::Theirs) => {
            eprintln!("    does not come back by itself: {error:#}; started by hand");
            for host in NODES {
                let _ = cluster.sql(host, "SET GLOBAL offline_mode = OFF; START GROUP_REPLICATION");
            }
            cluster.whole(LIMIT)
        }
        (result, _) => result,
    }
}
