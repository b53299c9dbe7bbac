//! A client of the Router on this very host: who answers behind a port.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use tokio::time::Instant;

use crate::mysql::conn::text;
use crate::mysql::server::DriverError;
use crate::mysql::{Db, MysqlError, Servers};

/// Who answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// `@@report_host`.
    pub host: String,
    /// `@@server_uuid`.
    pub uuid: String,
    /// `MEMBER_ROLE`.
    pub role: String,
}

/// Connects through a port and asks.
pub async fn ask(servers: &dyn Servers, port: u16, user: &str, password: &str) -> Result<Answer, MysqlError> {
    let mut db = Db::loopback(servers, port, user, password).await?;
    let row = db
        .row(
            "SELECT COALESCE(@@GLOBAL.report_host, @@GLOBAL.hostname), @@GLOBAL.server_uuid, COALESCE((SELECT member_role \
             FROM performance_schema.replication_group_members WHERE member_id = @@GLOBAL.server_uuid), '')",
        )
        .await?;
    db.close().await;
    Ok(Answer {
        host: text(&row, 0),
        uuid: text(&row, 1),
        role: text(&row, 2),
    })
}

/// Router's own words where a login is right and it lets nobody in (measured on 9.7.1: docs/mysql-facts.md); mysqld names the account.
const NAMELESS: &str = "Access denied";
const NAMELESS_HINT: &str = "Router itself refuses the login, since it could not read as this account what the account requires \
    (router_require_enforce); see on the primary whether mysqld can tell it: mysql -e \"SELECT * FROM information_schema.user_attributes; \
    SHOW GRANTS FOR 'mysql.infoschema'@localhost\"";

/// Asks until an answer fits or time runs out: Router needs a moment to learn the members, and after a failover.
pub async fn ask_until(
    servers: &dyn Servers,
    port: u16,
    user: &str,
    password: &str,
    longest: Duration,
    fits: impl Fn(&Answer) -> bool,
) -> Result<Answer, Failure> {
    let end = Instant::now() + longest;
    loop {
        let seen = ask(servers, port, user, password).await;
        match seen {
            Ok(answer) if fits(&answer) => return Ok(answer),
            Ok(answer) if Instant::now() >= end => {
                return Err(Failure::new(
                    "router_wrong_way",
                    format!("port {port} leads to {} ({})", answer.host, answer.role),
                )
                .transient());
            }
            Err(error) if Instant::now() >= end => {
                let hint = is_nameless(&error).then(|| NAMELESS_HINT.to_owned());
                let mut failure = Failure::from(error);
                failure.hint = hint.or(failure.hint);
                failure.message = format!("nobody answers behind port {port}: {}", failure.message);
                return Err(failure.transient());
            }
            _ => tokio::time::sleep(Duration::from_millis(40)).await,
        }
    }
}

fn is_nameless(error: &MysqlError) -> bool {
    matches!(error, MysqlError::Connect { source: DriverError::Server { code: 1045, message }, .. } if message == NAMELESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refused_a_login_is_told_by_the_words() {
        let refused = |message: &str| MysqlError::Connect {
            to: "127.0.0.1:6446".into(),
            source: DriverError::Server {
                code: 1045,
                message: message.into(),
            },
        };
        assert!(is_nameless(&refused("Access denied")));
        assert!(!is_nameless(&refused(
            "Access denied for user 'app'@'router1' (using password: YES)"
        )));
    }
}
