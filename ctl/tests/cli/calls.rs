//! The built program against a scripted coordinator over mTLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::fake::{Fake, operation, update};
use crate::support::{Ca, Group, Ran, write_operator};
use clusterctl_proto::failure::Failure;
use clusterctl_proto::password;
use clusterctl_proto::wire::control::*;

fn accepted() -> SubmitReply {
    SubmitReply {
        operation: 7,
        ..SubmitReply::default()
    }
}

fn joining(end: Operation) -> Fake {
    Fake {
        submit: accepted(),
        updates: vec![update(operation("running", "running", "")), update(end)],
        ..Fake::default()
    }
}

#[test]
fn an_operation_is_followed_to_its_end() {
    let group = Group::start(joining(operation("done", "changed", "node3 is ONLINE")));
    let ran = group.run(&["join", "node3"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.out, "node3 is ONLINE\n");
    assert_eq!(
        ran.err,
        "==> [1/1] node3: packages: changed (installed mysql-server 9.7.4) 12.3s\n"
    );
    let quiet = group.run(&["join", "node3", "-q"]);
    assert_eq!(
        (quiet.out.as_str(), quiet.err.as_str()),
        ("node3 is ONLINE\n", "")
    );
    let json = group.run(&["join", "node3", "-o", "json"]).json();
    assert_eq!(json["operation_id"], 7);
    assert_eq!(
        json["operation"]["plans"][0]["steps"][0]["name"],
        "packages"
    );
}

#[test]
fn a_failed_operation_ends_as_the_coordinator_says() {
    let mut failed = operation(
        "failed",
        "failed",
        "node3 holds transactions that the group has not",
    );
    failed.code = "errant_transactions".to_owned();
    failed.facts = vec!["errant: 3e11fa47:1-5".to_owned()];
    failed.hint = "clusterctl ops show 7".to_owned();
    failed.exit_code = 3;
    let group = Group::start(joining(failed));
    let ran = group.run(&["join", "node3"]);
    assert_eq!((ran.status, ran.out.as_str()), (3, ""), "{ran:?}");
    assert!(
        ran.err.contains("error: node3 holds transactions"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("\n  errant: 3e11fa47:1-5\n"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.ends_with("hint: clusterctl ops show 7\n"),
        "{}",
        ran.err
    );
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
    assert_eq!(
        group.run(&["join", "node3", "-o", "json"]).json()["already"],
        true
    );
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
        (
            0,
            "operation 7 is submitted; follow it: clusterctl ops watch 7\n"
        )
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
    assert!(
        line.contains("connection to the coordinator is lost"),
        "{line}"
    );
    group.restart(Fake {
        updates: vec![update(operation("done", "changed", "node3 is ONLINE"))],
        ..Fake::default()
    });
    let ran = Ran::of(child.wait_with_output().unwrap());
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (0, "node3 is ONLINE\n"),
        "{rest}"
    );
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
    assert!(
        made.len() >= 16 && !made.contains(char::is_whitespace),
        "{made}"
    );
    let hash = submitted.lock().unwrap()[0].secrets["account:app@%"].clone();
    assert!(password::verify(&made, hash.as_bytes()));

    let json = group
        .run(&[
            "account",
            "create",
            "app",
            "--database",
            "appdb",
            "-o",
            "json",
        ])
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
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"correct horse\n")
        .unwrap();
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
    assert_eq!(
        group.run(&["hosts", "-o", "json"]).json()["hosts"][0]["name"],
        "node1"
    );
    let check = group.run(&["check", "node1", "-o", "json"]);
    assert_eq!(check.status, 3);
    assert_eq!(check.json()["verdict"], "fail");
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
    assert!(
        ran.out.ends_with("NOT verified: 1 of 2 proofs failed\n"),
        "{}",
        ran.out
    );
    let json = group.run(&["verify", "prod", "-o", "json"]).json();
    assert_eq!(json["passed"], false);
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
        dry.out
            .starts_with("would make a token for 1 host with role db,router"),
        "{dry:?}"
    );
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
    let args = [
        "operator", "create", "bob", "--role", "viewer", "--out", path,
    ];
    let ran = group.run(&args);
    assert_eq!(ran.status, 0, "{ran:?}");
    let key = out.join("key.pem");
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        std::fs::read_to_string(key)
            .unwrap()
            .contains("PRIVATE KEY")
    );
    let settings = std::fs::read_to_string(out.join("ctl.toml")).unwrap();
    assert!(
        settings.contains("endpoints = [\"10.0.0.1:7440\"]"),
        "{settings}"
    );
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
    assert!(
        unknown.err.starts_with("error: there is no operation 9"),
        "{unknown:?}"
    );
}

/// Not the figure of the benchmark (release binaries, a lab), but a guard: a debug build stays far below a second.
#[test]
fn status_is_quick() {
    let group = Group::start(Fake::default());
    group.run(&["status"]);
    let begin = Instant::now();
    assert_eq!(group.run(&["status"]).status, 0);
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
}

/// `script` (bsdutils, on every Debian) gives the program a terminal of its own; what it prints comes back as one text.
fn on_a_terminal(group: &Group, args: &str, typed: &[u8]) -> Ran {
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_clusterctl"));
    let mut child = std::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("CLUSTERCTL_CONFIG", group.config())
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut text = Vec::new();
    // Typed at each prompt, as a person does: what comes before the echo is off would be shown.
    let mut lines = typed.split_inclusive(|byte| *byte == b'\n' || *byte == 3);
    let mut chunk = [0; 512];
    while let Ok(count @ 1..) = out.read(&mut chunk) {
        text.extend_from_slice(&chunk[..count]);
        if text.ends_with(b": ")
            && let Some(line) = lines.next()
        {
            stdin.write_all(line).unwrap();
        }
    }
    drop(stdin);
    Ran {
        status: child.wait().unwrap().code().unwrap_or(-1),
        out: String::from_utf8_lossy(&text).into_owned(),
        err: String::new(),
    }
}

#[test]
fn on_a_terminal_the_password_is_asked_for_twice_and_not_shown() {
    let fake = joining(operation("done", "changed", "account app@% is made"));
    let submitted = fake.submitted.clone();
    let group = Group::start(fake);
    let ask = "account create app --database appdb";
    let ran = on_a_terminal(&group, ask, b"one\ntwo\ncorrect horse\ncorrect horse\n");
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.out.contains("password for app@%: "), "{ran:?}");
    assert!(ran.out.contains("they differ"), "{ran:?}");
    assert!(!ran.out.contains("horse"), "{ran:?}");
    assert!(ran.out.contains("account app@% is made"), "{ran:?}");
    let hash = submitted.lock().unwrap()[0].secrets["account:app@%"].clone();
    assert!(password::verify("correct horse", hash.as_bytes()));

    let interrupted = on_a_terminal(&group, ask, b"\x03");
    assert_eq!(interrupted.status, 130, "{interrupted:?}");
    assert_eq!(submitted.lock().unwrap().len(), 1);
}

#[test]
fn on_a_terminal_running_steps_are_live_lines() {
    let mut running = update(operation("running", "running", ""));
    running.progress = vec![StepProgress {
        step: 1,
        host: "node3".to_owned(),
        text: "Unpacking mysql-server".to_owned(),
        ..StepProgress::default()
    }];
    let group = Group::start(Fake {
        submit: accepted(),
        updates: vec![running, update(operation("running", "changed", ""))],
        ..Fake::default()
    });
    let ran = on_a_terminal(&group, "join node3 --timeout 700ms", b"");
    assert_eq!(ran.status, 5, "{ran:?}");
    assert!(ran.out.contains("==>"), "{ran:?}");
    assert!(ran.out.contains("\x1b["), "{ran:?}");
}
