//! The metadata schema against what AdminAPI makes, and every question that Router and MySQL Shell ask of it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::desk::{Desk, METADATA, NODES};

/// A fact sheet of `tests/golden`, and the question that gives the same columns.
const SHEETS: [(&str, &str, &str); 7] = [
    (
        "columns",
        include_str!("../../golden/columns.tsv"),
        "SELECT table_name, ordinal_position, column_name, column_type, is_nullable, column_key, column_default, collation_name \
         FROM information_schema.columns WHERE table_schema='mysql_innodb_cluster_metadata'",
    ),
    (
        "tables and views",
        include_str!("../../golden/objects.tsv"),
        "SELECT table_name, table_type, engine, row_format, table_collation \
         FROM information_schema.tables WHERE table_schema='mysql_innodb_cluster_metadata'",
    ),
    (
        "views and whether they can be updated",
        include_str!("../../golden/views.tsv"),
        "SELECT table_name, is_updatable, security_type FROM information_schema.views WHERE table_schema='mysql_innodb_cluster_metadata'",
    ),
    (
        "routines",
        include_str!("../../golden/routines.tsv"),
        "SELECT routine_name, routine_type, security_type FROM information_schema.routines WHERE routine_schema='mysql_innodb_cluster_metadata'",
    ),
    (
        "parameters",
        include_str!("../../golden/parameters.tsv"),
        "SELECT specific_name, ordinal_position, parameter_mode, parameter_name, dtd_identifier \
         FROM information_schema.parameters WHERE specific_schema='mysql_innodb_cluster_metadata'",
    ),
    (
        "constraints",
        include_str!("../../golden/constraints.tsv"),
        "SELECT table_name, constraint_name, constraint_type \
         FROM information_schema.table_constraints WHERE table_schema='mysql_innodb_cluster_metadata'",
    ),
    (
        "version",
        include_str!("../../golden/version.tsv"),
        "SELECT * FROM mysql_innodb_cluster_metadata.schema_version",
    ),
];

/// Tables, columns, views, routines, constraints: the same, on each member.
pub fn schema(desk: &Desk) -> Result<()> {
    for host in NODES {
        for (what, golden, sql) in SHEETS {
            let wanted: BTreeSet<&str> = golden.lines().skip(1).collect();
            let answer = desk.sql(host, sql)?;
            let found: BTreeSet<&str> = answer.lines().collect();
            let missing: Vec<_> = wanted.difference(&found).collect();
            let strange: Vec<_> = found.difference(&wanted).collect();
            ensure!(
                missing.is_empty() && strange.is_empty(),
                "{what} on {host}:\n  missing: {missing:#?}\n  not AdminAPI's: {strange:#?}"
            );
        }
    }
    Ok(())
}

/// The rows: keys and values as AdminAPI writes them for such a cluster.
pub fn rows(desk: &Desk) -> Result<()> {
    let primary = desk.primary()?;
    let cluster = document(
        desk,
        &primary,
        "SELECT JSON_OBJECT('attributes', attributes, 'name', cluster_name, 'type', cluster_type, 'mode', primary_mode, 'set', clusterset_id, 'options', options, 'router', JSON_REMOVE(router_options, '$.Configuration'), 'description', description) FROM clusters",
    )?;
    let group = desk.value(&primary, "SELECT @@group_replication_group_name")?;
    let wanted = json!({
        "name": "prod", "type": "gr", "mode": "pm", "set": null, "options": null, "description": "Default Cluster",
        "router": { "tags": {}, "read_only_targets": "secondaries" },
        "attributes": {
            "adopted": 0, "default": true, "capabilities": { "communicationStack": { "allow": [], "value": "MYSQL" } },
            "opt_certIssuer": "/CN=clusterctl CA", "opt_memberAuthType": "CERT_SUBJECT", "opt_gtidSetIsComplete": true,
            "opt_manualStartOnBoot": true, "opt_transactionSizeLimit": 150_000_000, "opt_replicationAllowedHost": "%",
            "group_replication_group_name": group,
        },
    });
    same("the row of clusters", &cluster, &wanted)?;
    let ids = super::reality::server_ids(desk)?;
    for host in NODES {
        let row = document(
            desk,
            &primary,
            &format!(
                "SELECT JSON_OBJECT('addresses', addresses, 'attributes', JSON_REMOVE(attributes, '$.joinTime'), 'name', instance_name, 'type', instance_type, 'uuid', mysql_server_uuid, 'joined', IF(JSON_CONTAINS_PATH(attributes, 'one', '$.joinTime'), 1, 0)) FROM instances WHERE address='{host}:3306'"
            ),
        )?;
        let id: u64 = ids.get(host).context("no id")?.parse()?;
        // The first member has no time of joining; nor has one that leads when a create that was cut short goes on.
        let joined = if host == primary {
            row["joined"].clone()
        } else {
            json!(u8::from(host != "node1"))
        };
        let address = format!("{host}:3306");
        let wanted = json!({
            "name": address, "type": "group-member", "uuid": desk.value(host, "SELECT @@server_uuid")?,
            "joined": joined,
            "addresses": { "mysqlX": format!("{host}:33060"), "grLocal": address, "mysqlClassic": address },
            "attributes": {
                "server_id": id, "opt_certSubject": format!("/CN={host}"), "recoveryAccountHost": "%",
                "recoveryAccountUser": format!("mysql_innodb_cluster_{id}"),
            },
        });
        same(&format!("the row of {host}"), &row, &wanted)?;
    }
    let router = document(
        desk,
        &primary,
        "SELECT JSON_OBJECT('address', address, 'product', product_name, 'version', version, 'set', clusterset_id, 'rw', attributes->>'$.RWEndpoint', 'ro', attributes->>'$.ROEndpoint', 'split', attributes->>'$.RWSplitEndpoint', 'xrw', attributes->>'$.RWXEndpoint', 'xro', attributes->>'$.ROXEndpoint', 'target', attributes->>'$.bootstrapTargetType', 'same', IF(cluster_id = (SELECT cluster_id FROM clusters), 1, 0)) FROM routers",
    )?;
    let version = desk.lab.sh(
        "router1",
        "mysqlrouter --version | grep -o '[0-9]*\\.[0-9]*\\.[0-9]*' | head -1",
    )?;
    let wanted = json!({
        "address": "router1", "product": "MySQL Router", "version": version.trim(), "set": null, "rw": "6446", "ro": "6447",
        "split": "6450", "xrw": "6448", "xro": "6449", "target": "cluster", "same": 1,
    });
    same("the row of routers", &router, &wanted)
}

fn document(desk: &Desk, host: &str, sql: &str) -> Result<Value> {
    let text = desk.value(host, &format!("USE {METADATA}; SELECT HEX(({sql}))"))?;
    let bytes: Result<Vec<u8>, _> = (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16))
        .collect();
    serde_json::from_slice(&bytes.with_context(|| format!("{sql} answered {text}"))?)
        .with_context(|| format!("{sql} answered no document"))
}

fn same(what: &str, found: &Value, wanted: &Value) -> Result<()> {
    ensure!(found == wanted, "{what} is\n{found:#}\ninstead of\n{wanted:#}");
    Ok(())
}

/// Rights: Router's account exactly Router's own, members' AdminAPI's and the two tables by which an agent asks another member
/// whether it is in a group; the Shell's account at least AdminAPI's.
pub fn grants(desk: &Desk) -> Result<()> {
    let primary = desk.primary()?;
    let sheets = [
        (
            "mysql_innodb_cluster_%",
            include_str!("../../golden/grants-member.txt"),
            true,
        ),
        ("mysql_router%", include_str!("../../golden/grants-router.txt"), true),
        ("icadmin", include_str!("../../golden/grants-admin.txt"), false),
    ];
    for (pattern, golden, exactly) in sheets {
        let users = desk.column(
            &primary,
            &format!("SELECT user FROM mysql.user WHERE user LIKE '{pattern}'"),
        )?;
        ensure!(!users.is_empty(), "no account like {pattern}");
        for user in users {
            let account = format!("`{user}`@`%`");
            let found = desk
                .sql(&primary, &format!("SHOW GRANTS FOR {account}"))?
                .replace(&account, "ACCOUNT");
            let (found, wanted) = (rights(&found), rights(golden));
            let missing: Vec<_> = wanted.difference(&found).collect();
            ensure!(missing.is_empty(), "{user} lacks {missing:?}");
            let more: Vec<_> = found.difference(&wanted).collect();
            ensure!(!exactly || more.is_empty(), "{user} has more than it should: {more:?}");
        }
    }
    Ok(())
}

/// Each right with its object, told apart by whether it may be handed on.
fn rights(text: &str) -> BTreeSet<(String, String, bool)> {
    let mut all = BTreeSet::new();
    for line in text.lines() {
        let Some((rights, rest)) = line.strip_prefix("GRANT ").and_then(|line| line.split_once(" ON ")) else {
            continue;
        };
        let object = rest.split(" TO ").next().unwrap_or_default();
        let option = line.ends_with("WITH GRANT OPTION");
        for right in rights.split(',') {
            all.insert((right.trim().to_owned(), object.to_owned(), option));
        }
    }
    all
}

/// What Router asks at its bootstrap and every moment afterwards (docs/metadata.md, Router), on each member, with Router's session settings.
pub fn routers_questions(desk: &Desk) -> Result<()> {
    const SESSION: &str = "SET @@SESSION.autocommit=1, @@SESSION.character_set_client=utf8mb4, @@SESSION.character_set_results=utf8mb4, \
        @@SESSION.character_set_connection=utf8mb4, @@SESSION.sql_mode='ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
        @@SESSION.optimizer_switch='derived_merge=on', @@SESSION.group_replication_consistency='EVENTUAL'; USE mysql_innodb_cluster_metadata;";
    let questions: [(&str, &str); 14] = [
        (
            "SELECT CONCAT_WS('.', major, minor, patch) FROM schema_version",
            "2.4.0",
        ),
        ("SELECT cluster_type FROM v2_this_instance", "gr"),
        (
            "SELECT COUNT(clusterset_id) FROM v2_this_instance i JOIN v2_cs_members csm ON i.cluster_id = csm.cluster_id",
            "0",
        ),
        ("SELECT COUNT(*) FROM v2_gr_clusters", "1"),
        ("SELECT instance_type FROM v2_this_instance", "group-member"),
        (
            "SELECT member_state FROM performance_schema.replication_group_members WHERE CAST(member_id AS CHAR) = CAST(@@server_uuid AS CHAR)",
            "ONLINE",
        ),
        (
            "SELECT SUM(IF(member_state = 'ONLINE' OR member_state = 'RECOVERING', 1, 0)) * 2 > COUNT(*) FROM performance_schema.replication_group_members",
            "1",
        ),
        (
            "SELECT @@group_replication_group_name = group_name FROM v2_gr_clusters",
            "1",
        ),
        (
            "SELECT COUNT(*) FROM v2_instances i JOIN v2_gr_clusters c ON i.cluster_id = c.cluster_id WHERE c.group_name = @@group_replication_group_name AND c.cluster_name = 'prod' AND i.attributes->>'$.instance_type' = 'group-member' AND i.endpoint = i.address AND i.xendpoint LIKE '%:33060'",
            "3",
        ),
        (
            "SELECT COUNT(*) FROM v2_instances i JOIN performance_schema.replication_group_members m ON CAST(m.member_id AS CHAR ascii) = i.mysql_server_uuid WHERE m.channel_name = 'group_replication_applier' AND m.member_state = 'ONLINE'",
            "3",
        ),
        ("SELECT @@group_replication_single_primary_mode", "1"),
        (
            "SELECT COUNT(*) FROM v2_router_options WHERE router_id = (SELECT router_id FROM v2_routers) AND router_options->>'$.read_only_targets' = 'secondaries'",
            "1",
        ),
        (
            "SELECT (SELECT COUNT(*) FROM v2_router_rest_accounts) + (SELECT COUNT(*) FROM routing_guidelines) + (SELECT COUNT(*) FROM v2_cs_clustersets) + (SELECT COUNT(*) FROM v2_ar_clusters) + (SELECT COUNT(*) FROM v2_ar_members) + (SELECT COUNT(*) FROM v2_cs_router_options) + (SELECT COUNT(*) FROM clusterset_views) + (SELECT COUNT(*) FROM v2_cs_members)",
            "0",
        ),
        (
            "SELECT COUNT(*) FROM performance_schema.replication_group_member_stats",
            "3",
        ),
    ];
    for host in NODES {
        for (sql, wanted) in questions {
            let answer = desk.value(host, &format!("{SESSION} START TRANSACTION; {sql}; COMMIT"))?;
            ensure!(
                answer == wanted,
                "{host} answers {answer:?} instead of {wanted:?} to: {sql}"
            );
        }
    }
    // Registration and heartbeat, through the views, on the primary; taken back.
    let register = "START TRANSACTION; \
        INSERT INTO v2_routers (address, product_name, router_name) VALUES ('probe', 'MySQL Router', 'system'); \
        SET @id = LAST_INSERT_ID(); SELECT @id > 0; \
        UPDATE v2_routers SET attributes = JSON_SET(IF(attributes IS NULL, '{}', attributes), '$.RWEndpoint', '6446', '$.MetadataUser', 'x'), \
            version = '9.7.4', cluster_id = (SELECT cluster_id FROM v2_this_instance), last_check_in = NOW() WHERE router_id = @id; \
        SELECT ROW_COUNT(); \
        UPDATE v2_gr_clusters SET router_options = JSON_MERGE_PATCH(router_options, '{\"Configuration\": {\"0.0.0\": {}}}'); SELECT ROW_COUNT(); \
        INSERT INTO router_stats (router_id, last_check_in) VALUES (@id, NOW()) ON DUPLICATE KEY UPDATE last_check_in = NOW(); SELECT ROW_COUNT(); \
        ROLLBACK; SELECT COUNT(*) FROM v2_routers WHERE address = 'probe'";
    let answer = desk.column(&desk.primary()?, &format!("{SESSION} {register}"))?;
    ensure!(
        answer == ["1", "1", "1", "1", "0"],
        "registration of a router: {answer:?}"
    );
    Ok(())
}

/// What `dba.getCluster()` and a clean `status()` demand (docs/metadata.md, Shell), on each member.
pub fn the_shells_questions(desk: &Desk) -> Result<()> {
    let questions: [(&str, &str); 11] = [
        (
            "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name IN ('mysql_innodb_cluster_metadata_bkp', 'mysql_innodb_cluster_metadata_previous')",
            "0",
        ),
        (
            "SELECT COUNT(*) FROM performance_schema.replication_connection_configuration WHERE channel_name = '__mysql_innodb_cluster_creating_cluster__'",
            "0",
        ),
        ("SELECT cluster_type FROM v2_this_instance", "gr"),
        (
            "SELECT COUNT(*) FROM performance_schema.threads WHERE name = 'thread/group_rpl/THD_delayed_initialization'",
            "0",
        ),
        (
            "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_role = 'PRIMARY' AND member_host = (SELECT SUBSTRING_INDEX(address, ':', 1) FROM v2_instances WHERE mysql_server_uuid = CONVERT(member_id USING utf8mb4))",
            "1",
        ),
        (
            "SELECT primary_mode = IF(@@group_replication_single_primary_mode, 'pm', 'mm') FROM v2_gr_clusters",
            "1",
        ),
        (
            "SELECT attributes->>'$.group_replication_group_name' = @@group_replication_group_name FROM clusters",
            "1",
        ),
        (
            "SELECT i.address = CONCAT(@@report_host, ':', @@port) AND i.addresses->>'$.mysqlClassic' = i.address AND i.addresses->>'$.mysqlX' = CONCAT(@@report_host, ':', @@mysqlx_port) AND i.addresses->>'$.grLocal' = @@group_replication_local_address AND i.attributes->>'$.server_id' = @@server_id AND i.attributes->>'$.recoveryAccountUser' = CONCAT('mysql_innodb_cluster_', @@server_id) FROM instances i WHERE i.mysql_server_uuid = @@server_uuid",
            "1",
        ),
        (
            "SELECT COUNT(*) = 3 AND SUM(u.user IN (SELECT i.attributes->>'$.recoveryAccountUser' FROM instances i)) = 3 FROM mysql.user u WHERE u.user LIKE 'mysql_innodb_cluster%'",
            "1",
        ),
        (
            "SELECT attributes->>'$.opt_transactionSizeLimit' = @@group_replication_transaction_size_limit AND attributes->>'$.opt_memberAuthType' = 'CERT_SUBJECT' AND attributes->>'$.capabilities.communicationStack.value' = @@group_replication_communication_stack FROM clusters",
            "1",
        ),
        (
            "SELECT COUNT(*) FROM mysql.func WHERE name IN ('service_get_read_locks', 'service_get_write_locks', 'service_release_locks')",
            "3",
        ),
    ];
    for host in NODES {
        for (sql, wanted) in questions {
            let answer = desk.value(host, &format!("USE {METADATA}; {sql}"))?;
            ensure!(
                answer == wanted,
                "{host} answers {answer:?} instead of {wanted:?} to: {sql}"
            );
        }
    }
    Ok(())
}
