//! A session with a coordinator in memory: real TLS and gRPC on the loopback, a fake host below.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use clusterctl_proto::tls::{Credentials, SharedCredentials, server_config};
use clusterctl_proto::wire::agent::agent_service_server::{AgentService, AgentServiceServer};
use clusterctl_proto::wire::agent::{
    CancelStep, FromAgent, Outcome, Question, RunStep, SignReply, SignRequest, ToAgent, Welcome, from_agent, to_agent,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::dial::explain;
use super::testing::Pki;
use super::*;
use crate::config::Config;
use crate::host::fake::FakeHost;
use crate::ledger::Ledger;
use crate::mysql::{Driver, Servers};

type ToAgentSender = mpsc::Sender<Result<ToAgent, Status>>;

/// A stream as the coordinator sees it.
struct Opened {
    to: ToAgentSender,
    from: Streaming<FromAgent>,
}

impl Opened {
    async fn next(&mut self) -> from_agent::Message {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(10), self.from.message())
                .await
                .expect("in time");
            match message.unwrap().unwrap().message.unwrap() {
                from_agent::Message::Progress(_) => {}
                other => return other,
            }
        }
    }

    async fn send(&self, message: to_agent::Message) {
        self.to.send(Ok(ToAgent { message: Some(message) })).await.unwrap();
    }

    async fn order(&self, plan: u64, step: u32, index: u64, what: &Step) {
        self.send(to_agent::Message::Run(RunStep {
            plan,
            step,
            cluster: "prod".to_owned(),
            epoch: 1,
            index,
            step_json: serde_json::to_vec(what).unwrap(),
            secrets: Default::default(),
            signature: None,
        }))
        .await;
    }

    async fn cancel(&self, plan: u64, step: u32, digest: &[u8]) {
        self.send(to_agent::Message::Cancel(CancelStep {
            plan,
            step,
            epoch: 1,
            cluster: "prod".to_owned(),
            digest: digest.to_vec(),
        }))
        .await;
    }

    async fn outcome(&mut self) -> (Outcome, StepOutcome) {
        match self.next().await {
            from_agent::Message::Outcome(outcome) => {
                let read = serde_json::from_slice(&outcome.outcome_json).unwrap();
                (outcome, read)
            }
            other => panic!("{other:?}"),
        }
    }
}

struct Coordinator(mpsc::Sender<Opened>);

#[tonic::async_trait]
impl AgentService for Coordinator {
    type SessionStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn session(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::SessionStream>, Status> {
        let (to, receiver) = mpsc::channel(16);
        let welcome = Welcome {
            coordinator: "1".to_owned(),
            epoch: 1,
        };
        to.try_send(Ok(ToAgent {
            message: Some(to_agent::Message::Welcome(welcome)),
        }))
        .unwrap();
        let from = request.into_inner();
        self.0.send(Opened { to, from }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn sign_server_certificate(&self, _: Request<SignRequest>) -> Result<Response<SignReply>, Status> {
        Err(Failure::new("test", "no").into())
    }

    async fn renew_certificate(&self, _: Request<SignRequest>) -> Result<Response<SignReply>, Status> {
        Err(Failure::new("test", "no").into())
    }
}

async fn serve(pki: &Pki) -> (SocketAddr, mpsc::Receiver<Opened>) {
    let (opened, streams) = mpsc::channel(4);
    let acceptor = TlsAcceptor::from(server_config(pki.credentials("clusterctl://g1/coordinator/1")).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, incoming) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(tls) = acceptor.accept(tcp).await {
                let _ = sender.send(Ok::<_, std::io::Error>(tls)).await;
            }
        }
    });
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(AgentServiceServer::new(Coordinator(opened)))
            .serve_with_incoming(ReceiverStream::new(incoming)),
    );
    (address, streams)
}

/// On a host without MySQL.
async fn session(endpoint: SocketAddr, credentials: Credentials, dir: &Path) -> Session {
    session_with(endpoint, credentials, dir, dir.join("no.sock")).await
}

/// With the mysqld behind this socket.
async fn session_with(endpoint: SocketAddr, credentials: Credentials, dir: &Path, socket: PathBuf) -> Session {
    session_among(endpoint, credentials, dir, (socket, Arc::new(Driver))).await
}

/// The same, and this way to it and to other members.
async fn session_among(
    endpoint: SocketAddr,
    credentials: Credentials,
    dir: &Path,
    (socket, servers): (PathBuf, Arc<dyn Servers>),
) -> Session {
    let mut config = Config {
        state_dir: dir.to_owned(),
        ..Config::default()
    };
    config.mysql.sockets = vec![socket];
    config.mysql.data_dir = dir.join("data");
    let config = Arc::new(config);
    Ledger::create(dir).unwrap();
    let ledger = Arc::new(Ledger::open(dir));
    let host: Arc<dyn crate::host::Host> = Arc::new(FakeHost::new().on("systemctl show", "LoadState=not-found\n"));
    let link = Link::new();
    let credentials = SharedCredentials::new(credentials);
    let runner = Runner::new(Tools {
        host: Arc::clone(&host),
        servers: Arc::clone(&servers),
        name: "node1".parse().unwrap(),
        group: "g1".to_owned(),
        config: Arc::clone(&config),
        ledger: Arc::clone(&ledger),
        credentials: credentials.clone(),
        signer: link.clone(),
        standstill: Arc::default(),
        acted: Box::new(|| {}),
    });
    Session {
        endpoints: vec![endpoint.to_string()],
        instance: "process-1".to_owned(),
        dial: Arc::new(Coordinators { credentials, link }),
        jitter: None,
        runner,
        contact: Contact::new(Arc::clone(&host), dir).await,
        observer: Observer::new(
            (host, servers),
            config,
            ledger,
            Arc::default(),
            "boot-1".to_owned(),
            None,
            "node1".parse().unwrap(),
        ),
        state: Box::new(|_| {}),
    }
}

fn secret(name: &str) -> Step {
    Step::MakeSecret { name: name.to_owned() }
}

#[tokio::test]
async fn questions_orders_and_a_broken_stream() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let task = tokio::spawn(
        session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path())
            .await
            .run(),
    );

    let mut stream = streams.recv().await.unwrap();
    match stream.next().await {
        from_agent::Message::Hello(hello) => {
            assert_eq!(
                (hello.boot_id.as_str(), hello.instance.as_str()),
                ("boot-1", "process-1")
            );
        }
        other => panic!("{other:?}"),
    }
    let question = Question {
        id: 42,
        ..Question::default()
    };
    stream.send(to_agent::Message::Question(question)).await;
    match stream.next().await {
        from_agent::Message::Answer(answer) => {
            let seen: clusterctl_proto::observe::Observation =
                serde_json::from_slice(&answer.observation_json).unwrap();
            assert_eq!(
                (answer.id, seen.boot_id.as_str(), seen.ledger.known),
                (42, "boot-1", true)
            );
            assert!(seen.host.is_none() && seen.mysql.server.is_none());
        }
        other => panic!("{other:?}"),
    }

    // a step; its hash goes with the outcome, and the same order is answered with the same outcome
    stream.order(7, 1, 7, &secret("a")).await;
    let (first, outcome) = stream.outcome().await;
    assert!(matches!(outcome.result, StepResult::Changed { .. }), "{outcome:?}");
    assert!(first.secrets["a"].starts_with("0x"));
    stream.order(7, 1, 7, &secret("a")).await;
    assert_eq!(stream.outcome().await.0, first);
    // the same thing in a newer plan runs again and finds it done
    stream.order(8, 1, 8, &secret("a")).await;
    assert_eq!(stream.outcome().await.1.result, StepResult::Unchanged);
    // an older plan is refused, and what is not understood, too
    stream.order(6, 1, 6, &secret("b")).await;
    match stream.outcome().await.1.result {
        StepResult::Failed { failure } => assert_eq!(failure.code, "stale_generation"),
        other => panic!("{other:?}"),
    }
    stream.send(to_agent::Message::Run(RunStep::default())).await;
    match stream.outcome().await.1.result {
        StepResult::Failed { failure } => assert_eq!(failure.code, "bad_order"),
        other => panic!("{other:?}"),
    }

    // the coordinator goes away and comes back
    drop(stream);
    let mut stream = tokio::time::timeout(Duration::from_secs(10), streams.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(stream.next().await, from_agent::Message::Hello(_)));
    stream.order(8, 1, 8, &secret("a")).await;
    assert_eq!(stream.outcome().await.1.result, StepResult::Unchanged);
    task.abort();
}

#[tokio::test]
async fn hands_off_is_taken_from_every_question_and_outlives_the_stream() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let contact = Arc::clone(&session.contact);
    let task = tokio::spawn(session.run());
    let mut stream = streams.recv().await.unwrap();
    assert!(matches!(stream.next().await, from_agent::Message::Hello(_)));
    let past = 1;
    for (said, until, holds) in [
        (true, 0, true),
        (false, 0, false),
        (true, past, false),
        (true, i64::MAX, true),
    ] {
        let question = Question {
            hands_off: said,
            hands_off_until_ms: until,
            ..Question::default()
        };
        stream.send(to_agent::Message::Question(question)).await;
        assert!(matches!(stream.next().await, from_agent::Message::Answer(_)));
        assert_eq!(contact.hands_off(), holds, "{said} until {until}");
    }
    assert_eq!(contact.alone_for(), None);
    drop(stream);
    let mut stream = streams.recv().await.unwrap();
    assert!(matches!(stream.next().await, from_agent::Message::Hello(_)));
    assert!(contact.hands_off(), "nobody has said otherwise");
    task.abort();
}

#[test]
fn an_expired_certificate_names_the_command_that_helps() {
    let credentials = Pki::new().credentials("clusterctl://g1/agent/node1");
    let refused = || Failure::new("certificate_refused", "the coordinator says so");
    let ends = credentials.facts().not_after;
    assert_eq!(explain(refused(), &credentials, ends - 1).code, "certificate_refused");
    let failure = explain(refused(), &credentials, ends);
    assert_eq!(failure.code, "certificate_expired");
    assert!(
        failure
            .hint
            .unwrap()
            .contains("clusterctl token create --host node1 --replace")
    );
}

#[tokio::test]
async fn what_ended_without_a_stream_is_sent_by_the_next() {
    let (pki, dir) = (Pki::new(), tempfile::tempdir().unwrap());
    let (address, mut streams) = serve(&pki).await;
    let session = session(address, pki.credentials("clusterctl://g1/agent/node1"), dir.path()).await;
    let run = RunStep {
        plan: 3,
        step: 2,
        cluster: "prod".to_owned(),
        epoch: 1,
        index: 3,
        step_json: serde_json::to_vec(&secret("a")).unwrap(),
        secrets: Default::default(),
        signature: None,
    };
    let at = clusterctl_proto::clock::BootInstant::now();
    session.runner.order(run, order::Received { stream: 0, at }).await;
    while !session.runner.running().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let task = tokio::spawn(session.run());
    let mut stream = streams.recv().await.unwrap();
    assert!(matches!(stream.next().await, from_agent::Message::Hello(_)));
    let (outcome, _) = stream.outcome().await;
    assert_eq!((outcome.plan, outcome.step), (3, 2));
    task.abort();
}

/// Waits for a stream and reads its hello.
async fn opened(streams: &mut mpsc::Receiver<Opened>) -> Opened {
    let stream = tokio::time::timeout(Duration::from_secs(10), streams.recv()).await;
    let mut stream = stream.expect("in time").expect("a stream");
    assert!(matches!(stream.next().await, from_agent::Message::Hello(_)));
    stream
}

fn code(outcome: &StepOutcome) -> String {
    match &outcome.result {
        StepResult::Failed { failure } => failure.code.clone(),
        other => format!("{other:?}"),
    }
}

fn bootstrap() -> Step {
    let bootstrap = serde_json::json!({
        "step": "bootstrap_group",
        "group": {
            "group_name": "3e11fa47-71ca-11e1-9e33-c80aa9429562",
            "variables": [],
            "account": {"user": "u", "from": "%", "subject": "/CN=node1", "issuer": "/CN=clusterctl CA"},
        },
    });
    serde_json::from_value(bootstrap).unwrap()
}

mod cancels;
mod keys;
mod loss;
mod outdated;
