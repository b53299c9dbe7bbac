//! The lab itself: do its hosts behave like bare metal?

use std::time::{Duration, Instant};

use clusterctl_lab::{Direction, Lab, wait_for};

/// Whether a connection from one host to a port of another is accepted within a second.
fn reaches(lab: &Lab, from: &str, to: &str, port: u16) -> bool {
    let line = format!(
        "timeout 1 bash -c '</dev/tcp/{}/{port}'",
        lab.address(to).expect("a host of the lab")
    );
    lab.sh(from, &line).is_ok()
}

/// Waits until a connection is accepted: an address that was out of reach is asked for again only now and then.
fn soon(lab: &Lab, from: &str, to: &str) {
    let what = format!("{from} reaches {to}");
    wait_for(&what, Duration::from_secs(10), || Ok(reaches(lab, from, to, 7000))).unwrap();
}

/// Something that listens on port 7000 of every address, and starts with the host.
fn listen(lab: &Lab, host: &str) {
    lab.sh(
        host,
        "command -v nc >/dev/null || apt-get install -y -qq netcat-openbsd >/dev/null 2>&1; \
         printf '[Service]\\nExecStart=nc -lk 7000\\n[Install]\\nWantedBy=multi-user.target\\n' \
         >/etc/systemd/system/listen.service; systemctl daemon-reload; systemctl enable -q --now listen",
    )
    .expect("a service");
    wait_for("it listens", Duration::from_secs(5), || {
        Ok(reaches(lab, host, host, 7000))
    })
    .unwrap();
}

#[test]
fn a_host_is_a_bare_debian() {
    let Some(shared) = crate::shared() else {
        return;
    };
    let lab = Lab::up(&format!("{}-bare", shared.name()), &["node1", "node2"]).unwrap();
    assert_eq!(
        lab.sh("node1", "systemctl is-system-running").unwrap().trim(),
        "running"
    );
    assert_eq!(
        lab.sh("node1", "hostname; getent hosts node1 | cut -d' ' -f1").unwrap(),
        "node1\n127.0.1.1\n"
    );
    assert_eq!(
        lab.sh("node1", "ls -A /var/lib/mysql; ls -d /etc/mysql 2>/dev/null || true")
            .unwrap(),
        ""
    );
    let ids: Vec<_> = lab
        .hosts()
        .iter()
        .map(|host| lab.sh(host, "cat /etc/machine-id").unwrap())
        .collect();
    for (place, id) in ids.iter().enumerate() {
        assert!(id.trim().len() == 32 && !ids[..place].contains(id), "{ids:?}");
    }
    assert!(Lab::down(lab.name()).unwrap());
}

#[test]
fn a_command_gets_its_user_its_stdin_and_a_plain_environment() {
    let Some(lab) = crate::shared() else { return };
    let output = lab
        .exec(
            "node2",
            "admin",
            &["sh", "-c", "id -un; pwd; cat; echo no >&2; exit 7"],
            "from stdin\n",
        )
        .unwrap();
    assert_eq!(
        (output.status, output.stdout.as_str()),
        (7, "admin\n/home/admin\nfrom stdin\n")
    );
    assert_eq!(output.stderr, "no\n");
    let names = lab.exec("node2", "root", &["env"], "").unwrap().success().unwrap();
    let mut names: Vec<_> = names
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "USER"]);
    let limit = Duration::from_secs(1);
    assert_eq!(
        lab.exec_within(limit, "node2", "root", &["sleep", "60"], "")
            .unwrap()
            .status,
        124
    );
    assert_eq!(
        lab.exec("node2", "root", &["sh", "-c", "kill -9 $$"], "")
            .unwrap()
            .status,
        137
    );
    assert!(lab.exec("node2", "nobody-there", &["true"], "").is_err());
    assert!(lab.exec("node9", "root", &["true"], "").is_err());
}

#[test]
fn hosts_share_no_cgroup() {
    let Some(lab) = crate::shared() else { return };
    listen(lab, "node1");
    listen(lab, "node2");
    lab.sh("node1", "systemctl kill -s KILL listen").unwrap();
    wait_for("node1's ended", Duration::from_secs(5), || {
        Ok(!reaches(lab, "node2", "node1", 7000))
    })
    .unwrap();
    assert!(reaches(lab, "node1", "node2", 7000));
}

#[test]
fn a_frozen_host_accepts_nothing_new_and_goes_on_when_thawed() {
    let Some(lab) = crate::shared() else { return };
    lab.sh(
        "node3",
        "(while sleep 0.1; do date +%s%N >/tmp/clock; done) >/dev/null 2>&1 </dev/null &",
    )
    .unwrap();
    wait_for("the clock ticks", Duration::from_secs(5), || {
        Ok(lab.sh("node3", "cat /tmp/clock").is_ok())
    })
    .unwrap();
    lab.freeze("node3").unwrap();
    let error = lab.exec("node3", "root", &["true"], "").unwrap_err();
    assert_eq!(error.to_string(), "node3 is frozen");
    assert_eq!(lab.status().unwrap()[2].state, "frozen");
    std::thread::sleep(Duration::from_millis(500));
    lab.thaw("node3").unwrap();
    lab.sh("node3", "systemctl is-system-running").unwrap();
}

#[test]
fn a_host_without_power_says_nothing_and_keeps_its_disk() {
    let Some(lab) = crate::shared() else { return };
    listen(lab, "node3");
    lab.sh("node3", "echo kept >/root/file; echo kept >/var/lib/mysql/file")
        .unwrap();
    let before = lab
        .sh(
            "node3",
            "cat /proc/sys/kernel/random/boot_id; journalctl --list-boots -q | wc -l",
        )
        .unwrap();
    lab.power_off("node3").unwrap();
    assert_eq!(lab.status().unwrap()[2].state, "off");
    let asked = Instant::now();
    assert!(!reaches(lab, "node1", "node3", 7000));
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "a dead host must not even refuse"
    );
    lab.power_on("node3").unwrap();
    assert_eq!(
        lab.sh("node3", "cat /root/file /var/lib/mysql/file; rm /var/lib/mysql/file")
            .unwrap(),
        "kept\nkept\n"
    );
    assert_ne!(
        lab.sh(
            "node3",
            "cat /proc/sys/kernel/random/boot_id; journalctl --list-boots -q | wc -l"
        )
        .unwrap(),
        before
    );
    soon(lab, "node1", "node3");
}

#[test]
fn a_reboot_from_inside_comes_back() {
    let Some(lab) = crate::shared() else { return };
    listen(lab, "node2");
    lab.reboot("node2").unwrap();
    soon(lab, "node1", "node2");
    lab.sh("node2", "systemctl poweroff --no-block").unwrap();
    wait_for("it is off", Duration::from_secs(30), || {
        Ok(lab.status()?[1].state == "off")
    })
    .unwrap();
    lab.power_on("node2").unwrap();
}

#[test]
fn cuts_lose_packets_in_the_directions_asked_for() {
    let Some(lab) = crate::shared() else { return };
    for host in ["node1", "node2", "node3"] {
        listen(lab, host);
    }
    lab.partition_from("node1", &["node2"], Direction::Both).unwrap();
    lab.partition_from("node1", &["node2"], Direction::Both).unwrap();
    assert!(!reaches(lab, "node1", "node2", 7000) && !reaches(lab, "node2", "node1", 7000));
    assert!(reaches(lab, "node1", "node3", 7000) && reaches(lab, "node3", "node2", 7000));
    lab.heal("node2").unwrap();
    soon(lab, "node1", "node2");
    lab.partition("node3", Direction::Outgoing).unwrap();
    assert_eq!(lab.status().unwrap()[2].cut_from, ["node1", "node2", "router1"]);
    assert!(!reaches(lab, "node1", "node3", 7000));
    lab.heal_all().unwrap();
    soon(lab, "node1", "node3");
    assert!(lab.partition_from("node1", &["node1"], Direction::Both).is_err());
    assert!(lab.partition_from("node1", &["node9"], Direction::Both).is_err());
}

#[test]
fn labs_stand_side_by_side_and_a_crashed_one_is_removed() {
    let Some(lab) = crate::shared() else { return };
    let name = format!("{}-2", lab.name());
    let other = Lab::up(&name, &["node1"]).unwrap();
    assert_ne!(other.address("node1").unwrap(), lab.address("node1").unwrap());
    // The supervisor dies, the record is lost: removing must not need them.
    let line = format!("--name {name} supervise node1");
    let supervisor = std::process::Command::new("pgrep")
        .args(["--full", "--", &line])
        .output()
        .unwrap();
    let pid = String::from_utf8_lossy(&supervisor.stdout).trim().to_owned();
    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
    std::fs::remove_file(format!("/var/lib/clusterctl-lab/labs/{name}/lab.json")).unwrap();
    assert!(Lab::down(&name).unwrap());
    assert!(!Lab::down(&name).unwrap());
    assert!(lab.sh("node1", "true").is_ok());
    let left = std::process::Command::new("pgrep")
        .args(["--full", &format!("clusterctl-{name}-")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn the_hosts_install_mysql_from_the_pool() {
    let Some(lab) = crate::shared() else { return };
    lab.sh(
        "router1",
        "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mysql-server mysql-client mysql-router >/dev/null 2>&1",
    )
    .unwrap();
    assert_eq!(
        lab.sh("router1", "systemctl is-active mysql; mysql -Ne 'SELECT 1'")
            .unwrap(),
        "active\n1\n"
    );
    lab.sh("router1", "DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq 'mysql-*' >/dev/null 2>&1; rm -rf /var/lib/mysql/* /etc/mysql").unwrap();
}
