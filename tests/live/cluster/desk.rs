//! The operator's desk: types commands on the hosts of a lab, reads their answers, asks the servers.
//!
//! Used by every chapter. It asserts nothing of its own accord but what its methods are named for.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clusterctl_lab::{Lab, Output, wait_for};
use serde_json::Value;

/// Hosts that become members.
pub const NODES: [&str; 3] = ["node1", "node2", "node3"];
/// Every host.
pub const HOSTS: [&str; 4] = ["node1", "node2", "node3", "router1"];
/// Longest a command of ours may take here; hung ones end with 124 instead of hanging the suite.
const LIMIT: Duration = Duration::from_secs(420);
/// Where the application's password lies on router1, for the mysql client.
pub const APP: &str = "/root/app.cnf";
/// The metadata schema.
pub const METADATA: &str = "mysql_innodb_cluster_metadata";

/// A lab with somebody who types.
pub struct Desk {
    /// The hosts.
    pub lab: Lab,
}

impl Desk {
    /// A command in a host, its words already apart.
    pub fn run(&self, host: &str, user: &str, argv: &[&str], stdin: &str) -> Result<Output> {
        self.lab.exec_within(LIMIT, host, user, argv, stdin)
    }

    /// A command typed in a host, without quoting.
    pub fn typed(&self, host: &str, user: &str, line: &str, stdin: &str) -> Result<Output> {
        let argv: Vec<_> = line.split_whitespace().collect();
        self.run(host, user, &argv, stdin)
    }

    /// `clusterctl LINE` as the DBA on node1.
    pub fn ctl(&self, line: &str) -> Result<Output> {
        self.typed("node1", "admin", &format!("clusterctl {line}"), "")
    }

    /// Its stdout; an error with all it said unless it exits with 0.
    pub fn ok(&self, line: &str) -> Result<String> {
        let said = self.ctl(line)?;
        said.success().with_context(|| format!("clusterctl {line}"))
    }

    /// Its document; an error unless it exits with 0.
    pub fn json(&self, line: &str) -> Result<Value> {
        let text = self.ok(&format!("{line} -o json"))?;
        let document: Value = serde_json::from_str(&text)
            .with_context(|| format!("clusterctl {line} -o json printed no document: {text}"))?;
        ensure!(
            document["apiVersion"] == "clusterctl/v1",
            "clusterctl {line} -o json: no apiVersion in {text}"
        );
        Ok(document)
    }

    /// Typed again: exit 0 and "already so", for people and for scripts.
    pub fn already(&self, line: &str) -> Result<()> {
        let text = self.ok(line)?;
        ensure!(
            text.contains("already so"),
            "clusterctl {line}, typed again, does not say `already so`: {text}"
        );
        let document = self.json(line)?;
        ensure!(
            document["already"] == true,
            "clusterctl {line} -o json, typed again: {document}"
        );
        Ok(())
    }

    /// Refused with this exit status, one of these codes, a hint, and all these words in what it says.
    pub fn refused(&self, line: &str, exit: i32, codes: &[&str], words: &[&str]) -> Result<Value> {
        let said = self.ctl(&format!("{line} -o json"))?;
        refusal(&format!("clusterctl {line}"), &said, exit, codes, words)
    }

    /// What servers answer: tab between columns, a line for each row. Root enters over the socket.
    pub fn sql(&self, host: &str, sql: &str) -> Result<String> {
        let said = self.run(host, "root", &["mysql", "-NB", "--default-character-set=utf8mb4"], sql)?;
        said.success().with_context(|| format!("{host} mysql> {sql}"))
    }

    /// One value.
    pub fn value(&self, host: &str, sql: &str) -> Result<String> {
        Ok(self.sql(host, sql)?.trim_end_matches('\n').to_owned())
    }

    /// Rows of columns.
    pub fn rows(&self, host: &str, sql: &str) -> Result<Vec<Vec<String>>> {
        let text = self.sql(host, sql)?;
        Ok(text
            .lines()
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect())
    }

    /// Rows of the first column.
    pub fn column(&self, host: &str, sql: &str) -> Result<Vec<String>> {
        Ok(self.sql(host, sql)?.lines().map(str::to_owned).collect())
    }

    /// The application, through Router on router1.
    pub fn through(&self, port: u16, sql: &str) -> Result<String> {
        self.through_as(APP, port, sql)
    }

    /// Another account, through Router.
    pub fn through_as(&self, file: &str, port: u16, sql: &str) -> Result<String> {
        let (file, port) = (format!("--defaults-extra-file={file}"), port.to_string());
        let argv = ["mysql", &file, "-h127.0.0.1", "--protocol=TCP", "-P", &port, "-NB"];
        let said = self.run("router1", "root", &argv, sql)?;
        said.success()
            .map(|text| text.trim_end().to_owned())
            .with_context(|| format!("router1, port {port}> {sql}"))
    }

    /// A client's option file for [`Self::through_as`].
    pub fn keep_login(&self, file: &str, user: &str, password: &str) -> Result<()> {
        let text = format!("[client]\nuser={user}\npassword={password}\n");
        let line = format!("umask 077; cat >{file}");
        self.run("router1", "root", &["sh", "-c", &line], &text)?
            .success()
            .map(drop)
    }

    /// Puts a file into a host, for this user only.
    pub fn put(&self, host: &str, user: &str, path: &str, text: &str) -> Result<()> {
        let line = format!("umask 077; mkdir -p \"$(dirname {path})\" && cat >{path}");
        self.run(host, user, &["sh", "-c", &line], text)?.success().map(drop)
    }

    /// The status of the only cluster.
    pub fn cluster(&self) -> Result<Value> {
        let document = self.json("status")?;
        let clusters = document["clusters"].as_array().context("status lists no clusters")?;
        ensure!(clusters.len() == 1, "one cluster is expected: {document}");
        Ok(clusters[0].clone())
    }

    /// The primary, as the cluster's status has it.
    pub fn primary(&self) -> Result<String> {
        Ok(text(&self.cluster()?["primary"]))
    }

    /// Waits until each of these hosts' agents is connected.
    pub fn connected(&self, hosts: &[&str]) -> Result<()> {
        wait_for(
            &format!("{} are connected", hosts.join(", ")),
            Duration::from_secs(30),
            || {
                let document = self.json("hosts")?;
                let all = document["hosts"].as_array().context("no hosts")?;
                let here = |name: &&&str| {
                    all.iter()
                        .any(|host| host["name"] == ***name && host["agent"] == "connected")
                };
                Ok(hosts.iter().filter(here).count() == hosts.len())
            },
        )
    }

    /// Waits until a coordinator that was killed a moment ago has heard of everybody again: of each member's and router's own agent,
    /// and not of the primary alone, who tells of all others.
    pub fn settled(&self) -> Result<()> {
        wait_for(
            "the coordinator has heard of every member",
            Duration::from_secs(15),
            || {
                let cluster = self.cluster()?;
                let surely = |member: &Value| member["certainty"] == "certain" && member["state"] == "ONLINE";
                let silent = |of: &Value| {
                    list(&of["issues"])
                        .iter()
                        .any(|issue| text(issue).contains("has not answered"))
                };
                let (members, routers) = (list(&cluster["members"]), list(&cluster["routers"]));
                Ok(!text(&cluster["primary"]).is_empty()
                    && members.iter().all(surely)
                    && !members.iter().chain(routers.iter()).any(silent))
            },
        )
    }

    /// ONLINE members as one member sees them.
    pub fn online(&self, host: &str) -> Result<Vec<String>> {
        self.column(
            host,
            "SELECT member_host FROM performance_schema.replication_group_members WHERE member_state='ONLINE' ORDER BY 1",
        )
    }

    /// Exactly these members are ONLINE in the view of each of them.
    pub fn all_online(&self, members: &[&str]) -> Result<()> {
        for host in members {
            let seen = self.online(host)?;
            ensure!(seen == members, "{host} sees {seen:?} ONLINE instead of {members:?}");
        }
        Ok(())
    }

    /// PID and start time of a unit's main process: the same only for the same process.
    pub fn process(&self, host: &str, unit: &str) -> Result<String> {
        let show =
            format!("systemctl show -p MainPID -p ExecMainStartTimestampMonotonic --value {unit} | tr '\\n' ' '");
        self.lab.sh(host, &show)
    }

    /// What mysqld has logged, wherever its distribution has it log.
    pub fn error_log(&self, host: &str) -> Result<String> {
        self.lab.sh(host, "cat /var/log/mysql/error.log /var/log/mysql/*.err /var/lib/mysql/*.err 2>/dev/null; journalctl -u mysql -o cat --no-pager")
    }

    /// The last lines that our daemons, mysqld and Router logged on each host, and Router's folder.
    pub fn journals(&self) -> String {
        const LINES: &str = "journalctl -u clusterctl-agent -u clusterctl-coordinator -n 80 --no-pager -o short-iso 2>&1; \
            tail -n 30 /var/log/mysql/error.log 2>/dev/null; \
            test ! -S /var/run/mysqld/mysqld.sock || mysql -e \"SELECT user, host, attribute FROM information_schema.user_attributes; \
            SHOW GRANTS FOR 'mysql.infoschema'@localhost\" 2>&1; \
            test ! -e /var/lib/mysqlrouter || { ls -lR /var/lib/mysqlrouter; tail -n 60 /var/lib/mysqlrouter/*/log/*.log; } 2>&1";
        self.on_each_host(LINES)
    }

    /// The newest warnings of each host, so few that they fit into the message of a case that fails: it is often all that is left of a run.
    pub fn digest(&self) -> String {
        const LINES: &str = "{ journalctl -u clusterctl-agent -u clusterctl-coordinator -p warning --since -6min -n 4 --no-pager -o short; \
            grep -h -E 'ERROR|Warning' /var/log/mysql/error.log | tail -n 2; \
            tail -q -n 2 /var/lib/mysqlrouter/*/log/*.log; } 2>/dev/null | cut -c -360";
        self.on_each_host(LINES)
    }

    fn on_each_host(&self, command: &str) -> String {
        let of = |host: &&str| {
            let said = self.lab.sh(host, command);
            format!("---- {host}\n{}\n", said.unwrap_or_else(|error| format!("{error:#}")))
        };
        HOSTS.iter().map(of).collect()
    }
}

/// Checks how a command refused.
pub fn refusal(what: &str, said: &Output, exit: i32, codes: &[&str], words: &[&str]) -> Result<Value> {
    let all = format!("exit status {}\n{}{}", said.status, said.stdout, said.stderr);
    ensure!(said.status == exit, "{what} should end with {exit}: {all}");
    let last = said
        .stderr
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let Ok(document) = serde_json::from_str::<Value>(last) else {
        bail!("{what}: the last line on stderr is no document: {all}")
    };
    let error = &document["error"];
    ensure!(
        error["exit"] == exit,
        "{what}: the document names another exit status: {document}"
    );
    let code = text(&error["code"]);
    ensure!(
        codes.is_empty() || codes.contains(&code.as_str()),
        "{what}: code {code} instead of one of {codes:?}: {all}"
    );
    ensure!(!text(&error["hint"]).is_empty(), "{what}: no hint: {document}");
    let told = format!("{} {} {}", error["message"], error["facts"], error["hint"]);
    for word in words {
        ensure!(told.contains(word), "{what} does not say `{word}`: {told}");
    }
    Ok(error.clone())
}

/// The same for the programs that speak to people only: `error: …`, `hint: …`.
pub fn told(what: &str, said: &Output, exit: i32, words: &[&str]) -> Result<()> {
    let all = format!("exit status {}\n{}{}", said.status, said.stdout, said.stderr);
    ensure!(said.status == exit, "{what} should end with {exit}: {all}");
    ensure!(said.stderr.contains("error: "), "{what} names no error: {all}");
    ensure!(said.stderr.contains("hint: "), "{what} gives no hint: {all}");
    for word in words {
        ensure!(said.stderr.contains(word), "{what} does not say `{word}`: {all}");
    }
    Ok(())
}

/// A string of a document, empty if it is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A list of a document.
pub fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}
