//! Commands that change something: submitted, followed, ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::password;
use clusterctl_proto::wire::control::*;

use crate::support::fake::{Fake, joining, operation, update};
use crate::support::{Group, Ran};

#[test]
fn an_operation_is_followed_to_its_end() {
    let group = Group::start(joining(operation("done", "changed", "node3 is ONLINE")));
    let ran = group.run(&["join", "node3"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.out, "node3 is ONLINE\n");
    assert_eq!(ran.err, "==> [1/1] node3: installed mysql-server 9.7.4 12.3s\n");
    let quiet = group.run(&["join", "node3", "-q"]);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("node3 is ONLINE\n", ""));
    let json = group.run(&["join", "node3", "-o", "json"]).json();
    assert_eq!(json["operation_id"], 7);
    assert_eq!(json["operation"]["plans"][0]["steps"][0]["name"], "packages");
}

#[test]
fn a_failed_operation_ends_as_the_coordinator_says() {
    let mut failed = operation("failed", "failed", "node3 holds transactions that the group has not");
    failed.code = "errant_transactions".to_owned();
    failed.facts = vec!["errant: 3e11fa47:1-5".to_owned()];
    failed.hint = "clusterctl ops show 7".to_owned();
    failed.exit_code = 3;
    let group = Group::start(joining(failed));
    let ran = group.run(&["join", "node3"]);
    assert_eq!((ran.status, ran.out.as_str()), (3, ""), "{ran:?}");
    assert!(ran.err.contains("error: node3 holds transactions"), "{}", ran.err);
    assert!(ran.err.contains("\n  errant: 3e11fa47:1-5\n"), "{}", ran.err);
    assert!(ran.err.ends_with("hint: clusterctl ops show 7\n"), "{}", ran.err);
    let error = group.run(&["ops", "watch", "7", "-o", "json"]).error();
    assert_eq!(error["code"], "errant_transactions");
}

#[test]
fn already_so_is_a_success() {
    let group = Group::start(Fake {
        submit: SubmitReply {
            already: true,
            message: "node3 is a member of prod".to_owned(),
            ..SubmitReply::default()
        },
        ..Fake::default()
    });
    let ran = group.run(&["join", "node3"]);
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (0, "already so: node3 is a member of prod\n")
    );
    assert_eq!(group.run(&["join", "node3", "-o", "json"]).json()["already"], true);
}

#[test]
fn a_dry_run_prints_the_plan_and_says_so_to_the_coordinator() {
    let fake = Fake {
        submit: SubmitReply {
            plan: operation("running", "pending", "").plans.pop(),
            ..SubmitReply::default()
        },
        ..Fake::default()
    };
    let submitted = fake.submitted.clone();
    let group = Group::start(fake);
    let ran = group.run(&[
        "create",
        "prod",
        "--primary",
        "node1",
        "--with",
        "node2,node3",
        "--buffer-pool",
        "1G",
        "--dry-run",
    ]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        "would do 1 step:\n    1. node3  install packages\nnothing was touched\n"
    );
    let requests = submitted.lock().unwrap();
    assert!(requests[0].dry_run);
    let Some(submit_request::What::Create(create)) = &requests[0].what else {
        panic!("{requests:?}");
    };
    assert_eq!(create.with, ["node2", "node3"]);
    assert_eq!(create.buffer_pool_bytes, 1 << 30);
}

#[test]
fn a_refusal_shows_facts_hint_and_its_status() {
    let group = Group::start(Fake {
        refuse: Some(
            Failure::refused("not_enrolled", "host node9 is not enrolled")
                .fact("hosts: node1")
                .hint("enrol it"),
        ),
        ..Fake::default()
    });
    let ran = group.run(&["join", "node9"]);
    assert_eq!(ran.status, 3);
    assert_eq!(
        ran.err,
        "error: host node9 is not enrolled\n  hosts: node1\nhint: enrol it\n"
    );
    assert_eq!(
        group.run(&["join", "node9", "-o", "json"]).error()["facts"][0],
        "hosts: node1"
    );
}

#[test]
fn time_runs_out_with_status_5_and_how_to_go_on() {
    let group = Group::start(joining(operation("running", "running", "")));
    let ran = group.run(&["join", "node3", "--timeout", "300ms"]);
    assert_eq!(ran.status, 5, "{ran:?}");
    assert!(ran.err.contains("clusterctl ops watch 7"), "{}", ran.err);
    let ran = group.run(&["join", "node3", "--no-wait"]);
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (0, "operation 7 is submitted; follow it: clusterctl ops watch 7\n")
    );
}

#[test]
fn ctrl_c_leaves_the_operation_running_and_says_how_to_follow_it() {
    let group = Group::start(joining(operation("running", "changed", "")));
    let mut child = group
        .command(&["join", "node3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // The step's line says that the operation is being followed.
    err.read_line(&mut line).unwrap();
    assert!(line.starts_with("==> [1/1]"), "{line}");
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.contains("interrupted: operation 7 goes on"), "{rest}");
    assert!(rest.contains("clusterctl ops watch 7"), "{rest}");
}

#[test]
fn a_restarted_coordinator_is_followed_again() {
    let mut group = Group::start(joining(operation("running", "changed", "")));
    let mut child = group
        .command(&["join", "node3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    err.read_line(&mut line).unwrap();
    group.stop();
    line.clear();
    err.read_line(&mut line).unwrap();
    assert!(line.contains("connection to the coordinator is lost"), "{line}");
    group.restart(Fake {
        updates: vec![update(operation("done", "changed", "node3 is ONLINE"))],
        ..Fake::default()
    });
    let ran = Ran::of(child.wait_with_output().unwrap());
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    assert_eq!((ran.status, ran.out.as_str()), (0, "node3 is ONLINE\n"), "{rest}");
    assert!(rest.contains("connected again"), "{rest}");
    // What was told before is not told again.
    assert!(!rest.contains("==>"), "{rest}");
}

#[test]
fn a_made_password_is_alone_on_stdout_and_only_its_hash_is_sent() {
    let fake = joining(operation("done", "changed", "account app@% is made"));
    let submitted = fake.submitted.clone();
    let group = Group::start(fake);
    let ran = group.run(&["account", "create", "app", "--database", "appdb"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let made = ran.out.trim_end().to_owned();
    assert!(made.len() >= 16 && !made.contains(char::is_whitespace), "{made}");
    let hash = submitted.lock().unwrap()[0].secrets["account:app@%"].clone();
    assert!(password::verify(&made, hash.as_bytes()));

    let json = group
        .run(&["account", "create", "app", "--database", "appdb", "-o", "json"])
        .json();
    assert_eq!(json["done"], true);
    assert!(json["password"].is_string());
}

#[test]
fn a_password_from_stdin_is_never_shown() {
    let fake = joining(operation("done", "changed", "account mon@10.% is made"));
    let submitted = fake.submitted.clone();
    let group = Group::start(fake);
    let mut child = group
        .command(&[
            "account",
            "create",
            "mon",
            "--monitor",
            "--from",
            "10.%",
            "--password-stdin",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse\n").unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (0, "account mon@10.% is made\n"),
        "{ran:?}"
    );
    assert!(!ran.err.contains("horse"), "{ran:?}");
    let hash = submitted.lock().unwrap()[0].secrets["account:mon@10.%"].clone();
    assert!(password::verify("correct horse", hash.as_bytes()));
}

#[test]
fn proofs_that_fail_end_with_status_1() {
    let mut ended = operation("done", "changed", "verified");
    ended.proofs = vec![
        Proof {
            step: 9,
            title: "metadata schema".to_owned(),
            passed: true,
            evidence: "2.4.0".to_owned(),
        },
        Proof {
            step: 18,
            title: "a standby refuses writes".to_owned(),
            passed: false,
            evidence: "the write went through".to_owned(),
        },
    ];
    let group = Group::start(joining(ended));
    let ran = group.run(&["verify"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.out.contains("18    FAILED"), "{}", ran.out);
    assert!(ran.out.ends_with("NOT verified: 1 of 2 proofs failed\n"), "{}", ran.out);
    let json = group.run(&["verify", "prod", "-o", "json"]).json();
    assert_eq!(json["passed"], false);
}
