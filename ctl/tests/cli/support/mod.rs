//! A coordinator that answers what a test wants, with real certificates, and the built `clusterctl` to call it.

pub mod fake;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc as std_mpsc;

use clusterctl_proto::tls::{self, Credentials};
use clusterctl_proto::wire::control::control_server::ControlServer;
use fake::Fake;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// A certificate authority of a test.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Ca {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "clusterctl CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key of whom the URI names.
    pub fn sign(&self, uri: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let pem = self.sign_key(uri, &key);
        (pem, key.serialize_pem())
    }

    pub fn sign_key(&self, uri: &str, key: &impl rcgen::PublicKeyData) -> String {
        let mut params = CertificateParams::new(vec!["node1".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(key, &self.issuer).unwrap().pem()
    }
}

/// An operator's folder and a coordinator that listens.
pub struct Group {
    pub folder: TempDir,
    pub endpoint: String,
    pub ca: Ca,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Group {
    /// Starts a coordinator.
    pub fn start(fake: Fake) -> Self {
        let ca = Ca::new();
        let folder = tempfile::tempdir().unwrap();
        let (runtime, address) = serve(&ca, fake, "127.0.0.1:0".parse().unwrap());
        let endpoint = address.to_string();
        write_operator(folder.path(), &ca, &endpoint);
        Self {
            folder,
            endpoint,
            ca,
            runtime: Some(runtime),
        }
    }

    /// Stops the coordinator and lets go of its port; connections end.
    pub fn stop(&mut self) {
        drop(self.runtime.take());
    }

    /// Starts another one in its place.
    pub fn restart(&mut self, fake: Fake) {
        self.stop();
        let address: SocketAddr = self.endpoint.parse().unwrap();
        self.runtime = Some(serve(&self.ca, fake, address).0);
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("ctl.toml")
    }

    /// `clusterctl --config … ARGS`, not yet run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = clusterctl(args);
        command.env("CLUSTERCTL_CONFIG", self.config());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }
}

/// `ca.pem`, `cert.pem`, `key.pem`, `ctl.toml`.
pub fn write_operator(folder: &Path, ca: &Ca, endpoint: &str) {
    let (certificate, key) = ca.sign("clusterctl://g1/operator/alice?role=admin");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("ca.pem", &ca.pem);
    write("cert.pem", &certificate);
    write("key.pem", &key);
    write("ctl.toml", &format!("endpoints = [\"{endpoint}\"]\n"));
}

fn serve(ca: &Ca, fake: Fake, address: SocketAddr) -> (tokio::runtime::Runtime, SocketAddr) {
    let (certificate, key) = ca.sign("clusterctl://g1/coordinator/1");
    let credentials = Credentials::from_pem(&ca.pem, &certificate, &key).unwrap();
    let acceptor = TlsAcceptor::from(tls::server_config(credentials).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (told, listening) = std_mpsc::channel();
    runtime.spawn(async move {
        let listener = TcpListener::bind(address).await.unwrap();
        told.send(listener.local_addr().unwrap()).unwrap();
        let (sender, receiver) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(tcp).await {
                    let _ = sender.send(Ok::<_, std::io::Error>(stream)).await;
                }
            }
        });
        let incoming = tokio_stream::wrappers::ReceiverStream::new(receiver);
        tonic::transport::Server::builder()
            .add_service(ControlServer::new(fake))
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
    (runtime, listening.recv().unwrap())
}

/// The built program in an environment of its own.
pub fn clusterctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clusterctl"));
    command.args(args).env_clear().env("HOME", "/nonexistent");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// What a call left behind.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// stdout as the one document that it must be.
    pub fn json(&self) -> serde_json::Value {
        let document: serde_json::Value =
            serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(document["apiVersion"], "clusterctl/v1");
        document
    }

    /// The error document, last line of stderr.
    pub fn error(&self) -> serde_json::Value {
        let line = self.err.lines().last().unwrap_or_default();
        let document: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(document["error"]["exit"], self.status);
        document["error"].clone()
    }
}
