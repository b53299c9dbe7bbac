//! A formed cluster, a writer for each case, and the questions that all cases ask.
//!
//! A case gets a whole cluster under a writer that runs; when it returns, the cluster must become whole by itself, and then the
//! writer's proof must hold on every member.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clusterctl_lab::wait_for;
use serde_json::Value;

use crate::cluster::desk::{APP, Desk, HOSTS, NODES, list, text};
use crate::cluster::story::say;
use crate::cluster::{enrolling, points};
use crate::load::{Log, Moment, Writer};

/// Longest until a member that may come back is ONLINE again, with back-off and on a busy machine.
pub const BACK: Duration = Duration::from_secs(90);
/// A write gap that nobody planned: failure detection, election, Router.
pub const UNPLANNED: Duration = Duration::from_secs(25);
/// A write gap of a planned event.
pub const PLANNED: Duration = Duration::from_secs(5);

/// How long nothing must happen where nothing may: several looks of agent and coordinator.
pub const STILL: Duration = Duration::from_secs(8);

/// The chapter's cluster.
pub struct Scene<'a> {
    pub desk: &'a Desk,
    password: RefCell<String>,
    logs: RefCell<Vec<Log>>,
}

impl<'a> Scene<'a> {
    /// The password is read where an earlier run of the chapter left it, if there was one.
    pub fn new(desk: &'a Desk) -> Self {
        let kept = desk
            .lab
            .sh("router1", &format!("sed -n 's/^password=//p' {APP}"))
            .unwrap_or_default();
        Self {
            desk,
            password: RefCell::new(kept.trim().to_owned()),
            logs: RefCell::default(),
        }
    }

    /// Bare hosts become a cluster with Router and the application's account.
    pub fn form(&self) -> Result<()> {
        enrolling::init(self.desk)?;
        for (host, role) in [("node2", "db"), ("node3", "db"), ("router1", "router")] {
            let token = enrolling::new_token(self.desk, &format!("--role {role}"))?;
            let words = ["clusterctl-agent", "enroll", "--token-file", "-"];
            self.desk.run(host, "root", &words, &format!("{token}\n"))?.success()?;
        }
        self.desk.connected(&HOSTS)?;
        self.desk
            .ok("create prod --primary node1 --with node2,node3 --router router1")?;
        let password = self.desk.ok("account create app --database appdb")?;
        self.desk.keep_login(APP, "app", password.trim())?;
        password.trim().clone_into(&mut self.password.borrow_mut());
        self.whole(BACK)
    }

    /// A case: whole before, whole afterwards by itself, nothing acknowledged lost or there twice.
    pub fn under(&self, case: impl FnOnce(&Writer) -> Result<()>) -> Result<()> {
        if self.whole(Duration::from_secs(20)).is_err() {
            self.mend()?;
        }
        let writer = Writer::start(&self.desk.lab, &self.password.borrow())?;
        case(&writer)?;
        self.whole(BACK).context("it does not become whole again")?;
        let log = writer.stop()?;
        say(&format!("                     {}", log.prove(&self.desk.lab, &NODES)?));
        self.logs.borrow_mut().push(log);
        Ok(())
    }

    /// All that was ever acknowledged in this chapter, once more.
    pub fn everything(&self) -> Result<()> {
        for log in self.logs.borrow().iter() {
            log.prove(&self.desk.lab, &NODES)?;
        }
        Ok(())
    }

    /// Waits until status says OK, and the servers agree.
    pub fn whole(&self, limit: Duration) -> Result<()> {
        wait_for("everything is well again", limit, || {
            let cluster = self.desk.cluster()?;
            let good = |member: &Value| member["state"] == "ONLINE" && member["certainty"] == "certain";
            let members = list(&cluster["members"]);
            let routers = list(&cluster["routers"]);
            ensure!(
                cluster["state"] == "ok" && members.len() == NODES.len() && members.iter().all(good),
                "{}",
                self.desk.ok("status")?
            );
            ensure!(routers.iter().all(|router| router["state"] == "running"), "{cluster}");
            self.desk.all_online(&NODES)?;
            // Also where status is OK already healing may have to renew what members may do alone, after a person let them in.
            let why = self.desk.json("why")?;
            let troubles = why["clusters"][0]["troubles"].as_array();
            ensure!(troubles.is_some_and(Vec::is_empty), "{why}");
            Ok(true)
        })
    }

    /// After a case that failed: everything is switched on and let go, and what is errant is thrown away.
    fn mend(&self) -> Result<()> {
        say("                     mending what the case before left");
        let lab = &self.desk.lab;
        for host in HOSTS {
            lab.thaw(host)?;
        }
        lab.heal_all()?;
        lab.power_on_all(&HOSTS)?;
        for host in HOSTS {
            let unit = if host == "router1" { "mysqlrouter" } else { "mysql" };
            lab.sh(
                host,
                &format!(
                    "rm -f {}/*; systemctl reset-failed {unit}; systemctl start {unit} clusterctl-agent || true",
                    points::FOLDER
                ),
            )?;
        }
        lab.sh("node1", "systemctl start clusterctl-coordinator")?;
        let _ = self.desk.ctl("resume prod");
        for host in HOSTS {
            let _ = self.desk.ctl(&format!("maintenance off {host}"));
        }
        if self.whole(BACK).is_ok() {
            return Ok(());
        }
        self.start_anew("node3").and_then(|()| self.whole(BACK))
    }

    /// A member whose data is thrown away, as an operator would who was told that it holds what the group has not.
    pub fn start_anew(&self, host: &str) -> Result<()> {
        self.take_out(host)?;
        self.copied(host)
    }

    /// Typed until it finishes: that the data is gone is seen a little later. A copy is faster than tens of thousands of
    /// transactions one after another.
    pub fn copied(&self, host: &str) -> Result<()> {
        wait_for(&format!("{host} joins by a copy"), BACK, || {
            self.desk.ok(&format!("join {host} --recovery clone")).map(|_| true)
        })
    }

    /// Out of the cluster, with an empty data directory.
    pub fn take_out(&self, host: &str) -> Result<()> {
        self.desk.ok(&format!("remove {host} --accept-lower-tolerance"))?;
        self.desk
            .lab
            .sh(host, "systemctl stop mysql; find /var/lib/mysql -mindepth 1 -delete")?;
        Ok(())
    }

    /// The primary, as most members that run have it: one that is cut off or was frozen may still think that it leads.
    pub fn primary(&self) -> Result<&'static str> {
        const SQL: &str = "SELECT member_host FROM performance_schema.replication_group_members WHERE member_role = 'PRIMARY' AND member_state = 'ONLINE'";
        let seen: Vec<_> = NODES
            .iter()
            .filter_map(|host| self.desk.value(host, SQL).ok())
            .collect();
        let votes = |host: &&str| seen.iter().filter(|name| name == host).count();
        let most = NODES.into_iter().max_by_key(votes).filter(|host| votes(host) > 0);
        most.context("no member knows a primary")
    }

    /// Makes this host the primary, if it is not.
    pub fn lead(&self, host: &str) -> Result<()> {
        if self.primary()? == host {
            return Ok(());
        }
        self.desk.ok(&format!("switchover --to {host}"))?;
        self.whole(BACK)
    }

    /// A secondary that does not hold the coordinator.
    pub fn secondary(&self) -> Result<&'static str> {
        let primary = self.primary()?;
        let other = NODES.into_iter().rev().find(|host| *host != primary);
        other.context("no secondary")
    }

    /// Waits until another one leads.
    pub fn taken_over(&self, from: &str) -> Result<&'static str> {
        let mut primary = from;
        wait_for(&format!("another one leads than {from}"), UNPLANNED, || {
            primary = self.primary_but(from)?;
            Ok(true)
        })?;
        NODES.into_iter().find(|host| *host == primary).context("a member")
    }

    /// Waits until another one leads and takes writes, and holds the write gap since `start` against its bound.
    pub fn survives(&self, writer: &Writer, start: Moment, from: &str, what: &str) -> Result<&'static str> {
        let new = self.taken_over(from)?;
        writer.wait_for_write(writer.mark(), UNPLANNED)?;
        gap(what, writer.longest_gap_since(start), UNPLANNED)?;
        Ok(new)
    }

    /// Waits until every other member that runs has put this one out of the group.
    pub fn expelled(&self, host: &str) -> Result<()> {
        wait_for(&format!("{host} is expelled"), UNPLANNED, || {
            let sql = format!(
                "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_host = '{host}'"
            );
            for node in NODES.into_iter().filter(|node| *node != host) {
                ensure!(
                    self.desk.value(node, &sql)? == "0",
                    "{node} still has {host} in its view"
                );
            }
            Ok(true)
        })
    }

    fn primary_but(&self, from: &str) -> Result<&'static str> {
        let primary = self.primary()?;
        ensure!(primary != from, "{from} still leads");
        Ok(primary)
    }

    /// Waits until a host's own server says that it is ONLINE, and every other one that runs says the same; tells how long that took.
    pub fn back(&self, host: &str) -> Result<Duration> {
        self.back_within(host, BACK)
    }

    /// The same with a limit of its own.
    pub fn back_within(&self, host: &str, longest: Duration) -> Result<Duration> {
        const OWN: &str = "SELECT CONCAT(member_state, @@offline_mode) FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid";
        let others = format!(
            "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_host = '{host}' AND member_state = 'ONLINE'"
        );
        let begun = Instant::now();
        wait_for(&format!("{host} is ONLINE again"), longest, || {
            let state = self.desk.value(host, OWN)?;
            ensure!(state == "ONLINE0", "{host} is {state:?}");
            let seen: Vec<_> = NODES
                .iter()
                .filter(|node| **node != host)
                .filter_map(|node| self.desk.value(node, &others).ok())
                .collect();
            ensure!(
                !seen.is_empty() && seen.iter().all(|count| count == "1"),
                "others do not see {host} ONLINE"
            );
            Ok(true)
        })?;
        Ok(begun.elapsed())
    }

    /// Waits until its own server says that it is in no group.
    pub fn out(&self, host: &str) -> Result<()> {
        const SQL: &str = "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid AND member_state = 'ONLINE'";
        wait_for(&format!("{host} is out"), Duration::from_secs(30), || {
            Ok(self.desk.value(host, SQL)? == "0")
        })
    }

    /// The newest event's number: a mark in the journal.
    pub fn newest(&self) -> Result<u64> {
        let events = list(&self.desk.json("events --limit 1")?["events"]);
        Ok(events.last().and_then(|event| event["id"].as_u64()).unwrap_or(0))
    }

    /// Events of a kind after that mark.
    pub fn events(&self, after: u64, kind: &str) -> Result<Vec<Value>> {
        let mut events = list(&self.desk.json("events --limit 500")?["events"]);
        events.retain(|event| event["id"].as_u64() > Some(after) && event["kind"] == kind);
        Ok(events)
    }

    /// Waits until the journal tells this of the host (empty: of anything).
    pub fn told(&self, after: u64, kind: &str, host: &str) -> Result<Value> {
        let mut found = None;
        wait_for(
            &format!("the journal tells {kind} {host}"),
            Duration::from_secs(30),
            || {
                let events = self.events(after, kind)?;
                found = events
                    .into_iter()
                    .find(|event| host.is_empty() || event["host"] == host || text(&event["text"]).contains(host));
                Ok(found.is_some())
            },
        )?;
        found.context("an event is gone")
    }

    /// Waits until the first sentence of status holds all these words.
    pub fn says(&self, words: &[&str]) -> Result<()> {
        self.shows("status", words)
    }

    /// Waits until what a command prints holds all these words.
    pub fn shows(&self, line: &str, words: &[&str]) -> Result<()> {
        wait_for(
            &format!("`clusterctl {line}` says {words:?}"),
            Duration::from_secs(30),
            || {
                let said = self.desk.ok(line)?;
                let plain = said.split_whitespace().collect::<Vec<_>>().join(" ");
                ensure!(words.iter().all(|word| plain.contains(word)), "{said}");
                Ok(true)
            },
        )
    }
}

/// Prints a figure of a case.
pub fn figure(what: &str, took: Duration) {
    say(&format!("                     {:6.2} s  {what}", took.as_secs_f64()));
}

/// Prints a write gap and holds it against its bound.
pub fn gap(what: &str, gap: Duration, most: Duration) -> Result<()> {
    figure(&format!("write gap: {what}"), gap);
    ensure!(gap <= most, "a write gap of {gap:?} at {what}, more than {most:?}");
    Ok(())
}
