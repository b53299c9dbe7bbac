//! `init`: once, again, half-done, over something foreign.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::coordinator::{Coordinator, init, text};

const HERE: &[&str] = &["--address", "127.0.0.1"];

#[test]
fn twice_is_already_so_and_what_is_missing_is_made_again() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let first = init(folder.path(), HERE);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let ca = fs::read(folder.path().join("data/ca/ca.pem")).expect("CA");
    let mode = |path: &str| fs::metadata(folder.path().join(path)).expect(path).permissions().mode() & 0o777;
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode("data/ca/ca.key.pem"), 0o600);
    assert_eq!(mode("data/identity/key.pem"), 0o600);
    assert_eq!(mode("etc/operator/key.pem") & 0o007, 0);

    let second = init(folder.path(), HERE);
    assert!(second.status.success());
    assert_eq!(text(&second.stdout), "already so\n");

    for gone in [
        "etc/ctl.toml",
        "etc/coordinator.toml",
        "etc/operator/cert.pem",
        "data/identity/cert.pem",
    ] {
        fs::remove_file(folder.path().join(gone)).expect(gone);
        let again = init(folder.path(), HERE);
        assert!(again.status.success(), "{gone}: {}", text(&again.stderr));
        assert!(folder.path().join(gone).exists(), "{gone}");
    }
    assert_eq!(fs::read(folder.path().join("data/ca/ca.pem")).expect("CA"), ca);

    let other = init(folder.path(), &["--address", "10.9.9.9"]);
    assert_eq!(other.status.code(), Some(8), "{}", text(&other.stderr));
    fs::remove_file(folder.path().join("data/ca/ca.key.pem")).expect("key");
    let lost = init(folder.path(), HERE);
    assert_eq!(lost.status.code(), Some(3));
    assert!(text(&lost.stderr).contains("backup"), "{}", text(&lost.stderr));
}

#[test]
fn a_killed_init_is_finished_by_the_next() {
    let folder = tempfile::tempdir().expect("temporary directory");
    assert!(init(folder.path(), HERE).status.success());
    let data = folder.path().join("data");
    // As if it had been killed before its last line, with a torn raft file.
    fs::rename(data.join("owner.json"), data.join("init.json")).expect("renamed");
    fs::write(data.join("raft.redb"), b"torn").expect("written");
    let again = init(folder.path(), HERE);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(data.join("owner.json").exists() && !data.join("init.json").exists());
    // As if before the CA's certificate was there.
    fs::rename(data.join("owner.json"), data.join("init.json")).expect("renamed");
    fs::remove_file(data.join("ca/ca.pem")).expect("removed");
    let again = init(folder.path(), HERE);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(text(&again.stdout).contains("made a certificate authority"));
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let folder = tempfile::tempdir().expect("temporary directory");
    fs::create_dir(folder.path().join("data")).expect("folder");
    fs::write(folder.path().join("data/precious"), b"x").expect("written");
    let refused = init(folder.path(), HERE);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    assert_eq!(fs::read_dir(folder.path().join("data")).expect("folder").count(), 1);
}

#[test]
fn bad_settings_name_the_line_and_the_nearest_key() {
    let folder = tempfile::tempdir().expect("temporary directory");
    assert!(init(folder.path(), HERE).status.success());
    let path = folder.path().join("etc/coordinator.toml");
    fs::write(&path, "\nlissten = \"127.0.0.1:1\"\n").expect("written");
    let refused = init(folder.path(), HERE);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("line 2") && said.contains("listen"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_file_of_another_group_and_a_taken_port_are_refused() {
    let mut coordinator = Coordinator::new().await;
    assert!(coordinator.terminate().await, "SIGTERM ends it well");
    let run = || {
        std::process::Command::new(crate::coordinator::PROGRAM)
            .args([
                "run".as_ref(),
                "--config-dir".as_ref(),
                coordinator.folder.path().join("etc").as_os_str(),
            ])
            .output()
            .expect("starts")
    };
    let taken = std::net::TcpListener::bind(("127.0.0.1", coordinator.port)).expect("port");
    let refused = run();
    assert_eq!(refused.status.code(), Some(8), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("ss -ltnp"));
    drop(taken);

    let other = tempfile::tempdir().expect("temporary directory");
    assert!(init(other.path(), HERE).status.success());
    fs::copy(
        other.path().join("data/raft.redb"),
        coordinator.folder.path().join("data/raft.redb"),
    )
    .expect("copied");
    let refused = run();
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("copied from another machine"),
        "{}",
        text(&refused.stderr)
    );
}
