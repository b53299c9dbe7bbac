//! What Router needs on its host before its bootstrap: our CA's certificate, its system user, its unit, its home.

use std::path::Path;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::observe::UnitState;

use super::router_files::{CA, DROP_IN, HOME, MARK, OWN_UNIT, UNIT, USER, folder};
use super::{Context, Done, router_files};
use crate::host::{Access, Command, Host, systemd};

/// Looks, acts, looks again.
pub async fn ensure(cluster: &ClusterName, cx: &Context) -> Result<Done, Failure> {
    let host = &*cx.host;
    let mut changes = Vec::new();
    if host.stat(Path::new("/usr/bin/mysqlrouter")).await?.is_none() {
        return Err(
            Failure::new("router_not_installed", "there is no /usr/bin/mysqlrouter on this host")
                .hint("install the router's package; see: clusterctl check HOST"),
        );
    }
    if make_user(cx).await? {
        changes.push(format!("made the system user {USER}"));
    }
    host.make_dir(Path::new(HOME), &Access::of(0o755, USER, USER)).await?;
    let ca = cx.config.identity_dir().join("ca.pem");
    let Some(ca) = host.read(&ca).await? else {
        return Err(Failure::new("ca_missing", format!("there is no {}", ca.display()))
            .hint("enrol this host again: clusterctl-agent enroll"));
    };
    if host.read(Path::new(CA)).await?.as_deref() != Some(&*ca) {
        if let Some(folder) = Path::new(CA).parent()
            && host.stat(folder).await?.is_none()
        {
            host.make_dir(folder, &Access::Own(0o755)).await?;
        }
        host.write(Path::new(CA), &ca, &Access::Own(0o644)).await?;
        changes.push(format!("wrote {CA}"));
    }
    if write_unit(cluster, host).await? {
        changes.push(format!("wrote {UNIT}"));
    }
    Ok(Done::from_changes(changes))
}

async fn make_user(cx: &Context) -> Result<bool, Failure> {
    let host = &*cx.host;
    let look = Command::new("getent").args(["passwd", USER]);
    if look.run(host).await?.success() {
        return Ok(false);
    }
    let make = Command::new("useradd")
        .args([
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            HOME,
            "--shell",
            "/usr/sbin/nologin",
            USER,
        ])
        .survives();
    make.checked(host).await?;
    look.checked(host).await?;
    Ok(true)
}

/// Where an older agent wrote the unit or the drop-in, it has this version's text; true: it had not. Router is not restarted.
pub async fn refresh_unit(host: &dyn Host) -> Result<bool, Failure> {
    for path in [OWN_UNIT, DROP_IN] {
        if let Some(text) = host.read(Path::new(path)).await?
            && text.starts_with(MARK.as_bytes())
            && let Some(cluster) = router_files::cluster(host).await?
        {
            return write_unit(&cluster, host).await;
        }
    }
    Ok(false)
}

/// Our unit where the package has none; a drop-in where it has one. True: it was not so.
async fn write_unit(cluster: &ClusterName, host: &dyn Host) -> Result<bool, Failure> {
    let own = host.read(Path::new(OWN_UNIT)).await?;
    if own.as_ref().is_some_and(|text| !text.starts_with(MARK.as_bytes())) {
        return Err(Failure::refused(
            "router_unit_foreign",
            format!("{OWN_UNIT} is there and not of clusterctl"),
        )
        .hint(format!("move it away: mv {OWN_UNIT} /root/")));
    }
    let packaged = own.is_none() && systemd::unit(host, UNIT).await?.state != UnitState::Absent;
    let (path, text) = if packaged {
        (DROP_IN, drop_in(cluster))
    } else {
        (OWN_UNIT, unit(cluster))
    };
    systemd::unit_file(host, UNIT, Path::new(path), &text).await
}

fn exec(cluster: &ClusterName) -> String {
    // a cluster's name holds nothing that systemd would read in another way: letters, digits, `_`, `-`, `.`
    format!(
        "ExecStart=/usr/bin/mysqlrouter -c {}",
        folder(cluster).join("mysqlrouter.conf").display()
    )
}

fn unit(cluster: &ClusterName) -> String {
    format!(
        "{MARK}: the package has no unit.\n\
         [Unit]\nDescription=MySQL Router of cluster {cluster}\nAfter=network-online.target\nWants=network-online.target\n\
         StartLimitIntervalSec=0\n\n\
         [Service]\nType=notify\nNotifyAccess=main\nUser={USER}\nGroup={USER}\n{}\nRestart=always\nRestartSec=1\n\
         LimitNOFILE=65536\nLimitMEMLOCK=64M\nNoNewPrivileges=yes\nPrivateTmp=yes\nProtectSystem=full\nProtectHome=yes\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        exec(cluster)
    )
}

fn drop_in(cluster: &ClusterName) -> String {
    format!(
        "{MARK}: the configuration of cluster {cluster}, and a restart whatever happens.\n\
         [Unit]\nStartLimitIntervalSec=0\n\n[Service]\nUser={USER}\nGroup={USER}\nExecStart=\n{}\nRestart=always\nRestartSec=1\n",
        exec(cluster)
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::steps::testing;

    const ABSENT: &str = "LoadState=not-found\nActiveState=inactive\n";
    const LOADED: &str = "LoadState=loaded\nActiveState=inactive\n";

    fn fake(dir: &Path, unit: &str) -> FakeHost {
        FakeHost::new()
            .with_file("/usr/bin/mysqlrouter", "")
            .with_file(&dir.join("identity/ca.pem").display().to_string(), "CA\n")
            .on("systemctl show", &format!("{unit}FragmentPath={OWN_UNIT}\n"))
            .on("systemctl daemon-reload", "")
            .answer("getent passwd mysqlrouter", |host, _| {
                let there = host.text("/made").is_some();
                crate::host::Output::new(if there { 0 } else { 2 }, "", "")
            })
            .answer("useradd --system", |host, _| {
                host.put("/made", "");
                crate::host::Output::new(0, "", "")
            })
    }

    #[tokio::test]
    async fn user_ca_and_unit_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(fake(dir.path(), ABSENT));
        let (cx, _) = testing::context(host.clone(), dir.path());
        let cluster = "prod".parse().unwrap();
        let done = ensure(&cluster, &cx).await.unwrap();
        assert!(
            matches!(&done, Done::Changed(what) if what.contains("system user mysqlrouter") && what.contains("mysqlrouter.service")),
            "{done:?}"
        );
        let unit = host.text(OWN_UNIT).unwrap();
        assert!(
            unit.contains("ExecStart=/usr/bin/mysqlrouter -c /var/lib/mysqlrouter/prod/mysqlrouter.conf\n"),
            "{unit}"
        );
        for line in [
            "StartLimitIntervalSec=0",
            "Restart=always",
            "RestartSec=1",
            "User=mysqlrouter",
            "WantedBy=multi-user.target",
        ] {
            assert!(unit.contains(&format!("\n{line}\n")), "{line}: {unit}");
        }
        assert_eq!(host.text(CA).unwrap(), "CA\n");
        assert_eq!(ensure(&cluster, &cx).await.unwrap(), Done::Unchanged);
    }

    #[tokio::test]
    async fn a_packaged_unit_gets_a_drop_in_only() {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(fake(dir.path(), LOADED));
        let (cx, _) = testing::context(host.clone(), dir.path());
        ensure(&"prod".parse().unwrap(), &cx).await.unwrap();
        assert!(host.text(OWN_UNIT).is_none());
        assert!(
            host.text(DROP_IN)
                .unwrap()
                .contains("ExecStart=\nExecStart=/usr/bin/mysqlrouter")
        );
    }

    #[tokio::test]
    async fn a_unit_of_others_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(fake(dir.path(), LOADED).with_file(OWN_UNIT, "[Service]\nExecStart=/mine\n"));
        let (cx, _) = testing::context(host.clone(), dir.path());
        assert_eq!(
            ensure(&"prod".parse().unwrap(), &cx).await.unwrap_err().code,
            "router_unit_foreign"
        );
    }

    #[tokio::test]
    async fn an_older_agent_s_unit_is_brought_up_to_date_without_a_restart() {
        let old = format!("{MARK}: the package has no unit.\n[Service]\nRestart=on-failure\n");
        let note = r#"{"format":1,"cluster":"prod","group_name":"6266fad8-e63f-11f1-a438-8e247ed30bec","account":"a",
            "ports":{"read_write":6446,"read_only":6447,"split":6450,"x_read_write":6448,"x_read_only":6449}}"#;
        let host = fake(Path::new("/state"), LOADED)
            .with_file(OWN_UNIT, &old)
            .with_file("/var/lib/mysqlrouter/prod/clusterctl.json", note);
        assert!(refresh_unit(&host).await.unwrap());
        assert!(host.text(OWN_UNIT).unwrap().contains("Restart=always"));
        assert!(!refresh_unit(&host).await.unwrap());
        let reloads = host.calls().into_iter().filter(|call| !call.contains(" show "));
        assert_eq!(reloads.collect::<Vec<_>>(), ["systemctl daemon-reload"]);
    }

    #[tokio::test]
    async fn a_unit_that_is_not_ours_is_not_refreshed() {
        let host = fake(Path::new("/state"), LOADED).with_file(OWN_UNIT, "[Service]\nExecStart=/mine\n");
        assert!(!refresh_unit(&host).await.unwrap());
        assert!(!refresh_unit(&fake(Path::new("/state"), LOADED)).await.unwrap());
    }
}
