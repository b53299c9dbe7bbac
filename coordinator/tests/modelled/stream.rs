//! A leader at work for an agent that is a hand-written stream.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_coordinator::leader::restored::nothing_proven;
use clusterctl_coordinator::leader::sessions::PeerFacts;
use clusterctl_coordinator::leader::{Leadership, stream, work};
use clusterctl_coordinator::machine::Answer;
use clusterctl_coordinator::model::OperationState;
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

/// A coordinator on its machine, and the stream of node1.
struct Stage {
    log: Log,
    machine: Arc<Machine>,
    leadership: Arc<Leadership>,
    say: mpsc::UnboundedSender<Result<FromAgent, String>>,
    heard: mpsc::Receiver<ToAgent>,
    ended: CancellationToken,
}

impl Stage {
    /// One that leads; node1 has connected, and said nothing yet.
    async fn new() -> Self {
        let log = log([1]);
        formed(&log);
        let machine = Machine::new(Duration::from_secs(60), 1_800_000_000_000);
        let node = log.start(1);
        log.elect(1, 0).expect("elected");
        let ids = Arc::new(|| Uuid::from_u128(5));
        let leadership = Arc::new(Leadership::new(node, nothing_proven()).drawing(ids));
        machine.spawn(work::run(Arc::clone(&leadership), CancellationToken::new(), || {}));
        let leader = leadership.enter().await.expect("leads");
        let (say, messages) = mpsc::unbounded_channel();
        let (outbox, heard) = mpsc::channel(256);
        let ended = CancellationToken::new();
        let facts = PeerFacts {
            key_sha256: "node1".to_owned(),
            serial: "1".to_owned(),
            not_after: i64::MAX,
        };
        machine.spawn(stream::converse(
            leader,
            name("node1"),
            facts,
            ([192, 0, 2, 1], 50_000).into(),
            UnboundedReceiverStream::new(messages),
            outbox,
            ended.clone(),
        ));
        Self {
            log,
            machine,
            leadership,
            say,
            heard,
            ended,
        }
    }

    fn say(&self, message: from_agent::Message) {
        let message = FromAgent { message: Some(message) };
        self.say.send(Ok(message)).expect("heard");
    }

    fn hello(&self) {
        self.say(from_agent::Message::Hello(Hello {
            boot_id: "boot".to_owned(),
            instance: "instance".to_owned(),
            ..Hello::default()
        }));
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
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_welcomed_asked_each_second_and_given_orders() {
    let mut stage = Stage::new().await;
    stage.hello();
    let to_agent::Message::Welcome(welcome) = stage.next().await else {
        panic!("no welcome")
    };
    assert_eq!((welcome.coordinator.as_str(), welcome.epoch), ("coordinator/1", 1));
    let began = Instant::now();
    for _ in 0..10 {
        assert!(matches!(stage.next().await, to_agent::Message::Question(_)));
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

    // Both before the loop looks: it would plan the operation itself.
    let Answer::Operation(operation) = stage.log.write(command(verify())) else {
        panic!("no operation")
    };
    stage.log.write(command(promise(operation, "node1")));
    let run = loop {
        if let to_agent::Message::Run(run) = stage.next().await {
            break run;
        }
    };
    assert_eq!((run.step, run.cluster.as_str()), (1, "prod"));
    stage.say(from_agent::Message::Outcome(agent::Outcome {
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
    let stage = Stage::new().await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(!stage.ended.is_cancelled());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(stage.ended.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_frozen_coordinator_asks_nothing_and_a_killed_one_is_gone() {
    let mut stage = Stage::new().await;
    stage.hello();
    stage.next().await;
    stage.next().await;
    stage.machine.freeze();
    // What was sent before it froze.
    while stage.heard.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(stage.heard.try_recv().is_err(), "asked while frozen");
    stage.machine.thaw();
    assert!(matches!(stage.next().await, to_agent::Message::Question(_)));
    stage.machine.kill();
    stage.log.stop(1);
    let quiet = async { while stage.heard.recv().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_secs(60), quiet).await;
    assert!(stage.leadership.current().is_err());
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_with_the_term() {
    let mut stage = Stage::new().await;
    stage.hello();
    stage.next().await;
    let term = stage.log.term();
    stage.leadership.node.propose(note("before")).await.expect("stored");
    stage.log.elect(1, 0).expect("elected anew");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(stage.ended.is_cancelled());
    assert_eq!(
        stage.leadership.current().map(|leader| leader.term()).ok(),
        Some(term + 1)
    );
}
