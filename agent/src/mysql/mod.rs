//! The local mysqld, over its unix socket, and AdminAPI's metadata in it.
//!
//! Steps and the observation call it; nothing else talks SQL. Servers are reached through [`Servers`] only, so that a simulated one answers
//! as well. It carries out what it is told: which member, which donor, which value is the planner's. Every statement has a time-out, and a connection on which one fired is never used again.
//! Passwords and their hashes go into statements only, never into an error or the log.

pub(crate) mod accounts;
pub(crate) mod binlog;
pub(crate) mod clone;
pub(crate) mod close;
pub(crate) mod conn;
pub(crate) mod data;
pub mod driver;
pub(crate) mod enter;
pub mod error;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod grants;
pub(crate) mod group;
pub(crate) mod locks;
pub(crate) mod log;
pub(crate) mod metadata;
pub(crate) mod notice;
pub(crate) mod observe;
pub(crate) mod options;
pub(crate) mod peer;
pub(crate) mod primary;
pub(crate) mod quote;
pub(crate) mod run;
pub(crate) mod schema_rules;
pub mod server;
pub(crate) mod standstill;
pub(crate) mod start;
pub(crate) mod variables;
pub(crate) mod weight;

pub use conn::Db;
pub use driver::Driver;
pub use error::MysqlError;
pub use server::Servers;
