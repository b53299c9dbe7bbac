//! Closing a server to writes that is out of its group: a step opened it (`clone.rs` `prepare`), or a person.
//!
//! Called by steps, by the end of a cancelled one, and by the keeper. It must never leave a primary closed.

use clusterctl_proto::observe::{MemberRole, MemberState};

use super::conn::Db;
use super::error::MysqlError;
use super::{clone, group};

/// Sets super_read_only ON where this server is in no group; false: it is in one, a clone runs, or it was ON. A START of a person's that
/// begins after the first look closes the server itself, and takes a second to open a primary.
pub async fn outside(db: &mut Db) -> Result<bool, MysqlError> {
    let is_out = group::view(db).await?.is_none_or(|view| view.is_out());
    // A clone drops data only while it is OFF.
    if !is_out || clone::is_running(db).await? {
        return Ok(false);
    }
    // A person may have closed it since the caller looked.
    if db.value("SELECT @@GLOBAL.super_read_only").await?.as_deref() == Some("1") {
        return Ok(false);
    }
    // A transaction that is open keeps it waiting.
    db.run("SET SESSION lock_wait_timeout = 2").await?;
    db.run("SET GLOBAL super_read_only = ON").await?;
    // While it waited, a person may have made this server the primary.
    let view = group::view(db).await?;
    if view.is_some_and(|view| view.state == MemberState::Online && view.role == MemberRole::Primary) {
        db.run("SET GLOBAL super_read_only = OFF").await?;
        db.run("SET GLOBAL read_only = OFF").await?;
        return Ok(false);
    }
    Ok(true)
}
