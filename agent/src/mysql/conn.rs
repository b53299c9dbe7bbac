//! One connection to mysqld with predictable session settings and a time-out on every statement.

use std::path::Path;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Params, Row, SslOpts, Value};

use super::error::{MysqlError, head};
use crate::config::MysqlConfig;

/// Time for statements that should take no time.
pub const QUICK: Duration = Duration::from_secs(30);

/// What AdminAPI sets in its sessions, too. Consistency EVENTUAL: a read of the metadata must not wait for a member that
/// recovers. No GTID tag: transactions of the tools are not told apart, and old readers of binary logs know no tags.
const SESSION: &str = "SET SESSION autocommit = 1, \
    sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
    group_replication_consistency = 'EVENTUAL', collation_connection = 'utf8mb4_0900_ai_ci', \
    group_concat_max_len = 1073741824, wait_timeout = 28800, lock_wait_timeout = 60, time_zone = '+00:00'";

/// A connection. One whose statement ran out of time or broke is closed and says [`MysqlError::Lost`] from then on.
pub struct Db {
    conn: Option<Conn>,
}

impl Db {
    /// Enters the local server over its socket.
    pub async fn local(config: &MysqlConfig) -> Result<Self, MysqlError> {
        let Some(socket) = config.sockets.iter().find(|path| path.exists()) else {
            return Err(MysqlError::NotRunning {
                looked: config
                    .sockets
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        };
        Self::socket(socket, &config.user).await
    }

    /// Waits for the local server: it may be starting, recovering or restarting after a clone.
    pub async fn wait_local(config: &MysqlConfig, longest: Duration) -> Result<Self, MysqlError> {
        let end = Instant::now() + longest;
        loop {
            match Self::local(config).await {
                Ok(db) => return Ok(db),
                Err(error) if Instant::now() >= end => return Err(error),
                // 1045, 1698: it answers and will not change its mind
                Err(MysqlError::Connect { to, source }) if matches!(&*source, mysql_async::Error::Server(server) if matches!(server.code, 1045 | 1698)) =>
                {
                    return Err(MysqlError::Connect { to, source });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
    }

    /// Enters by a socket without a password (auth_socket).
    pub async fn socket(path: &Path, user: &str) -> Result<Self, MysqlError> {
        let to = path.display().to_string();
        let opts = OptsBuilder::default().socket(Some(to.clone())).user(Some(user));
        Self::open(opts, to, Duration::from_secs(10)).await
    }

    /// Enters a Router's port on this very host, as a client would.
    ///
    /// Encrypted, but the certificate is not verified: Router shows its clients one that it made itself, without our CA and
    /// without names, and on the loopback there is nobody between. Never used across hosts.
    pub async fn loopback(port: u16, user: &str, password: &str) -> Result<Self, MysqlError> {
        let opts = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(port)
            .prefer_socket(false)
            .user(Some(user))
            .pass(Some(password))
            .ssl_opts(SslOpts::default().with_danger_accept_invalid_certs(true));
        Self::open(opts, format!("127.0.0.1:{port}"), Duration::from_secs(10)).await
    }

    pub(super) async fn open(opts: OptsBuilder, to: String, longest: Duration) -> Result<Self, MysqlError> {
        let opts: Opts = opts
            .stmt_cache_size(0)
            .prefer_socket(false)
            .connect_attribute("program_name", "clusterctl-agent")
            .into();
        let failed = |source| MysqlError::Connect {
            to: to.clone(),
            source: Box::new(source),
        };
        let conn = tokio::time::timeout(longest, Conn::new(opts))
            .await
            .map_err(|_| MysqlError::Timeout {
                what: format!("connecting to {to}"),
                seconds: longest.as_secs(),
            })?
            .map_err(failed)?;
        let mut db = Self { conn: Some(conn) };
        db.run(SESSION).await?;
        Ok(db)
    }

    /// Whether it may still be used.
    pub fn usable(&self) -> bool {
        self.conn.is_some()
    }

    /// Runs a statement without an answer.
    pub async fn run(&mut self, sql: &str) -> Result<(), MysqlError> {
        self.run_for(sql, QUICK).await
    }

    /// Runs a statement without an answer that may take this long.
    pub async fn run_for(&mut self, sql: &str, longest: Duration) -> Result<(), MysqlError> {
        self.with(sql, longest, async |conn| conn.query_drop(sql).await).await
    }

    /// Runs a statement with parameters and without an answer; tells how many rows it changed.
    pub async fn change(&mut self, sql: &str, params: impl Into<Params> + Send) -> Result<u64, MysqlError> {
        let params = params.into();
        self.with(sql, QUICK, async |conn| {
            conn.exec_drop(sql, params).await?;
            Ok(conn.affected_rows())
        })
        .await
    }

    /// All rows.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, MysqlError> {
        self.rows_for(sql, QUICK).await
    }

    /// All rows of a question that may take this long.
    pub async fn rows_for(&mut self, sql: &str, longest: Duration) -> Result<Vec<Row>, MysqlError> {
        self.with(sql, longest, async |conn| conn.query(sql).await).await
    }

    /// All rows, with parameters.
    pub async fn rows_with(&mut self, sql: &str, params: impl Into<Params> + Send) -> Result<Vec<Row>, MysqlError> {
        let params = params.into();
        self.with(sql, QUICK, async |conn| conn.exec(sql, params).await).await
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
    pub async fn value_with(
        &mut self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Option<String>, MysqlError> {
        Ok(self.rows_with(sql, params).await?.first().and_then(|row| cell(row, 0)))
    }

    /// Says good-bye; an error of it means nothing.
    pub async fn close(mut self) {
        if let Some(conn) = self.conn.take() {
            let _ = tokio::time::timeout(Duration::from_secs(2), conn.disconnect()).await;
        }
    }

    async fn with<T>(
        &mut self,
        sql: &str,
        longest: Duration,
        work: impl AsyncFnOnce(&mut Conn) -> Result<T, mysql_async::Error>,
    ) -> Result<T, MysqlError> {
        // taken out meanwhile: when this future is dropped in the middle, so is the connection, whose state nobody knows
        let Some(mut conn) = self.conn.take() else {
            return Err(MysqlError::Lost {
                what: head(sql),
                source: None,
            });
        };
        match tokio::time::timeout(longest, work(&mut conn)).await {
            Ok(Ok(value)) => {
                self.conn = Some(conn);
                Ok(value)
            }
            Ok(Err(error)) => {
                let error = MysqlError::from_driver(head(sql), error);
                if !error.is_broken() {
                    self.conn = Some(conn);
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
    match row.as_ref(index)? {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    }
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
