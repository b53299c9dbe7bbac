//! The local mysqld, over its unix socket, and AdminAPI's metadata in it.
//!
//! Steps and the observation call it; nothing else talks SQL. Servers are reached through [`Servers`] only, so that a simulated one answers
//! as well. It carries out what it is told: which member, which donor,
//! which value is the planner's. Every statement has a time-out, and a connection on which one fired is never used again.
//! Passwords and their hashes go into statements only, never into an error or the log.

pub mod accounts;
pub mod binlog;
pub mod clone;
pub mod conn;
pub mod data;
pub mod driver;
pub mod enter;
pub mod error;
#[cfg(test)]
pub mod fake;
pub mod grants;
pub mod group;
pub mod locks;
pub mod metadata;
pub mod observe;
pub mod options;
pub mod peer;
pub mod primary;
pub mod quote;
pub mod schema_rules;
pub mod server;
pub mod variables;

pub use conn::Db;
pub use driver::Driver;
pub use error::MysqlError;
pub use server::Servers;
