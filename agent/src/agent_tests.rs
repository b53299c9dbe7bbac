//! The whole agent in memory, under virtual time: what a simulator rests on.

use std::sync::Mutex;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::machine::Machine;
use clusterctl_proto::step::Step;
use clusterctl_proto::wire::agent::{FromAgent, Question, RunStep, ToAgent, Welcome, from_agent, to_agent};
use futures_util::future::{BoxFuture, ready};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::host::fake::FakeHost;
use crate::ledger::memory::Memory;
use crate::mysql::MysqlError;
use crate::mysql::server::{Connection, Target};
use crate::session::{Said, testing};

/// No mysqld runs.
struct NoServers;

impl Servers for NoServers {
    fn connect<'a>(&'a self, to: &'a Target) -> BoxFuture<'a, Result<Box<dyn Connection>, MysqlError>> {
        let looked = to.to_string();
        Box::pin(ready(Err(MysqlError::NotRunning { looked })))
    }
}

struct NoSigner;

impl Signer for NoSigner {
    fn sign_server<'a>(&'a self, _: Vec<u8>) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(ready(Err(Failure::new("test", "no"))))
    }
}

/// A stream as the coordinator sees it.
struct Stream {
    says: mpsc::Receiver<FromAgent>,
    to: mpsc::Sender<ToAgent>,
}

impl Stream {
    async fn send(&self, message: to_agent::Message) {
        let _ = self.to.send(ToAgent { message: Some(message) }).await;
    }

    async fn ask(&self, id: u64) {
        let question = Question {
            id,
            ..Question::default()
        };
        self.send(to_agent::Message::Question(question)).await;
    }

    async fn order(&self, index: u64) {
        let step = Step::DropSecret { name: "a".to_owned() };
        let run = RunStep {
            plan: index,
            step: 1,
            cluster: "prod".to_owned(),
            epoch: 1,
            index,
            step_json: serde_json::to_vec(&step).unwrap(),
            ..RunStep::default()
        };
        self.send(to_agent::Message::Run(run)).await;
    }

    /// The next message but progress; none: the agent has hung up.
    async fn next(&mut self) -> Option<from_agent::Message> {
        loop {
            match self.says.recv().await?.message? {
                from_agent::Message::Progress(_) => {}
                other => return Some(other),
            }
        }
    }
}

/// Coordinators that take a stream, or refuse.
struct Channels {
    /// When somebody dialled.
    dialled: Mutex<Vec<Duration>>,
    begun: Instant,
    streams: Option<mpsc::Sender<Stream>>,
}

impl Dial for Channels {
    fn dial<'a>(&'a self, _: &'a [String], says: mpsc::Receiver<FromAgent>) -> BoxFuture<'a, Result<Said, Failure>> {
        self.dialled.lock().unwrap().push(self.begun.elapsed());
        Box::pin(async move {
            let Some(streams) = &self.streams else {
                return Err(Failure::new("test", "nobody is there"));
            };
            let (to, said) = mpsc::channel(64);
            let welcome = Welcome {
                coordinator: "1".to_owned(),
                epoch: 1,
            };
            let message = Some(to_agent::Message::Welcome(welcome));
            to.try_send(ToAgent { message }).unwrap();
            streams.send(Stream { says, to }).await.unwrap();
            let said: Said = Box::pin(ReceiverStream::new(said).map(Ok));
            Ok(said)
        })
    }

    fn hung_up(&self) {}
}

fn agent(dial: Arc<Channels>, jitter: u64, disk: Memory) -> Agent {
    let host = FakeHost::new().on("systemctl show", "LoadState=not-found\n");
    Agent::new(Parts {
        host: Arc::new(host),
        servers: Arc::new(NoServers),
        config: Arc::new(Config {
            state_dir: "/state".into(),
            ..Config::default()
        }),
        ledger: Arc::new(Ledger::over(Box::new(disk))),
        name: "node1".parse().unwrap(),
        group: "g1".to_owned(),
        boot_id: "boot-1".to_owned(),
        preferred: None,
        instance: "process-1".to_owned(),
        credentials: testing::credentials(),
        endpoints: vec!["c1".to_owned()],
        dial,
        signer: Arc::new(NoSigner),
        jitter: Some(jitter),
        state: Box::new(|_| {}),
    })
}

fn channels(streams: Option<mpsc::Sender<Stream>>) -> Arc<Channels> {
    Arc::new(Channels {
        dialled: Mutex::default(),
        begun: Instant::now(),
        streams,
    })
}

fn machine() -> Arc<Machine> {
    Machine::new(Duration::from_secs(100), 1_795_000_000_000)
}

#[tokio::test(start_paused = true)]
async fn it_lives_under_virtual_time_and_obeys_nothing_that_slept_while_it_was_frozen() {
    let disk = Memory::default();
    Ledger::create_on(&disk).unwrap();
    let (sender, mut streams) = mpsc::channel(4);
    let (machine, wall) = (machine(), std::time::Instant::now());
    let agent = agent(channels(Some(sender)), 1, disk.clone());
    machine.spawn(agent.run());

    let mut stream = streams.recv().await.unwrap();
    assert!(matches!(stream.next().await, Some(from_agent::Message::Hello(_))));
    stream.ask(7).await;
    match stream.next().await {
        Some(from_agent::Message::Answer(answer)) => assert_eq!(answer.id, 7),
        other => panic!("{other:?}"),
    }
    stream.order(5).await;
    assert!(matches!(stream.next().await, Some(from_agent::Message::Outcome(_))));
    let accepted = || Ledger::over(Box::new(disk.clone())).facts().generations[&"prod".parse().unwrap()].index;
    assert_eq!(accepted(), 5);

    machine.freeze();
    stream.order(6).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    machine.thaw();
    assert_eq!(stream.next().await, None, "it hangs up");
    let mut stream = streams.recv().await.unwrap();
    assert!(matches!(stream.next().await, Some(from_agent::Message::Hello(_))));
    assert_eq!(accepted(), 5, "and has not obeyed");
    machine.kill();
    assert!(
        wall.elapsed() < Duration::from_secs(10),
        "no time passes but virtual time"
    );
}

#[tokio::test(start_paused = true)]
async fn delays_between_dials_come_from_the_seed() {
    let mut seen = Vec::new();
    for seed in [1, 1, 2] {
        let (machine, dial) = (machine(), channels(None));
        machine.spawn(agent(Arc::clone(&dial), seed, Memory::default()).run());
        tokio::time::sleep(Duration::from_secs(60)).await;
        machine.kill();
        let dialled = dial.dialled.lock().unwrap().clone();
        assert!(dialled.len() > 15, "{dialled:?}");
        seen.push(dialled);
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
}
