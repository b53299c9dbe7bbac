//! A password is no longer on this host.

use clusterctl_proto::failure::Failure;

use super::{Context, Done, make_secret};

/// Removes the password and its hash.
pub async fn ensure(name: &str, cx: &Context) -> Result<Done, Failure> {
    make_secret::check_name(name)?;
    let mut removed = false;
    for file in [format!("{name}.hash"), name.to_owned()] {
        removed |= cx.host.remove(&cx.config.secret_path(&file)).await?;
    }
    Ok(if removed {
        Done::changed(format!("removed the password {name}"))
    } else {
        Done::Unchanged
    })
}
