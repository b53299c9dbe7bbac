//! AdminAPI's metadata, natively: the schema, and the rows of clusters, instances and routers.
//!
//! Written on the primary only, each change in one transaction that first checks ONLINE, PRIMARY and quorum (safety rule 7), under
//! AdminAPI's own advisory lock. The SQL here is ours, written from what the schema is known to hold.

mod read;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

pub use read::{copy, routers_of};
pub use rows::{forget_instance, forget_router, put_cluster, put_instance};
pub use schema::ensure_schema;

/// The schema's name.
pub const SCHEMA: &str = super::grants::METADATA;
/// The version that we make: what MySQL Shell 9.6 and later make, and Router 9.7 accepts.
pub const VERSION: &str = "2.4.0";
/// No such table, no such database: the schema is not there.
const ABSENT: [u16; 2] = [1146, 1049];
