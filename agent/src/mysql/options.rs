//! Our option file: rendered, placed in the distribution's include folder, compared with what runs.

use std::fmt;
use std::path::{Path, PathBuf};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::ServerConfig;

use super::conn::{Db, text};
use super::error::MysqlError;
use super::{quote, variables};
use crate::host::{Access, Host, HostError};

/// Read last in its folder, so that it wins.
pub const FILE: &str = "zz-clusterctl.cnf";

/// Main option files, in the order in which mysqld reads them, with the folder to fall back on.
const MAIN: [(&str, &str); 2] = [
    ("/etc/mysql/my.cnf", "/etc/mysql/mysql.conf.d"),
    ("/etc/my.cnf", "/etc/my.cnf.d"),
];

/// Path of our option file: in the last folder that the main option file includes.
pub async fn path(host: &dyn Host) -> Result<PathBuf, HostError> {
    for (main, folder) in MAIN {
        let Some(bytes) = host.read(Path::new(main)).await? else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        return Ok(Path::new(included(&text).unwrap_or(folder)).join(FILE));
    }
    Ok(Path::new(MAIN[0].1).join(FILE))
}

/// The last `!includedir` of an option file.
fn included(text: &str) -> Option<&str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("!includedir"))
        .map(str::trim)
        .rfind(|dir| !dir.is_empty())
}

/// Every setting that our file holds, in order.
pub fn settings(config: &ServerConfig, tls_dir: &Path) -> Vec<(String, String)> {
    let file = |name: &str| tls_dir.join(name).display().to_string();
    let mut all = vec![
        ("server_id".to_owned(), config.server_id.to_string()),
        ("report_host".to_owned(), config.report_host.to_string()),
        ("port".to_owned(), config.port.to_string()),
        ("ssl_ca".to_owned(), file("ca.pem")),
        ("ssl_cert".to_owned(), file("server.pem")),
        ("ssl_key".to_owned(), file("server.key")),
    ];
    all.extend(config.options.iter().cloned());
    all
}

/// The file's text.
pub fn render(config: &ServerConfig, tls_dir: &Path) -> Result<String, Failure> {
    let mut text = format!(
        "# Written by clusterctl for cluster {}. It is overwritten: put settings of your own into another file.\n\n[mysqld]\n",
        config.cluster
    );
    for (name, value) in settings(config, tls_dir) {
        let ok = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
            && !value.contains(['\n', '\r', '\0', '"', '\'', '#', ';', '\\']);
        if !ok {
            return Err(Failure::new(
                "option_malformed",
                format!("option {name:?} cannot be written into an option file"),
            )
            .fact(format!("value {value:?}")));
        }
        let line = if value.is_empty() {
            name
        } else {
            format!("{name} = {value}")
        };
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// Writes the file if it differs; true: written.
pub async fn write(host: &dyn Host, path: &Path, text: &str) -> Result<bool, HostError> {
    if host.read(path).await?.as_deref() == Some(text.as_bytes()) {
        return Ok(false);
    }
    if let Some(folder) = path.parent()
        && host.stat(folder).await?.is_none()
    {
        host.make_dir(folder, &Access::Own(0o755)).await?;
    }
    host.write(path, text.as_bytes(), &Access::Own(0o644)).await?;
    Ok(true)
}

/// A setting whose running value is another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Variable.
    pub name: String,
    /// In our file.
    pub wanted: String,
    /// Now.
    pub running: String,
    /// mysqld-auto.cnf holds something else, which wins over our file at every start.
    pub persisted: bool,
}

/// What Group Replication switches by itself: in our file they are for the start only, and setting them on a live primary would
/// stop its writes.
const STATE: [&str; 3] = ["super_read_only", "read_only", "offline_mode"];

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (variables::shown(&self.running), variables::shown(&self.wanted));
        write!(f, "{} {old} -> {new}", self.name)
    }
}

/// Settings that the running server does not have. Options that are no variables are left out.
pub async fn differences(db: &mut Db, wanted: &[(String, String)]) -> Result<Vec<Difference>, MysqlError> {
    let named: Vec<(String, &str)> = wanted
        .iter()
        .map(|(name, value)| (variable_name(name), value.as_str()))
        .collect();
    let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    let now = variables::read(db, &names).await?;
    // rounded up by the server to whole chunks
    let chunk = db
        .value("SELECT @@innodb_buffer_pool_chunk_size * GREATEST(@@innodb_buffer_pool_instances, 1)")
        .await?;
    let chunk = chunk.and_then(|text| text.parse().ok()).unwrap_or(0);
    let differs = |(name, value): &(String, &str)| {
        if STATE.contains(&name.as_str()) {
            return None;
        }
        let found = now.get(name)?;
        let persisted = found
            .persisted
            .as_ref()
            .is_some_and(|persisted| !variables::same(persisted, value));
        // the option names the files, the variable only says whether
        let named = name == "log_bin" && variables::same(&found.running, "ON") && !variables::same(value, "OFF");
        let runs = variables::same(&found.running, value) || named || rounded(name, value, &found.running, chunk);
        (persisted || !runs).then(|| Difference {
            name: name.clone(),
            wanted: (*value).to_owned(),
            running: found.running.clone(),
            persisted,
        })
    };
    Ok(named.iter().filter_map(differs).collect())
}

fn rounded(name: &str, wanted: &str, running: &str, chunk: u128) -> bool {
    if name != "innodb_buffer_pool_size" || chunk == 0 {
        return false;
    }
    match (variables::amount(wanted), variables::amount(running)) {
        (Some(wanted), Some(running)) => wanted.div_ceil(chunk) * chunk == running,
        _ => false,
    }
}

/// The variable behind an option's spelling.
fn variable_name(option: &str) -> String {
    let name = option.to_ascii_lowercase().replace('-', "_");
    name.strip_prefix("loose_").unwrap_or(&name).to_owned()
}

/// Applies differences without a restart where the server can; answers what changed, and what only a restart brings.
/// Nothing is set when a restart is needed anyway: it brings all of it.
pub async fn apply(db: &mut Db, differences: &[Difference]) -> Result<(Vec<String>, Vec<String>), Failure> {
    for difference in differences.iter().filter(|d| d.persisted) {
        // our file is to rule: what stands in mysqld-auto.cnf would win over it
        if let Some(name) = quote::variable(&difference.name) {
            db.run(&format!("RESET PERSIST IF EXISTS {name}")).await?;
        }
    }
    let fixed = read_only(db, differences).await?;
    if !fixed.is_empty() {
        return Ok((Vec::new(), differences.iter().map(ToString::to_string).collect()));
    }
    let (mut changed, mut restart) = (Vec::new(), Vec::new());
    for difference in differences {
        let Some(name) = quote::variable(&difference.name) else {
            continue;
        };
        if variables::same(&difference.running, &difference.wanted)
            || variables::set_global(db, name, &difference.wanted, false).await?
        {
            changed.push(difference.to_string());
        } else {
            restart.push(difference.to_string());
        }
    }
    Ok((changed, restart))
}

/// Names of those that can be set at a start only. Tried on the server itself by setting the value that it has, which changes nothing:
/// no table of the server tells it for every version.
pub async fn read_only(db: &mut Db, differences: &[Difference]) -> Result<Vec<String>, MysqlError> {
    let mut found = Vec::new();
    for difference in differences {
        let Some(name) = quote::variable(&difference.name) else {
            continue;
        };
        match db.run(&format!("SET GLOBAL {name} = @@GLOBAL.{name}")).await {
            Err(MysqlError::Refused { code: 1238, .. }) => found.push(name.to_owned()),
            Ok(()) | Err(MysqlError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Plugins that must be active, with their libraries.
const PLUGINS: [(&str, &str); 2] = [
    ("group_replication", "group_replication.so"),
    ("clone", "mysql_clone.so"),
];
/// AdminAPI's locking service.
const FUNCTIONS: [&str; 3] = [
    "service_get_read_locks",
    "service_get_write_locks",
    "service_release_locks",
];

/// What is not installed yet, as statements. A plugin that is there but not ACTIVE is a failure: somebody disabled it.
pub async fn missing_plugins(db: &mut Db) -> Result<Vec<(String, String)>, Failure> {
    let rows = db
        .rows("SELECT plugin_name, plugin_status FROM information_schema.plugins")
        .await?;
    let mut missing = Vec::new();
    for (name, library) in PLUGINS {
        match rows.iter().find(|row| text(row, 0) == name).map(|row| text(row, 1)) {
            Some(status) if status == "ACTIVE" => {}
            Some(status) => {
                return Err(
                    Failure::new("plugin_disabled", format!("plugin {name} is {status}")).hint(format!(
                        "remove {name}=OFF (or FORCE…) from the option files and restart mysqld"
                    )),
                );
            }
            None => missing.push((
                format!("plugin {name}"),
                format!("INSTALL PLUGIN {name} SONAME '{library}'"),
            )),
        }
    }
    let rows = db.rows("SELECT name FROM mysql.func").await?;
    for name in FUNCTIONS {
        if !rows.iter().any(|row| text(row, 0) == name) {
            let sql = format!("CREATE FUNCTION {name} RETURNS INT SONAME 'locking_service.so'");
            missing.push((format!("function {name}"), sql));
        }
    }
    Ok(missing)
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
