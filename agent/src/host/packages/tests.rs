//! apt and dnf on arguments and recorded output.

use super::*;
use crate::host::fake::FakeHost;
use crate::host::{Command, Output};

const APT_INSTALL: &str = "apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
                           -o Dpkg::Options::=--force-confold -o APT::Status-Fd=1 install --no-install-recommends --";

const POLICY: &str = "mysql-server:
  Installed: (none)
  Candidate: 9.7.4-1
  Version table:
     9.7.4-1 500
        500 http://mirror/debian sid/main amd64 Packages
mysql-router:
  Installed: 9.7.4-1
  Candidate: 9.7.4-1
  Version table:
 *** 9.7.4-1 100
gone:
  Installed: (none)
  Candidate: (none)
  Version table:
";

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn wanted(required: &[&str], optional: &[&str]) -> Wanted {
    Wanted {
        required: names(required),
        optional: names(optional),
        repository: None,
    }
}

/// A Debian whose repositories have these packages; what is installed is kept as files.
fn debian(in_repository: &'static [&'static str]) -> FakeHost {
    FakeHost::new()
        .with_file("/usr/bin/apt-get", "")
        .answer("apt-cache policy", move |_, command| {
            let blocks = command.args[2..]
                .iter()
                .map(|name| match in_repository.contains(&name.as_str()) {
                    true => format!("{name}:\n  Installed: (none)\n  Candidate: 1.0\n"),
                    false => String::new(),
                });
            Output::new(0, blocks.collect::<String>(), "")
        })
        .answer("dpkg-query", |host, command| {
            let lines = command.args[4..]
                .iter()
                .filter(|name| host.text(&format!("/db/{name}")).is_some())
                .map(|name| format!("{name}\tinstalled\t1.0\n"));
            Output::new(0, lines.collect::<String>(), "")
        })
        .on("apt-get", "")
        .answer(APT_INSTALL, |host, command| {
            assert!(
                host.text(hold::POLICY).unwrap().contains("exit 101"),
                "services are held"
            );
            let from = command.args.iter().position(|arg| arg == "--").unwrap();
            for name in &command.args[from + 1..] {
                host.put(&format!("/db/{name}"), "");
            }
            Output::new(0, "pmstatus:mysql-server:50.4:Installing mysql-server (amd64)\n", "")
        })
}

#[test]
fn the_install_command_is_this() {
    assert_eq!(
        apt::install_line(&names(&["mysql-server", "mysql-client"])),
        format!("{APT_INSTALL} mysql-server mysql-client")
    );
}

#[test]
fn apt_output_is_read() {
    let found = apt_text::candidates(POLICY, &names(&["mysql-server", "gone", "never-heard-of"]));
    assert_eq!(found["mysql-server"].as_deref(), Some("9.7.4-1"));
    assert_eq!((&found["gone"], &found["never-heard-of"]), (&None, &None));
    let text = "mysql-server\tinstalled\t9.7.4-1\nmysql-client\thalf-configured\t9.7.4-1\nold\tconfig-files\t1\n";
    let found = apt_text::installed(text, &names(&["mysql-server", "mysql-client", "old"]));
    assert_eq!(found["mysql-server"].as_deref(), Some("9.7.4-1"));
    assert_eq!((&found["mysql-client"], &found["old"]), (&None, &None));
    let status = apt_text::status("dlstatus:3:12.5:Retrieving file 3 of 10 (2s remaining)").unwrap();
    assert_eq!(
        (status.text.as_str(), status.percent),
        ("Retrieving file 3 of 10 (2s remaining)", 13)
    );
    assert_eq!(apt_text::status("Setting up mysql-server (9.7.4-1) ..."), None);
    assert_eq!(apt_text::status("pmstatus:a:x:b"), None);
}

#[test]
fn apt_failures_are_told_apart() {
    let cases = [
        (
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1234 (apt)",
            "packages_locked",
            true,
        ),
        (
            "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
            "dpkg_interrupted",
            false,
        ),
        (
            "E: Failed to fetch http://mirror/x.deb  Could not connect to mirror:80",
            "repository_unreachable",
            true,
        ),
        (
            "E: You don't have enough free space in /var/cache/apt/archives/.",
            "disk_full",
            true,
        ),
        ("E: Unable to locate package mysql-sever", "packages_missing", false),
        (
            "W: GPG error: http://mirror sid InRelease: NO_PUBKEY 0123",
            "repository_untrusted",
            false,
        ),
        (
            "E: Unmet dependencies. Try 'apt --fix-broken install'",
            "packages_dependencies",
            false,
        ),
        (
            "E: Sub-process /usr/bin/dpkg returned an error code (1)",
            "packages_failed",
            false,
        ),
    ];
    for (text, code, retry) in cases {
        let failure = apt_text::explain(&Command::new("apt-get"), Output::new(100, "noise\n", text));
        assert_eq!((failure.code.as_str(), failure.retry), (code, retry), "{text}");
        assert_eq!(failure.facts, [text], "{code}");
        assert!(failure.hint.is_some(), "{code}");
    }
}

#[tokio::test]
async fn what_is_missing_is_installed_and_a_second_time_nothing_is_done() {
    let host = debian(&["mysql-server", "mysql-client", "mysql-shell"]);
    let want = wanted(&["mysql-server", "mysql-client"], &["mysql-shell", "nowhere"]);
    let report = ensure(&host, &apt::Apt, &want, &ProgressSink::none()).await.unwrap();
    assert_eq!(
        report.added,
        ["mysql-client 1.0", "mysql-server 1.0", "mysql-shell 1.0"]
    );
    assert_eq!(report.absent.keys().collect::<Vec<_>>(), ["nowhere"]);
    assert_eq!(host.text(hold::POLICY), None);
    let calls = host.calls().len();
    let want = wanted(&["mysql-server", "mysql-client"], &["mysql-shell"]);
    let report = ensure(&host, &apt::Apt, &want, &ProgressSink::none()).await.unwrap();
    assert!(report.added.is_empty());
    assert!(
        host.calls()[calls..].iter().all(|line| line.starts_with("dpkg-query")),
        "{:?}",
        host.calls()
    );
}

#[tokio::test]
async fn an_old_index_is_updated_once_before() {
    let host = debian(&["mysql-server"]);
    let _ = ensure(&host, &apt::Apt, &wanted(&["mysql-server"], &[]), &ProgressSink::none())
        .await
        .unwrap();
    let updates = host.calls().iter().filter(|line| line.ends_with(" update")).count();
    assert_eq!(updates, 1);
}

#[tokio::test]
async fn a_package_that_no_repository_has_is_named() {
    let host = debian(&["mysql-server"]);
    let failure = ensure(
        &host,
        &apt::Apt,
        &wanted(&["mysql-server", "mysql-cleint"], &[]),
        &ProgressSink::none(),
    )
    .await
    .unwrap_err();
    assert_eq!(failure.code, "packages_missing");
    assert!(failure.message.contains("mysql-cleint") && !failure.message.contains("mysql-server"));
    assert!(
        !host.calls().iter().any(|line| line.contains(" install ")),
        "nothing is begun"
    );
}

#[tokio::test]
async fn a_dead_mirror_fails_only_if_the_index_lacks_something() {
    let dead = "apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 -o APT::Update";
    let host = debian(&["mysql-server"]).on_failure(dead, 100, "E: Failed to fetch http://mirror/InRelease");
    ensure(&host, &apt::Apt, &wanted(&["mysql-server"], &[]), &ProgressSink::none())
        .await
        .unwrap();
    let failure = ensure(&host, &apt::Apt, &wanted(&["other"], &[]), &ProgressSink::none())
        .await
        .unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retry), ("repository_unreachable", true));
}

#[tokio::test]
async fn a_script_that_failed_once_is_run_again() {
    let said = "dpkg: error processing package mysql-server (--configure):\n installed mysql-server package post-installation script \
                subprocess returned error exit status 1\nE: Sub-process /usr/bin/dpkg returned an error code (1)";
    let host = debian(&["mysql-server"]).on_failure(APT_INSTALL, 100, said);
    let failure = ensure(&host, &apt::Apt, &wanted(&["mysql-server"], &[]), &ProgressSink::none())
        .await
        .unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.retry),
        ("packages_not_configured", true)
    );
    assert!(
        failure.facts.iter().any(|fact| fact.contains("exit status 1")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn the_hold_is_lifted_after_a_failed_installation() {
    let host = debian(&["mysql-server"]).on_failure(
        APT_INSTALL,
        100,
        "E: Sub-process /usr/bin/dpkg returned an error code (1)",
    );
    let failure = ensure(&host, &apt::Apt, &wanted(&["mysql-server"], &[]), &ProgressSink::none())
        .await
        .unwrap_err();
    assert_eq!(failure.code, "packages_failed");
    assert_eq!(host.text(hold::POLICY), None);
}

#[tokio::test]
async fn an_installation_of_a_killed_agent_is_finished_but_not_while_it_runs() {
    let host = debian(&["mysql-server"])
        .on("dpkg --audit", "mysql-server is half configured\n")
        .on("dpkg --force", "");
    hold::put(&host).await.unwrap();
    host.put("/proc/17/comm", "dpkg\n");
    let want = wanted(&["mysql-server"], &[]);
    let failure = ensure(&host, &apt::Apt, &want, &ProgressSink::none())
        .await
        .unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retry), ("packages_locked", true));
    assert!(hold::stands(&host).await.unwrap(), "the running one stays held");
    host.put("/proc/17/comm", "sleep\n");
    ensure(&host, &apt::Apt, &want, &ProgressSink::none()).await.unwrap();
    assert!(
        host.calls()
            .contains(&"dpkg --force-confdef --force-confold --configure -a".to_owned())
    );
    assert_eq!(host.text(hold::POLICY), None);
}

#[tokio::test]
async fn a_configured_repository_is_written_and_its_index_fetched() {
    let host = debian(&["mysql-server"]);
    let want = Wanted {
        repository: Some("Types: deb\n".into()),
        ..wanted(&["mysql-server"], &[])
    };
    ensure(&host, &apt::Apt, &want, &ProgressSink::none()).await.unwrap();
    assert_eq!(
        host.text("/etc/apt/sources.list.d/clusterctl.sources").as_deref(),
        Some("Types: deb\n")
    );
}

#[tokio::test]
async fn dnf_is_called_like_this() {
    let host = FakeHost::new()
        .with_file("/usr/bin/dnf", "")
        .answer("rpm -q", |host, _| {
            let there = host.text("/db").is_some();
            let text = if there {
                "mysql-server\t9.7.0-1.el9\n"
            } else {
                "package mysql-server is not installed\n"
            };
            Output::new(i32::from(!there), text, "")
        })
        .on("dnf -q repoquery", "mysql-server\t9.7.0-1.el9\n")
        .answer(
            "dnf -y --setopt=install_weak_deps=False install mysql-server",
            |host, _| {
                host.put("/db", "");
                Output::new(0, "Installing : mysql-server\n", "")
            },
        );
    let manager = detect(&host).await.unwrap().unwrap();
    assert_eq!(manager.name(), "dnf");
    let report = ensure(&host, &*manager, &wanted(&["mysql-server"], &[]), &ProgressSink::none())
        .await
        .unwrap();
    assert_eq!(report.added, ["mysql-server 9.7.0-1.el9"]);
}

#[tokio::test]
async fn dnf_failures_are_told_apart() {
    for (text, code) in [
        ("Error: Unable to find a match: mysql-sever", "packages_missing"),
        (
            "Error: Failed to download metadata for repo 'mysql'",
            "repository_unreachable",
        ),
        ("Error: GPG check FAILED", "repository_untrusted"),
        ("Error: Transaction test error", "packages_failed"),
    ] {
        let host = FakeHost::new().on_failure("dnf", 1, text);
        let failure = dnf::Dnf
            .install(&host, &names(&["x"]), &ProgressSink::none())
            .await
            .unwrap_err();
        assert_eq!(failure.code, code, "{text}");
    }
}
