//! A client of the Router on this very host: who answers behind a port.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use tokio::time::Instant;

use crate::mysql::conn::text;
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

/// Code of a failure: Router, or who is behind it, refuses the login.
pub const DENIED: &str = "router_denies";

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
                let denied = error.is_denied();
                let mut failure = Failure::from(error);
                if denied {
                    failure.code = DENIED.to_owned();
                }
                failure.message = format!("nobody answers behind port {port}: {}", failure.message);
                return Err(failure.transient());
            }
            _ => tokio::time::sleep(Duration::from_millis(40)).await,
        }
    }
}
