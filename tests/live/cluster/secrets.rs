//! Safety rule 9, looked at from outside: a secret stands in no file, log, document or command line of any host.

use anyhow::{Result, ensure};

use super::desk::{Desk, HOSTS};

/// Where a secret must not be. The file of the grep's pattern is read from stdin, so that the search itself shows it nowhere.
const SEARCH: &str = "umask 077; cat >/root/pattern; \
    found=$(grep -rlaFf /root/pattern /var/lib/clusterctl /var/lib/clusterctl-coordinator /etc/clusterctl /run/clusterctl \
        /var/lib/mysqlrouter /etc/mysqlrouter /var/log/mysql /etc/mysql /etc/hosts /tmp 2>/dev/null; \
      journalctl --no-pager -o export 2>/dev/null | grep -qaFf /root/pattern && echo 'the journal'; \
      for cmd in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do tr '\\0' '\\n' <$cmd 2>/dev/null | grep -qaFf /root/pattern && echo $cmd; done); \
    rm -f /root/pattern; echo \"$found\"";

/// Nowhere on any host (/root is left out: the test keeps its logins there), nor in what clusterctl tells of its operations and events.
pub fn nowhere(desk: &Desk, what: &str, secret: &str) -> Result<()> {
    ensure!(secret.len() >= 8, "{what} is too short to be looked for");
    for host in HOSTS {
        let found = desk
            .run(host, "root", &["sh", "-c", SEARCH], &format!("{secret}\n"))?
            .success()?;
        ensure!(found.trim().is_empty(), "{what} stands on {host} in: {}", found.trim());
    }
    for line in ["ops list -o json", "events --limit 1000 -o json"] {
        ensure!(!desk.ok(line)?.contains(secret), "{what} stands in: clusterctl {line}");
    }
    Ok(())
}

/// No password that lived for one plan is left, on disk or as an account.
pub fn none_left(desk: &Desk) -> Result<()> {
    for host in HOSTS {
        let left = desk
            .lab
            .sh(host, "ls -A /var/lib/clusterctl/secrets 2>/dev/null; true")?;
        ensure!(left.trim().is_empty(), "secrets are left on {host}: {left}");
    }
    let primary = desk.primary()?;
    let accounts = desk.value(
        &primary,
        "SELECT GROUP_CONCAT(user) FROM mysql.user WHERE user LIKE 'clusterctl%'",
    )?;
    ensure!(
        accounts == "NULL",
        "accounts that live for one plan are left: {accounts}"
    );
    Ok(())
}
