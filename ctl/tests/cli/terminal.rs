//! On a terminal: live progress, passwords without echo.

use std::io::{Read, Write};
use std::process::Stdio;

use clusterctl_proto::password;
use clusterctl_proto::wire::control::*;

use crate::support::fake::{Fake, accepted, joining, operation, update};
use crate::support::{Group, Ran};

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

#[test]
fn on_a_terminal_why_paints_its_labels_and_leaves_the_command_whole() {
    let command = "clusterctl recover prod --without node2,node3 --accept-loss 7f3a9c01 --expires 15m";
    let group = Group::start(Fake {
        explain: ExplainReply {
            clusters: vec![ClusterExplained {
                cluster: "prod".to_owned(),
                verdict: "prod is down".to_owned(),
                state: "down".to_owned(),
                troubles: vec![Trouble {
                    subject: "prod".to_owned(),
                    wrong: "prod has no member in a group".to_owned(),
                    state: "blocked".to_owned(),
                    doing: "nothing: node2 and node3 do not answer".to_owned(),
                    command: command.to_owned(),
                    ..Trouble::default()
                }],
            }],
        },
        ..Fake::default()
    });
    let ran = on_a_terminal(&group, "why", b"");
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.out.contains("\x1b[1;31mprod is down\x1b[0m"), "{ran:?}");
    assert!(ran.out.contains("\x1b[1;31mdoing:\x1b[0m   nothing"), "{ran:?}");
    assert!(ran.out.contains(command), "{ran:?}");
}
