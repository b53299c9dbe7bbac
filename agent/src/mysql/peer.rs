//! Other members, entered with this member's own account: whether there is a live group to come back to, and what a clone of this host
//! left behind there.
//!
//! Reads global variables and ends sessions of its own, which needs no privilege. The way is the members' own: TLS by our CA, the name verified, a client
//! certificate instead of a password.

use std::path::Path;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use futures_util::future::join_all;
use mysql_async::{ClientIdentity, OptsBuilder, SslOpts};
use uuid::Uuid;

use super::conn::{Db, flag, number, text};
use super::error::MysqlError;

/// A member in the same network answers in milliseconds; one that is off does not at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// `ER_NO_SUCH_THREAD`.
const NO_SUCH_THREAD: u16 = 1094;

/// What a member says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// `host:port`.
    pub address: String,
    /// `@@super_read_only`.
    pub super_read_only: bool,
    /// `@@offline_mode`.
    pub offline_mode: bool,
    /// `@@group_replication_group_name`.
    pub group_name: String,
    /// `@@gtid_executed`.
    pub gtid_executed: String,
}

impl Peer {
    /// Serves writes for this group: a mysqld of ours that is out of its group is super_read_only, also after a restart.
    fn is_primary_of(&self, group: Uuid) -> bool {
        !self.super_read_only && !self.offline_mode && self.group_name.eq_ignore_ascii_case(&group.to_string())
    }
}

/// The primary of this group, found among these addresses, which are asked side by side. No group is started into before one
/// answers: a START into a dead one hangs for a minute.
pub async fn find_primary(seeds: &[String], group: Uuid, user: &str, tls_dir: &Path) -> Result<Peer, Failure> {
    let answers = join_all(seeds.iter().map(|seed| ask(seed, user, tls_dir))).await;
    choose(seeds.iter().zip(answers), group)
}

fn choose<'a>(
    answers: impl Iterator<Item = (&'a String, Result<Peer, MysqlError>)>,
    group: Uuid,
) -> Result<Peer, Failure> {
    let mut failure = Failure::new(
        "group_not_live",
        "no other member is a primary that takes writes: there is no group to come back to",
    )
    .transient();
    for (seed, answer) in answers {
        match answer {
            Ok(peer) if peer.is_primary_of(group) => return Ok(peer),
            Ok(peer) => {
                let why = if peer.group_name.eq_ignore_ascii_case(&group.to_string()) {
                    "takes no writes"
                } else {
                    "is set up for another group"
                };
                failure = failure.fact(format!("{seed} {why}"));
            }
            Err(error) => {
                let why = std::error::Error::source(&error).map(|source| format!(": {source}"));
                failure = failure.fact(format!("{seed}: {error}{}", why.unwrap_or_default()));
            }
        }
    }
    Err(failure)
}

async fn ask(address: &str, user: &str, tls_dir: &Path) -> Result<Peer, MysqlError> {
    let question = async {
        let mut db = enter(address, user, tls_dir).await?;
        let row = db
            .row(
                "SELECT @@GLOBAL.super_read_only, @@GLOBAL.offline_mode, @@GLOBAL.group_replication_group_name, \
                 @@GLOBAL.gtid_executed",
            )
            .await?;
        db.close().await;
        Ok(Peer {
            address: address.to_owned(),
            super_read_only: flag(&row, 0),
            offline_mode: flag(&row, 1),
            group_name: text(&row, 2),
            gtid_executed: text(&row, 3).split_whitespace().collect(),
        })
    };
    in_time(address, question).await
}

/// Ends what an earlier clone of this host left at a donor, and tells how many sessions that were. A receiver that lost its power never
/// says so, its donor waits for it far longer than for a minute, and lets no other clone begin. Only to be called when the donor
/// has just refused a clone of ours: then none of this host's runs. An account sees and may end its own sessions, and this one
/// is this host's alone.
pub async fn end_own_clones(address: &str, user: &str, tls_dir: &Path) -> Result<usize, MysqlError> {
    let work = async {
        let mut db = enter(address, user, tls_dir).await?;
        let rows = db.rows("SHOW PROCESSLIST").await?;
        let left = rows.iter().filter(|row| text(row, 4).eq_ignore_ascii_case("clone"));
        let ids: Vec<u64> = left.map(|row| number(row, 0)).collect();
        for id in &ids {
            match db.run(&format!("KILL {id}")).await {
                Ok(()) => {}
                // it ended meanwhile
                Err(error) if error.code() == Some(NO_SUCH_THREAD) => {}
                Err(error) => return Err(error),
            }
        }
        db.close().await;
        Ok(ids.len())
    };
    in_time(address, work).await
}

async fn in_time<T>(address: &str, work: impl Future<Output = Result<T, MysqlError>>) -> Result<T, MysqlError> {
    match tokio::time::timeout(PATIENCE * 2, work).await {
        Ok(result) => result,
        Err(_) => Err(MysqlError::Timeout {
            what: format!("asking {address}"),
            seconds: (PATIENCE * 2).as_secs(),
        }),
    }
}

async fn enter(address: &str, user: &str, tls_dir: &Path) -> Result<Db, MysqlError> {
    let unreadable = || MysqlError::Answer {
        what: format!("the address {address}"),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(unreadable)?;
    let port = port.parse().map_err(|_| unreadable())?;
    let identity = ClientIdentity::new(tls_dir.join("server.pem").into(), tls_dir.join("server.key").into());
    let tls = SslOpts::default()
        .with_root_certs(vec![tls_dir.join("ca.pem").into()])
        .with_disable_built_in_roots(true)
        .with_client_identity(Some(identity));
    let opts = OptsBuilder::default()
        .ip_or_hostname(host.trim_matches(['[', ']']))
        .tcp_port(port)
        .user(Some(user))
        .ssl_opts(tls);
    Db::open(opts, address.to_owned(), PATIENCE).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn peer(address: &str, super_read_only: bool, group: &str) -> Result<Peer, MysqlError> {
        Ok(Peer {
            address: address.to_owned(),
            super_read_only,
            offline_mode: false,
            group_name: group.to_owned(),
            gtid_executed: String::new(),
        })
    }

    fn chosen(answers: Vec<Result<Peer, MysqlError>>) -> Result<Peer, Failure> {
        let seeds: Vec<String> = (1..=answers.len()).map(|n| format!("node{n}:3306")).collect();
        choose(seeds.iter().zip(answers), GROUP.parse().unwrap())
    }

    #[test]
    fn only_a_primary_of_this_group_is_a_live_group() {
        let found = chosen(vec![
            peer("node1:3306", true, GROUP),
            peer("node2:3306", false, &GROUP.to_uppercase()),
        ]);
        assert_eq!(found.unwrap().address, "node2:3306");
        let none = chosen(vec![
            peer("node1:3306", true, GROUP),
            peer("node2:3306", false, "another"),
            Err(MysqlError::Timeout {
                what: "connecting to node3:3306".into(),
                seconds: 2,
            }),
        ])
        .unwrap_err();
        assert_eq!((none.code.as_str(), none.retry), ("group_not_live", true));
        assert_eq!(
            none.facts,
            [
                "node1:3306 takes no writes",
                "node2:3306 is set up for another group",
                "node3:3306: connecting to node3:3306 did not end within 2 s"
            ]
        );
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_an_error() {
        for address in ["node1", "node1:x"] {
            let error = ask(address, "u", Path::new("/nowhere")).await.unwrap_err();
            assert!(matches!(error, MysqlError::Answer { .. }), "{error}");
        }
    }
}
