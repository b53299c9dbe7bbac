//! System variables: which there are, of what kind, and where their values come from.

use std::collections::BTreeMap;

use super::session::SqlError;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Switch,
    Number,
    Text,
}

/// What is known of a variable beforehand: name, kind, default, whether only a start sets it.
type Known = (&'static str, Kind, &'static str, bool);

use Kind::{Number, Switch, Text};

const SERVER: [Known; 34] = [
    ("server_id", Number, "1", false),
    ("version", Text, "9.7.4", true),
    ("hostname", Text, "", true),
    ("report_host", Text, "", true),
    ("port", Number, "3306", true),
    ("mysqlx_port", Number, "33060", true),
    ("bind_address", Text, "*", true),
    ("mysqlx_bind_address", Text, "*", true),
    ("skip_name_resolve", Switch, "OFF", true),
    ("enforce_gtid_consistency", Text, "OFF", false),
    ("gtid_mode", Text, "OFF", false),
    ("log_bin", Switch, "ON", true),
    ("binlog_expire_logs_seconds", Number, "2592000", false),
    ("sync_binlog", Number, "1", false),
    ("innodb_flush_log_at_trx_commit", Number, "1", false),
    ("innodb_buffer_pool_size", Number, "134217728", false),
    ("innodb_buffer_pool_chunk_size", Number, "134217728", true),
    ("innodb_buffer_pool_instances", Number, "1", true),
    ("skip_replica_start", Switch, "OFF", true),
    ("replica_parallel_workers", Number, "4", false),
    ("replica_preserve_commit_order", Switch, "ON", false),
    ("ssl_ca", Text, "ca.pem", false),
    ("ssl_cert", Text, "server-cert.pem", false),
    ("ssl_key", Text, "server-key.pem", false),
    ("super_read_only", Switch, "OFF", false),
    ("read_only", Switch, "OFF", false),
    ("offline_mode", Switch, "OFF", false),
    ("partial_revokes", Switch, "OFF", false),
    ("auto_increment_increment", Number, "1", false),
    ("auto_increment_offset", Number, "1", false),
    ("max_allowed_packet", Number, "67108864", false),
    ("wait_timeout", Number, "28800", false),
    ("require_secure_transport", Switch, "OFF", false),
    ("max_connections", Number, "151", false),
];

const GROUP: [Known; 29] = [
    ("group_replication_group_name", Text, "", false),
    ("group_replication_start_on_boot", Switch, "ON", false),
    ("group_replication_bootstrap_group", Switch, "OFF", false),
    (
        "group_replication_enforce_update_everywhere_checks",
        Switch,
        "OFF",
        false,
    ),
    ("group_replication_single_primary_mode", Switch, "ON", false),
    ("group_replication_communication_stack", Text, "XCOM", false),
    ("group_replication_local_address", Text, "", false),
    ("group_replication_group_seeds", Text, "", false),
    ("group_replication_ssl_mode", Text, "DISABLED", false),
    ("group_replication_recovery_use_ssl", Switch, "OFF", false),
    (
        "group_replication_recovery_ssl_verify_server_cert",
        Switch,
        "OFF",
        false,
    ),
    ("group_replication_recovery_ssl_ca", Text, "", false),
    ("group_replication_recovery_ssl_cert", Text, "", false),
    ("group_replication_recovery_ssl_key", Text, "", false),
    ("group_replication_member_expel_timeout", Number, "5", false),
    ("group_replication_autorejoin_tries", Number, "3", false),
    ("group_replication_unreachable_majority_timeout", Number, "0", false),
    ("group_replication_exit_state_action", Text, "OFFLINE_MODE", false),
    (
        "group_replication_consistency",
        Text,
        "BEFORE_ON_PRIMARY_FAILOVER",
        false,
    ),
    ("group_replication_paxos_single_leader", Switch, "OFF", false),
    ("group_replication_transaction_size_limit", Number, "150000000", false),
    ("group_replication_message_cache_size", Number, "1073741824", false),
    ("group_replication_force_members", Text, "", false),
    ("group_replication_gtid_assignment_block_size", Number, "1000000", false),
    ("group_replication_member_weight", Number, "50", false),
    ("group_replication_components_stop_timeout", Number, "300", false),
    (
        "group_replication_clone_threshold",
        Number,
        "9223372036854775807",
        false,
    ),
    ("group_replication_ip_allowlist", Text, "AUTOMATIC", false),
    ("group_replication_view_change_uuid", Text, "AUTOMATIC", false),
];

const CLONE: [Known; 5] = [
    ("clone_valid_donor_list", Text, "", false),
    ("clone_ssl_ca", Text, "", false),
    ("clone_ssl_cert", Text, "", false),
    ("clone_ssl_key", Text, "", false),
    ("clone_donor_timeout_after_network_failure", Number, "5", false),
];

fn known(name: &str) -> Option<&'static Known> {
    SERVER.iter().chain(&GROUP).chain(&CLONE).find(|known| known.0 == name)
}

/// Names of all variables that depend on a plugin.
fn plugin(name: &str) -> Option<&'static str> {
    if name.starts_with("group_replication_") {
        Some("group_replication")
    } else if name.starts_with("clone_") {
        Some("clone")
    } else {
        None
    }
}

#[derive(Clone, Debug)]
struct Value {
    text: String,
    source: &'static str,
}

/// Running values. What plugins bring is there beforehand, and unknown to clients until they are installed.
#[derive(Clone, Debug)]
pub(crate) struct Variables(BTreeMap<&'static str, Value>);

impl Variables {
    /// As at a start: defaults, then option files, then mysqld-auto.cnf.
    pub fn at_start(host: &str, options: &BTreeMap<String, String>, persisted: &BTreeMap<String, String>) -> Self {
        let all = SERVER.iter().chain(&GROUP).chain(&CLONE);
        let mut variables = Self(
            all.map(|known| {
                let text = if known.0 == "hostname" { host } else { known.2 };
                (
                    known.0,
                    Value {
                        text: text.to_owned(),
                        source: "COMPILED",
                    },
                )
            })
            .collect(),
        );
        for (name, value) in options {
            variables.put(name, value, "GLOBAL");
        }
        for (name, value) in persisted {
            variables.put(name, value, "PERSISTED");
        }
        if !variables.is_off("super_read_only") {
            variables.put("read_only", "ON", "COMPILED");
        }
        variables
    }

    fn put(&mut self, name: &str, value: &str, source: &'static str) {
        let name = name.to_ascii_lowercase().replace('-', "_");
        let name = name.strip_prefix("loose_").unwrap_or(&name);
        let Some(known) = known(name) else { return };
        let text = match known.1 {
            // An option file names the files of `log_bin`.
            Switch => switch(value).unwrap_or("ON").to_owned(),
            Number => number(value).unwrap_or_else(|| value.to_owned()),
            Text => value.to_owned(),
        };
        self.0.insert(known.0, Value { text, source });
    }

    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.text.as_str())
    }

    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    pub fn is_off(&self, name: &str) -> bool {
        self.text(name) == "OFF"
    }

    /// Without a look at rights and kinds.
    pub fn set_running(&mut self, name: &str, value: &str) {
        self.put(name, value, "DYNAMIC");
    }

    /// No writes.
    pub fn close(&mut self) {
        self.set_running("super_read_only", "ON");
        self.set_running("read_only", "ON");
    }

    /// The primary.
    pub fn open(&mut self) {
        self.set_running("super_read_only", "OFF");
        self.set_running("read_only", "OFF");
    }

    /// By SET: checked; tells the value as it is stored.
    pub fn set(&mut self, name: &str, value: Option<&str>, running: bool) -> Result<String, SqlError> {
        let known = known(name).ok_or_else(|| unknown(name))?;
        if running && known.3 {
            return Err(SqlError::new(
                1238,
                format!("Variable '{name}' is a read only variable"),
            ));
        }
        let wrong = |value: &str| {
            SqlError::new(
                1231,
                format!("Variable '{name}' can't be set to the value of '{value}'"),
            )
        };
        let value = value.ok_or_else(|| wrong("NULL"))?;
        let text = match known.1 {
            Switch => switch(value).ok_or_else(|| wrong(value))?.to_owned(),
            Number => number(value)
                .ok_or_else(|| SqlError::new(1232, format!("Incorrect argument type to variable '{name}'")))?,
            Text => value.to_owned(),
        };
        if running {
            self.set_running(name, &text);
            if name == "super_read_only" && text == "ON" {
                self.set_running("read_only", "ON");
            }
            if name == "read_only" && text == "OFF" {
                self.set_running("super_read_only", "OFF");
            }
        }
        Ok(text)
    }

    /// As `SELECT @@name` shows it: a switch as 1 or 0.
    pub fn shown(&self, name: &str) -> Option<String> {
        let known = known(name)?;
        let text = self.text(name);
        Some(match known.1 {
            Switch if text == "ON" => "1".to_owned(),
            Switch => "0".to_owned(),
            Number | Text => text.to_owned(),
        })
    }

    /// Value and source as in `performance_schema`.
    pub fn row(&self, name: &str) -> Option<(String, &'static str)> {
        let value = self.0.get(name)?;
        Some((value.text.clone(), value.source))
    }
}

pub(crate) fn default_of(name: &str) -> Option<&'static str> {
    known(name).map(|known| known.2)
}

/// It exists on a server with these plugins.
pub(crate) fn exists(name: &str, plugins: &std::collections::BTreeSet<String>) -> bool {
    known(name).is_some() && plugin(name).is_none_or(|plugin| plugins.contains(plugin))
}

pub(crate) fn unknown(name: &str) -> SqlError {
    SqlError::new(1193, format!("Unknown system variable '{name}'"))
}

fn switch(value: &str) -> Option<&'static str> {
    match value.to_ascii_uppercase().as_str() {
        "ON" | "1" | "TRUE" | "YES" | "" => Some("ON"),
        "OFF" | "0" | "FALSE" | "NO" => Some("OFF"),
        _ => None,
    }
}

fn number(value: &str) -> Option<String> {
    value.parse::<i128>().ok().map(|number| number.to_string())
}
