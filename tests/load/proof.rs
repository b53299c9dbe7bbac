//! The proof on every member: nothing that was acknowledged is missing, nothing is there twice, sums hold, members agree.
//!
//! Called by tests once the writer has ended and every member should be there. Asks over the members' sockets, so that neither Router
//! nor a group's consistency can help.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clusterctl_lab::{Lab, wait_for};

use super::client::{ACCOUNTS, INITIAL};
use super::journal::{Kind, Log, Series};

/// How long the slowest member may need to catch up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Numbers of a series that a member holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    rows: u64,
    first: u64,
    last: u64,
}

/// What a member holds of one writer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Held {
    series: BTreeMap<Series, Span>,
    accounts: u64,
    total: u64,
    /// Accounts whose balance is not what their transfers make it.
    wrong: u64,
}

impl Log {
    /// Waits until these members have executed the same, then asks each; answers a line for people.
    pub fn prove(&self, lab: &Lab, members: &[&str]) -> Result<String> {
        self.same_transactions(lab, members)?;
        for host in members {
            let held = held(lab, host, self.run)?;
            judge(self, &held).with_context(|| format!("on {host} (run {}, {})", self.run, self.path.display()))?;
        }
        same_data(lab, members)?;
        let errors: usize = self.errors.values().sum();
        Ok(format!(
            "{} marks and {} transfers are on {}, once each ({} found when sent again, {} unknown, {errors} errors); longest gaps {}",
            self.count(Kind::Mark),
            self.count(Kind::Transfer),
            members.join(", "),
            self.found,
            self.unknown.len(),
            self.gaps(),
        ))
    }

    fn same_transactions(&self, lab: &Lab, members: &[&str]) -> Result<()> {
        wait_for("every member has executed the same", PATIENCE, || {
            let sets = members
                .iter()
                .map(|host| ask(lab, host, "SELECT @@gtid_executed"))
                .collect::<Result<Vec<_>>>()?;
            ensure!(
                sets.iter().all(|set| *set == sets[0]),
                "{:?}",
                members.iter().zip(&sets).collect::<Vec<_>>()
            );
            Ok(true)
        })
    }
}

/// Compares what a member holds with what the writer was told.
fn judge(log: &Log, held: &Held) -> Result<()> {
    for (series, span) in &held.series {
        ensure!(
            span.first == 1 && span.rows == span.last,
            "{series:?} has holes or rows twice: {span:?}"
        );
        let acknowledged = log.acknowledged.get(series).copied().unwrap_or(0);
        let most = log.unknown.get(series).copied().unwrap_or(acknowledged);
        ensure!(
            span.last <= most,
            "{series:?} goes to {} but {most} was the last that was sent",
            span.last
        );
    }
    for (series, last) in &log.acknowledged {
        let there = held.series.get(series).map_or(0, |span| span.last);
        ensure!(
            there >= *last,
            "{series:?}: {last} was acknowledged, but only {there} are there"
        );
    }
    ensure!(
        held.accounts == ACCOUNTS,
        "{} accounts instead of {ACCOUNTS}",
        held.accounts
    );
    ensure!(
        held.wrong == 0,
        "{} accounts have not what their transfers make",
        held.wrong
    );
    let total = ACCOUNTS * INITIAL;
    ensure!(
        held.total == total,
        "all accounts have {} instead of {total}",
        held.total
    );
    Ok(())
}

fn held(lab: &Lab, host: &str, run: u64) -> Result<Held> {
    let mut held = Held::default();
    for kind in [Kind::Mark, Kind::Transfer] {
        let sql = format!(
            "SELECT connection, COUNT(*), MIN(n), MAX(n) FROM {} WHERE run = {run} GROUP BY connection",
            kind.table()
        );
        for line in ask(lab, host, &sql)?.lines() {
            let [connection, rows, first, last] = numbers(line)?;
            held.series
                .insert((kind, u32::try_from(connection)?), Span { rows, first, last });
        }
    }
    let sql = format!(
        "SELECT COUNT(*), COALESCE(SUM(balance), 0), COALESCE(SUM(balance <> {INITIAL} \
         + COALESCE((SELECT SUM(amount) FROM appdb.load_transfers t WHERE t.run = {run} AND t.target = a.account), 0) \
         - COALESCE((SELECT SUM(amount) FROM appdb.load_transfers t WHERE t.run = {run} AND t.source = a.account), 0)), 0) \
         FROM appdb.load_accounts a WHERE run = {run}"
    );
    [held.accounts, held.total, held.wrong] = numbers(ask(lab, host, &sql)?.trim())?;
    Ok(held)
}

fn numbers<const N: usize>(line: &str) -> Result<[u64; N]> {
    let all = line
        .split('\t')
        .map(|word| word.parse().with_context(|| format!("no number: {line}")))
        .collect::<Result<Vec<u64>>>()?;
    all.try_into()
        .map_err(|all| anyhow::anyhow!("{N} numbers are expected, not {all:?}"))
}

/// The same tables with the same sums on each member; Router's heartbeat goes on meanwhile, its table is left out.
pub fn same_data(lab: &Lab, members: &[&str]) -> Result<()> {
    const TABLES: &str = "SELECT CONCAT('`', table_schema, '`.`', table_name, '`') FROM information_schema.tables \
        WHERE table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') AND table_type = 'BASE TABLE' \
        AND table_name <> 'router_stats' ORDER BY 1";
    wait_for("members hold the same data", PATIENCE, || {
        let sums = members
            .iter()
            .map(|host| {
                let tables = ask(lab, host, TABLES)?;
                let tables: Vec<_> = tables.lines().collect();
                ask(lab, host, &format!("CHECKSUM TABLE {}", tables.join(", ")))
            })
            .collect::<Result<Vec<_>>>()?;
        ensure!(sums.iter().all(|sum| *sum == sums[0]), "checksums differ: {sums:#?}");
        Ok(true)
    })
}

fn ask(lab: &Lab, host: &str, sql: &str) -> Result<String> {
    let argv = ["mysql", "-NB", "--default-character-set=utf8mb4"];
    let said = lab.exec_within(PATIENCE, host, "root", &argv, sql)?;
    said.success().with_context(|| format!("{host} mysql> {sql}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(last: u64) -> Log {
        let mut log = Log::new(1, std::path::PathBuf::from("/dev/null/nowhere"));
        for number in 1..=last {
            log.acknowledge(Duration::from_millis(number), (Kind::Mark, 1), number, false);
        }
        log
    }

    fn has(rows: u64, first: u64, last: u64) -> Held {
        Held {
            series: BTreeMap::from([((Kind::Mark, 1), Span { rows, first, last })]),
            accounts: ACCOUNTS,
            total: ACCOUNTS * INITIAL,
            wrong: 0,
        }
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        judge(&told(3), &has(3, 1, 3)).unwrap();
        assert!(judge(&told(3), &has(2, 1, 2)).is_err());
        let mut nothing = has(3, 1, 3);
        nothing.series.clear();
        assert!(judge(&told(3), &nothing).is_err());
        judge(&told(0), &nothing).unwrap();
    }

    #[test]
    fn more_may_be_there_only_where_the_fate_is_unknown() {
        let mut log = told(3);
        assert!(judge(&log, &has(4, 1, 4)).is_err());
        log.unknown.insert((Kind::Mark, 1), 4);
        judge(&log, &has(4, 1, 4)).unwrap();
        judge(&log, &has(3, 1, 3)).unwrap();
        assert!(judge(&log, &has(5, 1, 5)).is_err());
    }

    #[test]
    fn holes_and_sums_are_seen() {
        assert!(judge(&told(3), &has(2, 1, 3)).is_err());
        assert!(judge(&told(3), &has(2, 2, 3)).is_err());
        for wrong in [
            Held {
                wrong: 1,
                ..has(3, 1, 3)
            },
            Held {
                total: 1,
                ..has(3, 1, 3)
            },
            Held {
                accounts: 1,
                ..has(3, 1, 3)
            },
        ] {
            assert!(judge(&told(3), &wrong).is_err(), "{wrong:?}");
        }
    }
}
