//! Units that an older agent made, or did not make, are brought to this version's texts when an agent starts. Nothing is restarted:
//! systemd only reads them again.

use crate::config::Config;
use crate::host::{Host, server_unit};
use crate::mysql::data;
use crate::steps::router_host;

/// Of MySQL where the data is ours, of Router where its unit is.
pub async fn units(host: &dyn Host, config: &Config) {
    match server(host, config).await {
        Ok(true) => tracing::info!("mysqld hands the primary role over before it stops from now on"),
        Ok(false) => {}
        Err(failure) => tracing::warn!(%failure, "mysqld does not hand the primary role over before it stops"),
    }
    match router_host::refresh_unit(host).await {
        Ok(true) => tracing::info!("the unit of mysqlrouter was brought up to date"),
        Ok(false) => {}
        Err(failure) => tracing::warn!(%failure, "the unit of mysqlrouter is not up to date"),
    }
}

async fn server(host: &dyn Host, config: &Config) -> Result<bool, clusterctl_proto::failure::Failure> {
    if !matches!(data::marker(host, &config.mysql.data_dir).await?, Some(Ok(_))) {
        return Ok(false);
    }
    match server_unit::find(host, &config.mysql).await? {
        Some((unit, _)) => server_unit::hand_over_before_stop(host, unit).await,
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    const MARKER: &str = r#"{"format":1,"cluster":"prod","group":"g"}"#;
    const DROP_IN: &str = "/etc/systemd/system/mysql.service.d/clusterctl.conf";

    fn host() -> FakeHost {
        FakeHost::new()
            .on("systemctl show", "LoadState=loaded\nActiveState=active\n")
            .on("systemctl daemon-reload", "")
    }

    #[tokio::test]
    async fn a_server_of_ours_gets_the_drop_in_and_no_other() {
        let foreign = host();
        units(&foreign, &Config::default()).await;
        assert!(foreign.text(DROP_IN).is_none() && foreign.calls().is_empty());
        let ours = host().with_file("/var/lib/mysql/clusterctl.json", MARKER);
        units(&ours, &Config::default()).await;
        assert!(ours.text(DROP_IN).unwrap().contains("hand-over"));
        assert!(!ours.calls().iter().any(|call| call.contains("restart")));
    }
}
