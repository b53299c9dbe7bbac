//! Names and numbers that must not be mixed up, as types of their own.
//!
//! Every name from outside is parsed here once; past this module a [`HostName`] is a valid one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a name from outside is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {given:?} is not valid: {rule}")]
pub struct InvalidName {
    /// What it should have been, `cluster name`.
    pub kind: &'static str,
    /// What came, cut to a readable length.
    pub given: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text as it is shown and stored.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                match $check(text) {
                    Ok(valid) => Ok(Self(valid)),
                    Err(rule) => Err(InvalidName {
                        kind: $kind,
                        given: text.chars().take(80).collect(),
                        rule,
                    }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

name_type!(
    /// A host's name, lower case, as `hostname` prints it and peers resolve it (RFC 1123 labels; at most 64 characters,
    /// the longest that Linux keeps).
    HostName,
    "host name",
    check_host
);
name_type!(
    /// A cluster's name: AdminAPI's rule (at most 63 characters, a letter first, then letters, digits, `_`, `-`, `.`).
    ClusterName,
    "cluster name",
    check_cluster
);

fn check_host(text: &str) -> Result<String, &'static str> {
    const RULE: &str =
        "1 to 64 characters: labels of letters, digits and inner hyphens, joined by dots, not all digits";
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let ok = (1..=64).contains(&text.len())
        && text.split('.').all(label_ok)
        && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && !text.eq_ignore_ascii_case("localhost");
    ok.then(|| text.to_ascii_lowercase()).ok_or(RULE)
}

fn check_cluster(text: &str) -> Result<String, &'static str> {
    const RULE: &str = "at most 63 characters, a letter first, then letters, digits, '_', '-' or '.'";
    let mut bytes = text.bytes();
    let ok = text.len() <= 63
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    ok.then(|| text.to_owned()).ok_or(RULE)
}

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_type!(
    /// An operation: the log index of the entry that stored what an operator asked for.
    OperationId(u64)
);
number_type!(
    /// A plan: the log index of the entry that adopted it.
    PlanId(u64)
);
number_type!(
    /// An event of the journal, ascending without gaps.
    EventId(u64)
);
number_type!(
    /// MySQL's `server_id`, 1 to 4294967295, unique within a coordinator group.
    ServerId(u32)
);

/// A step's place in its plan, from 1.
pub type StepNumber = u32;

/// Identity of one data directory's server, `@@server_uuid`.
pub type ServerUuid = Uuid;

/// Order of plans of one cluster: an agent refuses what is older than what it has seen (safety rule 7).
///
/// The epoch rises when a coordinator group is restored from a backup, the index is the log index of the adopted plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Generation {
    /// Recovery epoch of the coordinator group.
    pub epoch: u64,
    /// Log index of the plan.
    pub index: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.index)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a host may be used for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum HostRole {
    /// Runs a mysqld that may become a member.
    Db,
    /// Runs MySQL Router.
    Router,
    /// Runs a coordinator.
    Coordinator,
}

impl HostRole {
    /// As typed and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Db => "db",
            Self::Router => "router",
            Self::Coordinator => "coordinator",
        }
    }
}

impl fmt::Display for HostRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for HostRole {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "db" => Ok(Self::Db),
            "router" => Ok(Self::Router),
            "coordinator" => Ok(Self::Coordinator),
            _ => Err(InvalidName {
                kind: "role",
                given: text.chars().take(80).collect(),
                rule: "one of db, router, coordinator",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_follow_adminapi() {
        for good in ["prod", "p", "Prod-1.eu_west", &"a".repeat(63)] {
            assert!(good.parse::<ClusterName>().is_ok(), "{good}");
        }
        for bad in ["", "1prod", "-prod", "pr od", "prod;drop", &"a".repeat(64), "prød"] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn host_names_are_lower_cased_labels() {
        assert_eq!("Node1.Example".parse::<HostName>().unwrap().as_str(), "node1.example");
        for bad in [
            "",
            "-a",
            "a-",
            "a..b",
            "10.0.0.1",
            "localhost",
            "a b",
            "nöde",
            &"a".repeat(65),
        ] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn generations_compare_epoch_first() {
        let old = Generation { epoch: 1, index: 900 };
        let new = Generation { epoch: 2, index: 3 };
        assert!(old < new);
    }
}
