//! A disk that takes its time: what the ledger answers meanwhile, and what becomes of two changes and of one that fails.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::memory::Memory;
use super::*;

/// Each write waits here until it is told to go on, or to fail.
#[derive(Debug)]
struct Hanging {
    disk: Memory,
    begun: Sender<()>,
    go_on: Mutex<Receiver<bool>>,
}

impl Disk for Hanging {
    fn read(&self) -> Result<Vec<u8>, Unread> {
        self.disk.read()
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.begun.send(()).unwrap();
        match self.go_on.lock().unwrap().recv_timeout(LONG) {
            Ok(true) => self.disk.write(bytes),
            _ => Err(Failure::new("ledger_write", "the disk is full").transient()),
        }
    }

    fn set_aside(&self) {
        self.disk.set_aside();
    }

    fn lock(&self) -> Result<Lock, Failure> {
        self.disk.lock()
    }

    fn place(&self) -> String {
        self.disk.place()
    }
}

/// Far longer than what does not wait takes.
const LONG: Duration = Duration::from_secs(10);

struct Scene {
    ledger: Arc<Ledger>,
    disk: Memory,
    begun: Receiver<()>,
    go_on: Sender<bool>,
}

impl Scene {
    /// Generation 5 is promised and has let the server in.
    fn new() -> Self {
        let disk = Memory::default();
        Ledger::create_on(&disk).unwrap();
        let before = Ledger::over(Box::new(disk.clone()));
        before.promise_now(&prod(), generation(5)).unwrap();
        before.entered_now(&prod(), generation(5)).unwrap();
        Self::over(disk)
    }

    fn over(disk: Memory) -> Self {
        let ((begun, seen), (go_on, told)) = (channel(), channel());
        let hanging = Hanging {
            disk: disk.clone(),
            begun,
            go_on: Mutex::new(told),
        };
        Self {
            ledger: Arc::new(Ledger::of(Box::new(hanging), Calls::Pool)),
            disk,
            begun: seen,
            go_on,
        }
    }

    /// In a thread of its own.
    fn spawn<T: Send + 'static>(&self, work: impl FnOnce(&Ledger) -> T + Send + 'static) -> JoinHandle<T> {
        let ledger = Arc::clone(&self.ledger);
        std::thread::spawn(move || work(&ledger))
    }

    /// What the ledger answers within a time in which no write ends.
    fn at_once<T: Send + 'static>(&self, ask: impl FnOnce(&Ledger) -> T + Send + 'static) -> T {
        let (answer, answered) = channel();
        self.spawn(move |ledger| answer.send(ask(ledger)));
        answered.recv_timeout(LONG / 2).expect("an answer without the disk")
    }

    fn write_has_begun(&self) {
        self.begun.recv_timeout(LONG).expect("a write");
    }

    /// As the next process finds it.
    fn on_disk(&self) -> LedgerFacts {
        facts(&document::read(&self.disk))
    }
}

fn generation(index: u64) -> Generation {
    Generation { epoch: 1, index }
}

fn prod() -> ClusterName {
    "prod".parse().unwrap()
}

#[test]
fn while_a_change_is_synced_the_ledger_answers_what_is_on_disk() {
    let scene = Scene::new();
    let promise = scene.spawn(|ledger| ledger.promise_now(&prod(), generation(9)));
    scene.write_has_begun();
    let told = scene.at_once(|ledger| (ledger.facts(), ledger.lineage(&prod()).is_ok()));
    assert_eq!(told, (scene.on_disk(), true));
    assert_eq!(told.0.promises[&prod()], generation(5));
    let asked = |ledger: &Ledger| {
        let entered = ledger.may_rejoin_alone(&prod());
        (entered, ledger.is_cancelled(&prod(), 1, PlanId(9), 1))
    };
    assert_eq!(scene.at_once(asked), (Ok(generation(5)), false));
    scene.go_on.send(true).unwrap();
    assert!(promise.join().unwrap().unwrap());
    assert_eq!(scene.at_once(asked).0.unwrap_err().code, "promised");
}

#[test]
fn two_changes_at_the_same_time_are_both_kept() {
    let scene = Scene::new();
    let promise = scene.spawn(|ledger| ledger.promise_now(&prod(), generation(9)));
    scene.write_has_begun();
    let accept = scene.spawn(|ledger| ledger.accept_now(&"shop".parse().unwrap(), generation(3), None));
    let other = scene.begun.recv_timeout(Duration::from_millis(100));
    assert!(other.is_err(), "it begins with what the first one has written");
    scene.go_on.send(true).unwrap();
    scene.go_on.send(true).unwrap();
    promise.join().unwrap().unwrap();
    accept.join().unwrap().unwrap();
    let facts = scene.ledger.facts();
    assert_eq!(facts.promises[&prod()], generation(9));
    assert_eq!(facts.generations[&"shop".parse().unwrap()], generation(3));
    assert_eq!(scene.on_disk(), facts);
}

#[test]
fn a_write_that_fails_changes_nothing() {
    let scene = Scene::new();
    let before = scene.ledger.facts();
    scene.go_on.send(false).unwrap();
    let failed = scene.ledger.promise_now(&prod(), generation(9)).unwrap_err();
    assert_eq!((failed.code.as_str(), failed.retry), ("ledger_write", true));
    assert_eq!((scene.ledger.facts(), scene.on_disk()), (before.clone(), before));
    scene.go_on.send(true).unwrap();
    assert!(
        scene.ledger.promise_now(&prod(), generation(9)).unwrap(),
        "it is new again"
    );
}

#[test]
fn a_lost_ledger_is_lost_until_the_rebuilt_one_is_synced() {
    let scene = Scene::over(Memory::default());
    let rebuild = scene.spawn(|ledger| ledger.rebuild_now(generation(7), LastWords::new()));
    scene.write_has_begun();
    assert!(scene.at_once(|ledger| ledger.facts()).is_lost());
    scene.go_on.send(true).unwrap();
    assert!(rebuild.join().unwrap().unwrap());
    assert_eq!(scene.ledger.facts(), scene.on_disk());
}
