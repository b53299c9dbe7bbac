//! What enrolment refuses, and what it leaves alone.

use clusterctl_proto::identity::CA_COMMON_NAME;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};

use super::*;
use crate::host::Output;
use crate::host::fake::FakeHost;

struct Group {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Group {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, CA_COMMON_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn certify(&self, key_pem: &str, uri: &str) -> String {
        let key = KeyPair::from_pem(key_pem).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.signed_by(&key, &self.issuer).unwrap().pem()
    }

    fn reply(&self, key_pem: &str, uri: &str, host: &str) -> EnrollReply {
        EnrollReply {
            host: host.to_owned(),
            certificate_pem: self.certify(key_pem, uri),
            ca_pem: self.pem.clone(),
            endpoints: vec!["10.0.0.1:7440".to_owned()],
            roles: vec!["db".to_owned()],
            member: false,
        }
    }

    fn token(&self) -> Token {
        let credentials = self.credentials("clusterctl://g1/agent/x");
        Token::generate(vec!["10.0.0.1:7440".to_owned()], fingerprint(credentials.ca_der())).unwrap()
    }

    fn credentials(&self, uri: &str) -> Credentials {
        let key = KeyPair::generate().unwrap().serialize_pem();
        Credentials::from_pem(&self.pem, &self.certify(&key, uri), &key).unwrap()
    }
}

fn config(dir: &Path) -> Config {
    let mut config = Config {
        state_dir: dir.join("state"),
        ..Config::default()
    };
    config.mysql.data_dir = dir.join("data");
    config
}

fn enrol(group: &Group, config: &Config) {
    files::ensure_directory(&config.state_dir, 0o700).unwrap();
    let key = pending_key(config).unwrap();
    let reply = group.reply(&key, "clusterctl://g1/agent/node2", "node2");
    let credentials = check(&reply, &key, &group.token()).unwrap();
    store(config, &Enrolment::new(&credentials, &reply).unwrap(), &reply, &key).unwrap();
}

#[test]
fn names_that_say_nothing_are_refused() {
    assert_eq!(choose_name(None, "Node2").unwrap().as_str(), "node2");
    assert_eq!(choose_name(Some("db-1"), "localhost").unwrap().as_str(), "db-1");
    assert_eq!(
        choose_name(None, "localhost.localdomain").unwrap_err().code,
        "no_host_name"
    );
    assert_eq!(choose_name(None, "").unwrap_err().code, "no_host_name");
    assert_eq!(choose_name(Some("no_de"), "x").unwrap_err().code, "bad_host_name");
}

#[test]
fn enrolled_in_this_group_already_the_token_is_not_spent() {
    let (group, dir) = (Group::new(), tempfile::tempdir().unwrap());
    let config = config(dir.path());
    assert!(matches!(before(&config).unwrap(), Before::Nothing));
    enrol(&group, &config);
    let was = before(&config).unwrap();
    let node2 = "node2".parse().unwrap();
    for name in [None, Some(&node2)] {
        assert!(matches!(
            judge(&was, &group.token(), name, false).unwrap(),
            Verdict::Already(_)
        ));
    }
    let failure = judge(&was, &group.token(), Some(&"node9".parse().unwrap()), false).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.exit.code()), ("enrolled_otherwise", 8));
    assert_eq!(
        judge(&was, &group.token(), None, true).unwrap(),
        Verdict::Enrol { other_group: false }
    );
}

#[test]
fn another_group_is_refused_unless_forced() {
    let (group, other, dir) = (Group::new(), Group::new(), tempfile::tempdir().unwrap());
    let config = config(dir.path());
    enrol(&group, &config);
    let was = before(&config).unwrap();
    let failure = judge(&was, &other.token(), None, false).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.exit.code()), ("enrolled_elsewhere", 8));
    assert_eq!(
        judge(&was, &other.token(), None, true).unwrap(),
        Verdict::Enrol { other_group: true }
    );
}

#[test]
fn an_answer_for_somebody_else_is_refused() {
    let (group, other) = (Group::new(), Group::new());
    let key = new_key_and_request().unwrap().key_pem;
    let refused = |reply: &EnrollReply, token: &Token| check(reply, &key, token).unwrap_err().code;
    let good = group.reply(&key, "clusterctl://g1/agent/node2", "node2");
    assert!(check(&good, &key, &group.token()).is_ok());
    assert_eq!(refused(&good, &other.token()), "bad_enrolment");
    assert_eq!(
        refused(
            &group.reply(&key, "clusterctl://g1/agent/node3", "node2"),
            &group.token()
        ),
        "bad_enrolment"
    );
    assert_eq!(
        refused(
            &group.reply(&key, "clusterctl://g1/coordinator/1", "node2"),
            &group.token()
        ),
        "bad_enrolment"
    );
    let foreign_key = new_key_and_request().unwrap().key_pem;
    assert_eq!(
        refused(
            &group.reply(&foreign_key, "clusterctl://g1/agent/node2", "node2"),
            &group.token()
        ),
        "bad_enrolment"
    );
}

#[test]
fn what_is_stored_is_private_and_the_ledger_begins_only_on_an_empty_host() {
    use std::os::unix::fs::PermissionsExt;
    let (group, dir) = (Group::new(), tempfile::tempdir().unwrap());
    let config = config(dir.path());
    enrol(&group, &config);
    for file in ["identity/key.pem", "enrolment.json", "ledger.json"] {
        let mode = std::fs::metadata(config.state_dir.join(file))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    assert!(!pending_path(&config).exists());
    assert!(Ledger::open(&config.state_dir).facts().known);

    let dir = tempfile::tempdir().unwrap();
    let config = self::config(dir.path());
    std::fs::create_dir(&config.mysql.data_dir).unwrap();
    std::fs::write(config.mysql.data_dir.join("clusterctl.json"), "{}").unwrap();
    enrol(&group, &config);
    assert!(
        !Ledger::open(&config.state_dir).facts().known,
        "a member's lost ledger stays lost"
    );
}

#[test]
fn a_member_begins_no_empty_ledger_whatever_its_data_directory_shows() {
    let (group, dir) = (Group::new(), tempfile::tempdir().unwrap());
    let config = config(dir.path());
    files::ensure_directory(&config.state_dir, 0o700).unwrap();
    let key = pending_key(&config).unwrap();
    let mut reply = group.reply(&key, "clusterctl://g1/agent/node2", "node2");
    reply.member = true;
    let credentials = check(&reply, &key, &group.token()).unwrap();
    let enrolment = Enrolment::new(&credentials, &reply).unwrap();
    store(&config, &enrolment, &reply, &key).unwrap();
    assert!(!Ledger::open(&config.state_dir).facts().known, "it is lost, not empty");

    // one that is there stays
    Ledger::create(&config.state_dir).unwrap();
    let before = std::fs::read(config.state_dir.join("ledger.json")).unwrap();
    store(&config, &enrolment, &reply, &key).unwrap();
    assert_eq!(std::fs::read(config.state_dir.join("ledger.json")).unwrap(), before);

    // a marker that cannot be looked at proves nothing: here the data directory is a file
    let mut config = config.clone();
    config.mysql.data_dir = config.state_dir.join("enrolment.json");
    assert!(had_ledger(
        &config,
        &group.reply(&key, "clusterctl://g1/agent/node2", "node2")
    ));
}

#[test]
fn a_host_that_enrols_again_in_its_group_keeps_its_name_and_key() {
    let (group, other, dir) = (Group::new(), Group::new(), tempfile::tempdir().unwrap());
    let config = config(dir.path());
    let none = own(&config, &group.token()).unwrap();
    assert!(none.host.is_none() && none.key_pem.is_none());
    enrol(&group, &config);
    let key = std::fs::read_to_string(config.identity_dir().join("key.pem")).unwrap();
    // its certificate is of no use any more, or an attempt was interrupted before it came
    std::fs::remove_file(config.identity_dir().join("cert.pem")).unwrap();
    assert!(matches!(before(&config).unwrap(), Before::Nothing));
    let again = own(&config, &group.token()).unwrap();
    assert_eq!(again.host.unwrap().as_str(), "node2");
    assert_eq!(again.key_pem.unwrap(), key);
    let elsewhere = own(&config, &other.token()).unwrap();
    assert!(
        elsewhere.host.is_none() && elsewhere.key_pem.is_none(),
        "keys are not carried to another group"
    );
    std::fs::write(config.identity_dir().join("key.pem"), "garbage").unwrap();
    assert!(own(&config, &group.token()).unwrap().key_pem.is_none());
}

#[test]
fn an_interrupted_attempt_keeps_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    files::ensure_directory(&config.state_dir, 0o700).unwrap();
    assert_eq!(pending_key(&config).unwrap(), pending_key(&config).unwrap());
    std::fs::write(pending_path(&config), "garbage").unwrap();
    assert!(request_for_key(&pending_key(&config).unwrap()).is_ok());
}

#[test]
fn a_bad_token_says_what_is_wrong_and_not_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    for (content, exit) in [("", 7), ("hello", 7), ("cct1.AAAA", 7)] {
        std::fs::write(&path, content).unwrap();
        let failure = read_token(&path).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.exit.code()), ("bad_token", exit));
        assert!(failure.hint.is_some());
    }
    assert_eq!(read_token(&dir.path().join("none")).unwrap_err().exit.code(), 2);
}

#[tokio::test]
async fn enrolment_ends_when_the_agent_is_connected_or_says_why_it_is_not_yet() {
    let looks = std::sync::atomic::AtomicU32::new(0);
    let host = FakeHost::new().answer("systemctl show", move |_, _| {
        let connected = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 1;
        let text = if connected {
            "connected to coordinator coordinator/1"
        } else {
            "not connected yet"
        };
        Output::new(0, format!("ActiveState=active\nStatusText={text}\n"), "")
    });
    assert_eq!(
        wait_connected(&host, CONNECTION).await,
        "; clusterctl-agent.service runs and is connected"
    );
    assert_eq!(host.calls().len(), 3);
    let host = FakeHost::new().on(
        "systemctl show",
        "ActiveState=active\nStatusText=not connected: refused\n",
    );
    let text = wait_connected(&host, Duration::ZERO).await;
    assert!(text.contains("but says: not connected: refused;"), "{text}");
}
