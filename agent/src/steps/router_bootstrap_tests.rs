//! The bootstrap on a fake host.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::host::fake::FakeHost;
use crate::host::{Host, Output};
use crate::steps::testing;

const GROUP: &str = "6266fad8-e63f-11f1-a438-8e247ed30bec";

fn conf(account: &str) -> String {
    format!(
        "[metadata_cache:bootstrap]\nrouter_id=1\nuser={account}\nmetadata_cluster=prod\n[routing:bootstrap_rw]\nbind_port=6446\n\
         [routing:bootstrap_ro]\nbind_port=6447\n[routing:bootstrap_rw_split]\nbind_port=6450\n[routing:bootstrap_x_rw]\nbind_port=6448\n\
         [routing:bootstrap_x_ro]\nbind_port=6449\n"
    )
}

fn put(host: &FakeHost, group: &str) {
    host.put("/var/lib/mysqlrouter/prod/mysqlrouter.conf", &conf("mysql_router1_abc"));
    let state = format!(r#"{{"metadata-cache":{{"group-replication-id":"{group}"}}}}"#);
    host.put("/var/lib/mysqlrouter/prod/data/state.json", &state);
}

fn fake(dir: &Path) -> FakeHost {
    FakeHost::new()
        .with_file(&dir.join("secrets/boot").display().to_string(), "s3cret")
        .on("systemctl show", "LoadState=loaded\nActiveState=inactive\n")
        .answer("/usr/bin/mysqlrouter --bootstrap", |host, _| {
            put(host, GROUP);
            Output::new(
                0,
                "- Storing account in keyring\n",
                "Please enter MySQL password for b:\n",
            )
        })
}

async fn run(host: &Arc<FakeHost>, dir: &Path) -> Result<Done, Failure> {
    run_in(host, dir, 7).await
}

/// As ordered by the plan of this generation.
async fn run_in(host: &Arc<FakeHost>, dir: &Path, index: u64) -> Result<Done, Failure> {
    let (mut cx, _) = testing::context(host.clone(), dir);
    cx.generation.index = index;
    let (cluster, ports) = ("prod".parse().unwrap(), RouterPorts::default());
    let order = Order {
        cluster: &cluster,
        group_name: GROUP.parse().unwrap(),
        primary: "node1:3306",
        user: "b",
        secret: "boot",
        ports: &ports,
    };
    ensure(&order, &cx).await
}

#[tokio::test]
async fn the_password_goes_through_standard_input_only_and_a_second_run_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(fake(dir.path()));
    assert!(matches!(run(&host, dir.path()).await.unwrap(), Done::Changed(_)));
    assert!(host.calls().iter().all(|call| !call.contains("s3cret")));
    assert_eq!(host.stdins(), [b"s3cret\n".to_vec()]);
    let before = host.calls().len();
    assert_eq!(run(&host, dir.path()).await.unwrap(), Done::Unchanged);
    assert_eq!(host.calls().len(), before);
}

#[tokio::test]
async fn a_killed_bootstrap_leaves_nothing_and_is_done_again_by_the_next_plan_only() {
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(
        fake(dir.path())
            .with_file("/var/lib/mysqlrouter/prod/data/keyring", "old")
            .with_file(
                "/proc/77/cmdline",
                "/usr/bin/mysqlrouter\0--bootstrap\0b@node1:3306\0--directory\0/var/lib/mysqlrouter/prod\0",
            )
            .answer("kill -KILL 77", |host, _| {
                host.put("/proc/77/cmdline", "");
                Output::new(0, "", "")
            }),
    );
    let failure = run(&host, dir.path()).await.unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.retry),
        ("router_half_bootstrapped", true)
    );
    assert_eq!(host.text("/var/lib/mysqlrouter/prod/data/keyring"), None);
    assert!(host.calls().iter().all(|call| !call.contains("--bootstrap")));
    assert!(matches!(run_in(&host, dir.path(), 8).await.unwrap(), Done::Changed(_)));
}

#[tokio::test]
async fn an_order_that_had_begun_before_its_agent_was_killed_does_not_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(fake(dir.path()));
    let (cx, _) = testing::context(host.clone(), dir.path());
    // killed after Router registered and before it made its folder
    router_half::begin(&cx, &"prod".parse().unwrap()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(
            run(&host, dir.path()).await.unwrap_err().code,
            "router_half_bootstrapped"
        );
    }
    assert!(run_in(&host, dir.path(), 8).await.is_ok());
    assert_eq!(run_in(&host, dir.path(), 8).await.unwrap(), Done::Unchanged);
}

#[tokio::test]
async fn a_configuration_without_its_end_mark_or_the_other_way_round_is_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(fake(dir.path()));
    put(&host, GROUP);
    assert!(run(&host, dir.path()).await.unwrap_err().retry);
    assert!(run_in(&host, dir.path(), 8).await.is_ok());
    host.remove(Path::new("/var/lib/mysqlrouter/prod/mysqlrouter.conf"))
        .await
        .unwrap();
    assert!(run_in(&host, dir.path(), 9).await.unwrap_err().retry);
    assert_eq!(host.text("/var/lib/mysqlrouter/prod/clusterctl.json"), None);
}

#[tokio::test]
async fn another_groups_configuration_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(fake(dir.path()));
    put(&host, "aaaaaaaa-e63f-11f1-a438-8e247ed30bec");
    assert_eq!(run(&host, dir.path()).await.unwrap_err().code, "router_other_group");
}

#[tokio::test]
async fn a_failure_carries_routers_words_without_the_prompt() {
    let dir = tempfile::tempdir().unwrap();
    let words = format!(
        "Please enter MySQL password for b:\nError: no route {}\n",
        "x".repeat(900)
    );
    let host = Arc::new(fake(dir.path()).on_failure("/usr/bin/mysqlrouter --bootstrap", 1, &words));
    let failure = run(&host, dir.path()).await.unwrap_err();
    assert_eq!(failure.facts.len(), 1);
    assert!(failure.facts[0].starts_with("Error: no route") && failure.facts[0].len() <= 300);
}

#[test]
fn ports_in_a_row_are_told_by_their_first() {
    assert_eq!(port_arguments(&RouterPorts::default()), ["--conf-base-port", "6446"]);
    let moved = RouterPorts {
        split: 7000,
        ..RouterPorts::default()
    };
    let arguments = port_arguments(&moved);
    assert_eq!(arguments.len(), 5);
    assert!(arguments.contains(&"--conf-set-option=routing:bootstrap_rw_split.bind_port=7000".to_owned()));
}
