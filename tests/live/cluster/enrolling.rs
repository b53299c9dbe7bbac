//! Bare hosts become known hosts: `init`, tokens, enrolment; and every wrong way to do it, which leaves nothing behind.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::desk::{Desk, HOSTS, NODES, list, refusal, text, told};
use super::token;

/// Lines of others in /etc/hosts: they must outlive everything we do.
pub const FOREIGN: &str = "10.99.99.99\tlegacy  legacy.example # keep,\twith its tabs\n\n# a remark of the DBA's\n";

const ENROLL: &str = "clusterctl-agent enroll --token-file -";

/// Nothing of ours is configured: who types gets told what to do.
pub fn nothing_before_init(desk: &Desk) -> Result<()> {
    desk.refused("status", 2, &["no_configuration"], &["clusterctl init"])?;
    let said = desk.typed("node1", "admin", "clusterctl init -o json", "")?;
    refusal(
        "clusterctl init as an ordinary user",
        &said,
        7,
        &["not_root"],
        &["sudo"],
    )?;
    let dry = desk
        .typed("node1", "root", "clusterctl init --dry-run", "")?
        .success()?;
    ensure!(dry.contains("nothing was touched"), "{dry}");
    for host in HOSTS {
        let left = desk.lab.sh(
            host,
            "ls -A /var/lib/clusterctl /var/lib/clusterctl-coordinator /etc/mysql 2>/dev/null; true",
        )?;
        ensure!(
            !left.contains("identity") && !left.contains("ca.key"),
            "{host} holds something already: {left}"
        );
        desk.run(
            host,
            "root",
            &["sh", "-c", "cat >>/etc/hosts; cp /etc/hosts /root/hosts.before"],
            FOREIGN,
        )?
        .success()?;
    }
    Ok(())
}

/// `clusterctl init`, twice; with another address it is an error.
pub fn init(desk: &Desk) -> Result<()> {
    let first = desk.typed("node1", "root", "clusterctl init", "")?.success()?;
    ensure!(first.contains("node1"), "{first}");
    let again = desk.typed("node1", "root", "clusterctl init", "")?.success()?;
    ensure!(again.contains("already so"), "typed again: {again}");
    let document = desk.typed("node1", "root", "clusterctl init -o json", "")?.success()?;
    ensure!(document.contains("\"already\": true"), "typed again: {document}");
    let other = desk.typed("node1", "root", "clusterctl init --address 10.98.98.98 -o json", "")?;
    refusal("clusterctl init with another address", &other, 8, &[], &["advertise"])?;
    let version = desk.json("version")?;
    ensure!(
        version["coordinator"]["role"] == "admin",
        "the first operator: {version}"
    );
    desk.connected(&["node1"])
}

/// Keys lie where only their owners read them.
pub fn keys_are_kept(desk: &Desk) -> Result<()> {
    let modes = desk.lab.sh("node1", "cd /; find etc/clusterctl var/lib/clusterctl var/lib/clusterctl-coordinator -type f -name '*key*' -printf '%p %m %u:%g\\n'")?;
    ensure!(
        modes.lines().count() >= 3,
        "CA, coordinator, agent and operator have keys: {modes}"
    );
    for line in modes.lines() {
        let ok = line.starts_with("etc/clusterctl/operator/") && line.ends_with("640 root:clusterctl-admin")
            || line.starts_with("var/lib/clusterctl/") && line.ends_with("600 root:root")
            || line.starts_with("var/lib/clusterctl-coordinator/")
                && line.ends_with("600 clusterctl-coordinator:clusterctl-coordinator");
        ensure!(ok, "a key others may read: {line}");
    }
    let outsider = desk.typed("node1", "nobody", "clusterctl status -o json", "")?;
    refusal(
        "clusterctl status of somebody outside the group",
        &outsider,
        7,
        &[],
        &["clusterctl-admin"],
    )
    .map(drop)
}

/// A fresh token for this role.
pub fn new_token(desk: &Desk, words: &str) -> Result<String> {
    let said = desk.typed("node1", "root", &format!("clusterctl token create {words}"), "")?;
    ensure!(!said.stderr.contains("cct1."), "the token stands on stderr, too");
    let out = said.success()?;
    ensure!(
        out.lines().count() == 1 && out.starts_with("cct1."),
        "the token is not alone on stdout"
    );
    Ok(out.trim().to_owned())
}

fn enroll(desk: &Desk, host: &str, token: &str) -> Result<clusterctl_lab::Output> {
    desk.typed(host, "root", ENROLL, &format!("{token}\n"))
}

fn still_bare(desk: &Desk, host: &str) -> Result<()> {
    let left = desk.lab.sh(host, "ls /var/lib/clusterctl/identity /var/lib/clusterctl/enrolment.json 2>/dev/null; systemctl is-active clusterctl-agent; true")?;
    ensure!(
        left.trim() == "inactive",
        "a refused enrolment left something on {host}: {left}"
    );
    let known = desk.json("hosts")?;
    ensure!(
        !list(&known["hosts"]).iter().any(|known| known["name"] == host),
        "{host} is known: {known}"
    );
    Ok(())
}

/// Every wrong token is refused for its own reason.
pub fn bad_tokens(desk: &Desk) -> Result<()> {
    let good = new_token(desk, "--role db")?;
    let short = new_token(desk, "--role db --ttl 1s")?;
    let half = good[..good.len() / 2].to_owned();
    told(
        "half a token",
        &enroll(desk, "node2", &half)?,
        7,
        &["clusterctl token create"],
    )?;
    told("no token", &enroll(desk, "node2", "")?, 7, &["clusterctl token create"])?;
    told("something else", &enroll(desk, "node2", "hunter2")?, 7, &["cct1."])?;
    let wrong = enroll(desk, "node2", &token::with_other(&good, "secret")?)?;
    told("a token with another secret", &wrong, 7, &[])?;
    let pinned = enroll(desk, "node2", &token::with_other(&good, "ca_sha256")?)?;
    told("a token of another CA", &pinned, 7, &[])?;
    let unknown = enroll(desk, "node2", &token::with_other(&good, "id")?)?;
    told("a token nobody made", &unknown, 7, &[])?;
    std::thread::sleep(Duration::from_millis(1200));
    told("an expired token", &enroll(desk, "node2", &short)?, 7, &["expired"])?;
    let argv = desk.typed(
        "node2",
        "root",
        &format!("clusterctl-agent enroll --token-file {good}"),
        "",
    )?;
    told(
        "a token in argv",
        &argv,
        2,
        &["--token-file -", "clusterctl token revoke"],
    )?;
    ensure!(!argv.stderr.contains(&good), "the token is repeated: {}", argv.stderr);
    let id = text(&token::open(&good)?["id"]);
    desk.typed("node1", "root", &format!("clusterctl token revoke {id}"), "")?
        .success()?;
    told("a revoked token", &enroll(desk, "node2", &good)?, 7, &["revoked"])?;
    let other = new_token(desk, "--role db --host node3")?;
    told(
        "a token for another host",
        &enroll(desk, "node2", &other)?,
        7,
        &["node3"],
    )?;
    still_bare(desk, "node2")
}

/// A whole token given where its id belongs: told so, and not repeated.
pub fn token_instead_of_id(desk: &Desk) -> Result<()> {
    let token = new_token(desk, "--role db")?;
    let said = desk.typed("node1", "root", &format!("clusterctl token revoke {token}"), "")?;
    ensure!(said.status == 2, "{said:?}");
    ensure!(said.stderr.contains("revoke it by its id"), "{}", said.stderr);
    ensure!(
        !said.stderr.contains(&token),
        "clusterctl token revoke TOKEN repeats the token: {}",
        said.stderr
    );
    Ok(())
}

/// A token is tried a few times only: then even the right secret is of no use.
pub fn guessed_tokens(desk: &Desk) -> Result<()> {
    let good = new_token(desk, "--role db")?;
    let wrong = token::with_other(&good, "secret")?;
    for _ in 0..20 {
        told("a guess", &enroll(desk, "node2", &wrong)?, 7, &[])?;
        if text(&token_state(desk, &good)?) == "locked" {
            told(
                "the right secret of a locked token",
                &enroll(desk, "node2", &good)?,
                7,
                &["locked"],
            )?;
            return still_bare(desk, "node2");
        }
    }
    anyhow::bail!(
        "after 20 wrong secrets the token is still {}",
        token_state(desk, &good)?
    )
}

fn token_state(desk: &Desk, token: &str) -> Result<serde_json::Value> {
    let id = token::open(token)?["id"].clone();
    let all = list(&desk.json("token list")?["tokens"]);
    Ok(all
        .iter()
        .find(|known| known["id"] == id)
        .map(|known| known["state"].clone())
        .unwrap_or_default())
}

/// The walk of the transcript: three hosts, a token each; enrolled again is fine, under another name is not; a used token is worthless.
pub fn enrol(desk: &Desk) -> Result<()> {
    let mut spent: Option<String> = None;
    for (host, role) in [("node2", "db"), ("node3", "db"), ("router1", "router")] {
        if let Some(spent) = &spent {
            told("a token that was used", &enroll(desk, host, spent)?, 7, &["used"])?;
            still_bare(desk, host)?;
        }
        let token = new_token(desk, &format!("--role {role}"))?;
        let said = enroll(desk, host, &token)?.success()?;
        ensure!(said.contains(host), "{said}");
        let again = enroll(desk, host, &token)?.success()?;
        ensure!(again.contains("already"), "enrolled again: {again}");
        let renamed = desk.typed(
            host,
            "root",
            &format!("{ENROLL} --host elsewhere"),
            &format!("{token}\n"),
        )?;
        told("enrolled again under another name", &renamed, 8, &[host])?;
        spent = Some(token);
    }
    desk.connected(&HOSTS)?;
    let document = desk.json("hosts")?;
    for host in HOSTS {
        let all = list(&document["hosts"]);
        let known = all
            .iter()
            .find(|known| known["name"] == host)
            .cloned()
            .unwrap_or_default();
        let role = if NODES.contains(&host) { "db" } else { "router" };
        ensure!(list(&known["roles"]).contains(&role.into()), "{host}: {known}");
        ensure!(
            list(&known["addresses"]).contains(&desk.lab.address(host)?.into()),
            "{host}: {known}"
        );
        ensure!(text(&known["os"]).contains("Debian"), "{host}: {known}");
        ensure!(text(&known["health"]) == "healthy", "{host}: {known}");
    }
    let table = desk.ok("hosts")?;
    ensure!(table.starts_with("HOST") && table.lines().count() == 5, "{table}");
    Ok(())
}

/// The secrets of tokens are kept nowhere.
pub fn no_token_is_kept(desk: &Desk) -> Result<()> {
    let token = new_token(desk, "--role db --host node9")?;
    let secret = text(&token::open(&token)?["secret"]);
    super::secrets::nowhere(desk, "a token's secret", &secret)?;
    let id = text(&token::open(&token)?["id"]);
    desk.typed("node1", "root", &format!("clusterctl token revoke {id} --dry-run"), "")?
        .success()?;
    ensure!(token_state(desk, &token)? == "valid", "a dry run revoked the token");
    desk.typed("node1", "root", &format!("clusterctl token revoke {id}"), "")?
        .success()?;
    desk.already(&format!("token revoke {id}"))
}
