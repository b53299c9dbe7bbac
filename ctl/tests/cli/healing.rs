//! What is wrong and who may repair it: `why`, `pause`, `resume`, `maintenance`, `recover`, and what `status` says of them.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::wire::control::*;

use crate::support::Group;
use crate::support::fake::{Fake, joining, operation};

fn explained(troubles: Vec<Trouble>) -> ExplainReply {
    ExplainReply {
        clusters: vec![ClusterExplained {
            cluster: "prod".to_owned(),
            verdict: "prod works: 2 of 3 members ONLINE".to_owned(),
            state: "degraded".to_owned(),
            troubles,
        }],
    }
}

fn out_of_the_group() -> Trouble {
    Trouble {
        subject: "node3".to_owned(),
        wrong: "node3 is not in the group".to_owned(),
        evidence: vec![Evidence {
            text: "mysqld runs, OFFLINE, out of every group".to_owned(),
            who: "agent/node3".to_owned(),
            at: "2026-05-01T03:00:00Z".to_owned(),
            certainty: "certain".to_owned(),
            age_ms: 1_200,
        }],
        state: "healing".to_owned(),
        doing: "rejoining it: operation 42, attempt 2 follows in 4 s".to_owned(),
        command: "clusterctl ops watch 42".to_owned(),
        code: "member_out".to_owned(),
        operation: 42,
        ..Trouble::default()
    }
}

#[test]
fn why_tells_what_is_seen_what_is_done_and_what_to_type() {
    let fake = Fake {
        explain: explained(vec![out_of_the_group()]),
        ..Fake::default()
    };
    let asked = fake.asked_why.clone();
    let group = Group::start(fake);
    let ran = group.run(&["why", "node3", "-c", "prod"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!(
        ran.out,
        "\
prod works: 2 of 3 members ONLINE

node3: is not in the group
  seen:    mysqld runs, OFFLINE, out of every group  (agent/node3, 1.2s ago, certain)
  doing:   rejoining it: operation 42, attempt 2 follows in 4 s
  command: clusterctl ops watch 42
"
    );
    let document = group.run(&["why", "-o", "json"]).json();
    let trouble = &document["clusters"][0]["troubles"][0];
    assert_eq!(trouble["code"], "member_out");
    assert_eq!(trouble["evidence"][0]["age_ms"], 1_200);
    let asked = asked.lock().unwrap();
    assert_eq!((asked[0].cluster.as_str(), asked[0].host.as_str()), ("prod", "node3"));
    assert_eq!((asked[1].cluster.as_str(), asked[1].host.as_str()), ("", ""));
}

#[test]
fn why_without_a_trouble_or_a_cluster_says_so() {
    let mut explain = explained(Vec::new());
    explain.clusters[0].state = "ok".to_owned();
    explain.clusters[0].verdict = "prod is OK".to_owned();
    let well = Group::start(Fake {
        explain,
        ..Fake::default()
    });
    assert_eq!(well.run(&["why"]).out, "prod is OK\nnothing is wrong\n");
    assert_eq!(
        well.run(&["why", "node3"]).out,
        "prod is OK\nnothing is wrong with node3\n"
    );

    let empty = Group::start(Fake::default());
    let none = empty.run(&["why"]);
    assert_eq!((none.status, none.out.as_str()), (0, "no cluster yet\n"));
    assert_eq!(none.err, empty.run(&["status"]).err);
    assert_eq!(empty.run(&["why", "node9"]).out, "node9 belongs to no cluster\n");
}

#[test]
fn a_host_that_nobody_knows_is_the_coordinators_word() {
    let group = Group::start(Fake {
        refuse: Some(
            Failure::new("unknown_host", "host node9 is not known")
                .exit(ExitClass::Usage)
                .fact("hosts: node1, node2"),
        ),
        ..Fake::default()
    });
    let ran = group.run(&["why", "node9"]);
    assert_eq!((ran.status, ran.out.as_str()), (2, ""));
    assert_eq!(ran.err, "error: host node9 is not known\n  hosts: node1, node2\n");
}

#[test]
fn pause_and_maintenance_say_what_they_are_for() {
    let fake = Fake {
        hands_off: HandsOffReply {
            already: false,
            message: "prod is paused until 05:00".to_owned(),
        },
        ..Fake::default()
    };
    let asked = fake.set_hands_off.clone();
    let group = Group::start(fake);
    let ran = group.run(&["pause", "prod", "--reason", "new switches", "--for", "2h"]);
    assert_eq!(
        (ran.status, ran.out.as_str(), ran.err.as_str()),
        (0, "prod is paused until 05:00\n", "")
    );
    group.run(&["resume"]);
    group.run(&["maintenance", "on", "node3", "--for", "1500ms"]);
    group.run(&["maintenance", "off", "node3"]);
    let request = |cluster: &str, host: &str, on, reason: &str, for_seconds| HandsOffRequest {
        cluster: cluster.to_owned(),
        host: host.to_owned(),
        on,
        reason: reason.to_owned(),
        for_seconds,
        everything: false,
    };
    assert_eq!(
        *asked.lock().unwrap(),
        [
            request("prod", "", true, "new switches", 7200),
            request("", "", false, "", 0),
            request("", "node3", true, "", 2),
            request("", "node3", false, "", 0),
        ]
    );
    let document = group.run(&["pause", "-o", "json"]).json();
    assert_eq!(document["already"], false);
    assert_eq!(document["message"], "prod is paused until 05:00");
}

#[test]
fn what_is_paused_already_is_a_success() {
    let group = Group::start(Fake {
        hands_off: HandsOffReply {
            already: true,
            message: "prod is paused".to_owned(),
        },
        ..Fake::default()
    });
    let ran = group.run(&["pause"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "already so: prod is paused\n"));
    assert_eq!(group.run(&["resume", "-o", "json"]).json()["already"], true);
}

#[test]
fn recover_asks_and_the_break_glass_carries_its_code() {
    let fake = joining(operation("done", "changed", "prod is up: 3 of 3 members ONLINE"));
    let submitted = fake.submitted.clone();
    let group = Group::start(fake);
    let ran = group.run(&["recover", "prod"]);
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (0, "prod is up: 3 of 3 members ONLINE\n"),
        "{ran:?}"
    );
    let glass = ["recover", "--without", "node2,node3", "--accept-loss", "7f3a"];
    assert_eq!(group.run(&glass).status, 0);
    let short = ["--no-wait", "--expires", "90s"];
    assert_eq!(group.run(&[&glass[..], &short[..]].concat()).status, 0);
    let recover = |cluster: &str, without: &[&str], accept_loss: &str, expires_seconds| {
        Some(submit_request::What::Recover(RecoverCluster {
            cluster: cluster.to_owned(),
            without: without.iter().map(|host| (*host).to_owned()).collect(),
            accept_loss: accept_loss.to_owned(),
            expires_seconds,
        }))
    };
    let lost = ["node2", "node3"];
    let submitted: Vec<_> = submitted
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.what.clone())
        .collect();
    assert_eq!(
        submitted,
        [
            recover("prod", &[], "", 0),
            recover("", &lost, "7f3a", 900),
            recover("", &lost, "7f3a", 90)
        ]
    );
}

#[test]
fn the_refusal_shows_what_is_risked_and_what_to_type() {
    let command = "clusterctl recover prod --without node2 --accept-loss 7f3a --expires 15m";
    let group = Group::start(Fake {
        refuse: Some(
            Failure::refused("loss_not_accepted", "node2 may hold transactions that nobody else has")
                .fact("node1 holds 3e11fa47:1-90, seen 2s ago")
                .hint(format!("give them up: {command}")),
        ),
        ..Fake::default()
    });
    let ran = group.run(&["recover", "prod", "--without", "node2"]);
    assert_eq!((ran.status, ran.out.as_str()), (3, ""), "{ran:?}");
    assert!(ran.err.contains("\n  node1 holds 3e11fa47:1-90"), "{}", ran.err);
    assert!(ran.err.ends_with(&format!("{command}\n")), "{}", ran.err);
}

#[test]
fn a_host_that_is_silent_is_not_taken_for_a_coordinator_that_is_away() {
    let group = Group::start(Fake {
        refuse: Some(Failure::new("host_silent", "the agent of node2 does not answer").exit(ExitClass::Unreachable)),
        ..Fake::default()
    });
    let ran = group.run(&["recover", "prod"]);
    assert_eq!(
        (ran.status, ran.err.as_str()),
        (4, "error: the agent of node2 does not answer\n")
    );

    let group = Group::start(Fake {
        refuse: Some(Failure::new("no_quorum", "the coordinators have no quorum").exit(ExitClass::Unreachable)),
        ..Fake::default()
    });
    let ran = group.run(&["recover", "prod"]);
    assert_eq!(ran.status, 4);
    assert!(ran.err.contains("these wait for it: "), "{}", ran.err);
}

#[test]
fn status_shows_a_pause_and_leads_to_why() {
    let group = Group::start(Fake {
        status: StatusReply {
            clusters: vec![ClusterStatus {
                name: "prod".to_owned(),
                verdict: "prod is down".to_owned(),
                state: "down".to_owned(),
                paused: "paused by operator/alice since 2026-05-01T00:00:00Z".to_owned(),
                ..ClusterStatus::default()
            }],
        },
        ..Fake::default()
    });
    let ran = group.run(&["status"]);
    assert!(
        ran.out
            .starts_with("prod is down\npaused by operator/alice since 2026-05-01T00:00:00Z\n"),
        "{ran:?}"
    );
    assert!(ran.out.ends_with("\nwhy: clusterctl why\n"), "{ran:?}");
    let document = group.run(&["status", "-o", "json"]);
    assert!(!document.out.contains("clusterctl why"), "{document:?}");
    assert!(document.json()["clusters"][0]["paused"].is_string());
}
