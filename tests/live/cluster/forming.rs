//! The transcript of the first page: check, create, join, join, router, account, status, verify; each again, each otherwise.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::desk::{APP, Desk, HOSTS, NODES, list, text};
use super::story::say;

/// Every check is named and says what it saw; what fails or warns says what to do.
pub fn check(desk: &Desk) -> Result<()> {
    let document = desk.json("check node1 node2 node3")?;
    let hosts = list(&document["hosts"]);
    ensure!(hosts.len() == 3 && document["verdict"] != "fail", "{document}");
    for host in &hosts {
        let checks = list(&host["checks"]);
        ensure!(checks.len() > 10, "few checks: {host}");
        for check in &checks {
            let result = text(&check["result"]);
            ensure!(
                !text(&check["name"]).is_empty() && !text(&check["seen"]).is_empty(),
                "{check}"
            );
            ensure!(
                result == "pass" || result == "warn" && !text(&check["fix"]).is_empty(),
                "{}: {check}",
                host["host"]
            );
        }
        for name in [
            "clock",
            "disk_free",
            "ports_free",
            "machine_id_unique",
            "own_name_resolution",
            "data_directory",
        ] {
            ensure!(
                checks.iter().any(|check| check["name"] == name),
                "no check {name}: {host}"
            );
        }
        let own = checks.iter().find(|check| check["name"] == "own_name_resolution");
        ensure!(
            own.is_some_and(|check| check["result"] == "warn" && check["fix"] == "at create"),
            "127.0.1.1 goes unseen: {host}"
        );
    }
    let table = desk.ok("check node1 node2 node3")?;
    ensure!(table.contains("CHECK") && table.contains("node3"), "{table}");
    let ignored = desk.json("check node1 --ignore-check own_name_resolution")?;
    ensure!(ignored.to_string().contains("\"ignored\""), "{ignored}");
    Ok(())
}

/// The first member.
pub fn create(desk: &Desk) -> Result<()> {
    timed(desk, "create prod --primary node1")?;
    desk.all_online(&["node1"])
}

/// Again, and otherwise: neither touches mysqld.
pub fn create_again(desk: &Desk) -> Result<()> {
    let before = desk.process("node1", "mysql")?;
    desk.already("create prod --primary node1")?;
    desk.refused("create prod --primary node2", 8, &["cluster_exists"], &["node1"])?;
    desk.refused(
        "create prod --primary node1 --buffer-pool 1G",
        8,
        &["cluster_exists"],
        &[],
    )?;
    ensure!(
        desk.process("node1", "mysql")? == before,
        "typed again, create restarted mysqld"
    );
    Ok(())
}

/// A further member.
pub fn join(desk: &Desk, host: &str) -> Result<()> {
    timed(desk, &format!("join {host}"))?;
    let members: Vec<_> = NODES.into_iter().filter(|node| *node <= host).collect();
    desk.all_online(&members)
}

/// Again.
pub fn join_again(desk: &Desk, host: &str) -> Result<()> {
    let before = desk.process(host, "mysql")?;
    desk.already(&format!("join {host}"))?;
    ensure!(
        desk.process(host, "mysql")? == before,
        "typed again, join restarted mysqld"
    );
    Ok(())
}

/// Router in front.
pub fn add_router(desk: &Desk) -> Result<()> {
    timed(desk, "router add router1").map(drop)
}

/// Again.
pub fn add_router_again(desk: &Desk) -> Result<()> {
    desk.already("router add router1")?;
    let document = desk.json("router list")?;
    ensure!(
        list(&document["routers"]).len() == 1 && document["routers"][0]["read_write_port"] == 6446,
        "{document}"
    );
    Ok(())
}

/// Accounts: a password made and shown once, one from stdin, one for the Shell.
pub fn accounts(desk: &Desk) -> Result<()> {
    let said = desk.ctl("account create app --database appdb")?;
    let password = said.stdout.trim().to_owned();
    let stderr = said.stderr.clone();
    said.success()?;
    ensure!(
        password.len() >= 16 && !password.contains(char::is_whitespace),
        "the password is not alone on stdout"
    );
    ensure!(!stderr.contains(&password), "the password stands on stderr, too");
    desk.keep_login(APP, "app", &password)?;
    desk.already("account create app --database appdb")?;
    desk.refused(
        "account create app --monitor",
        8,
        &["account_exists"],
        &["account drop app"],
    )?;
    desk.refused(
        "account create app --database otherdb",
        8,
        &["account_exists"],
        &["appdb"],
    )?;
    super::secrets::nowhere(desk, "the application's password", &password)?;

    let words = [
        "clusterctl",
        "account",
        "create",
        "watcher",
        "--monitor",
        "--password-stdin",
        "-o",
        "json",
    ];
    let said = desk
        .run("node1", "admin", &words, "a monitor's pass phrase\n")?
        .success()?;
    ensure!(
        !said.contains("pass phrase"),
        "a password that was given is repeated: {said}"
    );
    desk.keep_login("/root/watcher.cnf", "watcher", "\"a monitor's pass phrase\"")?;
    let members = "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state='ONLINE'";
    ensure!(
        desk.through_as("/root/watcher.cnf", 6446, members)? == "3",
        "the monitor does not see the members"
    );
    let shell = desk.json("account create icadmin --admin")?;
    ensure!(text(&shell["password"]).len() >= 16, "no password was made");
    desk.already("account create icadmin --admin").map(drop)
}

/// One true sentence, then who does what.
pub fn status(desk: &Desk) -> Result<()> {
    let table = desk.ok("status")?;
    ensure!(
        table.contains("OK: 3 of 3 members ONLINE") && table.contains("PRIMARY") && table.contains("router1"),
        "{table}"
    );
    let cluster = desk.cluster()?;
    ensure!(
        cluster["state"] == "ok" && cluster["tolerates"] == 1 && cluster["primary"] == "node1",
        "{cluster}"
    );
    let members = list(&cluster["members"]);
    ensure!(members.len() == 3, "{cluster}");
    for member in &members {
        let first = member["host"] == "node1";
        let (role, mode) = if first {
            ("PRIMARY", "R/W")
        } else {
            ("SECONDARY", "R/O")
        };
        ensure!(
            member["role"] == role && member["mode"] == mode && member["state"] == "ONLINE",
            "{member}"
        );
        ensure!(
            member["certainty"] == "certain" && list(&member["issues"]).is_empty(),
            "{member}"
        );
    }
    let routers = list(&cluster["routers"]);
    ensure!(routers.len() == 1 && routers[0]["state"] == "running", "{cluster}");
    ensure!(
        list(&cluster["issues"]).is_empty() && list(&cluster["operations"]).is_empty(),
        "{cluster}"
    );
    ensure!(cluster["metadata_version"] == "2.4.0", "{cluster}");
    Ok(())
}

/// Each step of the walkthrough is proven, and nothing of the proofs is left.
pub fn verify(desk: &Desk) -> Result<()> {
    let document = desk.json("verify")?;
    let proofs = list(&document["proofs"]);
    ensure!(document["passed"] == true, "{document}");
    for step in [9, 12, 14, 15, 18, 19] {
        ensure!(
            proofs
                .iter()
                .any(|proof| proof["step"] == step && proof["passed"] == true),
            "step {step} is not proven: {document}"
        );
    }
    ensure!(
        proofs.iter().all(|proof| !text(&proof["evidence"]).is_empty()),
        "a proof without evidence: {document}"
    );
    ensure!(
        desk.value(&desk.primary()?, "SHOW DATABASES LIKE 'clusterctl%'")?
            .is_empty(),
        "verify left its schema"
    );
    super::secrets::none_left(desk)?;
    let table = desk.ok("verify")?;
    ensure!(table.contains("proofs hold"), "{table}");
    Ok(())
}

/// /etc/hosts: our block, the loopback line without the host's name, every other line byte for byte.
pub fn hosts_files(desk: &Desk) -> Result<()> {
    for host in HOSTS {
        let before = desk.lab.sh(host, "cat /root/hosts.before")?;
        let after = desk.lab.sh(host, "cat /etc/hosts")?;
        let begin = after
            .find("# BEGIN clusterctl")
            .with_context(|| format!("no block in /etc/hosts of {host}:\n{after}"))?;
        let end = after.find("# END clusterctl\n").context("the block does not end")? + "# END clusterctl\n".len();
        let others = format!("{}{}", &after[..begin], &after[end..]);
        ensure!(
            others.lines().count() == before.lines().count(),
            "lines came or went on {host}:\n{after}"
        );
        for (old, new) in before.split_inclusive('\n').zip(others.split_inclusive('\n')) {
            let loopback = old.starts_with("127.0.1.1");
            ensure!(
                loopback || old == new,
                "a line of others was changed on {host}: {old:?} became {new:?}"
            );
            ensure!(
                !loopback || new.starts_with('#'),
                "127.0.1.1 is still there on {host}: {new}"
            );
        }
        for name in HOSTS {
            let found = desk
                .lab
                .sh(host, &format!("getent ahostsv4 {name} | cut -d' ' -f1 | sort -u"))?;
            ensure!(found.trim() == desk.lab.address(name)?, "{name} is {found} on {host}");
        }
        let access = desk.lab.sh(host, "stat -c '%a %U:%G' /etc/hosts")?;
        ensure!(access.trim() == "644 root:root", "/etc/hosts of {host} is {access}");
    }
    Ok(())
}

/// Runs a command that changes something, and tells how long it took.
pub fn timed(desk: &Desk, line: &str) -> Result<serde_json::Value> {
    let begun = Instant::now();
    let said = desk.ctl(&format!("{line} -o json"))?;
    let progress = said.stderr.clone();
    let text = said.success().with_context(|| format!("clusterctl {line}"))?;
    say(&format!(
        "           {:6.1} s  $ clusterctl {line}",
        begun.elapsed().as_secs_f32()
    ));
    let document: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("clusterctl {line} printed no document: {text}"))?;
    ensure!(
        document["operation"]["state"] == "done" || document["already"] == true,
        "{line}: {document}"
    );
    ensure!(
        document["already"] == true || progress.contains("==>"),
        "{line} told nothing on stderr: {progress}"
    );
    Ok(document)
}
