//! What status says is so, asked of the servers, sockets and files themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clusterctl_lab::wait_for;

use super::desk::{Desk, HOSTS, NODES};

/// What every member runs with (`planner/settings.rs`, docs/mysql-facts.md).
const SETTINGS: [(&str, &str); 28] = [
    ("group_replication_communication_stack", "MYSQL"),
    ("group_replication_ssl_mode", "VERIFY_IDENTITY"),
    ("group_replication_recovery_use_ssl", "ON"),
    ("group_replication_recovery_ssl_verify_server_cert", "ON"),
    ("group_replication_recovery_ssl_ca", "/etc/mysql/clusterctl/ca.pem"),
    (
        "group_replication_recovery_ssl_cert",
        "/etc/mysql/clusterctl/server.pem",
    ),
    ("group_replication_recovery_ssl_key", "/etc/mysql/clusterctl/server.key"),
    ("group_replication_member_expel_timeout", "0"),
    ("group_replication_autorejoin_tries", "3"),
    ("group_replication_exit_state_action", "OFFLINE_MODE"),
    ("group_replication_consistency", "BEFORE_ON_PRIMARY_FAILOVER"),
    ("group_replication_unreachable_majority_timeout", "20"),
    ("group_replication_start_on_boot", "OFF"),
    ("group_replication_single_primary_mode", "ON"),
    ("group_replication_enforce_update_everywhere_checks", "OFF"),
    ("group_replication_paxos_single_leader", "OFF"),
    ("group_replication_transaction_size_limit", "150000000"),
    ("group_replication_bootstrap_group", "OFF"),
    ("gtid_mode", "ON"),
    ("enforce_gtid_consistency", "ON"),
    ("log_bin", "ON"),
    ("sync_binlog", "1"),
    ("innodb_flush_log_at_trx_commit", "1"),
    ("skip_name_resolve", "ON"),
    ("skip_replica_start", "ON"),
    ("offline_mode", "OFF"),
    ("ssl_ca", "/etc/mysql/clusterctl/ca.pem"),
    ("ssl_cert", "/etc/mysql/clusterctl/server.pem"),
];

/// Variables of one server.
fn variables(desk: &Desk, host: &str) -> Result<BTreeMap<String, String>> {
    let rows = desk.rows(
        host,
        "SELECT variable_name, variable_value FROM performance_schema.global_variables",
    )?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row.first()?.clone(), row.get(1).cloned().unwrap_or_default())))
        .collect())
}

/// Members, roles, settings.
pub fn members(desk: &Desk) -> Result<()> {
    desk.all_online(&NODES)?;
    let primary = desk.primary()?;
    let mut ids = BTreeSet::new();
    for host in NODES {
        let now = variables(desk, host)?;
        let get = |name: &str| now.get(name).cloned().unwrap_or_default();
        for (name, wanted) in SETTINGS {
            ensure!(
                get(name) == wanted,
                "{name} is {:?} on {host} instead of {wanted:?}",
                get(name)
            );
        }
        ensure!(
            get("report_host") == host && get("group_replication_local_address") == format!("{host}:3306"),
            "addresses of {host}"
        );
        let seeds: BTreeSet<_> = get("group_replication_group_seeds")
            .split(',')
            .map(str::to_owned)
            .collect();
        let others: BTreeSet<_> = NODES
            .iter()
            .filter(|other| **other != host)
            .map(|other| format!("{other}:3306"))
            .collect();
        ensure!(seeds == others, "seeds of {host} are {seeds:?}");
        let read_only = if host == primary { "OFF" } else { "ON" };
        ensure!(
            get("super_read_only") == read_only,
            "super_read_only is {} on {host}",
            get("super_read_only")
        );
        let persisted = desk.value(
            host,
            "SELECT variable_value FROM performance_schema.persisted_variables WHERE variable_name='super_read_only'",
        )?;
        ensure!(
            persisted == "ON",
            "super_read_only is not persisted ON on {host}: {persisted}"
        );
        ensure!(
            get("server_id") != "1" && ids.insert(get("server_id")),
            "server_id {} of {host}",
            get("server_id")
        );
        ensure!(ids.insert(get("server_uuid")), "{host} has the server_uuid of another");
    }
    let secondary = NODES
        .into_iter()
        .find(|host| *host != primary)
        .context("no secondary")?;
    let refused = desk
        .sql(secondary, "CREATE DATABASE must_not_be")
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    ensure!(
        refused.contains("1290"),
        "a write on {secondary} is not refused by super_read_only: {refused}"
    );
    Ok(())
}

/// Members know each other by certificates alone.
pub fn member_accounts(desk: &Desk) -> Result<()> {
    let ids = server_ids(desk)?;
    for host in NODES {
        let rows = desk.rows(
            host,
            "SELECT user, host, authentication_string, ssl_type, CONVERT(x509_issuer USING utf8mb4), CONVERT(x509_subject USING utf8mb4) \
             FROM mysql.user WHERE user LIKE 'mysql_innodb_cluster%' ORDER BY user",
        )?;
        let wanted: BTreeSet<Vec<String>> = ids
            .iter()
            .map(|(node, id)| {
                let subject = format!("/CN={node}");
                let user = format!("mysql_innodb_cluster_{id}");
                [&user, "%", "", "SPECIFIED", "/CN=clusterctl CA", &subject]
                    .map(str::to_owned)
                    .to_vec()
            })
            .collect();
        let found: BTreeSet<Vec<String>> = rows.into_iter().collect();
        ensure!(
            found == wanted,
            "accounts of members on {host}: {found:?} instead of {wanted:?}"
        );
        let own = desk.value(host, "SELECT CONCAT(user_name, '/', user_password) FROM mysql.slave_master_info WHERE channel_name='group_replication_recovery'")?;
        let wanted = format!("mysql_innodb_cluster_{}/", ids.get(host).cloned().unwrap_or_default());
        ensure!(
            own == wanted,
            "the recovery channel of {host} logs in as {own} instead of {wanted} without password"
        );
    }
    super::secrets::none_left(desk)
}

/// `server_id` of each member.
pub fn server_ids(desk: &Desk) -> Result<BTreeMap<&'static str, String>> {
    NODES
        .into_iter()
        .map(|host| Ok((host, desk.value(host, "SELECT @@server_id")?)))
        .collect()
}

/// mysqld was started with our settings, and restarted at most once.
pub fn few_starts(desk: &Desk) -> Result<()> {
    for host in NODES {
        let log = desk.error_log(host)?;
        // MY-010931: ready for connections. A log may be both in a file and in the journal.
        let mut times: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("MY-010931"))
            .filter_map(|line| line.split(' ').next())
            .collect();
        times.sort_unstable();
        times.dedup();
        ensure!(
            (1..=2).contains(&times.len()),
            "mysqld of {host} was started {} times: {times:?}",
            times.len()
        );
        let restarts = desk.lab.sh(host, "systemctl show -p NRestarts --value mysql")?;
        ensure!(
            restarts.trim() == "0",
            "mysqld of {host} came back by itself {restarts} times"
        );
    }
    Ok(())
}

/// mysqld's certificate: the host's name, its addresses, no role of ours; its key for mysqld only.
pub fn certificates(desk: &Desk) -> Result<()> {
    for host in NODES {
        let pem = desk.lab.sh(host, "cat /etc/mysql/clusterctl/server.pem")?;
        let text = openssl(
            &[
                "x509",
                "-noout",
                "-subject",
                "-nameopt",
                "compat",
                "-ext",
                "subjectAltName,extendedKeyUsage",
            ],
            &pem,
        )?;
        ensure!(
            text.contains(&format!("CN={host}")) || text.contains(&format!("CN = {host}")),
            "{text}"
        );
        ensure!(
            text.contains(&format!("DNS:{host}")) && text.contains(&desk.lab.address(host)?),
            "{text}"
        );
        ensure!(
            !text.contains("clusterctl://"),
            "mysqld's certificate names a role: {text}"
        );
        ensure!(
            text.contains("Server Authentication") && text.contains("Client Authentication"),
            "{text}"
        );
        let access = desk.lab.sh(
            host,
            "stat -c '%a %U:%G' /etc/mysql/clusterctl /etc/mysql/clusterctl/server.key",
        )?;
        ensure!(
            access.starts_with("750 ")
                && !access
                    .lines()
                    .any(|line| !line.split(' ').next().unwrap_or("7").ends_with('0')),
            "{host}: {access}"
        );
        // Such a certificate is no way into the coordinator.
        let address = desk.lab.address("node1")?;
        desk.lab.sh(host, "install -d -m 700 /root/stolen && cp /etc/mysql/clusterctl/server.key /root/stolen/key.pem && cp /etc/mysql/clusterctl/server.pem /root/stolen/cert.pem && cp /etc/mysql/clusterctl/ca.pem /root/stolen/")?;
        if host == "node1" {
            desk.put(
                "node1",
                "root",
                "/root/stolen/ctl.toml",
                &format!("endpoints = [\"{address}:7440\"]\n"),
            )?;
            let said = desk.typed(
                "node1",
                "root",
                "clusterctl --config /root/stolen/ctl.toml status -o json",
                "",
            )?;
            super::desk::refusal("mysqld's certificate at the coordinator", &said, 7, &[], &[])?;
        }
        desk.lab.sh(host, "rm -r /root/stolen")?;
    }
    Ok(())
}

fn openssl(args: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("openssl is not installed")?;
    if let Some(mut pipe) = child.stdin.take() {
        std::io::Write::write_all(&mut pipe, input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Who listens where: Router's ports, mysqld's, the coordinator's one, and no agent.
pub fn sockets(desk: &Desk) -> Result<()> {
    for host in HOSTS {
        let text = desk.lab.sh(host, "ss -Hltnp")?;
        ensure!(!text.contains("clusterctl-agen"), "the agent of {host} listens: {text}");
        let ports = |program: &str| -> BTreeSet<String> {
            let lines = text.lines().filter(|line| line.contains(&format!("\"{program}\"")));
            lines
                .filter_map(|line| Some(line.split_whitespace().nth(3)?.rsplit(':').next()?.to_owned()))
                .collect()
        };
        let coordinator = if host == "node1" {
            BTreeSet::from(["7440".to_owned()])
        } else {
            BTreeSet::new()
        };
        ensure!(ports("clusterctl-coor") == coordinator, "{host}: {text}");
        if host == "router1" {
            let wanted: BTreeSet<_> = ["6446", "6447", "6448", "6449", "6450"].map(str::to_owned).into();
            ensure!(ports("mysqlrouter").is_superset(&wanted), "{text}");
        } else {
            let wanted: BTreeSet<_> = ["3306", "33060"].map(str::to_owned).into();
            ensure!(ports("mysqld") == wanted, "{host}: {text}");
        }
    }
    let who = desk.lab.sh(
        "router1",
        "ps -o user= -p $(systemctl show -p MainPID --value mysqlrouter); systemctl is-enabled mysqlrouter",
    )?;
    ensure!(
        who.split_whitespace().eq(["mysqlrouter", "enabled"]),
        "Router's user and unit: {who}"
    );
    Ok(())
}

/// What an application sees: writes lead to the primary, reads to the secondaries, and what was written is read.
pub fn through_router(desk: &Desk) -> Result<()> {
    let primary = desk.primary()?;
    // Router asks for the members twice a second.
    wait_for(
        "6446 leads to the primary, 6447 past it",
        Duration::from_secs(5),
        || {
            let (write, read) = (
                desk.through(6446, "SELECT @@report_host")?,
                desk.through(6447, "SELECT @@report_host")?,
            );
            ensure!(
                write == primary && read != primary,
                "{primary} leads; 6446 leads to {write}, 6447 to {read}"
            );
            Ok(true)
        },
    )?;
    let marker = desk.value(&primary, "SELECT UUID()")?;
    desk.through(6446, &format!("CREATE TABLE IF NOT EXISTS appdb.marks (mark CHAR(36) PRIMARY KEY); INSERT INTO appdb.marks VALUES ('{marker}')"))?;
    let read = format!("SELECT COUNT(*) FROM appdb.marks WHERE mark='{marker}'");
    wait_for(
        "what was written through 6446 is read through 6447",
        Duration::from_secs(10),
        || Ok(desk.through(6447, &read)? == "1"),
    )?;
    ensure!(desk.through(6450, &read)? == "1", "6450 does not read it");
    let refused = desk
        .through(6447, "INSERT INTO appdb.marks VALUES ('x')")
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    ensure!(
        refused.contains("1290"),
        "a write through 6447 is not refused: {refused}"
    );
    let outside = desk
        .through(6446, "CREATE DATABASE not_mine")
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    ensure!(
        outside.contains("1044"),
        "the application may do more than it should: {outside}"
    );
    Ok(())
}

/// No transaction was made outside the group: each member's set holds the group's uuid and no other.
pub fn only_the_groups_transactions(desk: &Desk) -> Result<()> {
    for host in NODES {
        let strangers = desk.value(host, "SELECT REGEXP_REPLACE(REPLACE(@@gtid_executed, '\\n', ''), CONCAT(@@group_replication_group_name, '[:0-9a-z_-]*,?'), '')")?;
        ensure!(
            strangers.is_empty(),
            "{host} holds transactions of its own: {strangers}"
        );
    }
    Ok(())
}

/// What both programs log can be asked for by its fields.
pub fn journal_fields(desk: &Desk) -> Result<()> {
    let ops = desk.json("ops list")?;
    let joined = super::desk::list(&ops["operations"])
        .into_iter()
        .find(|op| op["title"] == "join node3" && op["state"] == "done");
    let joined = joined.with_context(|| format!("no join of node3: {ops}"))?;
    let shown = desk.json(&format!("ops show {}", joined["id"]))?;
    let plan = &shown["plans"][0]["id"];
    ensure!(plan.is_u64(), "the join has no plan: {shown}");
    for host in ["node1", "node3"] {
        let lines = desk
            .lab
            .sh(host, &format!("journalctl PLAN={plan} NODE=node3 -o cat --no-pager"))?;
        ensure!(
            !lines.trim().is_empty(),
            "journalctl PLAN={plan} NODE=node3 on {host} finds nothing"
        );
    }
    Ok(())
}
