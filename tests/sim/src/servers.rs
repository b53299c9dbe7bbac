//! The agent's way to simulated mysqlds: to its own over the socket, to others over the network.

use std::collections::BTreeMap;
use std::sync::Arc;

use clusterctl_agent::mysql::MysqlError;
use clusterctl_agent::mysql::server::{Connection, DriverError, Param, Row, Rows, Servers, Target};
use futures_util::future::BoxFuture;

use crate::mysqld::{Answer, Server, Session, SqlError};

/// The servers as one host's agent reaches them.
pub struct FromHost {
    /// All servers, by their hosts.
    pub servers: Arc<BTreeMap<String, Arc<Server>>>,
    /// This host.
    pub host: String,
}

impl Servers for FromHost {
    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Connection>, MysqlError>> {
        Box::pin(async move {
            let (host, user) = match to {
                Target::Local { user, .. } => (self.host.clone(), user),
                Target::Peer { address, user, .. } => {
                    let host = address.split(':').next().unwrap_or_default();
                    (host.to_owned(), user)
                }
                Target::Loopback { .. } => {
                    return Err(MysqlError::Connect {
                        to: to.to_string(),
                        source: DriverError::Io("there is no Router here".to_owned()),
                    });
                }
            };
            let Some(server) = self.servers.get(&host) else {
                return Err(MysqlError::Connect {
                    to: to.to_string(),
                    source: DriverError::Io(format!("no host {host}")),
                });
            };
            match server.connect(user, &self.host).await {
                Ok(session) => {
                    session.is_agent();
                    Ok(Box::new(Wire { session }) as Box<dyn Connection>)
                }
                Err(_) if host == self.host && !server.is_running() => Err(MysqlError::NotRunning {
                    looked: "/run/mysqld/mysqld.sock".to_owned(),
                }),
                Err(error) => Err(MysqlError::Connect {
                    to: to.to_string(),
                    source: driver_error(error),
                }),
            }
        })
    }
}

struct Wire {
    session: Session,
}

impl Connection for Wire {
    fn query<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Rows, DriverError>> {
        Box::pin(async move { self.session.query(sql).await.map(rows).map_err(driver_error) })
    }

    fn execute<'a>(&'a mut self, sql: &'a str, params: Vec<Param>) -> BoxFuture<'a, Result<Rows, DriverError>> {
        Box::pin(async move {
            let texts: Vec<Option<String>> = params
                .into_iter()
                .map(|param| match param {
                    Param::Text(text) => Some(text),
                    Param::Number(number) => Some(number.to_string()),
                })
                .collect();
            self.session.execute(sql, &texts).await.map(rows).map_err(driver_error)
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(self) })
    }
}

fn rows(answer: Answer) -> Rows {
    Rows {
        rows: answer.rows.into_iter().map(Row).collect(),
        affected: answer.affected,
    }
}

fn driver_error(error: SqlError) -> DriverError {
    match error.code {
        // The client library's own: the connection could not be made, or is lost.
        2000..=2999 => DriverError::Io(error.message),
        code => DriverError::Server {
            code,
            message: error.message,
        },
    }
}
