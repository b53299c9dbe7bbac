//! One connection to mysqld with predictable session settings and a time-out on every statement.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{MysqlError, head};
use super::server::{Connection, Param, Params, Password, Row, Rows, Servers, Target};
use crate::config::MysqlConfig;

/// Time for statements that should take no time.
pub const QUICK: Duration = Duration::from_secs(30);

/// What AdminAPI sets in its sessions, too. Consistency EVENTUAL: a read of the metadata must not wait for a member that
/// recovers. No GTID tag: transactions of the tools are not told apart, and old readers of binary logs know no tags.
const SESSION: &str = "SET SESSION autocommit = 1, \
    sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
    group_replication_consistency = 'EVENTUAL', collation_connection = 'utf8mb4_0900_ai_ci', \
    group_concat_max_len = 1073741824, wait_timeout = 28800, lock_wait_timeout = 60, time_zone = '+00:00'";

/// The way in, where the caller has no other patience.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection. One whose statement ran out of time or broke is closed and says [`MysqlError::Lost`] from then on.
pub struct Db {
    connection: Option<Box<dyn Connection>>,
}

impl Db {
    /// Enters the local server over its socket.
    pub async fn local(servers: &dyn Servers, config: &MysqlConfig) -> Result<Self, MysqlError> {
        let to = Target::Local {
            sockets: config.sockets.clone(),
            user: config.user.clone(),
        };
        Self::open(servers, &to, CONNECT).await
    }

    /// Waits for the local server: it may be starting, recovering or restarting after a clone.
    pub async fn wait_local(
        servers: &dyn Servers,
        config: &MysqlConfig,
        longest: Duration,
    ) -> Result<Self, MysqlError> {
        let end = Instant::now() + longest;
        loop {
            match Self::local(servers, config).await {
                Ok(db) => return Ok(db),
                Err(error) if Instant::now() >= end => return Err(error),
                // it answers and will not change its mind
                Err(error) if error.is_denied() => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
    }

    /// Enters a Router's port on this very host, as a client would.
    pub async fn loopback(servers: &dyn Servers, port: u16, user: &str, password: &str) -> Result<Self, MysqlError> {
        let to = Target::Loopback {
            port,
            user: user.to_owned(),
            password: Password(password.to_owned()),
        };
        Self::open(servers, &to, CONNECT).await
    }

    /// Enters a server within this time.
    pub(super) async fn open(servers: &dyn Servers, to: &Target, longest: Duration) -> Result<Self, MysqlError> {
        let connection =
            tokio::time::timeout(longest, servers.connect(to))
                .await
                .map_err(|_| MysqlError::Timeout {
                    what: format!("connecting to {to}"),
                    seconds: longest.as_secs(),
                })??;
        let mut db = Self {
            connection: Some(connection),
        };
        db.run(SESSION).await?;
        Ok(db)
    }

    /// Whether it may still be used.
    pub fn usable(&self) -> bool {
        self.connection.is_some()
    }

    /// Runs a statement without an answer.
    pub async fn run(&mut self, sql: &str) -> Result<(), MysqlError> {
        self.run_for(sql, QUICK).await
    }

    /// Runs a statement without an answer that may take this long.
    pub async fn run_for(&mut self, sql: &str, longest: Duration) -> Result<(), MysqlError> {
        self.rows_for(sql, longest).await.map(drop)
    }

    /// Runs a statement with parameters and without an answer; tells how many rows it changed.
    pub async fn change(&mut self, sql: &str, params: impl Params) -> Result<u64, MysqlError> {
        Ok(self.execute(sql, params).await?.affected)
    }

    /// All rows.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, MysqlError> {
        self.rows_for(sql, QUICK).await
    }

    /// All rows of a question that may take this long.
    pub async fn rows_for(&mut self, sql: &str, longest: Duration) -> Result<Vec<Row>, MysqlError> {
        Ok(self.with(sql, None, longest).await?.rows)
    }

    /// All rows, with parameters.
    pub async fn rows_with(&mut self, sql: &str, params: impl Params) -> Result<Vec<Row>, MysqlError> {
        Ok(self.execute(sql, params).await?.rows)
    }

    async fn execute(&mut self, sql: &str, params: impl Params) -> Result<Rows, MysqlError> {
        self.with(sql, Some(params.list()), QUICK).await
    }

    /// The one row that there must be.
    pub async fn row(&mut self, sql: &str) -> Result<Row, MysqlError> {
        self.rows(sql)
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| MysqlError::Answer { what: head(sql) })
    }

    /// First column of the first row; none: no row, or NULL.
    pub async fn value(&mut self, sql: &str) -> Result<Option<String>, MysqlError> {
        Ok(self.rows(sql).await?.first().and_then(|row| cell(row, 0)))
    }

    /// First column of the first row, with parameters.
    pub async fn value_with(&mut self, sql: &str, params: impl Params) -> Result<Option<String>, MysqlError> {
        Ok(self.rows_with(sql, params).await?.first().and_then(|row| cell(row, 0)))
    }

    /// Says good-bye; an error of it means nothing.
    pub async fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = tokio::time::timeout(Duration::from_secs(2), connection.close()).await;
        }
    }

    async fn with(&mut self, sql: &str, params: Option<Vec<Param>>, longest: Duration) -> Result<Rows, MysqlError> {
        // taken out meanwhile: when this future is dropped in the middle, so is the connection, whose state nobody knows
        let Some(mut connection) = self.connection.take() else {
            return Err(MysqlError::Lost {
                what: head(sql),
                source: None,
            });
        };
        let answer = match params {
            None => connection.query(sql),
            Some(params) => connection.execute(sql, params),
        };
        let ended = tokio::time::timeout(longest, answer).await;
        match ended {
            Ok(Ok(value)) => {
                self.connection = Some(connection);
                Ok(value)
            }
            Ok(Err(error)) => {
                let error = MysqlError::of_statement(head(sql), error);
                if !error.is_broken() {
                    self.connection = Some(connection);
                }
                Err(error)
            }
            Err(_) => Err(MysqlError::Timeout {
                what: head(sql),
                seconds: longest.as_secs(),
            }),
        }
    }
}

/// A cell as text; none: NULL, or no such column.
pub fn cell(row: &Row, index: usize) -> Option<String> {
    row.0.get(index)?.clone()
}

/// A cell as text, empty for NULL.
pub fn text(row: &Row, index: usize) -> String {
    cell(row, index).unwrap_or_default()
}

/// A cell as a number, 0 for NULL or anything else.
pub fn number(row: &Row, index: usize) -> u64 {
    cell(row, index).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A cell as a switch.
pub fn flag(row: &Row, index: usize) -> bool {
    cell(row, index).is_some_and(|text| matches!(text.as_str(), "1" | "ON" | "YES" | "TRUE"))
}
