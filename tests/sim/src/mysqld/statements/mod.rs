//! The statements that the simulated mysqld knows: one table of texts and handlers.
//!
//! `{}` in a text stands for anything. What stands here is what the agent sends (agent/src/mysql, agent/src/steps), and the little that
//! people and the conformance script type. The order counts: the first that fits is taken.

mod accounts;
mod group;
mod metadata;
mod notices;
mod schema;
mod server;
mod tables;
mod values;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use super::commit::Committer;
use super::data::{Account, Data, Work};
use super::expr::{Scope, Value};
use super::net::Net;
use super::session::{Answer, SqlError};
use super::variables;
use super::world::{Id, World};

/// A statement that is executed.
#[derive(Clone)]
pub(crate) struct Call {
    pub net: Arc<Net>,
    pub id: Id,
    pub incarnation: u64,
    pub session: u64,
    /// What the `{}` of its text stand for.
    pub parts: Arc<[String]>,
    pub params: Arc<[Value]>,
}

/// What a handler decides.
pub(crate) enum Next {
    /// Done.
    Answer(Answer),
    /// A transaction of its own, unless one is open.
    Commit(Work, u64),
    /// It takes time.
    Wait(Pin<Box<dyn Future<Output = Result<Answer, SqlError>> + Send>>),
}

pub(crate) type Reply = Result<Next, SqlError>;
pub(crate) type Handler = fn(&Call, &mut World) -> Reply;
/// Texts with their handlers.
pub(crate) type Table = &'static [(&'static str, Handler)];

const TABLES: [Table; 9] = [
    group::TABLE,
    notices::TABLE,
    tables::TABLE,
    accounts::TABLE,
    metadata::TABLE,
    schema::TABLE,
    server::TABLE,
    values::TABLE,
    values::LAST,
];

pub(crate) fn ok() -> Reply {
    Ok(Next::Answer(Answer::default()))
}

pub(crate) fn rows(rows: Vec<Vec<Value>>) -> Reply {
    Ok(Next::Answer(Answer { rows, affected: 0 }))
}

pub(crate) fn row(cells: Vec<Value>) -> Reply {
    rows(vec![cells])
}

pub(crate) fn wait(work: impl Future<Output = Result<Answer, SqlError>> + Send + 'static) -> Reply {
    Ok(Next::Wait(Box::pin(work)))
}

pub(crate) fn text(value: impl ToString) -> Value {
    Some(value.to_string())
}

/// Without blanks that mean nothing.
fn normal(sql: &str) -> String {
    let joined = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.replace("( ", "(").replace(" )", ")")
}

/// What the `{}` of a text stand for; none: it does not fit.
fn fit(pattern: &str, sql: &str) -> Option<Vec<String>> {
    let mut parts = pattern.split("{}");
    let mut rest = sql.strip_prefix(parts.next()?)?;
    let mut found = Vec::new();
    let pieces: Vec<&str> = parts.collect();
    for (place, piece) in pieces.iter().enumerate() {
        let is_last = place + 1 == pieces.len();
        let end = match (is_last, piece.is_empty()) {
            (true, true) => rest.len(),
            (true, false) => rest
                .len()
                .checked_sub(piece.len())
                .filter(|end| rest.is_char_boundary(*end))?,
            (false, _) => rest.find(piece)?,
        };
        if !rest[end..].starts_with(piece) {
            return None;
        }
        found.push(rest[..end].to_owned());
        rest = &rest[end + piece.len()..];
    }
    rest.is_empty().then_some(found)
}

/// Texts without blanks that mean nothing, and their handlers.
static KNOWN: LazyLock<Vec<(String, Handler)>> = LazyLock::new(|| {
    let all = TABLES.iter().flat_map(|table| table.iter());
    all.map(|(pattern, handler)| (normal(pattern), *handler)).collect()
});

/// A handler, and what the `{}` of its text stand for.
type Found = (Handler, Arc<[String]>);

std::thread_local! {
    /// What was looked up already: an agent says the same few things every second.
    static LOOKED_UP: RefCell<HashMap<String, Found>> = RefCell::default();
}
/// Part of every statement about a table or view of the metadata.
const METADATA_TABLES: &str = "mysql_innodb_cluster_metadata.";
/// Statements that differ each time would fill the memory.
const LOOK_UPS: usize = 2000;

fn found(sql: &str) -> Option<Found> {
    if let Some(known) = LOOKED_UP.with_borrow(|all| all.get(sql).cloned()) {
        return Some(known);
    }
    let plain = normal(sql);
    let fits = KNOWN
        .iter()
        .filter_map(|(pattern, handler)| Some((*handler, fit(pattern, &plain)?.into())));
    let found = fits.take(1).next()?;
    LOOKED_UP.with_borrow_mut(|all| {
        if all.len() < LOOK_UPS {
            all.insert(sql.to_owned(), found.clone());
        }
    });
    Some(found)
}

/// Executes one statement.
pub(crate) async fn execute(
    net: &Arc<Net>,
    (id, incarnation, session): (Id, u64, u64),
    sql: &str,
    params: &Arc<[Value]>,
) -> Result<Answer, SqlError> {
    let Some((handler, parts)) = found(sql) else {
        return Err(unknown(&mut net.lock(), &normal(sql)));
    };
    let call = Call {
        net: Arc::clone(net),
        id,
        incarnation,
        session,
        parts,
        params: Arc::clone(params),
    };
    let next = {
        let mut world = net.lock();
        world.same(id, incarnation).ok_or_else(SqlError::lost)?;
        if world.servers[id].metadata_breaks && sql.contains(METADATA_TABLES) {
            let words = "Tablespace is missing for table `mysql_innodb_cluster_metadata`.`instances`.";
            return Err(SqlError::new(1812, words));
        }
        handler(&call, &mut world)?
    };
    match next {
        Next::Answer(answer) => Ok(answer),
        Next::Wait(work) => work.await,
        Next::Commit(work, affected) => call.commit(work, affected).await,
    }
}

pub(crate) fn unknown(world: &mut World, sql: &str) -> SqlError {
    *world.unknown.entry(sql.to_owned()).or_default() += 1;
    SqlError::new(1105, format!("the simulated mysqld does not know: {sql}"))
}

impl Call {
    pub fn part(&self, place: usize) -> &str {
        self.parts.get(place).map_or("", String::as_str)
    }

    pub fn param(&self, place: usize) -> String {
        self.params.get(place).cloned().flatten().unwrap_or_default()
    }

    /// Data as this session sees them: with what its open transaction changed.
    pub fn data<'a>(&self, world: &'a World) -> std::borrow::Cow<'a, Data> {
        let data = &world.servers[self.id].disk.data;
        let connection = world
            .process(self.id)
            .and_then(|process| process.connections.get(&self.session));
        match connection.and_then(|connection| connection.open.as_ref()) {
            Some(open) if !open.is_empty() => {
                let mut changed = data.clone();
                open.iter().for_each(|work| (work.change)(&mut changed));
                std::borrow::Cow::Owned(changed)
            }
            _ => std::borrow::Cow::Borrowed(data),
        }
    }

    /// The account may read this table; root may all.
    pub fn may_read(&self, world: &World, schema: &str, table: &str) -> Result<(), SqlError> {
        let process = world.process(self.id);
        let user = process.and_then(|process| process.connections.get(&self.session));
        let user = user.map_or("", |connection| connection.user.as_str());
        let account = world.servers[self.id].disk.data.account(user);
        if user == "root" || account.is_some_and(|account: &Account| account.holds(schema, table, "SELECT")) {
            return Ok(());
        }
        Err(SqlError::new(
            1142,
            format!("SELECT command denied to user '{user}' for table '{table}'"),
        ))
    }

    async fn commit(&self, work: Work, affected: u64) -> Result<Answer, SqlError> {
        let is_row = work.row.is_some();
        let committer = {
            let mut world = self.net.lock();
            let process = world.same(self.id, self.incarnation).ok_or_else(SqlError::lost)?;
            if !process.vars.is_off("super_read_only") {
                return Err(SqlError::read_only());
            }
            let connection = process.connections.get_mut(&self.session).ok_or_else(SqlError::lost)?;
            if let Some(open) = &mut connection.open {
                open.push(work);
                return Ok(Answer {
                    rows: Vec::new(),
                    affected,
                });
            }
            Committer {
                id: self.id,
                incarnation: self.incarnation,
                unlogged: connection.unlogged,
                gtid: connection.gtid_next.clone(),
            }
        };
        let gtid = self.net.commit(&committer, work).await?;
        let rows = if is_row { vec![vec![Some(gtid)]] } else { Vec::new() };
        Ok(Answer { rows, affected })
    }
}

/// What an expression of a call may ask.
pub(crate) struct Asked<'a> {
    pub world: &'a World,
    pub call: &'a Call,
}

impl Scope for Asked<'_> {
    fn variable(&self, name: &str) -> Result<Value, SqlError> {
        let disk = &self.world.servers[self.call.id].disk;
        let process = self.world.process(self.call.id).ok_or_else(SqlError::lost)?;
        match name {
            "server_uuid" => Ok(text(&disk.uuid)),
            "gtid_executed" => Ok(text(&disk.gtid_executed)),
            "gtid_purged" => Ok(text(&disk.gtid_purged)),
            "report_host" if process.vars.text(name).is_empty() => Ok(None),
            "socket" => Ok(text("/var/run/mysqld/mysqld.sock")),
            _ if variables::exists(name, &disk.data.plugins) => Ok(process.vars.shown(name)),
            _ => Err(variables::unknown(name)),
        }
    }

    fn micros(&self) -> u64 {
        self.world.micros(self.call.id)
    }

    fn param(&self, place: usize) -> Value {
        self.call.params.get(place).cloned().flatten()
    }
}

#[cfg(test)]
pub(crate) fn is_known(sql: &str) -> bool {
    struct Anything;
    impl Scope for Anything {
        fn variable(&self, _: &str) -> Result<Value, SqlError> {
            Ok(None)
        }
        fn micros(&self) -> u64 {
            0
        }
        fn param(&self, _: usize) -> Value {
            None
        }
    }
    let sql = normal(sql);
    let (last, tables) = TABLES.split_last().unwrap();
    let mut known = tables.iter().flat_map(|table| table.iter());
    let mut lists = last.iter().filter_map(|(pattern, _)| fit(pattern, &sql));
    known.any(|(pattern, _)| fit(&normal(pattern), &sql).is_some())
        || lists.any(|parts| super::expr::list(&parts[0], &Anything).is_some())
}

#[cfg(test)]
mod tests {
    use super::{fit, normal};

    #[test]
    fn a_text_fits_with_anything_in_its_gaps() {
        assert_eq!(
            fit("SET GLOBAL {} = {}", "SET GLOBAL a = b = c"),
            Some(vec!["a".into(), "b = c".into()])
        );
        assert_eq!(fit("START", "START"), Some(Vec::new()));
        assert_eq!(fit("START", "START IT"), None);
        assert_eq!(fit("A {} Z", "A b Z"), Some(vec!["b".into()]));
        assert_eq!(fit("A {} Z", "A Z"), None);
        assert_eq!(normal("SELECT\n  a  FROM ( b )"), "SELECT a FROM (b)");
    }
}
