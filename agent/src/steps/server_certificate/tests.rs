//! Keys, signatures and what does not fit, with a CA in memory.

use std::sync::Arc;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::identity::CA_COMMON_NAME;
use futures_util::future::{BoxFuture, ready};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair, SanType,
};

use super::*;
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::steps::{Signer, testing};

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    names: Vec<SanType>,
    common_name: &'static str,
    days: i64,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, CA_COMMON_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
            names: vec![
                SanType::DnsName("node1".try_into().unwrap()),
                SanType::IpAddress("10.0.0.1".parse().unwrap()),
            ],
            common_name: "node1",
            days: 90,
        }
    }
}

impl Signer for Ca {
    fn sign_server<'a>(&'a self, csr_der: Vec<u8>) -> BoxFuture<'a, Result<String, Failure>> {
        let mut request = CertificateSigningRequestParams::from_der(&csr_der.into()).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common_name);
        params.subject_alt_names = self.names.clone();
        let now = std::time::SystemTime::now();
        params.not_before = now.into();
        params.not_after = (now + std::time::Duration::from_secs(u64::try_from(self.days * 86400).unwrap())).into();
        request.params = params;
        let signed = request.signed_by(&self.issuer).unwrap().pem();
        Box::pin(ready(Ok(signed)))
    }
}

fn context(ca: Ca, dir: &Path) -> (Arc<FakeHost>, Context) {
    let fake = Arc::new(FakeHost::new());
    fake.put(dir.join("identity/ca.pem").to_str().unwrap(), &ca.pem);
    let (mut cx, _) = testing::context(fake.clone(), dir);
    cx.signer = Arc::new(ca);
    let config = Arc::make_mut(&mut cx.config);
    // no mysqld of the machine that runs the tests
    config.mysql.sockets = vec![dir.join("no.sock")];
    (fake, cx)
}

fn addresses() -> Vec<IpAddr> {
    vec!["10.0.0.1".parse().unwrap()]
}

const KEY: &str = "/etc/mysql/clusterctl/server.key";
const CERTIFICATE: &str = "/etc/mysql/clusterctl/server.pem";

#[tokio::test]
async fn a_key_is_born_signed_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, cx) = context(Ca::new(), dir.path());
    let host = "node1".parse().unwrap();
    assert!(matches!(
        ensure(&host, &addresses(), &cx).await.unwrap(),
        Done::Changed(_)
    ));
    assert_eq!(fake.access(KEY), Some(Access::of(0o640, "root", "mysql")));
    assert_eq!(
        fake.access("/etc/mysql/clusterctl"),
        Some(Access::of(0o750, "root", "mysql"))
    );
    let key = fake.text(KEY).unwrap();
    assert_eq!(ensure(&host, &addresses(), &cx).await.unwrap(), Done::Unchanged);
    // a crash between key and certificate
    fake.remove(Path::new(CERTIFICATE)).await.unwrap();
    assert!(matches!(
        ensure(&host, &addresses(), &cx).await.unwrap(),
        Done::Changed(_)
    ));
    assert_eq!(fake.text(KEY).unwrap(), key);
}

#[tokio::test]
async fn other_addresses_a_foreign_key_or_a_short_life_mean_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (fake, cx) = context(Ca::new(), dir.path());
    let host = "node1".parse().unwrap();
    ensure(&host, &addresses(), &cx).await.unwrap();
    let reason = |key: &str, now: i64, addresses: &[IpAddr]| {
        let (certificate, ca_pem) = (
            fake.text(CERTIFICATE).unwrap(),
            fake.text("/etc/mysql/clusterctl/ca.pem").unwrap(),
        );
        let expected = Expected {
            host: "node1",
            addresses,
            ca_pem: &ca_pem,
            key_pem: key,
            now,
        };
        misfit(&certificate, &expected)
    };
    let now = i64::try_from(clock::now_ms() / 1000).unwrap();
    let key = fake.text(KEY).unwrap();
    assert_eq!(reason(&key, now, &addresses()), None);
    assert_eq!(
        reason(&key, now + 61 * 86400, &addresses()).unwrap(),
        "less than a third of its life is left"
    );
    assert_eq!(
        reason(&key, now, &["10.0.0.9".parse().unwrap()]).unwrap(),
        "its addresses are others"
    );
    let other = KeyPair::generate().unwrap().serialize_pem();
    assert_eq!(reason(&other, now, &addresses()).unwrap(), "it belongs to another key");
    assert_eq!(reason("garbage", now, &addresses()).unwrap(), "its key cannot be read");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_not_used() {
    let host = "node1".parse().unwrap();
    let with_role = SanType::URI("clusterctl://g/agent/node1".try_into().unwrap());
    let changes: [fn(&mut Ca, SanType); 4] = [
        |ca, _| ca.common_name = "node2",
        |ca, _| ca.names.truncate(1),
        |ca, uri| ca.names.push(uri),
        |ca, _| {
            *ca = Ca {
                pem: ca.pem.clone(),
                ..Ca::new()
            }
        },
    ];
    for change in changes {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Ca::new();
        change(&mut ca, with_role.clone());
        let (fake, cx) = context(ca, dir.path());
        let failure = ensure(&host, &addresses(), &cx).await.unwrap_err();
        assert_eq!(failure.code, "bad_server_certificate");
        assert_eq!(fake.text(CERTIFICATE), None);
    }
}
