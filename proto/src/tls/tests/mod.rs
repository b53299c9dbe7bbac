//! A real tonic server and real connections over loopback, with certificates of several CAs.

mod accept;
mod dial;

use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
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
        params.distinguished_name.push(DnType::CommonName, CA_COMMON_NAME);
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
    fn sign(&self, uri: Option<&str>, change: impl Fn(&mut CertificateParams)) -> Result<(String, String), Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["node1".to_owned()])?;
        if let Some(uri) = uri {
            params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
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
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollReply>, Status> {
        let info = request
            .extensions()
            .get::<tonic::transport::server::TlsConnectInfo<tonic::transport::server::TcpConnectInfo>>();
        let certificates = info.and_then(|info| info.peer_certs());
        let caller = match certificates.as_deref().and_then(|chain| chain.first()) {
            Some(der) => PeerName::from_certificate(der).map_err(Failure::from)?.to_string(),
            None => "nobody".to_owned(),
        };
        if request.into_inner().host == "refuse" {
            return Err(Failure::refused("because", "no").fact("x".repeat(20_000)).into());
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
async fn other_server(ca: &Ca, uri: Option<&str>, change: impl Fn(&mut CertificateParams)) -> Result<String, Error> {
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
    Ok(EnrolmentClient::new(channel).enroll(request).await?.into_inner().host)
}

async fn refusal(endpoint: String, credentials: Credentials) -> Result<Failure, Error> {
    connect(&[endpoint], credentials)
        .await
        .err()
        .ok_or_else(|| "was accepted".into())
}
