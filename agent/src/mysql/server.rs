//! The narrow way to a mysqld: a connection, a statement, rows of text.
//!
//! `conn.rs` puts sessions and time-outs over it and is the only caller. [`super::driver`] is the way to real servers; the simulator brings
//! another. Whoever implements it waits as long as the server does: patience is the caller's.

use std::fmt;
use std::path::PathBuf;

use futures_util::future::BoxFuture;

use super::error::MysqlError;

/// Which server, and as whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// The server of this host, over the first of these unix sockets that is there, without a password (auth_socket). None there:
    /// [`MysqlError::NotRunning`].
    Local {
        /// Where the socket may be.
        sockets: Vec<PathBuf>,
        /// The account.
        user: String,
    },
    /// A port of Router on this host, as a client would enter it.
    ///
    /// Encrypted, but the certificate is not verified: Router shows its clients one that it made itself, without our CA and
    /// without names, and on the loopback there is nobody between. Never used across hosts.
    Loopback {
        /// The port.
        port: u16,
        /// The account.
        user: String,
        /// Its password.
        password: Password,
    },
    /// Another member, over TLS by our CA, the name verified, with the certificate of this host's mysqld instead of a password.
    Peer {
        /// `host:port`.
        address: String,
        /// The account.
        user: String,
        /// Folder of the CA's and this server's certificate and of its key.
        tls_dir: PathBuf,
    },
}

/// A password that no error and no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { sockets, .. } => f.write_str(&listed(sockets)),
            Self::Loopback { port, .. } => write!(f, "127.0.0.1:{port}"),
            Self::Peer { address, .. } => f.write_str(address),
        }
    }
}

/// Paths for people.
pub fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

/// Ways into mysqlds.
pub trait Servers: Send + Sync {
    /// Enters one; [`MysqlError::NotRunning`] or [`MysqlError::Connect`] where that fails.
    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Connection>, MysqlError>>;
}

/// A connection to a mysqld. Dropped in the middle of a statement, it is closed, and the server ends the statement or not.
pub trait Connection: Send {
    /// Runs statements, joined by `; `, to the first that fails; rows are those of the first one.
    fn query<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<Rows, DriverError>>;

    /// Runs one statement with a value for each `?` in it.
    fn execute<'a>(&'a mut self, sql: &'a str, params: Vec<Param>) -> BoxFuture<'a, Result<Rows, DriverError>>;

    /// Says good-bye.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What a statement answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows {
    /// In the server's order.
    pub rows: Vec<Row>,
    /// How many rows it changed.
    pub affected: u64,
}

/// One row, each cell as text; none: NULL.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Row(pub Vec<Option<String>>);

/// A value for a `?`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Param {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&&str> for Param {
    fn from(text: &&str) -> Self {
        Self::Text((*text).to_owned())
    }
}

impl From<&String> for Param {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&u32> for Param {
    fn from(number: &u32) -> Self {
        Self::Number(u64::from(*number))
    }
}

impl From<u32> for Param {
    fn from(number: u32) -> Self {
        Self::Number(u64::from(number))
    }
}

impl From<u64> for Param {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// Values for the `?` of a statement, in their order: a tuple.
pub trait Params: Send {
    /// As a list.
    fn list(self) -> Vec<Param>;
}

impl Params for () {
    fn list(self) -> Vec<Param> {
        Vec::new()
    }
}

macro_rules! params {
    ($($name:ident)+) => {
        impl<$($name: Into<Param> + Send),+> Params for ($($name,)+) {
            #[allow(non_snake_case)]
            fn list(self) -> Vec<Param> {
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    };
}

params!(A);
params!(A B);
params!(A B C);
params!(A B C D);
params!(A B C D E);
params!(A B C D E F);

/// Why the way to the server, or a statement, failed. Its words hold no password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DriverError {
    /// The server said no; the connection stands.
    #[error("server error {code}: {message}")]
    Server {
        /// Its error number.
        code: u16,
        /// Its words.
        message: String,
    },
    /// The socket or the network failed.
    #[error("{0}")]
    Io(String),
    /// Anything else: TLS, the protocol.
    #[error("{0}")]
    Other(String),
}

impl DriverError {
    /// The login was refused, and will be again.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Server { code: 1045 | 1698, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let target = Target::Loopback {
            port: 6446,
            user: "app".into(),
            password: Password("sesame".into()),
        };
        assert!(!format!("{target:?} {target}").contains("sesame"));
    }

    #[test]
    fn values_keep_their_order() {
        let (text, number) = ("a".to_owned(), 7_u32);
        let expected = ["a", "b"].map(Param::from).into_iter().chain([Param::Number(7)]);
        assert_eq!((&text, "b", number).list(), expected.collect::<Vec<_>>());
    }
}
