//! What replicates: accounts, schemas, metadata and rows. A transaction is a change of it that gives the same everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

/// What a transaction does.
pub(crate) type Change = Arc<dyn Fn(&mut Data) + Send + Sync>;

/// A transaction before it has a GTID.
#[derive(Clone)]
pub(crate) struct Work {
    pub what: String,
    pub row: Option<u64>,
    pub change: Change,
}

impl Work {
    pub fn new(what: impl Into<String>, change: impl Fn(&mut Data) + Send + Sync + 'static) -> Self {
        Self {
            what: what.into(),
            row: None,
            change: Arc::new(change),
        }
    }
}

/// A transaction with its GTID. Two of the same GTID are different ones where their ids differ.
#[derive(Clone)]
pub(crate) struct Trx {
    pub id: u64,
    pub source: String,
    pub number: u64,
    pub origin: String,
    pub work: Work,
}

impl Trx {
    pub fn gtid(&self) -> String {
        format!("{}:{}", self.source, self.number)
    }
}

/// Rights of an account on a level (schema and table, empty: all), and whether it may hand them on.
pub(crate) type Rights = BTreeMap<(String, String), BTreeMap<String, bool>>;

/// A row of `mysql.user`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Account {
    /// Authentication plugin.
    pub plugin: String,
    /// Upper-case hexadecimal of `authentication_string`.
    pub hash: String,
    /// `x509_issuer`.
    pub issuer: String,
    /// `x509_subject`.
    pub subject: String,
    /// `ssl_type`.
    pub ssl: String,
    /// `account_locked`.
    pub locked: bool,
    /// Attribute of accounts that clusterctl made.
    pub ours: bool,
    pub(crate) rights: Rights,
}

impl Account {
    pub(crate) fn holds(&self, schema: &str, table: &str, right: &str) -> bool {
        let has = |schema: &str, table: &str| {
            let mut levels = self.rights.iter();
            let level = levels.find(|((of_schema, of_table), _)| of_schema == schema && of_table == table);
            level.is_some_and(|(_, rights)| rights.contains_key(right))
        };
        has("", "") || has(schema, "") || has(schema, table)
    }
}

/// A row of a table of the metadata schema.
pub(crate) type Record = BTreeMap<String, Value>;

/// Rows of AdminAPI's tables.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Metadata {
    pub clusters: Vec<Record>,
    pub instances: Vec<Record>,
    pub routers: Vec<Record>,
    pub router_stats: BTreeSet<u64>,
    pub last_instance: u64,
    pub last_router: u64,
}

/// Everything that a dump would hold.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Data {
    pub accounts: BTreeMap<(String, String), Account>,
    /// Schemas with their tables, views and routines.
    pub schemas: BTreeMap<String, BTreeSet<String>>,
    pub metadata: Metadata,
    pub marker: Option<String>,
    pub rows: BTreeSet<u64>,
    /// Not replicated, but copied by a clone.
    pub plugins: BTreeSet<String>,
    pub functions: BTreeSet<String>,
    pub recovery_user: Option<String>,
}

impl Data {
    /// As the distribution's package leaves it.
    pub fn fresh() -> Self {
        let mut data = Self::default();
        let root = Account {
            plugin: "auth_socket".to_owned(),
            ..Account::default()
        };
        data.accounts.insert(("root".to_owned(), "localhost".to_owned()), root);
        data.plugins = ["auth_socket", "mysqlx"].map(str::to_owned).into();
        data
    }

    /// The account by which a user enters, whatever its host part.
    pub fn account(&self, user: &str) -> Option<&Account> {
        let mut all = self.accounts.iter().filter(|((name, _), _)| name == user);
        all.next().map(|(_, account)| account)
    }
}
