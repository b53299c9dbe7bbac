//! This host has a machine-id of its own: an image that was copied brings its original's.

use std::path::Path;

use clusterctl_proto::failure::Failure;
use uuid::Uuid;

use super::{Context, Done};
use crate::host::{Access, Command};

const PATH: &str = "/etc/machine-id";
/// On Debian a file of its own, elsewhere a link to the first.
const OF_DBUS: &str = "/var/lib/dbus/machine-id";

/// Looks, writes a random one if it must, looks again.
pub async fn ensure(not: &str, cx: &Context) -> Result<Done, Failure> {
    let now = read(cx, PATH).await?;
    if now != not {
        return Ok(Done::Unchanged);
    }
    if cx
        .host
        .stat(&cx.config.mysql.data_dir.join("clusterctl.json"))
        .await?
        .is_some()
    {
        return Err(Failure::refused(
            "machine_id_in_use",
            "this host holds a cluster's data; its machine-id is not changed under it",
        )
        .fact(format!("machine-id {now}"))
        .hint("in a quiet moment: rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot"));
    }
    // not systemd-machine-id-setup: it may derive the id from what the copies have in common
    let own = Uuid::new_v4().simple().to_string();
    let text = format!("{own}\n");
    for path in [PATH, OF_DBUS] {
        // a link to the first has the new one by then
        if path == PATH || read(cx, path).await? == not {
            cx.host
                .write(Path::new(path), text.as_bytes(), &Access::Own(0o444))
                .await?;
        }
    }
    if read(cx, PATH).await? != own {
        return Err(
            Failure::new("machine_id", format!("{PATH} was written, but does not say so"))
                .hint("is it a mount point of its own? then give this host its id from outside, and start it again"),
        );
    }
    // journald writes to a folder of this name, and journalctl looks there; its clients notice nothing of a restart
    let restart = Command::new("systemctl").args(["restart", "systemd-journald.service"]);
    if let Err(error) = restart.checked(&*cx.host).await {
        tracing::warn!(%error, "journald goes on under the old machine-id until the next boot");
    }
    Ok(Done::changed(format!("machine-id {not} -> {own}")))
}

async fn read(cx: &Context, path: &str) -> Result<String, Failure> {
    let bytes = cx.host.read(Path::new(path)).await?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::steps::testing;

    #[tokio::test]
    async fn a_copied_id_is_replaced_once_everywhere() {
        let fake = FakeHost::new()
            .with_file(PATH, "abc\n")
            .with_file(OF_DBUS, "abc\n")
            .on("systemctl restart", "");
        let fake = Arc::new(fake);
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(fake.clone(), dir.path());
        assert!(matches!(ensure("abc", &cx).await.unwrap(), Done::Changed(_)));
        let own = fake.text(PATH).unwrap();
        assert!(own.len() == 33 && own != "abc\n");
        assert_eq!(fake.text(OF_DBUS).unwrap(), own);
        assert_eq!(ensure("abc", &cx).await.unwrap(), Done::Unchanged);
        assert_eq!(fake.text(PATH).unwrap(), own);
    }

    #[tokio::test]
    async fn a_member_s_id_is_left_alone() {
        let fake = FakeHost::new()
            .with_file(PATH, "abc\n")
            .with_file("/var/lib/mysql/clusterctl.json", "{}");
        let fake = Arc::new(fake);
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(fake.clone(), dir.path());
        assert_eq!(ensure("abc", &cx).await.unwrap_err().code, "machine_id_in_use");
        assert_eq!(fake.text(PATH).unwrap(), "abc\n");
    }
}
