//! A coordinator in a temporary directory, as a process of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::failure::rpc::from_status;
use clusterctl_proto::tls::{self, Credentials};
use clusterctl_proto::wire::control as pb;
use clusterctl_proto::wire::control::control_client::ControlClient;
use tonic::transport::Channel;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_clusterctl-coordinator");

/// How long anything may take on a busy machine.
pub const LONG: Duration = Duration::from_secs(20);

pub struct Coordinator {
    pub folder: tempfile::TempDir,
    pub port: u16,
    process: Option<Child>,
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
        .port()
}

pub fn init(folder: &Path, more: &[&str]) -> Output {
    let (data, config) = (folder.join("data"), folder.join("etc"));
    Command::new(PROGRAM)
        .arg("init")
        .args([
            "--data-dir".as_ref(),
            data.as_os_str(),
            "--config-dir".as_ref(),
            config.as_os_str(),
        ])
        .args(more)
        .output()
        .expect("starts")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Coordinator {
    /// Made and running.
    pub async fn new() -> Self {
        tls::install_provider();
        let folder = tempfile::tempdir().expect("temporary directory");
        let port = free_port();
        let made = init(
            folder.path(),
            &["--address", "127.0.0.1", "--listen", &format!("127.0.0.1:{port}")],
        );
        assert!(made.status.success(), "{}", text(&made.stderr));
        let mut coordinator = Self {
            folder,
            port,
            process: None,
        };
        coordinator.start().await;
        coordinator
    }

    /// With further lines in `coordinator.toml`.
    pub async fn with_settings(lines: &str) -> Self {
        let mut coordinator = Self::new().await;
        assert!(coordinator.terminate().await);
        let path = coordinator.folder.path().join("etc/coordinator.toml");
        let text = std::fs::read_to_string(&path).expect("settings");
        std::fs::write(&path, format!("{text}\n{lines}")).expect("written");
        coordinator.start().await;
        coordinator
    }

    pub async fn start(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("log");
        let child = Command::new(PROGRAM)
            .args([
                "run".as_ref(),
                "--config-dir".as_ref(),
                self.folder.path().join("etc").as_os_str(),
            ])
            .env("CLUSTERCTL_TEST_POINTS", self.points())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starts");
        self.process = Some(child);
        std::fs::create_dir_all(self.points()).expect("folder");
        let until = Instant::now() + LONG;
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(Instant::now() < until, "it does not listen: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().expect("killed");
            child.wait().expect("waited");
        }
    }

    /// SIGTERM; answers whether it ended well.
    pub async fn terminate(&mut self) -> bool {
        let Some(mut child) = self.process.take() else {
            return false;
        };
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
        let until = Instant::now() + LONG;
        loop {
            if let Some(status) = child.try_wait().expect("waited") {
                return status.success();
            }
            assert!(Instant::now() < until, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn points(&self) -> PathBuf {
        self.folder.path().join("points")
    }

    pub fn operator_folder(&self) -> PathBuf {
        self.folder.path().join("etc/operator")
    }

    pub fn endpoints(&self) -> Vec<String> {
        vec![format!("127.0.0.1:{}", self.port)]
    }

    /// A client with these credentials.
    pub async fn client(&self, credentials: Credentials) -> Result<ControlClient<Channel>, Failure> {
        Ok(ControlClient::new(tls::connect(&self.endpoints(), credentials).await?))
    }

    /// The first operator.
    pub async fn admin(&self) -> ControlClient<Channel> {
        let credentials = Credentials::load(&self.operator_folder()).expect("operator's credentials");
        let until = Instant::now() + LONG;
        loop {
            match self
                .client(Credentials::load(&self.operator_folder()).expect("credentials"))
                .await
            {
                Ok(mut client) => {
                    if client.version(pb::VersionRequest {}).await.is_ok() {
                        return client;
                    }
                }
                Err(failure) => assert!(Instant::now() < until, "{failure:?} as {credentials:?}: {}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn token(&self, uses: u32, ttl_seconds: u64, host: &str) -> clusterctl_proto::token::Token {
        let request = pb::CreateTokenRequest {
            roles: vec!["db".to_owned()],
            uses,
            ttl_seconds,
            host: host.to_owned(),
            replace: false,
        };
        let reply = self
            .admin()
            .await
            .create_token(request)
            .await
            .expect("token")
            .into_inner();
        reply.token.parse().expect("a token")
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the coordinator\n{}", self.log());
        }
    }
}

/// The failure that a call answered with.
pub fn refusal<T>(result: Result<tonic::Response<T>, tonic::Status>) -> Failure {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(status) => from_status(status),
    }
}

/// Waits until the check answers something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let until = Instant::now() + LONG;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
