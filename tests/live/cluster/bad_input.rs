//! Wrong names, wrong files, wrong people, hosts that do not fit: each a clear error with a hint, and nothing half-made.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::desk::{Desk, list, refusal, text, told};
use super::enrolling;

/// No cluster, no operation: what was refused was refused whole.
fn nothing_made(desk: &Desk) -> Result<()> {
    let status = desk.json("status")?;
    ensure!(
        list(&status["clusters"]).is_empty(),
        "a cluster was half-made: {status}"
    );
    let ops = desk.json("ops list")?;
    ensure!(list(&ops["operations"]).is_empty(), "an operation was stored: {ops}");
    Ok(())
}

/// Names that are none, hosts that nobody knows, commands that come too early.
pub fn names(desk: &Desk) -> Result<()> {
    let long = "a".repeat(64);
    for name in ["1prod", "-prod", "pr;od", "pröd", "pr od", &long] {
        let said = desk.run(
            "node1",
            "admin",
            &["clusterctl", "create", name, "--primary", "node1"],
            "",
        )?;
        ensure!(said.status == 2, "create {name:?} should end with 2: {said:?}");
        ensure!(
            said.stderr.contains("letter first") || name.starts_with('-'),
            "create {name:?} does not tell the rule: {}",
            said.stderr
        );
    }
    let long = "a".repeat(63);
    desk.refused(
        &format!("create {long} --primary node9"),
        2,
        &["unknown_host", "host_not_enrolled"],
        &["node9"],
    )?;
    for line in [
        "create prod --primary node9",
        "create prod --primary node1 --with node9",
        "create prod --primary node1 --router node9",
    ] {
        desk.refused(
            line,
            2,
            &["unknown_host", "host_not_enrolled"],
            &["node9", "clusterctl-agent enroll"],
        )?;
    }
    desk.refused("check node9", 2, &["unknown_host", "host_not_enrolled"], &["node9"])?;
    desk.refused(
        "create prod --primary node1 --with node1",
        2,
        &["named_twice"],
        &["node1"],
    )?;
    for line in [
        "join node1",
        "router add node1",
        "account create app --database appdb --generate",
        "switchover",
        "verify",
    ] {
        desk.refused(line, 2, &["no_cluster"], &["clusterctl create"])?;
    }
    desk.refused(
        "join node1 --cluster prod",
        2,
        &["unknown_cluster"],
        &["clusterctl create prod"],
    )?;
    desk.refused("ops show 999", 2, &[], &[])
        .or_else(|_| desk.refused("ops show 999", 1, &[], &[]))?;
    nothing_made(desk)
}

/// A host with another role, and one that never enrolled.
pub fn hosts_that_do_not_fit(desk: &Desk) -> Result<()> {
    desk.refused(
        "create prod --primary router1",
        3,
        &["wrong_role"],
        &["router1", "clusterctl token create"],
    )?;
    desk.refused(
        "create prod --primary node1 --router node2",
        3,
        &["wrong_role"],
        &["node2", "clusterctl token create"],
    )?;
    nothing_made(desk)
}

/// Before it enrolled a host cannot be used.
pub fn not_enrolled(desk: &Desk) -> Result<()> {
    desk.refused(
        "create prod --primary node3",
        2,
        &["unknown_host", "host_not_enrolled"],
        &["clusterctl token create", "node3"],
    )?;
    nothing_made(desk)
}

/// A misspelt key is named with its line and the nearest name, by each program.
pub fn misspelt_keys(desk: &Desk) -> Result<()> {
    desk.put(
        "node1",
        "admin",
        "/home/admin/bad/ctl.toml",
        "# first\nendpoint = [\"10.0.0.1:7440\"]\n",
    )?;
    let said = desk.typed(
        "node1",
        "admin",
        "clusterctl --config /home/admin/bad/ctl.toml status -o json",
        "",
    )?;
    refusal(
        "ctl.toml with a misspelt key",
        &said,
        2,
        &[],
        &["line 2", "endpoint", "did you mean `endpoints`?"],
    )?;
    desk.put(
        "node2",
        "root",
        "/root/bad/agent.toml",
        "log = \"info\"\n\nstat_dir = \"/x\"\n",
    )?;
    let said = desk.typed(
        "node2",
        "root",
        "clusterctl-agent --config /root/bad/agent.toml status",
        "",
    )?;
    told(
        "agent.toml with a misspelt key",
        &said,
        2,
        &["line 3", "did you mean `state_dir`?"],
    )?;
    desk.put(
        "node1",
        "root",
        "/root/bad/coordinator.toml",
        "lisen = \"0.0.0.0:7440\"\n",
    )?;
    let said = desk.typed("node1", "root", "clusterctl-coordinator run --config-dir /root/bad", "")?;
    told(
        "coordinator.toml with a misspelt key",
        &said,
        2,
        &["line 1", "did you mean `listen`?"],
    )?;
    let said = desk.typed(
        "node1",
        "admin",
        "clusterctl --config /home/admin/none.toml status -o json",
        "",
    )?;
    refusal(
        "a configuration that is not there",
        &said,
        2,
        &[],
        &["/home/admin/none.toml"],
    )
    .map(drop)
}

/// Roles: a viewer looks, an operator changes clusters, only an admin changes trust.
pub fn roles(desk: &Desk) -> Result<()> {
    for (name, role) in [("eve", "viewer"), ("olga", "operator")] {
        let make = format!("operator create {name} --role {role} --out /home/admin/{name}");
        desk.ok(&format!("{make} --dry-run"))?;
        desk.ok(&make)?;
        desk.refused(&make, 8, &["already_there"], &["--out"])?;
    }
    let (eve, olga) = (
        "--config /home/admin/eve/ctl.toml",
        "--config /home/admin/olga/ctl.toml",
    );
    desk.ok(&format!("{eve} hosts"))?;
    desk.ok(&format!("{eve} check node1"))?;
    let changes = [
        "create prod --primary node1",
        "create prod --primary node1 --dry-run",
        "token create --role db",
        "host remove router1",
    ];
    for line in changes {
        desk.refused(&format!("{eve} {line}"), 7, &[], &["viewer"])?;
    }
    for line in [
        "token create --role db",
        "token list",
        "host remove router1",
        "operator create eva --role viewer --out /home/admin/eva",
    ] {
        desk.refused(&format!("{olga} {line}"), 7, &[], &["operator", "admin"])?;
    }
    nothing_made(desk)
}

/// An identity that a foreign CA signed, with our CA's name and every word in it right.
pub fn foreign_ca(desk: &Desk) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let group = group(desk)?;
    let script = format!(
        "set -e; cd {}
        openssl ecparam -name prime256v1 -genkey -noout -out ca.key
        openssl req -x509 -new -key ca.key -days 30 -subj '/CN=clusterctl CA' -out ca.pem
        openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out key.pem
        openssl req -new -key key.pem -subj '/CN=eve' -out eve.csr
        printf 'subjectAltName=URI:clusterctl://{group}/operator/eve?role=admin\\nextendedKeyUsage=clientAuth\\nbasicConstraints=CA:FALSE\\n' >ext
        openssl x509 -req -in eve.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out cert.pem",
        folder.path().display()
    );
    let made = Command::new("sh")
        .args(["-c", &script])
        .output()
        .context("cannot run sh")?;
    ensure!(
        made.status.success(),
        "openssl makes no certificates (is it installed?): {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let read = |name: &str| fs::read_to_string(folder.path().join(name));
    let ours = desk.lab.sh("node1", "cat /etc/clusterctl/operator/ca.pem")?;
    let endpoint = format!("{}:7440", desk.lab.address("node1")?);
    let settings = format!("endpoints = [\"{endpoint}\"]\n");
    for (place, ca) in [("foreign", ours), ("astray", read("ca.pem")?)] {
        let place = format!("/home/admin/{place}");
        desk.put("node1", "admin", &format!("{place}/ca.pem"), &ca)?;
        for (name, text) in [
            ("cert.pem", read("cert.pem")?),
            ("key.pem", read("key.pem")?),
            ("ctl.toml", settings.clone()),
        ] {
            desk.put("node1", "admin", &format!("{place}/{name}"), &text)?;
        }
    }
    desk.refused("--config /home/admin/foreign/ctl.toml status", 7, &[], &[])?;
    desk.refused(
        "--config /home/admin/foreign/ctl.toml create prod --primary node1",
        7,
        &[],
        &[],
    )?;
    // Who trusts another CA must not talk to our coordinator either.
    desk.refused("--config /home/admin/astray/ctl.toml status", 7, &[], &[])?;
    nothing_made(desk)
}

/// The coordinator group's name, from a certificate of ours.
fn group(desk: &Desk) -> Result<String> {
    let enrolment = desk.lab.sh("node1", "cat /var/lib/clusterctl/enrolment.json")?;
    let document: serde_json::Value = serde_json::from_str(&enrolment)?;
    let group = text(&document["group"]);
    Ok(if group.is_empty() {
        "00000000-0000-4000-8000-000000000000".to_owned()
    } else {
        group
    })
}

/// mysqld's port is taken by something else.
pub fn port_taken(desk: &Desk) -> Result<()> {
    desk.lab.sh(
        "node3",
        "systemd-run -q --unit=squatter systemd-socket-activate -l 3306 cat",
    )?;
    clusterctl_lab::wait_for("somebody sits on 3306", std::time::Duration::from_secs(5), || {
        Ok(desk.lab.sh("node3", "ss -ltn")?.contains(":3306"))
    })?;
    let result = refused_by(desk, "ports_free", "3306 is taken by");
    desk.lab.sh("node3", "systemctl stop squatter")?;
    result?;
    passes(desk, "ports_free")
}

/// MySQL with somebody's data: never touched.
pub fn foreign_data(desk: &Desk) -> Result<()> {
    let install = "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mysql-server mysql-client >/dev/null 2>&1; systemctl is-active mysql";
    desk.lab.sh("node3", install)?;
    desk.sql(
        "node3",
        "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY); INSERT INTO shop.orders VALUES (1), (2)",
    )?;
    let before = (
        desk.process("node3", "mysql")?,
        desk.lab
            .sh("node3", "find /etc/mysql -type f -exec sha256sum {} + | sort")?,
    );
    refused_by(desk, "data_directory", "shop")?;
    let after = (
        desk.process("node3", "mysql")?,
        desk.lab
            .sh("node3", "find /etc/mysql -type f -exec sha256sum {} + | sort")?,
    );
    ensure!(
        before == after,
        "a foreign server was touched: {before:?} became {after:?}"
    );
    ensure!(
        desk.value("node3", "SELECT COUNT(*) FROM shop.orders")? == "2",
        "foreign data was touched"
    );
    desk.refused(
        "join node3 --ignore-check data_directory",
        3,
        &["data_directory"],
        &["shop"],
    )?;
    let purge = "DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq 'mysql-server*' 'mysql-client*' mysql-common >/dev/null 2>&1; \
        apt-get autoremove -y -qq >/dev/null 2>&1; rm -rf /var/lib/mysql/* /var/lib/mysql-* /etc/mysql /var/log/mysql";
    desk.lab.sh("node3", purge)?;
    passes(desk, "data_directory")
}

/// `check` fails on this check of node3, `join node3` is refused for it, and node3 is no member afterwards.
fn refused_by(desk: &Desk, check: &str, word: &str) -> Result<()> {
    let said = desk.ctl("check node3 -o json")?;
    let document: serde_json::Value = serde_json::from_str(&said.stdout).with_context(|| said.stderr.clone())?;
    let found = result(&document, check);
    ensure!(
        said.status == 3 && document["verdict"] == "fail",
        "check node3: {said:?}"
    );
    ensure!(
        found["result"] == "fail" && text(&found["seen"]).contains(word) && !text(&found["fix"]).is_empty(),
        "check node3: {check}: {found}"
    );
    desk.refused("join node3", 3, &[check], &[word])?;
    let cluster = desk.cluster()?;
    ensure!(
        !list(&cluster["members"]).iter().any(|member| member["host"] == "node3"),
        "node3 is half a member: {cluster}"
    );
    Ok(())
}

fn passes(desk: &Desk, check: &str) -> Result<()> {
    let document = desk.json("check node3")?;
    ensure!(
        result(&document, check)["result"] == "pass",
        "{check} does not pass any more: {document}"
    );
    Ok(())
}

fn result(document: &serde_json::Value, check: &str) -> serde_json::Value {
    let all = list(&document["hosts"][0]["checks"]);
    all.into_iter().find(|found| found["name"] == check).unwrap_or_default()
}

/// A member of one cluster is not another's; the hint says how to move it.
pub fn member_of_another(desk: &Desk) -> Result<()> {
    for line in [
        "create other --primary node2",
        "create other --primary node3 --with node2",
    ] {
        desk.refused(
            line,
            8,
            &["host_in_other_cluster"],
            &["prod", "clusterctl remove node2"],
        )?;
    }
    desk.cluster().map(drop)
}

/// What is left of wrong identities goes, so that the hosts end as clean as they began.
pub fn tidy(desk: &Desk) -> Result<()> {
    desk.lab.sh(
        "node1",
        "rm -rf /home/admin/bad /home/admin/foreign /home/admin/astray /home/admin/eve /home/admin/olga /root/bad",
    )?;
    let token = enrolling::new_token(desk, "--role db")?;
    ensure!(!token.is_empty(), "an admin still may");
    Ok(())
}
