//! The primary role moves: who may take it, and the order to do so.

use std::time::Duration;

use tokio::time::Instant;

use super::conn::{Db, number, text};
use super::error::MysqlError;
use super::group;
use clusterctl_proto::observe::{MemberRole, MemberState};

/// A member that could become primary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// `MEMBER_ID`.
    pub server_uuid: String,
    /// `MEMBER_HOST`.
    pub host: String,
    /// `MEMBER_PORT`.
    pub port: u16,
    /// Transactions that it has not applied yet.
    pub queue: u64,
}

/// What a primary that is about to stop sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Succession {
    /// There is nothing to hand over, and why.
    Nothing(&'static str),
    /// These could take over, the best first.
    Candidates(Vec<Candidate>),
}

/// Looks who could take over from this server.
pub async fn succession(db: &mut Db) -> Result<Succession, MysqlError> {
    let Some(view) = group::view(db).await? else {
        return Ok(Succession::Nothing("Group Replication is not active"));
    };
    if view.state != MemberState::Online || view.role != MemberRole::Primary {
        return Ok(Succession::Nothing("this server is not the primary"));
    }
    if !view.has_quorum() {
        return Ok(Succession::Nothing("this server sees no majority of its group"));
    }
    let others = view
        .members
        .iter()
        .filter(|member| (member.state, member.role) == (MemberState::Online, MemberRole::Secondary));
    let mut candidates: Vec<Candidate> = others
        .map(|member| Candidate {
            server_uuid: member.server_uuid.to_string(),
            host: member.host.clone(),
            port: member.port,
            queue: 0,
        })
        .collect();
    if candidates.is_empty() {
        return Ok(Succession::Nothing("no other member is an ONLINE secondary"));
    }
    let rows = db
        .rows(
            "SELECT member_id, count_transactions_in_queue + count_transactions_remote_in_applier_queue \
             FROM performance_schema.replication_group_member_stats",
        )
        .await?;
    for candidate in &mut candidates {
        let stats = rows.iter().find(|row| text(row, 0) == candidate.server_uuid);
        // one of which nothing is known comes last
        candidate.queue = stats.map_or(u64::MAX, |row| number(row, 1));
    }
    Ok(Succession::Candidates(ranked(candidates)))
}

/// The one that has least to apply first: the role is not taken before that is done. Ties by name, so that it can be foretold.
fn ranked(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by(|a, b| (a.queue, &a.host).cmp(&(b.queue, &b.host)));
    candidates
}

/// Between two looks at the transactions. The server answers from a cache that it makes anew only when nobody has read it for 0.1 s (manual,
/// "Persistence and Consistency of InnoDB Transaction and Locking Information"): who looks more often sees the first answer for ever.
const LOOK: Duration = Duration::from_millis(150);

/// Waits until the transactions that have written something now have ended, or the time has passed; tells how many have not
/// ended. Holds up nobody.
pub async fn wait_for_writers(db: &mut Db, longest: Duration) -> Result<usize, MysqlError> {
    let end = Instant::now() + longest;
    let mut left = writers(db).await?;
    while !left.is_empty() && Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        let now = writers(db).await?;
        left.retain(|id| now.contains(id));
    }
    Ok(left.len())
}

async fn writers(db: &mut Db) -> Result<Vec<String>, MysqlError> {
    let sql = "SELECT trx_id FROM information_schema.innodb_trx WHERE trx_rows_modified > 0";
    Ok(db.rows(sql).await?.iter().map(|row| text(row, 0)).collect())
}

/// Makes this member the primary. While `transactions` run on, for at most that long, the
/// old primary lets nobody in; what runs then is ended with its connection.
pub async fn set(db: &mut Db, server_uuid: &str, transactions: Duration, longest: Duration) -> Result<(), MysqlError> {
    let sql = format!(
        "SELECT group_replication_set_as_primary({}, {})",
        super::quote::text(server_uuid),
        transactions.as_secs()
    );
    db.rows_for(&sql, longest).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(host: &str, queue: u64) -> Candidate {
        Candidate {
            server_uuid: String::new(),
            host: host.to_owned(),
            port: 3306,
            queue,
        }
    }

    #[test]
    fn who_has_least_to_apply_comes_first_and_ties_go_by_name() {
        let ranked = ranked(vec![
            candidate("node4", u64::MAX),
            candidate("node3", 0),
            candidate("node1", 9),
            candidate("node2", 0),
        ]);
        let names: Vec<&str> = ranked.iter().map(|c| c.host.as_str()).collect();
        assert_eq!(names, ["node2", "node3", "node1", "node4"]);
    }
}
