//! Why mysqld did not do it, and what a person is told of it.

use clusterctl_proto::failure::Failure;

use super::server::DriverError;

/// `ER_SERVER_SHUTDOWN`, `ER_NORMAL_SHUTDOWN`, `ER_SHUTDOWN_COMPLETE`, `ER_CLIENT_INTERACTION_TIMEOUT`.
const GOING_DOWN: [u16; 4] = [1053, 1077, 1079, 4031];

/// Why a statement, or the way to the server, failed.
#[derive(Debug, thiserror::Error)]
pub enum MysqlError {
    /// No socket is there.
    #[error("mysqld does not run here: there is no socket at {looked}")]
    NotRunning {
        /// Paths looked at.
        looked: String,
    },
    /// The way in is closed.
    #[error("cannot connect to mysqld at {to}")]
    Connect {
        /// Socket or address.
        to: String,
        /// Why.
        source: DriverError,
    },
    /// The server said no.
    #[error("mysqld refused {what}: {message} (error {code})")]
    Refused {
        /// Head of the statement, without any literal.
        what: String,
        /// Its error number.
        code: u16,
        /// Its words.
        message: String,
    },
    /// The connection broke in the middle.
    #[error("the connection to mysqld broke during {what}")]
    Lost {
        /// Head of the statement.
        what: String,
        /// Why; none: an earlier statement had run out of time on it.
        source: Option<DriverError>,
    },
    /// It took too long; what became of it is not known.
    #[error("{what} did not end within {seconds} s")]
    Timeout {
        /// Head of the statement.
        what: String,
        /// Its time.
        seconds: u64,
    },
    /// The answer has another shape than expected.
    #[error("mysqld answered {what} with something unexpected")]
    Answer {
        /// Head of the statement, or what was read.
        what: String,
    },
}

impl MysqlError {
    /// The server's error number, if it refused.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The login was refused.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.is_denied())
    }

    /// The way to the server is gone: whether the statement was done must be looked up.
    pub fn is_broken(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Answer { .. })
    }

    /// The driver's error of a statement.
    pub(super) fn of_statement(what: String, error: DriverError) -> Self {
        match error {
            // the server goes down: the connection will be gone in a moment
            DriverError::Server { code, .. } if GOING_DOWN.contains(&code) => Self::Lost {
                what,
                source: Some(error),
            },
            DriverError::Server { code, message } => Self::Refused {
                what,
                code,
                // a syntax error repeats the statement, which may hold a password's hash
                message: match (code, message.split_once(" near ")) {
                    (1064, Some((head, _))) => head.to_owned(),
                    _ => message,
                },
            },
            DriverError::Io(_) | DriverError::Other(_) => Self::Lost {
                what,
                source: Some(error),
            },
        }
    }
}

impl From<MysqlError> for Failure {
    fn from(error: MysqlError) -> Self {
        let text = error.to_string();
        let denied = error.is_denied();
        match error {
            MysqlError::NotRunning { .. } => Failure::new("mysql_not_running", text)
                .hint("systemctl status mysql; journalctl -u mysql -n 50")
                .transient(),
            MysqlError::Connect { to, source } => {
                let failure = Failure::new("mysql_connect", text).fact(source.to_string());
                if denied && to.starts_with('/') {
                    failure.hint(
                        "root must be able to enter over the socket: ALTER USER root@localhost IDENTIFIED WITH auth_socket; \
                         another account can be named as mysql.user in /etc/clusterctl/agent.toml",
                    )
                } else if denied {
                    failure
                } else {
                    failure.transient()
                }
            }
            MysqlError::Refused { code, .. } => {
                Failure::new("mysql_refused", text).fact(format!("error number {code}"))
            }
            MysqlError::Lost { source, .. } => {
                let failure = Failure::new("mysql_lost", text).transient();
                source
                    .into_iter()
                    .fold(failure, |failure, cause| failure.fact(cause.to_string()))
            }
            MysqlError::Timeout { .. } => Failure::new("mysql_timeout", text).transient(),
            MysqlError::Answer { .. } => Failure::new("mysql_answer", text),
        }
    }
}

/// A statement as it may stand in an error: its first words, up to the first literal.
pub(super) fn head(statement: &str) -> String {
    let end = statement.find(['\'', '"', '=']).unwrap_or(statement.len());
    let words: Vec<&str> = statement[..end]
        .split_whitespace()
        // a hash is a hexadecimal literal without quotes
        .take_while(|word| !word.to_ascii_lowercase().starts_with("0x"))
        .take(6)
        .collect();
    words.join(" ").chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_statement_holds_no_literal() {
        assert_eq!(
            head("CREATE USER IF NOT EXISTS 'app'@'%' IDENTIFIED"),
            "CREATE USER IF NOT EXISTS"
        );
        assert_eq!(head("SET PERSIST a = 'b'"), "SET PERSIST a");
        assert_eq!(head("SELECT 1\n  FROM t"), "SELECT 1 FROM t");
        assert_eq!(head("ALTER USER u AS 0xABCD"), "ALTER USER u AS");
    }

    #[test]
    fn a_syntax_error_does_not_repeat_the_statement() {
        let server = DriverError::Server {
            code: 1064,
            message: "You have an error in your SQL syntax near '0x2441' at line 1".into(),
        };
        let error = MysqlError::of_statement("CREATE USER".into(), server);
        assert!(!error.to_string().contains("0x2441"), "{error}");
    }
}
