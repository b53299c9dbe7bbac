//! A connection to a mysqld: the client's end, and the thread that serves it.
//!
//! What a client has sent is executed whatever becomes of the client; it only never hears of it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::net::Net;
use super::process::{Connection, Who};
use super::statements;
use super::world::Id;

/// Rows of cells; none: NULL.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Answer {
    /// Of the last statement that has rows.
    pub rows: Vec<Vec<Option<String>>>,
    /// Rows that the last statement changed.
    pub affected: u64,
}

/// The server's error, or one of the way to it (2003: not reached, 2013: lost).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SqlError {
    /// Error number.
    pub code: u16,
    /// Its words.
    pub message: String,
}

impl SqlError {
    pub(crate) fn new(code: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn lost() -> Self {
        Self::new(2013, "Lost connection to MySQL server during query")
    }

    pub(crate) fn not_reached(host: &str) -> Self {
        Self::new(2003, format!("Can't connect to MySQL server on '{host}'"))
    }

    pub(crate) fn unknown_outcome() -> Self {
        Self::new(
            3100,
            "Error on observer while running replication hook 'before_commit'.",
        )
    }

    pub(crate) fn read_only() -> Self {
        Self::new(
            1290,
            "The MySQL server is running with the --super-read-only option so it cannot execute this statement",
        )
    }

    pub(crate) fn function(why: &str) -> Self {
        Self::new(
            3910,
            format!("The function 'group_replication_set_as_primary' failed. {why}"),
        )
    }

    /// The connection is gone, or was never there.
    pub fn is_broken(&self) -> bool {
        (2000..3000).contains(&self.code)
    }
}

struct Request {
    sql: Arc<str>,
    params: Arc<[Option<String>]>,
    reply: oneshot::Sender<Result<Answer, SqlError>>,
}

/// The client's end.
pub struct Session {
    net: Arc<Net>,
    host: String,
    from: String,
    number: u64,
    socket: mpsc::UnboundedSender<Request>,
}

impl Session {
    /// `CONNECTION_ID()`.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The client is not a person.
    pub fn is_agent(&self) {
        let mut world = self.net.lock();
        let processes = world.servers.iter_mut().filter_map(|server| server.process.as_mut());
        for connection in processes.filter_map(|process| process.connections.get_mut(&self.number)) {
            connection.who = Who::Agent;
        }
    }

    /// The client sits on another host.
    pub(crate) fn from(&mut self, host: &str) {
        host.clone_into(&mut self.from);
    }

    /// One packet: one statement, or several that are separated by semicolons.
    pub async fn query(&mut self, sql: &str) -> Result<Answer, SqlError> {
        self.execute(sql, &[]).await
    }

    /// One statement with parameters.
    pub async fn execute(&mut self, sql: &str, params: &[Option<String>]) -> Result<Answer, SqlError> {
        self.arrives(true).await;
        let (reply, answer) = oneshot::channel();
        let request = Request {
            sql: sql.into(),
            params: params.into(),
            reply,
        };
        let answer = match self.socket.send(request) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(SqlError::lost())),
            Err(_) => Err(SqlError::lost()),
        };
        // Also the end of a connection must be told: a host without power says nothing.
        self.arrives(false).await;
        answer
    }

    async fn arrives(&self, request: bool) {
        let (from, to) = if request {
            (&self.from, &self.host)
        } else {
            (&self.host, &self.from)
        };
        self.net.until(|world| world.reaches(from, to).then_some(())).await;
    }
}

/// Enters; waits while the server cannot answer.
pub(crate) async fn connect(net: &Arc<Net>, id: Id, host: &str, user: &str, from: &str) -> Result<Session, SqlError> {
    net.until(|world| world.connects(from, host).then_some(())).await;
    let incarnation = {
        let world = net.lock();
        let process = world.process(id).filter(|process| process.ready && !process.stopping);
        process.map(|process| process.incarnation)
    };
    let incarnation = incarnation.ok_or_else(|| SqlError::not_reached(host))?;
    net.awake(id, incarnation)
        .await
        .ok_or_else(|| SqlError::not_reached(host))?;
    let (socket, requests) = mpsc::unbounded_channel();
    let number = {
        let mut world = net.lock();
        let number = world.fresh();
        let is_root = user == "root" && from == host;
        let account = world.servers[id].disk.data.account(user).cloned();
        let Some(process) = world.same(id, incarnation) else {
            return Err(SqlError::not_reached(host));
        };
        if !is_root {
            let account = account.filter(|account| !account.locked);
            let account =
                account.ok_or_else(|| SqlError::new(1045, format!("Access denied for user '{user}'@'{from}'")))?;
            if !process.vars.is_off("offline_mode") && !account.holds("", "", "CONNECTION_ADMIN") {
                return Err(SqlError::new(3032, "The server is currently in offline mode"));
            }
        }
        let connection = Connection {
            user: user.to_owned(),
            from: from.to_owned(),
            ..Connection::default()
        };
        process.connections.insert(number, connection);
        let thread = serve(Arc::clone(net), id, incarnation, number, requests);
        net.task(&mut world, id, thread);
        number
    };
    Ok(Session {
        net: Arc::clone(net),
        host: host.to_owned(),
        from: from.to_owned(),
        number,
        socket,
    })
}

/// The server's thread: executes what comes, one after another.
async fn serve(net: Arc<Net>, id: Id, incarnation: u64, number: u64, mut requests: mpsc::UnboundedReceiver<Request>) {
    while let Some(request) = requests.recv().await {
        let answer = packet(&net, (id, incarnation, number), &request).await;
        let _ = request.reply.send(answer);
        let mut world = net.lock();
        let alive = world
            .same(id, incarnation)
            .is_some_and(|process| process.connections.contains_key(&number));
        if !alive {
            return;
        }
    }
    let mut world = net.lock();
    if let Some(process) = world.same(id, incarnation) {
        process.connections.remove(&number);
        release(&mut process.lock, number);
    }
}

/// Advisory locks end with their session.
pub(crate) fn release(lock: &mut super::process::Lock, number: u64) {
    lock.readers.remove(&number);
    if lock.writer == Some(number) {
        lock.writer = None;
    }
}

async fn packet(net: &Arc<Net>, who: (Id, u64, u64), request: &Request) -> Result<Answer, SqlError> {
    let mut answer = Answer::default();
    for sql in split(&request.sql) {
        net.awake(who.0, who.1).await.ok_or_else(SqlError::lost)?;
        note(net, who, Some(Arc::clone(&request.sql)));
        let one = statements::execute(net, who, sql, &request.params).await;
        net.awake(who.0, who.1).await.ok_or_else(SqlError::lost)?;
        note(net, who, None);
        let one = one?;
        answer.affected = one.affected;
        if !one.rows.is_empty() {
            answer.rows = one.rows;
        }
    }
    Ok(answer)
}

fn note(net: &Arc<Net>, (id, incarnation, number): (Id, u64, u64), sql: Option<Arc<str>>) {
    let mut world = net.lock();
    if let Some(connection) = world
        .same(id, incarnation)
        .and_then(|process| process.connections.get_mut(&number))
    {
        connection.sql = sql;
    }
}

/// Statements of a packet. What creates something is one, whatever stands in its body.
fn split(packet: &str) -> Vec<&str> {
    let trimmed = packet.trim();
    if trimmed.starts_with("CREATE ") || (!trimmed.is_empty() && !trimmed.contains(';')) {
        return vec![trimmed];
    }
    let (mut parts, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, byte) in trimmed.bytes().enumerate() {
        match quote {
            Some(open) if open == byte => quote = None,
            None if matches!(byte, b'\'' | b'"' | b'`') => quote = Some(byte),
            None if byte == b';' => {
                parts.push(&trimmed[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&trimmed[start..]);
    let all = parts.into_iter().map(str::trim);
    all.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_packet_is_cut_outside_of_quotes() {
        assert_eq!(split("SET a = 'x;y'; START ;"), ["SET a = 'x;y'", "START"]);
        assert_eq!(split("CREATE PROCEDURE p() BEGIN SELECT 1; END").len(), 1);
    }
}
