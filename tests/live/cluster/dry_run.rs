//! `--dry-run` of each command that changes something: it tells its plan, and neither model nor hosts are touched.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::desk::{Desk, HOSTS, NODES, list, text};

/// What a command could touch, as text.
fn everything(desk: &Desk) -> Result<BTreeMap<String, String>> {
    const FILES: &str = "find /etc /usr/bin /usr/sbin /var/lib/clusterctl /var/lib/mysqlrouter -xdev -type f -printf '%p %s %m %u %T@\\n' 2>/dev/null | sort | sha256sum; \
        dpkg-query -W | sha256sum; systemctl show -p MainPID --value mysql mysqlrouter clusterctl-agent clusterctl-coordinator | tr '\\n' ' '";
    let mut all = BTreeMap::new();
    for host in HOSTS {
        all.insert(host.to_owned(), desk.lab.sh(host, FILES)?);
    }
    for line in ["ops list --limit 1000", "token list"] {
        all.insert(line.to_owned(), desk.json(line)?.to_string());
    }
    // What the coordinator notes of what it sees (who leads, say) comes when it is seen, dry run or not.
    let events = list(&desk.json("events --limit 10000")?["events"]);
    let noted = |event: &&Value| event["operation"] == 0 && text(&event["who"]).starts_with("coordinator/");
    all.insert(
        "events".to_owned(),
        events
            .iter()
            .filter(|event| !noted(event))
            .map(Value::to_string)
            .collect(),
    );
    let hosts = list(&desk.json("hosts")?["hosts"]);
    all.insert(
        "hosts".to_owned(),
        hosts
            .iter()
            .map(|host| format!("{} {} {}\n", host["name"], host["roles"], host["cluster"]))
            .collect(),
    );
    if let Some(cluster) = list(&desk.json("status")?["clusters"]).first() {
        all.insert(
            "status".to_owned(),
            format!("{} {} {}", cluster["verdict"], cluster["primary"], cluster["accounts"]),
        );
        for member in list(&cluster["members"]) {
            let host = text(&member["host"]);
            let facts = desk.value(
                &host,
                "SELECT CONCAT(REPLACE(@@gtid_executed, '\\n', ''), ' ', (SELECT COUNT(*) FROM mysql.user))",
            )?;
            all.insert(format!("mysqld of {host}"), facts);
        }
    }
    Ok(all)
}

fn untouched(desk: &Desk, lines: &[&str]) -> Result<()> {
    let before = everything(desk)?;
    let mut problems = Vec::new();
    for line in lines {
        match desk.json(&format!("{line} --dry-run")) {
            Ok(document) if document["dry_run"] == true => {}
            Ok(document) => problems.push(format!("{line}: {document}")),
            Err(error) => problems.push(format!("{line}: {error:#}")),
        }
    }
    let after = everything(desk)?;
    for (what, was) in &before {
        if after.get(what) != Some(was) {
            problems.push(format!("{what} was touched: {was} became {:?}", after.get(what)));
        }
    }
    ensure!(
        problems.is_empty() && before.len() == after.len(),
        "dry runs of {lines:?}: {problems:#?}"
    );
    Ok(())
}

/// The plan of a dry run, for people and as a document.
fn planned(desk: &Desk, line: &str, steps: &[&str]) -> Result<()> {
    let document = desk.json(&format!("{line} --dry-run"))?;
    let names: Vec<String> = list(&document["plan"]["steps"])
        .iter()
        .map(|step| text(&step["name"]))
        .collect();
    for step in steps {
        ensure!(
            names.iter().any(|name| name == step),
            "{line} does not plan {step}: {names:?}"
        );
    }
    let told = desk.ok(&format!("{line} --dry-run"))?;
    ensure!(
        told.contains("would do") && told.contains("nothing was touched"),
        "{told}"
    );
    Ok(())
}

/// Before there is a cluster.
pub fn before_create(desk: &Desk) -> Result<()> {
    let whole = "create prod --primary node1 --with node2,node3 --router router1";
    let steps = [
        "promise",
        "hosts_file",
        "packages",
        "server_certificate",
        "server",
        "bootstrap_group",
        "metadata",
        "join_group",
        "router_bootstrap",
    ];
    untouched(
        desk,
        &[
            whole,
            "create prod --primary node1",
            "token create --role db",
            "host remove node3",
            "operator create eva --role viewer --out /home/admin/eva",
        ],
    )?;
    planned(desk, whole, &steps)?;
    let document: Value = desk.json(&format!("{whole} --dry-run"))?;
    let bootstraps = list(&document["plan"]["steps"])
        .iter()
        .filter(|step| step["name"] == "bootstrap_group")
        .count();
    ensure!(
        bootstraps == 1,
        "one bootstrap is planned, not {bootstraps}: {document}"
    );
    ensure!(
        list(&desk.json("status")?["clusters"]).is_empty(),
        "a dry run made a cluster"
    );
    Ok(())
}

/// With one member.
pub fn before_join(desk: &Desk) -> Result<()> {
    untouched(
        desk,
        &[
            "join node2",
            "router add router1",
            "account create app --database appdb",
        ],
    )?;
    planned(
        desk,
        "join node2",
        &["hosts_file", "packages", "server", "join_group", "metadata_instance"],
    )?;
    planned(
        desk,
        "router add router1",
        &[
            "packages",
            "router_host",
            "router_bootstrap",
            "router_running",
            "drop_account",
        ],
    )
}

/// With all of it.
pub fn when_formed(desk: &Desk) -> Result<()> {
    let changes = [
        "remove node3 --accept-lower-tolerance",
        "router remove router1",
        "account create another --database appdb",
        "account drop app",
        "switchover",
        "switchover --to node2",
        "verify",
    ];
    // Router writes its heartbeat every few seconds: it waits as long as transactions are counted.
    let heart = |signal: &str| {
        desk.lab.sh(
            "router1",
            &format!("systemctl kill -s {signal} --kill-whom=main mysqlrouter"),
        )
    };
    heart("STOP")?;
    let counted = untouched(desk, &changes);
    heart("CONT")?;
    counted?;
    planned(
        desk,
        "remove node3 --accept-lower-tolerance",
        &["forget_instance", "leave_group", "persist"],
    )?;
    planned(desk, "switchover --to node2", &["set_primary"])?;
    planned(desk, "verify", &["prove"])?;
    desk.refused(
        "remove node3 --dry-run",
        3,
        &["lower_tolerance"],
        &["--accept-lower-tolerance"],
    )?;
    let ops = list(&desk.json("ops list")?["operations"]);
    ensure!(!ops.is_empty(), "no operation");
    desk.json(&format!("ops cancel {} --dry-run", ops[0]["id"]))?;
    desk.all_online(&NODES)
}
