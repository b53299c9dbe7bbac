//! One connection of the application: works, is thrown out, comes again, sends again what it has no answer for.
//!
//! Started by `writer`. A transaction carries a number that is there once at most, so sending it again is safe: a duplicate key says
//! that it had been applied.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};

use super::journal::Kind;
use super::writer::Shared;

/// Longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(1);
/// Longest that a statement may take.
const STATEMENT: Duration = Duration::from_secs(2);
/// Between two transactions of one connection: members that come back catch up with this on two processors.
const PAUSE: Duration = Duration::from_millis(25);
/// How long it goes on asking, once it shall end, for a transaction whose fate it does not know.
const LAST: Duration = Duration::from_secs(20);
/// The server's code for a key that is there already.
const DUPLICATE: u16 = 1062;
/// How many accounts there are, and what is in each at first.
pub const ACCOUNTS: u64 = 20;
pub const INITIAL: u64 = 1_000_000;

/// One of the application's connections.
pub struct Client {
    pub opts: Opts,
    pub run: u64,
    pub connection: u32,
    pub shared: Arc<Shared>,
}

impl Client {
    /// Writes a mark, a transfer, a mark, … until it shall end and knows the fate of all it sent.
    pub async fn work(self) {
        let mut conn = None;
        let (mut kind, mut number) = (Kind::Mark, 1);
        let (mut sent, mut last) = (false, None);
        loop {
            let series = (kind, self.connection);
            if self.shared.ending() {
                if !sent {
                    return;
                }
                if last.get_or_insert_with(Instant::now).elapsed() > LAST {
                    self.shared.give_up(series, number);
                    return;
                }
            }
            sent = true;
            match self.once(&mut conn, kind, number).await {
                Ok(found) => {
                    self.shared.acknowledge(series, number, found);
                    sent = false;
                    (kind, number) = match kind {
                        Kind::Mark => (Kind::Transfer, number),
                        Kind::Transfer => (Kind::Mark, number + 1),
                    };
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    conn = None;
                    self.shared.fail(series, number, &error);
                    tokio::time::sleep(Duration::from_millis(10 + 10 * u64::from(self.connection))).await;
                }
            }
        }
    }

    /// Tries once; answers whether it had been applied already.
    async fn once(&self, place: &mut Option<Conn>, kind: Kind, number: u64) -> Result<bool, String> {
        let conn = match place {
            Some(conn) => conn,
            None => place.insert(connect(&self.opts).await?),
        };
        let (run, connection) = (self.run, self.connection);
        match kind {
            Kind::Mark => {
                let insert =
                    format!("INSERT INTO appdb.load_marks (run, connection, n) VALUES ({run}, {connection}, {number})");
                booked(conn, &insert).await
            }
            Kind::Transfer => self.transfer(conn, number).await,
        }
    }

    async fn transfer(&self, conn: &mut Conn, number: u64) -> Result<bool, String> {
        let (run, connection) = (self.run, self.connection);
        let (source, target, amount) = movement(connection, number);
        run_on(conn, "START TRANSACTION").await?;
        let insert = format!(
            "INSERT INTO appdb.load_transfers (run, connection, n, source, target, amount) \
             VALUES ({run}, {connection}, {number}, {source}, {target}, {amount})"
        );
        if booked(conn, &insert).await? {
            run_on(conn, "ROLLBACK").await?;
            return Ok(true);
        }
        // The lower account first: two that cross would wait for each other.
        for account in [source.min(target), source.max(target)] {
            let sign = if account == source { '-' } else { '+' };
            let update = format!(
                "UPDATE appdb.load_accounts SET balance = balance {sign} {amount} WHERE run = {run} AND account = {account}"
            );
            run_on(conn, &update).await?;
            if conn.affected_rows() != 1 {
                return Err(format!("account {account} is not there"));
            }
        }
        run_on(conn, "COMMIT").await?;
        Ok(false)
    }
}

/// From where to where, and how much: the same whenever it is sent.
fn movement(connection: u32, number: u64) -> (u64, u64, u64) {
    let source = (number * 7 + u64::from(connection)) % ACCOUNTS;
    let target = (source + 1 + number % (ACCOUNTS - 1)) % ACCOUNTS;
    (source, target, 1 + number % 97)
}

/// A new connection, within its time.
pub async fn connect(opts: &Opts) -> Result<Conn, String> {
    tokio::time::timeout(CONNECT, Conn::new(opts.clone()))
        .await
        .map_err(|_| "connecting took too long".to_owned())?
        .map_err(|error| error.to_string())
}

/// A statement, within its time.
pub async fn run_on(conn: &mut Conn, sql: &str) -> Result<(), String> {
    statement(conn, sql).await.map_err(|error| error.1)
}

/// An INSERT of a number; answers whether it was there already.
async fn booked(conn: &mut Conn, sql: &str) -> Result<bool, String> {
    match statement(conn, sql).await {
        Ok(()) => Ok(false),
        Err((DUPLICATE, _)) => Ok(true),
        Err((_, error)) => Err(error),
    }
}

async fn statement(conn: &mut Conn, sql: &str) -> Result<(), (u16, String)> {
    match tokio::time::timeout(STATEMENT, conn.query_drop(sql)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(mysql_async::Error::Server(error))) => Err((error.code, error.to_string())),
        Ok(Err(error)) => Err((0, error.to_string())),
        Err(_) => Err((0, "a statement took too long".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_goes_from_one_account_to_another() {
        for connection in 1..=4 {
            for number in 1..=1000 {
                let (source, target, amount) = movement(connection, number);
                assert!(source != target && source < ACCOUNTS && target < ACCOUNTS && (1..=97).contains(&amount));
            }
        }
    }
}
