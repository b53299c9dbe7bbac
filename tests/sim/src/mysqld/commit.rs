//! A client's transaction: into the group, which must agree, or on this server alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::data::{Trx, Work};
use super::group::Proposal;
use super::member::Gr;
use super::net::Net;
use super::session::SqlError;
use super::world::{Id, World};

/// What becomes of a commit.
enum Outcome {
    /// Done on this server: the GTID, empty if it is not logged.
    Done(String),
    /// The group decides.
    Waits(oneshot::Receiver<Result<String, SqlError>>),
}

/// Who commits, and how.
pub(crate) struct Committer {
    pub id: Id,
    pub incarnation: u64,
    pub unlogged: bool,
    pub gtid: Option<(String, u64)>,
}

impl Net {
    /// Commits one transaction; tells its GTID.
    pub(crate) async fn commit(self: &Arc<Self>, by: &Committer, work: Work) -> Result<String, SqlError> {
        let outcome = {
            let mut world = self.lock();
            self.begin_commit(&mut world, by, work)?
        };
        match outcome {
            Outcome::Done(gtid) => Ok(gtid),
            Outcome::Waits(answer) => answer.await.unwrap_or_else(|_| Err(SqlError::lost())),
        }
    }

    fn begin_commit(self: &Arc<Self>, world: &mut World, by: &Committer, work: Work) -> Result<Outcome, SqlError> {
        let (id, incarnation) = (by.id, by.incarnation);
        let process = world.same(id, incarnation).ok_or_else(SqlError::lost)?;
        if !process.vars.is_off("super_read_only") {
            return Err(SqlError::read_only());
        }
        if by.unlogged {
            (work.change)(&mut world.servers[id].disk.data);
            return Ok(Outcome::Done(String::new()));
        }
        match &process.gr {
            Gr::Offline => Ok(Outcome::Done(world.commit_alone(id, by.gtid.clone(), work))),
            Gr::Error(_) => Err(SqlError::new(
                3100,
                "Error on observer while running replication hook 'before_commit'.",
            )),
            Gr::In(member) => {
                let group = member.group;
                let transaction = world.fresh();
                let (client, answer) = oneshot::channel();
                if let Some(process) = world.same(id, incarnation) {
                    process.waiting.insert(transaction, client);
                }
                let proposal = Proposal {
                    id: transaction,
                    by: (id, incarnation),
                    work,
                    gtid: by.gtid.clone(),
                    reached: BTreeSet::new(),
                };
                let Some(group_now) = world.groups.get_mut(&group) else {
                    return Err(SqlError::unknown_outcome());
                };
                group_now.pending.push(proposal);
                self.agree_soon(world, group);
                Ok(Outcome::Waits(answer))
            }
        }
    }
}

impl World {
    /// Outside of a group: under the server's own uuid, or the GTID that the client chose.
    fn commit_alone(&mut self, id: Id, gtid: Option<(String, u64)>, work: Work) -> String {
        let transaction = self.fresh();
        let server = &mut self.servers[id];
        let (source, number) = gtid.unwrap_or_else(|| {
            server.disk.own += 1;
            (server.disk.uuid.clone(), server.disk.own)
        });
        let trx = Arc::new(Trx {
            id: transaction,
            source,
            number,
            origin: server.name.clone(),
            work,
        });
        server.disk.commit(&trx);
        trx.gtid()
    }
}
