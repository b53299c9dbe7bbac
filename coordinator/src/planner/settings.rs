//! Every setting that we choose for a mysqld and for its group, with the reason where it is not plain.
//!
//! Pure values: the agent writes what stands here and chooses nothing.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::step::{GroupConfig, MemberAccount, MetadataCluster, MetadataMember, ServerConfig};
use serde_json::json;

use super::live::address;
use crate::model::{Cluster, Member};

/// Port of the X Protocol where the server has not told another.
pub(crate) const X_PORT: u16 = 33060;
/// `group_replication_transaction_size_limit`; AdminAPI keeps it in the metadata, too.
const TRANSACTION_SIZE_LIMIT: u64 = 150_000_000;

/// `group_replication_unreachable_majority_timeout`: a member that lost the majority leaves the group after so long.
pub(crate) const UNREACHABLE_MAJORITY_SECONDS: u32 = 20;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// InnoDB resizes in chunks of this size.
const CHUNK: u64 = 128 * MIB;

/// The InnoDB buffer pool of a host, and why it is of this size.
///
/// Half of the memory, a quarter where that would be tight: below 4 GiB (mysqld itself, Group Replication's message cache
/// and the page cache of the binary logs need the rest) and on a host that carries Router, too. A coordinator does not count: it
/// takes some tens of MiB, and members of one cluster should be alike.
pub(crate) fn buffer_pool(wanted: Option<u64>, memory_bytes: u64, carries_router: bool) -> (u64, String) {
    if let Some(bytes) = wanted {
        return (bytes, format!("{} as asked for", mib(bytes)));
    }
    let (divisor, share) = match () {
        () if memory_bytes < 4 * GIB => (4, "a quarter of memory below 4 GiB"),
        () if carries_router => (4, "a quarter of memory beside a router"),
        () => (2, "half of memory"),
    };
    let bytes = (memory_bytes / divisor / CHUNK * CHUNK).max(CHUNK);
    (bytes, format!("{} ({share}, {} seen)", mib(bytes), mib(memory_bytes)))
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / MIB)
}

/// Our option file of one member.
pub(crate) fn server(cluster: &Cluster, host: &HostName, member: &Member, buffer_pool_bytes: u64) -> ServerConfig {
    let options = [
        ("bind_address", "*".to_owned()),
        // Distributions bind it to 127.0.0.1, and Router's X ports would lead nowhere. `loose_`: the X plugin may be off.
        ("loose_mysqlx_bind_address", "*".to_owned()),
        // Log in by address, never by a reverse look-up: without DNS these stall logins. All our accounts are `@%`.
        ("skip_name_resolve", on()),
        // A group needs both; in this order, as the second depends on the first.
        ("enforce_gtid_consistency", on()),
        ("gtid_mode", on()),
        // Stated, as an option file of the distribution may switch it off; this is the server's own default name.
        ("log_bin", "binlog".to_owned()),
        // A week: a joiner that is further behind gets a clone, which is the faster way by then.
        ("binlog_expire_logs_seconds", "604800".to_owned()),
        // An acknowledged transaction survives the loss of power.
        ("sync_binlog", "1".to_owned()),
        ("innodb_flush_log_at_trx_commit", "1".to_owned()),
        ("innodb_buffer_pool_size", buffer_pool_bytes.to_string()),
        // No channel but the group's own starts by itself, and that one the agent starts.
        ("skip_replica_start", on()),
        ("replica_parallel_workers", "4".to_owned()),
        ("replica_preserve_commit_order", on()),
        // Safety rule 1: never at boot, never by a flag that was left behind. `loose_`: the plugin comes later.
        ("loose_group_replication_start_on_boot", off()),
        ("loose_group_replication_bootstrap_group", off()),
        // Minutes: for how long a donor holds a clone whose receiver went away (default 5, in which its DDL waits).
        ("loose_clone_donor_timeout_after_network_failure", "1".to_owned()),
        // Not set on purpose: require_secure_transport. Nothing of ours connects without TLS, passwords of
        // caching_sha2_password never travel in the clear, and an application that cannot speak TLS must still be able to come.
        // The X plugin stays as it is (on): AdminAPI registers its port, Router offers it.
    ];
    ServerConfig {
        cluster: cluster.name.clone(),
        server_id: member.server_id,
        report_host: host.clone(),
        port: member.port,
        options: owned(options),
    }
}

/// What a member persists before it starts Group Replication. `peers`: the other members, those first that are to be
/// asked first.
pub(crate) fn group(
    cluster: &Cluster,
    host: &HostName,
    member: &Member,
    peers: &[HostName],
    memory_bytes: Option<u64>,
    issuer: &str,
) -> GroupConfig {
    let mut variables = vec![
        // Every start comes up read-only; Group Replication opens the primary.
        ("super_read_only", on()),
        // One writer: no gaps in AUTO_INCREMENT. AdminAPI's values for a single primary.
        ("auto_increment_increment", "1".to_owned()),
        ("auto_increment_offset", "2".to_owned()),
        ("group_replication_group_name", cluster.group_name.to_string()),
        ("group_replication_start_on_boot", off()),
        // In this order: the second may not be ON while the first is.
        ("group_replication_enforce_update_everywhere_checks", off()),
        ("group_replication_single_primary_mode", on()),
        ("group_replication_communication_stack", "MYSQL".to_owned()),
        ("group_replication_local_address", address(cluster, host)),
        seeds(cluster, peers),
        // Members know each other by certificates of our CA, and look at the names in them.
        ("group_replication_ssl_mode", "VERIFY_IDENTITY".to_owned()),
        ("group_replication_recovery_use_ssl", on()),
        ("group_replication_recovery_ssl_verify_server_cert", on()),
        // Measured (docs/mysql-facts.md): a dead primary is replaced in 7 s instead of 22 s. A rejoin repairs the price, a false expel.
        ("group_replication_member_expel_timeout", "0".to_owned()),
        ("group_replication_autorejoin_tries", "3".to_owned()),
        // 0 would let an isolated primary hang its clients for ever.
        (
            "group_replication_unreachable_majority_timeout",
            UNREACHABLE_MAJORITY_SECONDS.to_string(),
        ),
        // A member that is out answers no client with old data.
        ("group_replication_exit_state_action", "OFFLINE_MODE".to_owned()),
        // A new primary answers only when it has applied what the old one had acknowledged.
        ("group_replication_consistency", "BEFORE_ON_PRIMARY_FAILOVER".to_owned()),
        ("group_replication_paxos_single_leader", off()),
        (
            "group_replication_transaction_size_limit",
            TRANSACTION_SIZE_LIMIT.to_string(),
        ),
    ];
    // Up to 1 GiB by default, too much for a small host; 128 MiB is the least that is allowed.
    if let Some(memory) = memory_bytes
        && memory / 8 < GIB
    {
        let bytes = (memory / 8).max(128 * MIB);
        variables.push(("group_replication_message_cache_size", bytes.to_string()));
    }
    GroupConfig {
        group_name: cluster.group_name,
        variables: owned(variables),
        account: account(host, member, issuer),
    }
}

/// `group_replication_group_seeds` with these members.
pub(crate) fn seeds(cluster: &Cluster, peers: &[HostName]) -> (&'static str, String) {
    let list: Vec<String> = peers.iter().map(|peer| address(cluster, peer)).collect();
    ("group_replication_group_seeds", list.join(","))
}

/// The account by which a member proves itself to the others.
pub(crate) fn account(host: &HostName, member: &Member, issuer: &str) -> MemberAccount {
    MemberAccount {
        user: member.account_user(),
        from: "%".to_owned(),
        subject: subject(host),
        issuer: issuer.to_owned(),
    }
}

fn subject(host: &HostName) -> String {
    format!("/CN={host}")
}

/// The row of `clusters`.
pub(crate) fn metadata_cluster(cluster: &Cluster, issuer: &str) -> MetadataCluster {
    MetadataCluster {
        cluster_id: cluster.cluster_id,
        name: cluster.name.clone(),
        attributes: json!({
            "adopted": 0,
            "default": true,
            "capabilities": { "communicationStack": { "allow": [], "value": "MYSQL" } },
            "opt_certIssuer": issuer,
            "opt_memberAuthType": "CERT_SUBJECT",
            "opt_gtidSetIsComplete": cluster.gtid_set_is_complete,
            "opt_manualStartOnBoot": true,
            "opt_transactionSizeLimit": TRANSACTION_SIZE_LIMIT,
            "opt_replicationAllowedHost": "%",
            "group_replication_group_name": cluster.group_name.to_string(),
        }),
        router_options: json!({ "tags": {}, "read_only_targets": "secondaries" }),
    }
}

/// The row of `instances`.
pub(crate) fn metadata_member(host: &HostName, member: &Member, x_port: u16, joined: bool) -> MetadataMember {
    MetadataMember {
        host: host.clone(),
        port: member.port,
        x_port: Some(x_port),
        attributes: json!({
            "server_id": member.server_id,
            "opt_certSubject": subject(host),
            "recoveryAccountHost": "%",
            "recoveryAccountUser": member.account_user(),
        }),
        joined,
    }
}

fn on() -> String {
    "ON".to_owned()
}

fn off() -> String {
    "OFF".to_owned()
}

fn owned(list: impl IntoIterator<Item = (&'static str, String)>) -> Vec<(String, String)> {
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_pool_leaves_room() {
        let pool = |memory, router| buffer_pool(None, memory, router).0;
        assert_eq!(pool(GIB, false), 256 * MIB);
        assert_eq!(pool(2 * GIB, false), 512 * MIB);
        assert_eq!(pool(8 * GIB, false), 4 * GIB);
        assert_eq!(pool(8 * GIB, true), 2 * GIB);
        assert_eq!(pool(256 * GIB, false), 128 * GIB);
        assert_eq!(pool(0, false), CHUNK);
        assert_eq!(buffer_pool(Some(7), 0, false).0, 7);
    }
}
