//! Commands that ask, and those that need no operation.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clusterctl_proto::wire::control::*;

use crate::support::fake::{Fake, operation};
use crate::support::{Ca, Group, Ran, write_operator};

#[test]
fn status_hosts_and_check_print_tables_and_documents() {
    let group = Group::start(Fake {
        hosts: vec![Host {
            name: "node1".to_owned(),
            agent: "connected".to_owned(),
            ..Host::default()
        }],
        status: StatusReply {
            clusters: vec![ClusterStatus {
                name: "prod".to_owned(),
                verdict: "OK: 3 of 3 members ONLINE, tolerates 1 failure".to_owned(),
                state: "ok".to_owned(),
                ..ClusterStatus::default()
            }],
        },
        check: CheckReply {
            verdict: "fail".to_owned(),
            hosts: vec![],
        },
        ..Fake::default()
    });
    let status = group.run(&["status"]);
    assert_eq!(status.status, 0, "{status:?}");
    assert!(
        status
            .out
            .starts_with("prod: OK: 3 of 3 members ONLINE, tolerates 1 failure\n")
    );
    assert_eq!(
        group.run(&["status", "-o", "json"]).json()["clusters"][0]["state"],
        "ok"
    );
    assert!(group.run(&["hosts"]).out.starts_with("HOST"));
    assert_eq!(group.run(&["hosts", "-o", "json"]).json()["hosts"][0]["name"], "node1");
    let check = group.run(&["check", "node1", "-o", "json"]);
    assert_eq!(check.status, 3);
    assert_eq!(check.json()["verdict"], "fail");
}

#[test]
fn the_token_is_alone_on_stdout() {
    let group = Group::start(Fake::default());
    let ran = group.run(&["token", "create", "--role", "db"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "cct1.abc\n"), "{ran:?}");
    assert!(
        ran.err.contains("clusterctl-agent enroll --token-file -"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("cct1."), "{}", ran.err);
    let dry = group.run(&["token", "create", "--role", "db,router", "--dry-run"]);
    assert!(
        dry.out.starts_with("would make a token for 1 host with role db,router"),
        "{dry:?}"
    );
}

#[test]
fn a_token_that_replaces_names_its_host_and_needs_no_role() {
    let fake = Fake::default();
    let asked = fake.asked_tokens.clone();
    let group = Group::start(fake);
    let ran = group.run(&["token", "create", "--host", "node1", "--replace"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "cct1.abc\n"), "{ran:?}");
    assert!(
        ran.err
            .contains("a token for node1, whose key it replaces, with its own roles")
            && ran
                .err
                .contains("on node1, as root: clusterctl-agent enroll --token-file -"),
        "{}",
        ran.err
    );
    let sent = asked.lock().unwrap().pop().expect("a request");
    assert!(
        sent.replace && sent.host == "node1" && sent.roles.is_empty() && sent.uses == 1,
        "{sent:?}"
    );
    group.run(&["token", "create", "--role", "db", "--host", "node1"]);
    assert!(!asked.lock().unwrap().pop().expect("a request").replace);
    for wrong in [
        &["token", "create", "--replace"][..],
        &["token", "create", "--host", "node1"],
        &["token", "create", "--host", "node1", "--replace", "--uses", "2"],
    ] {
        assert_eq!(group.run(wrong).status, 2, "{wrong:?}");
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn an_operator_gets_a_folder_that_works() {
    use std::os::unix::fs::PermissionsExt;
    let group = Group::start(Fake {
        signed: CreateOperatorReply {
            certificate_pem: "a certificate".to_owned(),
            ca_pem: "a CA".to_owned(),
            endpoints: vec!["10.0.0.1:7440".to_owned()],
        },
        ..Fake::default()
    });
    let out = group.folder.path().join("bob");
    let path = out.to_str().unwrap();
    let args = ["operator", "create", "bob", "--role", "viewer", "--out", path];
    let ran = group.run(&args);
    assert_eq!(ran.status, 0, "{ran:?}");
    let key = out.join("key.pem");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(key).unwrap().contains("PRIVATE KEY"));
    let settings = std::fs::read_to_string(out.join("ctl.toml")).unwrap();
    assert!(settings.contains("endpoints = [\"10.0.0.1:7440\"]"), "{settings}");
    let again = group.run(&args);
    assert_eq!(again.status, 8, "a key is never written over: {again:?}");
}

#[test]
fn a_foreign_certificate_is_told() {
    let group = Group::start(Fake::default());
    let folder = tempfile::tempdir().unwrap();
    write_operator(folder.path(), &Ca::new(), &group.endpoint);
    let ran = Ran::of(
        crate::support::clusterctl(&["status"])
            .env("CLUSTERCTL_CONFIG", folder.path().join("ctl.toml"))
            .output()
            .unwrap(),
    );
    assert_eq!(ran.status, 7, "{ran:?}");
    assert!(ran.err.contains("not signed by our CA"), "{}", ran.err);
}

#[test]
fn operations_are_listed_shown_and_cancelled() {
    let group = Group::start(Fake {
        operations: vec![operation("running", "running", "")],
        ..Fake::default()
    });
    assert!(group.run(&["ops", "ls"]).out.contains("join node3"));
    assert!(
        group
            .run(&["ops", "show", "7"])
            .out
            .contains("install packages: running")
    );
    assert!(
        group
            .run(&["ops", "cancel", "7", "--dry-run"])
            .out
            .starts_with("would cancel operation 7")
    );
    assert!(
        group
            .run(&["ops", "cancel", "7"])
            .out
            .starts_with("operation 7 (join node3) is cancelled")
    );
    let unknown = group.run(&["ops", "show", "9"]);
    assert_eq!(unknown.status, 1);
    assert!(unknown.err.starts_with("error: there is no operation 9"), "{unknown:?}");
}

/// Not the figure of the benchmark (release binaries, a lab), but a guard: a debug build stays far below a second.
#[test]
fn status_is_quick() {
    let group = Group::start(Fake::default());
    group.run(&["status"]);
    let begin = Instant::now();
    assert_eq!(group.run(&["status"]).status, 0);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[test]
fn the_journal_is_listed_and_followed() {
    let event = Event {
        id: 4,
        at: "2026-05-01T12:00:00Z".to_owned(),
        who: "operator/alice".to_owned(),
        cluster: "prod".to_owned(),
        host: "node3".to_owned(),
        kind: "member_joined".to_owned(),
        text: "node3 joined".to_owned(),
        ..Event::default()
    };
    let group = Group::start(Fake {
        events: vec![event],
        ..Fake::default()
    });
    assert_eq!(group.run(&["events", "-o", "json"]).json()["events"][0]["id"], 4);
    assert!(group.run(&["events"]).out.contains("node3 joined"));
    let line = first_lines(&group, &["events", "-f"], 1);
    assert_eq!(
        line[0],
        "4 2026-05-01T12:00:00Z operator/alice prod/node3: node3 joined"
    );
}

#[test]
fn the_journal_of_a_host_is_the_newest_of_its_own() {
    let event = |id, host: &str, who: &str| Event {
        id,
        host: host.to_owned(),
        who: who.to_owned(),
        text: format!("event {id}"),
        ..Event::default()
    };
    let group = Group::start(Fake {
        events: vec![
            event(1, "node3", "coordinator/1"),
            event(2, "node2", "coordinator/1"),
            event(3, "", "agent/node3"),
            event(4, "node3", "coordinator/1"),
            event(5, "node1", "coordinator/1"),
        ],
        ..Fake::default()
    });
    let ids = |args: &[&str]| -> Vec<u64> {
        let document = group.run(args).json();
        let events = document["events"].as_array().unwrap();
        events.iter().map(|event| event["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids(&["events", "--host", "node3", "-o", "json"]), [1, 3, 4]);
    assert_eq!(
        ids(&["events", "--host", "node3", "--limit", "2", "-o", "json"]),
        [3, 4]
    );
    assert_eq!(
        group.run(&["events", "--host", "node9"]).out,
        "no event of a host node9\n"
    );
    let followed = first_lines(&group, &["events", "-f", "--host", "node3", "--limit", "2"], 2);
    assert!(
        followed[0].starts_with("3 ") && followed[1].starts_with("4 "),
        "{followed:?}"
    );
}

#[test]
fn a_watched_status_is_one_document_a_line() {
    let group = Group::start(Fake::default());
    for line in first_lines(&group, &["status", "-w", "1", "-o", "json"], 2) {
        let document: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(document["apiVersion"], "clusterctl/v1");
    }
}

/// Of a command that goes on until it is stopped.
fn first_lines(group: &Group, args: &[&str], count: usize) -> Vec<String> {
    let mut child = group.command(args).stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let lines = out.lines().take(count).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    lines
}

#[test]
fn hosts_are_forgotten_and_in_use_is_a_refusal_of_the_dry_run() {
    let host = |name: &str, cluster: &str| Host {
        name: name.to_owned(),
        cluster: cluster.to_owned(),
        ..Host::default()
    };
    let group = Group::start(Fake {
        hosts: vec![host("node1", "prod"), host("node9", "")],
        ..Fake::default()
    });
    let gone = group.run(&["host", "remove", "node9"]);
    assert!(gone.out.starts_with("node9 is forgotten"), "{gone:?}");
    let already = group.run(&["host", "rm", "node8", "-o", "json"]);
    assert_eq!(already.json()["already"], true);
    let dry = group.run(&["host", "remove", "node1", "--dry-run"]);
    assert_eq!(dry.status, 3, "{dry:?}");
    assert!(dry.err.contains("belongs to cluster prod"), "{dry:?}");
}
