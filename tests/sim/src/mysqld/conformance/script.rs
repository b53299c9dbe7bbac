//! What the cases of the script ask and expect.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::{Bench, Rows};
use crate::mysqld::SqlError;

/// What holds or why not.
pub(super) type Held = Result<(), String>;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

const MEMBERS: &str = "SELECT member_host, member_state, member_role FROM performance_schema.replication_group_members ORDER BY member_host";
const VIEW: &str =
    "SELECT view_id FROM performance_schema.replication_group_member_stats WHERE member_id = @@GLOBAL.server_uuid";

/// The servers, and rows that were not used yet.
pub(super) struct Script<'a, B> {
    pub bench: &'a B,
    pub hosts: [&'a str; 3],
    row: Cell<u64>,
}

/// Both parts of a view id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct View {
    pub prefix: String,
    pub counter: u64,
}

pub(super) fn expect(holds: bool, why: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(why()) }
}

impl<'a, B: Bench> Script<'a, B> {
    pub fn new(bench: &'a B) -> Self {
        Self {
            bench,
            hosts: bench.hosts(),
            row: Cell::new(1_000_000),
        }
    }

    pub fn fresh_row(&self) -> u64 {
        self.row.set(self.row.get() + 1);
        self.row.get()
    }

    pub async fn sql(&self, host: &str, sql: &str) -> Result<Rows, String> {
        let answer = self.bench.sql(host, sql).await;
        answer.map_err(|error| format!("{host}: {sql}: {} {}", error.code, error.message))
    }

    pub async fn value(&self, host: &str, sql: &str) -> Result<String, String> {
        let rows = self.sql(host, sql).await?;
        let cell = rows.into_iter().flatten().next().unwrap_or_default();
        Ok(cell.replace("\\n", "").split_whitespace().collect())
    }

    /// The statement is refused with this error.
    pub async fn refused(&self, host: &str, sql: &str, code: u16) -> Held {
        match self.bench.sql(host, sql).await {
            Err(SqlError { code: found, .. }) if found == code => Ok(()),
            other => Err(format!("{host}: {sql}: error {code} was expected, and came: {other:?}")),
        }
    }

    /// `node1 ONLINE PRIMARY`, for each row that this host shows.
    pub async fn members(&self, host: &str) -> Result<Vec<String>, String> {
        let rows = self.sql(host, MEMBERS).await?;
        Ok(rows
            .into_iter()
            .map(|cells| cells.join(" ").trim().to_owned())
            .collect())
    }

    /// Its own state.
    pub async fn state(&self, host: &str) -> Result<String, String> {
        let members = self.members(host).await?;
        let own = match &members[..] {
            // Before the first START the row has no name.
            [one] => Some(one.clone()),
            all => all.iter().find(|line| line.starts_with(&format!("{host} "))).cloned(),
        };
        let words = own.unwrap_or_default();
        let state = words
            .split(' ')
            .find(|word| ["ONLINE", "OFFLINE", "RECOVERING", "ERROR"].contains(word));
        Ok(state.unwrap_or_default().to_owned())
    }

    pub async fn view_id(&self, host: &str) -> Result<String, String> {
        self.value(host, VIEW).await
    }

    pub async fn view(&self, host: &str) -> Result<View, String> {
        let id = self.view_id(host).await?;
        let (prefix, counter) = id
            .split_once(':')
            .ok_or_else(|| format!("{host} has no view: {id:?}"))?;
        let is_number = prefix.len() >= 17 && prefix.bytes().all(|b| b.is_ascii_digit());
        expect(is_number, || {
            format!("{host}: the prefix of {id} is no time in units of 100 ns")
        })?;
        Ok(View {
            prefix: prefix.to_owned(),
            counter: counter.parse().map_err(|_| format!("{host}: the counter of {id}"))?,
        })
    }

    /// Same prefix, and the counter so much higher.
    pub async fn counts(&self, host: &str, before: &View, more: u64) -> Held {
        let wanted = View {
            counter: before.counter + more,
            ..before.clone()
        };
        self.wait(&format!("{host} has view {wanted:?}"), 5, async || {
            Ok(self.view(host).await? == wanted)
        })
        .await
    }

    pub async fn closed(&self, host: &str) -> Result<bool, String> {
        Ok(self.value(host, "SELECT @@GLOBAL.super_read_only").await? == "1")
    }

    pub async fn executed(&self, host: &str) -> Result<String, String> {
        self.value(host, "SELECT @@GLOBAL.gtid_executed").await
    }

    /// What this host has and that set has not.
    pub async fn more(&self, host: &str, than: &str) -> Result<String, String> {
        self.value(host, &format!("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{than}')"))
            .await
    }

    /// Writes a row; tells it with its GTID.
    pub async fn write(&self, host: &str) -> Result<(u64, String), String> {
        let (row, before) = (self.fresh_row(), self.executed(host).await?);
        self.sql(host, &format!("INSERT INTO sim.written VALUES ({row})"))
            .await?;
        Ok((row, self.more(host, &before).await?))
    }

    pub async fn has(&self, host: &str, row: u64) -> Result<bool, String> {
        let sql = format!("SELECT COUNT(*) FROM sim.written WHERE id = {row}");
        Ok(self.value(host, &sql).await? == "1")
    }

    /// The host that says of itself that it is the primary and takes writes, among these.
    pub async fn leader(&self, among: &[&'a str]) -> Result<Option<&'a str>, String> {
        for host in among {
            let own = format!("{host} ONLINE PRIMARY");
            if self.members(host).await?.contains(&own) && !self.closed(host).await? {
                return Ok(Some(host));
            }
        }
        Ok(None)
    }

    pub async fn sleep(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Waits for something; an error in a look counts as "not yet".
    pub async fn wait(&self, what: &str, seconds: u64, look: impl AsyncFn() -> Result<bool, String>) -> Held {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut last = "no".to_owned();
        loop {
            match look().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => last = error,
            }
            if Instant::now() >= end {
                return Err(format!("waited {seconds} s in vain until {what}: {last}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether something of this host is agreed on within three seconds, and whether its group tries again and again.
    pub async fn agrees(&self, host: &str) -> Result<(bool, bool), String> {
        let status = async |name: &str| {
            let sql =
                format!("SELECT variable_value FROM performance_schema.global_status WHERE variable_name = '{name}'");
            self.value(host, &sql).await
        };
        let (agreed, tried) = ("Gr_last_consensus_end_timestamp", "Gr_extended_consensus_count");
        let before = (status(agreed).await?, status(tried).await?);
        self.sleep(3.0).await;
        let after = (status(agreed).await?, status(tried).await?);
        Ok((before.0 != after.0, before.1 != after.1))
    }

    pub async fn online(&self, host: &str, seconds: u64) -> Held {
        let what = format!("{host} is ONLINE");
        self.wait(&what, seconds, async || Ok(self.state(host).await? == "ONLINE"))
            .await
    }

    pub async fn start_group(&self, host: &str) -> Held {
        self.sql(host, "START GROUP_REPLICATION").await?;
        self.online(host, 30).await
    }
}
