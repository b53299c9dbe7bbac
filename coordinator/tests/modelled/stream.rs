//! A leader at work for agents that are hand-written streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clusterctl_coordinator::leader::restored::nothing_proven;
use clusterctl_coordinator::leader::sessions::PeerFacts;
use clusterctl_coordinator::leader::{Leadership, stream, work};
use clusterctl_coordinator::machine::Answer;
use clusterctl_coordinator::model::{Model, OperationState};
use clusterctl_proto::ids::OperationId;
use clusterctl_proto::machine::Machine;
use clusterctl_proto::observe::{LedgerFacts, MysqlFacts, Observation, RouterFacts};
use clusterctl_proto::wire::agent::{self, FromAgent, Hello, Question, ToAgent, from_agent, to_agent};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{changed, command, formed, log, name, note, promise, verify};
use crate::raft::Log;

/// Coordinator 1 on its machine.
struct Stage {
    log: Log,
    machine: Arc<Machine>,
    leadership: Arc<Leadership>,
}

/// A stream of one host.
struct Agent {
    say: mpsc::UnboundedSender<Result<FromAgent, String>>,
    heard: mpsc::Receiver<ToAgent>,
    ended: CancellationToken,
}

impl Stage {
    /// One that leads two others.
    async fn of_three() -> Self {
        let log = log([1, 2, 3]);
        formed(&log);
        let node = log.start(1);
        for other in [2, 3] {
            log.start(other);
        }
        Self::of(log, node).await
    }

    /// One that leads and has no other.
    async fn alone() -> Self {
        let log = log([1]);
        formed(&log);
        let node = log.start(1);
        Self::of(log, node).await
    }

    async fn of(log: Log, node: clusterctl_coordinator::raft::Node) -> Self {
        log.elect(1, 0).expect("elected");
        let machine = Machine::new(Duration::from_secs(60), 1_800_000_000_000);
        let drawn = AtomicU64::new(0);
        let ids = move || Uuid::from_u128(drawn.fetch_add(1, Ordering::Relaxed).into());
        let leadership = Arc::new(Leadership::new(node, nothing_proven()).drawing(Arc::new(ids)));
        machine.spawn(work::run(Arc::clone(&leadership), CancellationToken::new(), || {}));
        leadership.enter().await.expect("leads");
        Self {
            log,
            machine,
            leadership,
        }
    }

    /// A new stream of this host.
    fn connect(&self, host: &str) -> Agent {
        let (say, messages) = mpsc::unbounded_channel();
        let (outbox, heard) = mpsc::channel(256);
        let ended = CancellationToken::new();
        let facts = PeerFacts {
            key_sha256: host.to_owned(),
            serial: "1".to_owned(),
            not_after: i64::MAX,
        };
        self.machine.spawn(stream::converse(
            self.leadership.current().expect("leads"),
            name(host),
            facts,
            ([192, 0, 2, 1], 50_000).into(),
            UnboundedReceiverStream::new(messages),
            outbox,
            ended.clone(),
        ));
        Agent { say, heard, ended }
    }

    /// One that has said hello.
    fn meet(&self, host: &str) -> Agent {
        let agent = self.connect(host);
        agent.say(from_agent::Message::Hello(Hello {
            boot_id: format!("boot of {host}"),
            instance: "instance".to_owned(),
            ..Hello::default()
        }));
        agent
    }

    /// An operation whose plan is one promise on node1, before the loop can plan it itself.
    fn order(&self) -> OperationId {
        let Answer::Operation(operation) = self.log.write(command(verify())) else {
            panic!("no operation")
        };
        self.log.write(command(promise(operation, "node1")));
        operation
    }
}

impl Agent {
    fn say(&self, message: from_agent::Message) {
        let message = FromAgent { message: Some(message) };
        self.say.send(Ok(message)).expect("heard");
    }

    fn answer(&self, question: &Question) {
        let observation = Observation {
            boot_id: "boot".to_owned(),
            agent_version: "0".to_owned(),
            ledger: LedgerFacts {
                known: true,
                ..LedgerFacts::default()
            },
            host: None,
            mysql: MysqlFacts::default(),
            router: RouterFacts::default(),
            own_deeds: Vec::new(),
        };
        self.say(from_agent::Message::Answer(agent::Answer {
            id: question.id,
            observation_json: serde_json::to_vec(&observation).expect("JSON"),
        }));
    }

    /// The next message, answered if it is a question; within a minute.
    async fn next(&mut self) -> to_agent::Message {
        let message = tokio::time::timeout(Duration::from_secs(60), self.heard.recv()).await;
        let message = message.expect("something").expect("open").message.expect("filled");
        if let to_agent::Message::Question(question) = &message {
            self.answer(question);
        }
        message
    }

    async fn ordered(&mut self) -> agent::RunStep {
        loop {
            if let to_agent::Message::Run(run) = self.next().await {
                return run;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_welcomed_asked_each_second_and_given_orders() {
    let stage = Stage::alone().await;
    let mut agent = stage.meet("node1");
    let to_agent::Message::Welcome(welcome) = agent.next().await else {
        panic!("no welcome")
    };
    assert_eq!((welcome.coordinator.as_str(), welcome.epoch), ("coordinator/1", 1));
    let began = Instant::now();
    for _ in 0..10 {
        assert!(matches!(agent.next().await, to_agent::Message::Question(_)));
    }
    let passed = began.elapsed();
    assert!(
        (Duration::from_secs(8)..Duration::from_secs(12)).contains(&passed),
        "{passed:?}"
    );
    // The newest answer is on its way.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let leader = stage.leadership.current().expect("leads");
    let sight = leader.sight();
    let seen = sight.get(&name("node1")).expect("seen");
    assert!(seen.connected && seen.age_ms < 10, "{} ms", seen.age_ms);
    assert!(!sight.contains_key(&name("node2")));

    let operation = stage.order();
    let run = agent.ordered().await;
    assert_eq!((run.step, run.cluster.as_str()), (1, "prod"));
    agent.say(from_agent::Message::Outcome(agent::Outcome {
        plan: run.plan,
        step: run.step,
        outcome_json: serde_json::to_vec(&changed()).expect("JSON"),
        ..agent::Outcome::default()
    }));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let state = leader
        .node
        .state()
        .read(|model| model.operations[&operation].state.clone());
    assert!(matches!(state, OperationState::Done { .. }), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_say_hello_ends() {
    let stage = Stage::alone().await;
    let agent = stage.connect("node1");
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(!agent.ended.is_cancelled());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(agent.ended.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_frozen_coordinator_asks_nothing_and_a_killed_one_is_gone() {
    let stage = Stage::alone().await;
    let mut agent = stage.meet("node1");
    agent.next().await;
    agent.next().await;
    stage.machine.freeze();
    // What was sent before it froze.
    while agent.heard.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(agent.heard.try_recv().is_err(), "asked while frozen");
    stage.machine.thaw();
    assert!(matches!(agent.next().await, to_agent::Message::Question(_)));
    stage.machine.kill();
    stage.log.stop(1);
    while agent.heard.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(agent.heard.try_recv().is_err(), "asked by the dead");
    assert!(stage.leadership.current().is_err());
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_with_the_term() {
    let stage = Stage::alone().await;
    let mut agent = stage.meet("node1");
    agent.next().await;
    let term = stage.log.term();
    stage.leadership.node.propose(note("before")).await.expect("stored");
    stage.log.elect(1, 0).expect("elected anew");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(agent.ended.is_cancelled());
    let leads = stage.leadership.current().map(|leader| leader.term()).ok();
    assert_eq!(leads, Some(term + 1));
}

/// A deposed leader goes on asking and may send again what was ordered before; it confirms nothing.
#[tokio::test(start_paused = true)]
async fn a_deposed_leader_confirms_no_step() {
    let stage = Stage::of_three().await;
    let mut agent = stage.meet("node1");
    stage.order();
    let run = agent.ordered().await;
    let ask = from_agent::Message::Confirm(agent::Confirm {
        id: 1,
        plan: run.plan,
        step: run.step,
        cluster: run.cluster,
        epoch: run.epoch,
        index: run.index,
    });
    let mut confirmed = async |deposed: bool| {
        if deposed {
            stage.log.elect(2, 0).expect("elected");
        }
        assert!(stage.leadership.current().is_ok(), "it knows of nothing");
        agent.say(ask.clone());
        let waits = async {
            loop {
                if let to_agent::Message::Confirmed(confirmed) = agent.next().await {
                    return (confirmed.allowed, confirmed.why);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), waits).await.ok()
    };
    let (allowed, why) = confirmed(false).await.expect("answered");
    assert!(!allowed && why.contains("none that is confirmed"), "{why}");
    match confirmed(true).await {
        // Its streams ended before the answer, or it says who leads.
        None => {}
        Some((allowed, why)) => assert!(!allowed && why.contains("does not lead"), "{why}"),
    }
}

/// What three agents hear in a minute, and the model in the end.
async fn story() -> (Vec<String>, Model) {
    let stage = Stage::alone().await;
    let began = Instant::now();
    let hosts = ["node1", "node2", "node3"];
    let mut agents = hosts.map(|host| stage.meet(host));
    let mut heard = Vec::new();
    while began.elapsed() < Duration::from_secs(60) {
        for (host, agent) in hosts.iter().zip(&mut agents) {
            while let Ok(ToAgent { message: Some(message) }) = agent.heard.try_recv() {
                if let to_agent::Message::Question(question) = &message {
                    agent.answer(question);
                }
                heard.push(format!("{} {host} {message:?}", began.elapsed().as_millis()));
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let model = stage.log.state().read(Clone::clone);
    (heard, model)
}

#[test]
fn the_same_beginning_has_the_same_story() {
    let tell = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("runtime");
        runtime.block_on(story())
    };
    let (heard, model) = tell();
    assert!(heard.len() > 150 && model.events.len() > 10, "{} messages", heard.len());
    for _ in 0..3 {
        let (other, last) = tell();
        let differs = heard.iter().zip(&other).find(|(one, other)| one != other);
        assert_eq!(differs, None);
        assert!((heard.len(), &model) == (other.len(), &last), "the models differ");
    }
}
