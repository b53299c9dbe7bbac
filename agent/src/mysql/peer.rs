//! Other members, entered with this member's own account: whether they are in a group, whether that is a live one to come back to,
//! and what a clone of this host left behind there.
//!
//! The way is the members' own: TLS by our CA, the name verified, a client certificate instead of a password. There is one question,
//! [`Peers::ask`], for a bootstrap (which any group refuses) and for a rejoin (which needs a live one). It reads two tables of
//! `performance_schema` that members' accounts may read (`grants.rs`). An account of an older version may not: then global
//! variables, which need no privilege, prove a group where the member takes writes, and nothing proves that it is in none. It never
//! takes silence, a refused connection or a missing right for "in no group".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ServerUuid;
use clusterctl_proto::lineage::LineageId;
use clusterctl_proto::observe::{MemberRole, MemberState};
use futures_util::future::{BoxFuture, join_all};
use uuid::Uuid;

use super::conn::{Db, flag, number, text};
use super::error::MysqlError;
use super::group::{member_role, member_state};
use super::server::{Row, Servers, Target};
use super::variables::UNKNOWN;

/// A member in the same network answers in milliseconds; one that is off does not at all.
const PATIENCE: Duration = Duration::from_secs(2);
/// The whole question, the connection included.
pub const QUESTION: Duration = Duration::from_secs(3);
/// The statistics wait until START returns, a second after the member is in the view.
const STATISTICS: Duration = Duration::from_secs(1);

/// `ER_NO_SUCH_THREAD`.
const NO_SUCH_THREAD: u16 = 1094;
/// `ER_TABLEACCESS_DENIED_ERROR`.
const NO_RIGHT: u16 = 1142;

/// What a member's mysqld says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It takes part in a group, whatever its name; read-only, fenced or in offline_mode, too.
    InGroup(InGroup),
    /// It takes part in no group now, and does not bootstrap one. A START that joins one may be on its way: no table that a member
    /// may read shows that.
    InNone,
    /// It cannot be told; why.
    Unknown(String),
}

/// A member of a group, by its own word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InGroup {
    /// `group_replication_group_name`.
    pub name: String,
    /// Id of its view; empty: not told in time, or no right to read it.
    pub view_id: String,
    /// Its own state, never OFFLINE.
    pub state: MemberState,
    /// Its role.
    pub role: MemberRole,
    /// Members of its view but itself.
    pub others: usize,
    /// It hears a majority of its view.
    pub majority: bool,
    /// Neither super_read_only nor in offline_mode.
    pub writable: bool,
    /// `@@gtid_executed`, read after the view.
    pub gtid_executed: String,
    /// Who is ONLINE by its view, itself included: any of them may be the donor of one that comes in.
    pub online: Vec<ServerUuid>,
}

impl InGroup {
    /// Leads this group and takes writes: a group to come back to.
    fn leads(&self, group: Uuid) -> bool {
        self.state == MemberState::Online
            && self.role == MemberRole::Primary
            && self.majority
            && self.writable
            && self.name.eq_ignore_ascii_case(&group.to_string())
    }
}

/// Asks other members.
pub trait Peers: Send + Sync {
    /// Whether the mysqld at this address, `host:port`, is in a group; the question is asked as this account. An answer is there
    /// within [`QUESTION`].
    fn ask<'a>(&'a self, address: &'a str, user: &'a str) -> BoxFuture<'a, Answer>;
}

/// Over TLS, with the certificate of this host's mysqld.
pub struct ByCertificate {
    /// The way to them.
    pub servers: Arc<dyn Servers>,
    /// Folder of the CA's and this server's certificate and of its key.
    pub tls_dir: PathBuf,
}

impl Peers for ByCertificate {
    fn ask<'a>(&'a self, address: &'a str, user: &'a str) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let question = async {
                let mut db = enter(&*self.servers, address, user, &self.tls_dir).await?;
                let answer = look(&mut db).await;
                if db.usable() {
                    db.close().await;
                }
                answer
            };
            let asked = match tokio::time::timeout(QUESTION, question).await {
                Ok(asked) => asked,
                Err(_) => Err(timeout(address, QUESTION)),
            };
            asked.unwrap_or_else(|error| Answer::Unknown(explain(&error)))
        })
    }
}

/// The question itself, on a connection that stands. The flag first: a bootstrap that begins before that is seen by it, one that
/// has ended by the states. What the server holds is read last.
async fn look(db: &mut Db) -> Result<Answer, MysqlError> {
    let flag_is_on = bootstrap_flag(db).await?;
    match own_row(db).await {
        Ok(Some(own)) => in_group(db, own).await,
        Ok(None) if flag_is_on => Ok(Answer::Unknown(
            "group_replication_bootstrap_group is ON there: somebody may be bootstrapping a group".to_owned(),
        )),
        Ok(None) => Ok(Answer::InNone),
        Err(error) if error.code() == Some(NO_RIGHT) => without_rights(db).await,
        Err(error) => Err(error),
    }
}

async fn bootstrap_flag(db: &mut Db) -> Result<bool, MysqlError> {
    match db.value("SELECT @@GLOBAL.group_replication_bootstrap_group").await {
        Ok(value) => Ok(value.as_deref() == Some("1")),
        // without the plugin
        Err(error) if error.code() == Some(UNKNOWN) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the member's own row and the others say.
struct Own {
    state: MemberState,
    role: MemberRole,
    others: usize,
    majority: bool,
    online: Vec<ServerUuid>,
}

/// A row of the members' table: its own, its state, its role, its id.
type MemberRow = (bool, String, String, String);

/// None: OFFLINE, or without the plugin.
async fn own_row(db: &mut Db) -> Result<Option<Own>, MysqlError> {
    let rows = db
        .rows(
            "SELECT member_id IN ('', @@GLOBAL.server_uuid), member_state, member_role, member_id \
             FROM performance_schema.replication_group_members",
        )
        .await?;
    Ok(judge(
        &rows
            .iter()
            .map(|row| (flag(row, 0), text(row, 1), text(row, 2), text(row, 3)))
            .collect::<Vec<_>>(),
    ))
}

fn judge(rows: &[MemberRow]) -> Option<Own> {
    let (_, state, role, _) = rows.iter().find(|(own, ..)| *own)?;
    let state = member_state(state);
    let heard = rows
        .iter()
        .filter(|(_, state, ..)| member_state(state) != MemberState::Unreachable)
        .count();
    let online = rows
        .iter()
        .filter(|(_, state, ..)| member_state(state) == MemberState::Online)
        .filter_map(|(.., id)| id.parse().ok());
    (state != MemberState::Offline).then(|| Own {
        state,
        role: member_role(role),
        others: rows.len() - 1,
        majority: heard * 2 > rows.len(),
        online: online.collect(),
    })
}

async fn in_group(db: &mut Db, own: Own) -> Result<Answer, MysqlError> {
    let row = settings(db).await?;
    // in the view a second before its START has ended: then the id is not told, and the answer is certain all the same
    let view_id = tokio::time::timeout(STATISTICS, view_id(db)).await;
    Ok(Answer::InGroup(InGroup {
        name: text(&row, 2),
        view_id: view_id.ok().and_then(Result::ok).unwrap_or_default(),
        state: own.state,
        role: own.role,
        others: own.others,
        majority: own.majority,
        writable: !flag(&row, 0) && !flag(&row, 1),
        gtid_executed: text(&row, 3).split_whitespace().collect(),
        online: own.online,
    }))
}

/// A mysqld of ours that is out of its group is super_read_only, also after a restart, and its agent closes it again where a step or a
/// person left it open (`keeper/settings.rs`): one that takes writes leads its group. One that takes none may be in a group or not. Where
/// this is wrong, nothing is started: a bootstrap is refused, and a leader that does not tell its view is not rejoined.
async fn without_rights(db: &mut Db) -> Result<Answer, MysqlError> {
    let row = settings(db).await?;
    let writable = !flag(&row, 0) && !flag(&row, 1);
    let name = text(&row, 2);
    if !writable || name.is_empty() {
        let why = "this member's account may not read performance_schema.replication_group_members there";
        return Ok(Answer::Unknown(why.to_owned()));
    }
    Ok(Answer::InGroup(InGroup {
        name,
        view_id: String::new(),
        state: MemberState::Online,
        role: MemberRole::Primary,
        others: 0,
        majority: true,
        writable,
        gtid_executed: text(&row, 3).split_whitespace().collect(),
        online: Vec::new(),
    }))
}

async fn settings(db: &mut Db) -> Result<Row, MysqlError> {
    let ask =
        |name: &str| format!("SELECT @@GLOBAL.super_read_only, @@GLOBAL.offline_mode, {name}, @@GLOBAL.gtid_executed");
    match db.row(&ask("@@GLOBAL.group_replication_group_name")).await {
        Err(error) if error.code() == Some(UNKNOWN) => db.row(&ask("''")).await,
        row => row,
    }
}

async fn view_id(db: &mut Db) -> Result<String, MysqlError> {
    let sql =
        "SELECT view_id FROM performance_schema.replication_group_member_stats WHERE member_id = @@GLOBAL.server_uuid";
    Ok(db.value(sql).await?.unwrap_or_default())
}

/// The primary of a live group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Primary {
    /// `host:port`.
    pub address: String,
    /// `@@gtid_executed`.
    pub gtid_executed: String,
    /// Id of its view; empty: not told.
    pub view_id: String,
    /// Who is ONLINE by its view, itself included.
    pub online: Vec<ServerUuid>,
}

/// The primary of this group, found among these addresses, which are asked side by side. No group is started into before one
/// answers: a START into a dead one hangs for a minute.
pub async fn find_primary(peers: &dyn Peers, seeds: &[String], group: Uuid, user: &str) -> Result<Primary, Failure> {
    let answers = join_all(seeds.iter().map(|seed| peers.ask(seed, user))).await;
    choose(seeds.iter().zip(answers), group)
}

fn choose<'a>(answers: impl Iterator<Item = (&'a String, Answer)>, group: Uuid) -> Result<Primary, Failure> {
    let mut failure = Failure::new(
        "group_not_live",
        "no other member is a primary that takes writes: there is no group to come back to",
    )
    .transient();
    let mut found: Option<Primary> = None;
    let mut leaders: Vec<&String> = Vec::new();
    // One member of each lineage that works under this name: Group Replication enters whichever answers it first.
    let mut lineages: BTreeMap<String, &String> = BTreeMap::new();
    for (seed, answer) in answers {
        if let Answer::InGroup(member) = &answer
            && member.majority
            && matches!(member.state, MemberState::Online | MemberState::Recovering)
            && member.name.eq_ignore_ascii_case(&group.to_string())
            && let Some((id, _)) = LineageId::of_view(&member.view_id)
        {
            lineages.entry(id.prefix().to_owned()).or_insert(seed);
        }
        failure = match answer {
            Answer::InGroup(member) if member.leads(group) => {
                leaders.push(seed);
                found.get_or_insert(Primary {
                    address: seed.clone(),
                    gtid_executed: member.gtid_executed,
                    view_id: member.view_id,
                    online: member.online,
                });
                failure
            }
            Answer::InGroup(member) if !member.name.eq_ignore_ascii_case(&group.to_string()) => {
                failure.fact(format!("{seed} is in another group"))
            }
            Answer::InGroup(member) if !member.majority => {
                failure.fact(format!("{seed} hears no majority of its group"))
            }
            Answer::InGroup(_) => failure.fact(format!("{seed} takes no writes")),
            Answer::InNone => failure.fact(format!("{seed} is in no group")),
            Answer::Unknown(why) => failure.fact(format!("{seed}: {why}")),
        };
    }
    // A forced membership keeps the first part of the view id.
    if lineages.len() > 1 || leaders.len() > 1 {
        let two = Failure::new(
            "two_groups_live",
            "two groups of this name live, and Group Replication could enter either: nothing is started",
        )
        .hint("stop Group Replication on the side whose writes are given up; see: clusterctl why")
        .transient();
        let led = leaders.into_iter().map(|seed| format!("{seed} leads"));
        let told = lineages
            .into_iter()
            .map(|(id, seed)| format!("{seed} is in lineage {id}"));
        return Err(led.chain(told).fold(two, Failure::fact));
    }
    found.ok_or(failure)
}

/// With the cause, which a person needs.
fn explain(error: &MysqlError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn timeout(address: &str, time: Duration) -> MysqlError {
    MysqlError::Timeout {
        what: format!("asking {address}"),
        seconds: time.as_secs(),
    }
}

/// Ends what an earlier clone of this host left at a donor, and tells how many sessions that were. A receiver that lost its power never
/// says so, its donor waits for it far longer than for a minute, and lets no other clone begin. Only to be called when none of this host's
/// runs: the donor has just refused one, or the caller holds the entrance and has looked. An account sees and may end its own sessions, and
/// this one is this host's alone.
pub async fn end_own_clones(
    servers: &dyn Servers,
    address: &str,
    user: &str,
    tls_dir: &Path,
) -> Result<usize, MysqlError> {
    let work = async {
        let mut db = enter(servers, address, user, tls_dir).await?;
        let rows = db.rows("SHOW PROCESSLIST").await?;
        // Whoever has been granted PROCESS sees those of others, too.
        let own = |row: &&Row| text(row, 1) == user && text(row, 4).eq_ignore_ascii_case("clone");
        let left = rows.iter().filter(own);
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
        Err(_) => Err(timeout(address, PATIENCE * 2)),
    }
}

pub(super) async fn enter(servers: &dyn Servers, address: &str, user: &str, tls_dir: &Path) -> Result<Db, MysqlError> {
    let to = Target::Peer {
        address: address.to_owned(),
        user: user.to_owned(),
        tls_dir: tls_dir.to_owned(),
    };
    Db::open(servers, &to, PATIENCE).await
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
