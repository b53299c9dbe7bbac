//! A real tonic server and real connections over loopback, with certificates of several CAs.

use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};

use super::*;
use crate::failure::{ExitClass, Failure};
use crate::identity::{CA_COMMON_NAME, PeerName, fingerprint};
use crate::wire::enrolment::enrolment_client::EnrolmentClient;
use crate::wire::enrolment::enrolment_server::{Enrolment, EnrolmentServer};
use crate::wire::enrolment::{EnrollReply, EnrollRequest};

type Error = Box<dyn std::error::Error>;
type Outcome = Result<(), Error>;

const ANY: &str = "127.0.0.1:0";

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: Vec<u8>,
}

impl Ca {
    fn new() -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, CA_COMMON_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Certificate and key, PEM.
    fn sign(
        &self,
        uri: Option<&str>,
        change: impl Fn(&mut CertificateParams),
    ) -> Result<(String, String), Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["node1".to_owned()])?;
        if let Some(uri) = uri {
            params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        Ok((
            params.signed_by(&key, &self.issuer)?.pem(),
            key.serialize_pem(),
        ))
    }

    fn credentials(&self, uri: &str) -> Result<Credentials, Error> {
        let (certificate, key) = self.sign(Some(uri), |_| {})?;
        Ok(Credentials::from_pem(&self.pem, &certificate, &key)?)
    }

    fn coordinator(&self) -> Result<Credentials, Error> {
        self.credentials("clusterctl://g1/coordinator/1")
    }

    fn agent(&self) -> Result<Credentials, Error> {
        self.credentials("clusterctl://g1/agent/node1")
    }
}

/// Answers with the caller's name, or a failure with details for the host `refuse`.
struct Service;

#[tonic::async_trait]
impl Enrolment for Service {
    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollReply>, Status> {
        let info = request.extensions().get::<tonic::transport::server::TlsConnectInfo<tonic::transport::server::TcpConnectInfo>>();
        let certificates = info.and_then(|info| info.peer_certs());
        let caller = match certificates.as_deref().and_then(|chain| chain.first()) {
            Some(der) => PeerName::from_certificate(der)
                .map_err(Failure::from)?
                .to_string(),
            None => "nobody".to_owned(),
        };
        if request.into_inner().host == "refuse" {
            return Err(Failure::refused("because", "no")
                .fact("x".repeat(20_000))
                .into());
        }
        Ok(Response::new(EnrollReply {
            host: caller,
            ..Default::default()
        }))
    }
}

/// Serves as the coordinator does; answers the endpoint.
async fn serve(config: Arc<rustls::ServerConfig>, address: &str) -> Result<String, Error> {
    let listener = TcpListener::bind(address).await?;
    let address: SocketAddr = listener.local_addr()?;
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(config);
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    let _ = sender.send(Ok::<_, std::io::Error>(tls)).await;
                }
            });
        }
    });
    let incoming = tokio_stream::wrappers::ReceiverStream::new(receiver);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(EnrolmentServer::new(Service))
            .serve_with_incoming(incoming),
    );
    Ok(address.to_string())
}

async fn coordinator(ca: &Ca) -> Result<String, Error> {
    serve(server_config(ca.coordinator()?)?, ANY).await
}

/// A server with a certificate that no coordinator has.
async fn other_server(
    ca: &Ca,
    uri: Option<&str>,
    change: impl Fn(&mut CertificateParams),
) -> Result<String, Error> {
    let (certificate, key) = ca.sign(uri, change)?;
    let chain = vec![
        CertificateDer::from_pem_slice(certificate.as_bytes())?,
        CertificateDer::from(ca.der.clone()),
    ];
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    serve(Arc::new(config), ANY).await
}

async fn ask(channel: tonic::transport::Channel, host: &str) -> Result<String, Failure> {
    let request = EnrollRequest {
        host: host.to_owned(),
        ..Default::default()
    };
    Ok(EnrolmentClient::new(channel)
        .enroll(request)
        .await?
        .into_inner()
        .host)
}

async fn refusal(endpoint: String, credentials: Credentials) -> Result<Failure, Error> {
    connect(&[endpoint], credentials)
        .await
        .err()
        .ok_or_else(|| "was accepted".into())
}

#[tokio::test]
async fn each_learns_who_the_other_is() -> Outcome {
    let ca = Ca::new()?;
    let endpoint = coordinator(&ca).await?;
    let channel = connect(std::slice::from_ref(&endpoint), ca.agent()?).await?;
    assert_eq!(
        ask(channel.clone(), "").await?,
        "clusterctl://g1/agent/node1"
    );
    let refused = ask(channel, "refuse").await.err().ok_or("no failure")?;
    assert_eq!(
        (refused.code.as_str(), refused.exit, refused.facts[0].len()),
        ("because", ExitClass::Refused, 20_000)
    );
    Ok(())
}

#[tokio::test]
async fn a_coordinator_of_a_foreign_ca_is_refused() -> Outcome {
    let (ours, foreign) = (Ca::new()?, Ca::new()?);
    let failure = refusal(coordinator(&foreign).await?, ours.agent()?).await?;
    assert_eq!(
        (failure.code.as_str(), failure.exit),
        ("foreign_ca", ExitClass::Denied),
        "{failure:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_client_of_a_foreign_ca_is_told_so() -> Outcome {
    let (ours, foreign) = (Ca::new()?, Ca::new()?);
    // It trusts our CA, but its own certificate is of another.
    let stranger = foreign.agent()?;
    let tls = ClientTls::new(
        ours.agent()?
            .showing(Arc::unwrap_or_clone(stranger.certified)),
    )?;
    let endpoints = [coordinator(&ours).await?];
    let failure = client::channel(&endpoints, tls, ConnectOptions::default())
        .await
        .err()
        .ok_or("accepted")?;
    assert_eq!(
        (failure.code.as_str(), failure.exit),
        ("certificate_refused", ExitClass::Denied),
        "{failure:?}"
    );
    assert!(failure.hint.is_some_and(|hint| hint.contains("journalctl")));
    Ok(())
}

#[tokio::test]
async fn clients_without_a_name_of_this_group_are_refused() -> Outcome {
    let ca = Ca::new()?;
    let endpoint = coordinator(&ca).await?;
    for uri in [
        None,
        Some("clusterctl://g2/agent/node1"),
        Some("clusterctl://g1/operator/x?role=root"),
    ] {
        let (certificate, key) = ca.sign(uri, |_| {})?;
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let certified = rustls::sign::CertifiedKey::from_der(chain, key, &provider())?;
        // As mysqld's key would be misused: the certificate is shown by a client that is otherwise ours.
        let credentials = ca.agent()?.showing(certified);
        let failure = refusal(endpoint.clone(), credentials).await?;
        assert_eq!(
            (failure.code.as_str(), failure.exit),
            ("certificate_refused", ExitClass::Denied),
            "{uri:?} {failure:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn only_a_coordinator_of_our_group_may_be_the_server() -> Outcome {
    let ca = Ca::new()?;
    for (uri, code) in [
        (Some("clusterctl://g1/agent/node1"), "not_a_coordinator"),
        (
            Some("clusterctl://g1/operator/alice?role=admin"),
            "not_a_coordinator",
        ),
        (Some("clusterctl://g2/coordinator/1"), "foreign_group"),
        // mysqld's
        (None, "not_a_coordinator"),
    ] {
        let failure = refusal(other_server(&ca, uri, |_| {}).await?, ca.agent()?).await?;
        assert_eq!(
            (failure.code.as_str(), failure.exit),
            (code, ExitClass::Denied),
            "{uri:?} {failure:?}"
        );
    }
    let ours = Some("clusterctl://g1/coordinator/1");
    let client_only = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]
    };
    let failure = refusal(other_server(&ca, ours, client_only).await?, ca.agent()?).await?;
    assert_eq!(failure.code, "not_a_coordinator", "{failure:?}");
    let expired =
        |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let failure = refusal(other_server(&ca, ours, expired).await?, ca.agent()?).await?;
    assert_eq!(failure.code, "certificate_expired", "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn an_expired_client_is_told_so() -> Outcome {
    let ca = Ca::new()?;
    let expired =
        |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let (certificate, key) = ca.sign(Some("clusterctl://g1/agent/node1"), expired)?;
    let credentials = Credentials::from_pem(&ca.pem, &certificate, &key)?;
    let failure = refusal(coordinator(&ca).await?, credentials).await?;
    assert_eq!(failure.code, "certificate_refused");
    assert!(failure.message.contains("expired"), "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn a_pin_accepts_its_ca_only() -> Outcome {
    let (ca, foreign) = (Ca::new()?, Ca::new()?);
    let endpoints = [coordinator(&ca).await?];
    let (channel, pem) = pinned_connect(&endpoints, &fingerprint(&ca.der)).await?;
    assert_eq!(pem.replace('\r', ""), ca.pem.replace('\r', ""));
    assert_eq!(ask(channel, "").await?, "nobody");

    let failure = pinned_connect(&endpoints, &fingerprint(&foreign.der))
        .await
        .err()
        .ok_or("accepted")?;
    assert_eq!(
        (failure.code.as_str(), failure.exit),
        ("ca_pin_mismatch", ExitClass::Denied),
        "{failure:?}"
    );
    // The right CA beside a leaf that it did not sign.
    let (certificate, key) = foreign.sign(Some("clusterctl://g1/coordinator/1"), |_| {})?;
    let chain = vec![
        CertificateDer::from_pem_slice(certificate.as_bytes())?,
        CertificateDer::from(ca.der.clone()),
    ];
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    let endpoints = [serve(Arc::new(config), ANY).await?];
    let failure = pinned_connect(&endpoints, &fingerprint(&ca.der))
        .await
        .err()
        .ok_or("accepted")?;
    assert_eq!(failure.exit, ExitClass::Denied, "{failure:?}");
    // An agent's certificate of the right CA.
    let endpoints = [other_server(&ca, Some("clusterctl://g1/agent/node1"), |_| {}).await?];
    let failure = pinned_connect(&endpoints, &fingerprint(&ca.der))
        .await
        .err()
        .ok_or("accepted")?;
    assert_eq!(failure.code, "not_a_coordinator", "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn the_next_endpoint_is_tried_and_every_reason_told() -> Outcome {
    let ca = Ca::new()?;
    let closed = TcpListener::bind(ANY).await?.local_addr()?.to_string();
    let silent = TcpListener::bind(ANY).await?;
    let silent_endpoint = silent.local_addr()?.to_string();
    let options = ConnectOptions {
        attempt: Duration::from_millis(400),
        ..Default::default()
    };

    let endpoints = [
        closed.clone(),
        silent_endpoint.clone(),
        coordinator(&ca).await?,
    ];
    let channel = connect_with(&endpoints, ca.agent()?, options).await?;
    assert_eq!(ask(channel, "").await?, "clusterctl://g1/agent/node1");

    let failure = connect_with(&endpoints[..2], ca.agent()?, options)
        .await
        .err()
        .ok_or("connected")?;
    assert_eq!(
        (failure.exit, failure.retry),
        (ExitClass::Unreachable, true)
    );
    assert!(
        failure.facts[0].starts_with(&format!("{closed}: connection refused")),
        "{failure:?}"
    );
    assert!(
        failure.facts[1].starts_with(&format!("{silent_endpoint}: no answer in time")),
        "{failure:?}"
    );

    let failure = connect(std::slice::from_ref(&closed), ca.agent()?)
        .await
        .err()
        .ok_or("connected")?;
    assert!(
        failure.message.contains(&closed) && failure.message.contains("refused"),
        "{failure:?}"
    );
    let failure = connect(&[], ca.agent()?).await.err().ok_or("connected")?;
    assert_eq!(
        (failure.code.as_str(), failure.exit),
        ("no_endpoints", ExitClass::Usage)
    );
    let failure = connect(&["no port".to_owned()], ca.agent()?)
        .await
        .err()
        .ok_or("connected")?;
    assert_eq!(failure.exit, ExitClass::Unreachable);
    Ok(())
}

#[tokio::test]
async fn what_is_no_tls_server_is_called_so() -> Outcome {
    let ca = Ca::new()?;
    let listener = TcpListener::bind(ANY).await?;
    let endpoint = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut tcp, b"SSH-2.0-OpenSSH_9.2p1\r\n").await;
        }
    });
    let failure = refusal(endpoint, ca.agent()?).await?;
    assert_eq!(failure.code, "not_a_coordinator", "{failure:?}");
    Ok(())
}

#[tokio::test]
async fn a_renewal_reaches_the_next_connection_on_both_sides() -> Outcome {
    let ca = Ca::new()?;
    let server = SharedCredentials::new(ca.coordinator()?);
    let endpoints = [serve(server_config(&server)?, ANY).await?];
    let client = SharedCredentials::new(ca.agent()?);
    let serial = |shared: &SharedCredentials| shared.current().facts().serial.clone();

    assert!(
        client
            .renew(ca.credentials("clusterctl://g1/agent/node2")?)
            .is_err()
    );
    let before = (serial(&client), serial(&server));
    client.renew(ca.agent()?)?;
    server.renew(ca.coordinator()?)?;
    assert_ne!((serial(&client), serial(&server)), before);
    let channel = connect(&endpoints, &client).await?;
    assert_eq!(ask(channel, "").await?, "clusterctl://g1/agent/node1");
    Ok(())
}

#[tokio::test]
async fn a_channel_connects_again_and_tells_why_it_cannot() -> Outcome {
    let ca = Ca::new()?;
    let config = server_config(ca.coordinator()?)?;
    // A runtime of its own: dropped, it closes what a killed coordinator would.
    let first = tokio::runtime::Runtime::new()?;
    let serving = serve(config.clone(), ANY);
    let endpoint = first
        .spawn(async { serving.await.map_err(|error| error.to_string()) })
        .await??;
    let channel = connect(std::slice::from_ref(&endpoint), ca.agent()?).await?;
    assert_eq!(
        ask(channel.clone(), "").await?,
        "clusterctl://g1/agent/node1"
    );
    first.shutdown_background();

    // The first call may still find the old connection closing.
    let mut failure = ask(channel.clone(), "")
        .await
        .err()
        .ok_or("still answered")?;
    for _ in 0..50 {
        if failure.message.contains("connection refused") {
            break;
        }
        assert_eq!(failure.exit, ExitClass::Unreachable, "{failure:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        failure = ask(channel.clone(), "")
            .await
            .err()
            .ok_or("still answered")?;
    }
    assert!(failure.message.contains(&endpoint), "{failure:?}");
    assert_eq!(
        (failure.exit, failure.retry),
        (ExitClass::Unreachable, true)
    );

    serve(config, &endpoint).await?;
    assert_eq!(ask(channel, "").await?, "clusterctl://g1/agent/node1");
    Ok(())
}

#[test]
fn files_that_do_not_fit_together_are_named() -> Outcome {
    let (ca, foreign) = (Ca::new()?, Ca::new()?);
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    let failure = || Credentials::load(folder.path()).err().ok_or("loaded");

    assert!(failure()?.message.contains("ca.pem"));
    assert_eq!(
        (failure()?.code.as_str(), failure()?.exit),
        ("no_credentials", ExitClass::Denied)
    );
    let (certificate, key) = ca.sign(Some("clusterctl://g1/agent/node1"), |_| {})?;
    let (other_certificate, other_key) =
        foreign.sign(Some("clusterctl://g1/agent/node1"), |_| {})?;
    write("ca.pem", &ca.pem)?;
    write("cert.pem", &certificate)?;
    assert!(failure()?.message.contains("key.pem"));
    write("key.pem", &other_key)?;
    let wrong_key = failure()?;
    assert!(
        wrong_key
            .message
            .contains("key.pem: it is not the key of the certificate"),
        "{wrong_key:?}"
    );
    write("key.pem", &key)?;
    let loaded = Credentials::load(folder.path())?;
    assert_eq!(loaded.peer().to_string(), "clusterctl://g1/agent/node1");
    assert_eq!(fingerprint(loaded.ca_der()), fingerprint(&ca.der));
    assert!(!format!("{loaded:?}").contains("BEGIN"));
    write("cert.pem", &other_certificate)?;
    assert!(
        failure()?
            .message
            .contains("cert.pem: it is not signed by the CA")
    );
    write("cert.pem", "nonsense")?;
    assert!(
        failure()?
            .message
            .contains("cert.pem: there is no certificate in it")
    );
    let (mysqld, _) = ca.sign(None, |_| {})?;
    write("cert.pem", &mysqld)?;
    assert!(failure()?.message.contains("names no clusterctl program"));
    assert!(server_config(ca.agent()?).is_err());
    Ok(())
}
