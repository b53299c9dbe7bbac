//! What needs no coordinator: help, mistakes on the command line, missing or wrong configuration.

use crate::support::{Ca, Ran, clusterctl, write_operator};

fn run(args: &[&str]) -> Ran {
    Ran::of(clusterctl(args).output().unwrap())
}

/// Every path of commands, found through the help texts themselves.
fn commands() -> Vec<Vec<String>> {
    let mut found = vec![vec![]];
    let mut at = 0;
    while at < found.len() {
        let path: Vec<String> = found[at].clone();
        at += 1;
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let help = run(&args).out;
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in listed.take_while(|line| !line.is_empty()) {
            // A continued description is indented further.
            let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
            if let Some(name) = name.and_then(|rest| rest.split_whitespace().next())
                && name != "help"
            {
                found.push([path.clone(), vec![name.to_owned()]].concat());
            }
        }
    }
    found
}

#[test]
fn every_command_has_help_with_an_example_that_begins_with_it() {
    let all = commands();
    assert!(all.len() > 30, "{all:?}");
    for path in all {
        let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let ran = run(&args);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{path:?}");
        let example = ran.out.split("Example:\n").nth(1).unwrap_or_default();
        let wanted = [vec!["clusterctl".to_owned()], path.clone()].concat().join(" ");
        assert!(example.contains(&wanted), "{path:?}: {example:?}");
    }
}

#[test]
fn the_exit_statuses_stand_in_the_help() {
    let help = run(&["--help"]).out;
    for status in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "7 ", "8 ", "130 "] {
        assert!(help.contains(&format!("\n  {status}")), "{status}: {help}");
    }
}

#[test]
fn the_commands_stand_in_the_order_of_their_use() {
    let help = run(&["--help"]).out;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let at = commands.iter().position(|name| *name == "status").unwrap();
    assert_eq!(
        commands[at..at + 10],
        [
            "status",
            "why",
            "verify",
            "switchover",
            "recover",
            "pause",
            "resume",
            "maintenance",
            "ops",
            "events"
        ],
        "{help}"
    );
}

#[test]
fn mistakes_end_with_status_2() {
    let mistakes: [&[&str]; 20] = [
        &[],
        &["frobnicate"],
        &["create", "prod"],
        &["create", "prod", "--primary", "10.0.0.1"],
        &["create", "prod", "--primary", "node1", "--with", "node2,node2"],
        &["create", "prod", "--primary", "node1", "--buffer-pool", "lots"],
        &["join"],
        &["account", "create", "app"],
        &["account", "create", "root", "--admin"],
        &["account", "create", "app", "--database", "appdb", "--monitor"],
        &["status", "--timeout", "10"],
        &["ops", "show", "0"],
        &["why", "10.0.0.1"],
        &["pause", "prod", "--reason", " "],
        &["pause", "prod", "--for", "0s"],
        &["maintenance", "on"],
        &["maintenance", "off", "node3", "--reason", "done"],
        &["recover", "prod", "--accept-loss", "7 f3a"],
        &["recover", "prod", "--expires", "5m"],
        &["recover", "prod", "--without", "node2,node2"],
    ];
    for args in mistakes {
        let ran = run(args);
        assert_eq!(ran.status, 2, "{args:?}: {ran:?}");
        assert_eq!(ran.out, "", "{args:?}");
        assert!(!ran.err.is_empty(), "{args:?}");
    }
}

#[test]
fn a_bad_cluster_name_is_told_with_the_rule() {
    let ran = run(&["create", "1prod", "--primary", "node1"]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.starts_with("error: "), "{}", ran.err);
    assert!(ran.err.contains("cluster name \"1prod\" is not valid"), "{}", ran.err);
    assert!(ran.err.contains("a letter first"), "{}", ran.err);

    let error = run(&["-o", "json", "create", "1prod", "--primary", "node1"]).error();
    assert_eq!(error["code"], "usage");
}

#[test]
fn a_token_in_argv_is_refused_and_not_repeated() {
    let ran = run(&["token", "revoke", "cct1.s3cr3t"]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("clusterctl token list"), "{}", ran.err);
}

#[test]
fn without_configuration_the_next_step_is_told() {
    let ran = run(&["status"]);
    assert_eq!((ran.status, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("no configuration is found"), "{}", ran.err);
    assert!(ran.err.contains("\nhint: "), "{}", ran.err);
    assert!(ran.err.contains("clusterctl init"), "{}", ran.err);
    assert_eq!(run(&["status", "-o", "json"]).error()["code"], "no_configuration");
}

#[test]
fn a_wrong_configuration_is_told_by_line_and_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ctl.toml");
    std::fs::write(&file, "# ours\nendpoint = [\"10.0.0.1:7440\"]\n").unwrap();
    let ran = run(&["status", "--config", file.to_str().unwrap()]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("line 2: unknown key `endpoint`"), "{}", ran.err);
    assert!(ran.err.contains("hint: did you mean `endpoints`?"), "{}", ran.err);

    let ran = run(&["status", "--config", "/nonexistent/ctl.toml"]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("/nonexistent/ctl.toml"), "{}", ran.err);
}

#[test]
fn missing_credentials_end_with_status_7() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ctl.toml");
    std::fs::write(&file, "endpoints = [\"127.0.0.1:1\"]\n").unwrap();
    let ran = run(&["status", "--config", file.to_str().unwrap()]);
    assert_eq!(ran.status, 7, "{ran:?}");
    assert!(ran.err.contains("ca.pem"), "{}", ran.err);
    assert!(ran.err.contains("hint: "), "{}", ran.err);
}

#[test]
fn a_coordinator_that_is_down_ends_with_status_4_and_says_what_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // Bound and let go: nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    write_operator(folder.path(), &Ca::new(), &free.to_string());
    let config = folder.path().join("ctl.toml");
    let ran = run(&["status", "--config", config.to_str().unwrap()]);
    assert_eq!(ran.status, 4, "{ran:?}");
    assert!(ran.err.contains(&free.to_string()), "{}", ran.err);
    for told in [
        "without a coordinator go on: databases, failover, routers, and a restarted member",
        "these wait for it: clusterctl's status and changes",
        "recovery from an outage of all members",
    ] {
        assert!(ran.err.contains(told), "{}", ran.err);
    }
    assert!(
        ran.err.contains("systemctl status clusterctl-coordinator"),
        "{}",
        ran.err
    );
}

#[test]
fn completion_scripts_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completion", shell]);
        assert_eq!(ran.status, 0);
        for command in ["switchover", "why", "recover", "pause", "resume", "maintenance"] {
            assert!(ran.out.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn the_version_needs_no_configuration() {
    let ran = run(&["version"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("clusterctl 0."), "{}", ran.out);
}

#[test]
fn an_operation_is_named_by_its_number() {
    let ran = crate::support::Group::start(crate::support::fake::Fake::default()).run(&["ops", "show", "abc"]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.err.contains("no operation's number"), "{}", ran.err);
    assert!(ran.err.contains("clusterctl ops list"), "{}", ran.err);
}
