//! [`Servers`] over the network and unix sockets. The only module that names mysql_async.
//!
//! `run.rs` and `hand_over.rs` make one; it keeps nothing.

use std::path::Path;

use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, Params, SslOpts, Value};

use super::error::MysqlError;
use super::server::{Connection, DriverError, Param, Row, Rows, Servers, Target, listed};

/// Real servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Driver;

impl Servers for Driver {
    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Connection>, MysqlError>> {
        Box::pin(async move {
            let (opts, to) = options(to)?;
            let opts: Opts = opts
                .stmt_cache_size(0)
                .prefer_socket(false)
                .connect_attribute("program_name", "clusterctl-agent")
                .into();
            match Conn::new(opts).await {
                Ok(conn) => Ok(Box::new(Entered(conn)) as Box<dyn Connection>),
                Err(error) => Err(MysqlError::Connect {
                    to,
                    source: error.into(),
                }),
            }
        })
    }
}

/// The driver's options, and the place in words.
fn options(to: &Target) -> Result<(OptsBuilder, String), MysqlError> {
    let opts = OptsBuilder::default();
    match to {
        Target::Local { sockets, user } => {
            let Some(socket) = sockets.iter().find(|path| path.exists()) else {
                let looked = listed(sockets);
                return Err(MysqlError::NotRunning { looked });
            };
            let place = socket.display().to_string();
            Ok((opts.socket(Some(place.clone())).user(Some(user)), place))
        }
        Target::Loopback { port, user, password } => {
            let opts = opts
                .ip_or_hostname("127.0.0.1")
                .tcp_port(*port)
                .user(Some(user))
                .pass(Some(&password.0))
                .ssl_opts(SslOpts::default().with_danger_accept_invalid_certs(true));
            Ok((opts, to.to_string()))
        }
        Target::Peer { address, user, tls_dir } => {
            let unreadable = || MysqlError::Answer {
                what: format!("the address {address}"),
            };
            let (host, port) = address.rsplit_once(':').ok_or_else(unreadable)?;
            let opts = opts
                .ip_or_hostname(host.trim_matches(['[', ']']))
                .tcp_port(port.parse().map_err(|_| unreadable())?)
                .user(Some(user))
                .ssl_opts(by_certificate(tls_dir));
            Ok((opts, address.clone()))
        }
    }
}

fn by_certificate(tls_dir: &Path) -> SslOpts {
    let identity = ClientIdentity::new(tls_dir.join("server.pem").into(), tls_dir.join("server.key").into());
    SslOpts::default()
        .with_root_certs(vec![tls_dir.join("ca.pem").into()])
        .with_disable_built_in_roots(true)
        .with_client_identity(Some(identity))
}

struct Entered(Conn);

impl Connection for Entered {
    fn query<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Rows, DriverError>> {
        Box::pin(async move {
            let rows: Vec<mysql_async::Row> = self.0.query(sql).await?;
            Ok(self.answered(&rows))
        })
    }

    fn execute<'a>(&'a mut self, sql: &'a str, params: Vec<Param>) -> BoxFuture<'a, Result<Rows, DriverError>> {
        Box::pin(async move {
            let params: Vec<Value> = params.into_iter().map(value).collect();
            let params = if params.is_empty() {
                Params::Empty
            } else {
                Params::Positional(params)
            };
            let rows: Vec<mysql_async::Row> = self.0.exec(sql, params).await?;
            Ok(self.answered(&rows))
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // an error of a good-bye means nothing
            let _ = self.0.disconnect().await;
        })
    }
}

impl Entered {
    fn answered(&self, rows: &[mysql_async::Row]) -> Rows {
        let row = |row: &mysql_async::Row| Row((0..row.len()).map(|n| row.as_ref(n).and_then(text)).collect());
        Rows {
            rows: rows.iter().map(row).collect(),
            affected: self.0.affected_rows(),
        }
    }
}

fn value(param: Param) -> Value {
    match param {
        Param::Text(text) => Value::from(text),
        Param::Number(number) => Value::from(number),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    }
}

impl From<mysql_async::Error> for DriverError {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(server) => Self::Server {
                code: server.code,
                message: server.message,
            },
            mysql_async::Error::Io(error) => Self::Io(mysql_async::Error::Io(error).to_string()),
            other => Self::Other(other.to_string()),
        }
    }
}
