//! `clusterctl-agent hand-over`: moves the primary role away before mysqld stops.
//!
//! Called by systemd (`host/server_unit.rs`) whenever MySQL's unit stops, also when mysqld has died already. Needs neither an agent
//! that runs nor a coordinator nor an enrolment. It never keeps the stop from going on: bounded in time, and every error is a line
//! in the journal and nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clusterctl_proto::clock;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::Config;
use crate::host::{Access, Host, HostError};
use crate::membership::Membership;
use crate::mysql::primary::{self, Candidate, Succession};
use crate::mysql::server::DriverError;
use crate::mysql::{Db, MysqlError, Servers, weight};

/// In all. systemd's own patience with a stop is 90 s where a unit says nothing.
const LIMIT: Duration = Duration::from_secs(15);
/// For transactions that have written already, while everybody goes on writing. Who stops a server wants it stopped.
const RUNNING: Duration = Duration::from_secs(4);
/// For what still runs then: meanwhile the server lets nobody in (error 1045), so this is felt by all.
const LAST: Duration = Duration::from_secs(1);
/// The next candidate is asked only while there is time for it.
const ENOUGH: Duration = Duration::from_secs(8);

/// How long this server stays as a secondary, which tells whoever asks who leads now: Router asks every 0.5 s (its `ttl`). One that asks a
/// server which is stopping hangs for seconds, or takes it for the primary still, finds it closed, and closes its own port.
const AFTER: Duration = Duration::from_millis(700);

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Note {
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// One line for people.
    pub text: String,
}

impl Note {
    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("handed-over.json")
    }

    /// Takes the note that a hand-over left for the agent.
    pub async fn take(host: &dyn Host, state_dir: &Path) -> Result<Option<Self>, HostError> {
        let path = Self::path(state_dir);
        let Some(bytes) = host.read(&path).await? else {
            return Ok(None);
        };
        host.remove(&path).await?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// An error of it means nothing: it is news for the journal.
    async fn leave(&self, host: &dyn Host, state_dir: &Path) -> Result<(), HostError> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        host.write(&Self::path(state_dir), &json, &Access::Own(0o600)).await
    }
}

/// Does it and answers what came of it, in one line.
pub async fn run(host: &dyn Host, servers: &dyn Servers, config: &Config) -> String {
    let begun = Instant::now();
    match tokio::time::timeout(LIMIT, attempt(host, servers, config, begun)).await {
        Ok(Ok(Done::Nothing(why))) => format!("nothing to hand over: {why}"),
        Ok(Ok(Done::To { host: heir, ran_on })) => {
            let late = match ran_on {
                0 => String::new(),
                some => format!("; {some} transaction(s) ran on for {} s", RUNNING.as_secs()),
            };
            let mut text = format!(
                "the primary role was handed to {heir} in {:.2} s before mysqld stopped{late}",
                begun.elapsed().as_secs_f64()
            );
            let note = Note {
                at_ms: i64::try_from(clock::now_ms()).unwrap_or(i64::MAX),
                text: text.clone(),
            };
            if let Err(error) = note.leave(host, &config.state_dir).await {
                text = format!("{text}; that is not noted: {error}");
            }
            // Beyond LIMIT, which is for what may fail: the role has moved.
            tokio::time::sleep(AFTER).await;
            text
        }
        Ok(Err(error)) => match std::error::Error::source(&error) {
            Some(source) => format!("the primary role was not handed over: {error}: {source}"),
            None => format!("the primary role was not handed over: {error}"),
        },
        Err(_) => format!("the primary role was not handed over within {} s", LIMIT.as_secs()),
    }
}

enum Done {
    Nothing(String),
    To {
        host: String,
        /// How many transactions had not ended when the role was moved.
        ran_on: usize,
    },
}

/// The candidates, each with its weight where it tells; without an account nobody is asked.
async fn weighed(
    candidates: Vec<Candidate>,
    user: Option<&str>,
    servers: &dyn Servers,
    tls_dir: &Path,
) -> Vec<(Candidate, Option<u64>)> {
    let Some(user) = user else {
        return candidates.into_iter().map(|candidate| (candidate, None)).collect();
    };
    let weights = join_all(candidates.iter().map(|candidate| async move {
        let address = format!("{}:{}", candidate.host, candidate.port);
        weight::of_peer(servers, &address, user, tls_dir).await
    }));
    let weights = weights.await;
    candidates.into_iter().zip(weights).collect()
}

/// Members that may lead, the best first, and those that are the last to be elected: an operator wants it so, or their own agent, since
/// nobody has measured their data (`keeper/weight.rs`). One that does not tell may lead: Group Replication could choose it, too.
fn willing(weighed: Vec<(Candidate, Option<u64>)>) -> (Vec<Candidate>, Vec<String>) {
    let (last, may): (Vec<_>, Vec<_>) = weighed
        .into_iter()
        .partition(|(_, weight)| *weight == Some(weight::LAST));
    let may = may.into_iter().map(|(candidate, _)| candidate);
    let last = last.into_iter().map(|(candidate, _)| candidate.host);
    (may.collect(), last.collect())
}

async fn attempt(host: &dyn Host, servers: &dyn Servers, config: &Config, begun: Instant) -> Result<Done, MysqlError> {
    let mut db = match Db::local(servers, &config.mysql).await {
        Ok(db) => db,
        // it has died, or is on its way out: a fail-over is under way already
        Err(MysqlError::NotRunning { .. }) => return Ok(Done::Nothing("mysqld does not run".to_owned())),
        Err(MysqlError::Connect {
            source: DriverError::Io(_),
            ..
        }) => {
            return Ok(Done::Nothing("mysqld does not answer any more".to_owned()));
        }
        Err(error) => return Err(error),
    };
    let candidates = match primary::succession(&mut db).await? {
        Succession::Nothing(why) => return Ok(Done::Nothing(why.to_owned())),
        Succession::Candidates(candidates) => candidates,
    };
    let membership = Membership::read(host, &config.state_dir).await.ok().flatten();
    let user = membership
        .as_ref()
        .map(|membership| membership.group.account.user.as_str());
    let weighed = weighed(candidates, user, servers, &config.mysql.tls_dir).await;
    let (candidates, last_ones) = willing(weighed);
    if candidates.is_empty() {
        let why = format!(
            "group_replication_member_weight is {} on {}, and nobody else could lead",
            weight::LAST,
            last_ones.join(" and ")
        );
        return Ok(Done::Nothing(why));
    }
    let ran_on = primary::wait_for_writers(&mut db, RUNNING).await?;
    let mut last = None;
    for candidate in candidates {
        if last.is_some() && begun.elapsed() > ENOUGH {
            break;
        }
        match primary::set(&mut db, &candidate.server_uuid, LAST, LIMIT).await {
            Ok(()) => {
                let host = candidate.host;
                return Ok(Done::To { host, ran_on });
            }
            // a member of a newer version, say: another may do
            Err(error @ MysqlError::Refused { .. }) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    last.map_or_else(
        || Ok(Done::Nothing("no other member is an ONLINE secondary".to_owned())),
        Err,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use crate::mysql::Driver;

    #[tokio::test]
    async fn without_a_server_it_ends_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        // as a mysqld that was killed leaves it: a socket that nobody listens on
        let socket = dir.path().join("mysqld.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        for path in [socket, dir.path().join("none.sock")] {
            config.mysql.sockets = vec![path];
            let attempt = attempt(&RealHost, &Driver, &config, Instant::now());
            let done = tokio::time::timeout(Duration::from_secs(2), attempt).await.unwrap();
            assert!(matches!(done, Ok(Done::Nothing(_))), "{:?}", config.mysql.sockets);
        }
    }

    #[test]
    fn who_is_the_last_to_be_elected_is_not_handed_the_role() {
        let named = |host: &str, weight| {
            let candidate = Candidate {
                server_uuid: host.to_owned(),
                host: host.to_owned(),
                port: 3306,
                queue: 0,
            };
            (candidate, weight)
        };
        let (may, last) = willing(vec![
            named("node2", Some(weight::LAST)),
            named("node3", Some(1)),
            named("node4", None),
        ]);
        let may: Vec<_> = may.iter().map(|candidate| candidate.host.as_str()).collect();
        assert_eq!((may, last), (vec!["node3", "node4"], vec!["node2".to_owned()]));
    }

    #[tokio::test]
    async fn the_note_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let note = Note {
            at_ms: 7,
            text: "handed to node2".into(),
        };
        note.leave(&RealHost, dir.path()).await.unwrap();
        assert_eq!(Note::take(&RealHost, dir.path()).await.unwrap(), Some(note));
        assert_eq!(Note::take(&RealHost, dir.path()).await.unwrap(), None);
    }
}
