//! What the ledger holds, forgets never, and permits.

use super::memory::Memory;
use super::*;

fn generation(index: u64) -> Generation {
    Generation { epoch: 1, index }
}

fn prod() -> ClusterName {
    "prod".parse().unwrap()
}

fn fresh() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    Ledger::create(dir.path()).unwrap();
    let ledger = Ledger::open(dir.path());
    (dir, ledger)
}

/// The process ends and the next one begins.
fn restart(dir: &tempfile::TempDir, ledger: Ledger) -> Ledger {
    drop(ledger);
    Ledger::open(dir.path())
}

#[test]
fn what_was_obeyed_and_promised_survives_a_restart() {
    let (dir, ledger) = fresh();
    assert!(ledger.facts().known);
    ledger.accept_now(&prod(), generation(7), None).unwrap();
    assert!(ledger.promise_now(&prod(), generation(7)).unwrap());
    assert!(!ledger.promise_now(&prod(), generation(7)).unwrap());
    let before = ledger.facts();
    let again = restart(&dir, ledger);
    assert_eq!(again.facts(), before);
    assert_eq!(again.facts().promises[&prod()], generation(7));
    let error = again.accept_now(&prod(), generation(6), None).unwrap_err();
    assert_eq!(error.code, "stale_generation");
    again.accept_now(&prod(), generation(7), None).unwrap();
    assert!(
        again.accept_now(&"other".parse().unwrap(), generation(3), None).is_ok(),
        "clusters do not mix"
    );
}

#[test]
fn a_higher_epoch_beats_any_index() {
    let (_dir, ledger) = fresh();
    ledger.accept_now(&prod(), generation(900), None).unwrap();
    ledger
        .accept_now(&prod(), Generation { epoch: 2, index: 1 }, None)
        .unwrap();
    assert!(ledger.accept_now(&prod(), generation(901), None).is_err());
}

#[test]
fn a_promise_bars_older_starts_only() {
    let (_dir, ledger) = fresh();
    ledger.may_enter(&prod(), generation(1)).unwrap();
    ledger.promise_now(&prod(), generation(9)).unwrap();
    assert_eq!(ledger.may_enter(&prod(), generation(8)).unwrap_err().code, "promised");
    ledger.may_enter(&prod(), generation(9)).unwrap();
}

#[test]
fn a_lost_ledger_is_unknown_until_a_leader_tells_its_committed_index() {
    let dir = tempfile::tempdir().unwrap();
    for content in [None, Some("{"), Some("null"), Some("\0\0\0\0"), Some("")] {
        let path = dir.path().join(FILE);
        let _ = std::fs::remove_file(&path);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let ledger = Ledger::open(dir.path());
        assert!(ledger.facts().is_lost() && !ledger.facts().known, "{content:?}");
        let code = |result: Result<(), Failure>| result.unwrap_err().code;
        assert_eq!(code(ledger.may_enter(&prod(), generation(50))), "ledger_lost");
        assert_eq!(
            code(ledger.promise_now(&prod(), generation(50)).map(drop)),
            "ledger_lost"
        );
        assert_eq!(code(ledger.accept_now(&prod(), generation(50), None)), "ledger_lost");
        assert_eq!(
            code(ledger.accept_now(&prod(), generation(50), None)),
            "ledger_lost",
            "ever again"
        );
        assert!(ledger.rebuild_now(generation(50), LastWords::new()).unwrap());
        assert!(
            !ledger.rebuild_now(generation(90), LastWords::new()).unwrap(),
            "it is known now"
        );
        let again = restart(&dir, ledger);
        assert!(again.facts().known);
        for cluster in [prod(), "other".parse().unwrap()] {
            assert_eq!(
                code(again.accept_now(&cluster, generation(49), None)),
                "stale_generation"
            );
            assert_eq!(code(again.may_enter(&cluster, generation(49))), "promised");
            again.may_enter(&cluster, generation(50)).unwrap();
        }
        again.accept_now(&prod(), generation(51), None).unwrap();
        assert_eq!(again.facts().promises[&prod()], generation(50));
        assert_eq!(dir.path().join("ledger.json.lost").exists(), content.is_some());
    }
}

/// Of another cluster the leader had heard nothing; of a third an agent of another version had told it.
#[test]
fn a_rebuilt_ledger_remembers_of_lineages_what_the_leader_had_been_told() {
    let (dir, ledger) = fresh();
    let uuid = uuid::Uuid::from_u128(1);
    let enters = |document: &mut Document| {
        let mut record = Record::default();
        record.copies(uuid);
        record.enter(uuid, "17".parse().unwrap(), "10:00".to_owned());
        document.lineages.insert(prod(), record);
        Ok(())
    };
    ledger.change(enters).unwrap();
    let before = ledger.lineage(&prod()).unwrap();
    let mut words = ledger.facts().last_words;
    words.insert("newer".parse().unwrap(), "of another form".into());
    drop(ledger);
    std::fs::write(dir.path().join(FILE), "{").unwrap();
    let ledger = Ledger::open(dir.path());
    assert!(ledger.rebuild_now(generation(50), words).unwrap());
    let again = restart(&dir, ledger);
    assert_eq!(again.lineage(&prod()).unwrap(), before);
    for other in ["other", "newer"] {
        let other = again.lineage(&other.parse().unwrap()).unwrap();
        assert_eq!(other, Record::without_memory(true));
    }
}

/// Promised 500, the ledger is lost, orders of older plans are still on their way (a deposed leader, a thawed host).
#[test]
fn adversary_a_lost_ledger_is_not_rebuilt_below_what_was_promised() {
    let (dir, ledger) = fresh();
    ledger.promise_now(&prod(), generation(500)).unwrap();
    drop(ledger);
    std::fs::write(dir.path().join(FILE), "{").unwrap();
    let ledger = Ledger::open(dir.path());
    let older = [400, 450, 499];
    for index in older {
        for _ in 0..2 {
            assert!(ledger.accept_now(&prod(), generation(index), None).is_err());
        }
        assert!(ledger.may_enter(&prod(), generation(index)).is_err(), "{index}");
    }
    // Everything promised was committed before: a linearizable index is no less.
    ledger.rebuild_now(generation(507), LastWords::new()).unwrap();
    for index in older {
        assert!(ledger.accept_now(&prod(), generation(index), None).is_err());
        assert!(ledger.may_enter(&prod(), generation(index)).is_err(), "{index}");
    }
    assert!(restart(&dir, ledger).may_enter(&prod(), generation(499)).is_err());
}

/// A second agent process on the same folder (started by hand beside the unit).
#[test]
fn adversary_two_processes_do_not_undo_each_others_promises() {
    let (dir, one) = fresh();
    one.promise_now(&prod(), generation(5)).unwrap();
    let two = Ledger::open(dir.path());
    let refused = two.exclusive().unwrap_err();
    assert_eq!(refused.code, "agent_runs");
    let pid = std::process::id().to_string();
    assert!(refused.message.contains(&pid), "{refused:?}");
    for result in [
        two.promise_now(&prod(), generation(9)).map(drop),
        two.accept_now(&prod(), generation(9), None),
        two.entered_now(&prod(), generation(9)),
        two.rebuild_now(generation(9), LastWords::new()).map(drop),
        two.may_enter(&prod(), generation(9)),
    ] {
        assert_eq!(result.unwrap_err().code, "agent_runs");
    }
    assert_eq!(two.facts().promises[&prod()], generation(5), "it may look");
    one.promise_now(&prod(), generation(9)).unwrap();
    one.entered_now(&prod(), generation(3)).unwrap();
    drop(two);
    let after = restart(&dir, one);
    assert!(after.may_enter(&prod(), generation(3)).is_err(), "{:?}", after.facts());
    after.exclusive().unwrap();
}

#[test]
fn a_file_that_may_be_whole_is_neither_replaced_nor_renamed() {
    let (dir, ledger) = fresh();
    ledger.promise_now(&prod(), generation(500)).unwrap();
    drop(ledger);
    let (path, away) = (dir.path().join(FILE), dir.path().join("away"));
    std::fs::rename(&path, &away).unwrap();
    let whole = std::fs::read_to_string(&away).unwrap();
    type Put<'a> = Box<dyn Fn() + 'a>;
    let in_the_way: [(&str, Put<'_>); 5] = [
        ("not a regular file", Box::new(|| std::fs::create_dir(&path).unwrap())),
        (
            "not a regular file",
            Box::new(|| std::os::unix::fs::symlink("/nowhere", &path).unwrap()),
        ),
        (
            "format 99",
            Box::new(|| std::fs::write(&path, r#"{"format":99,"clusters":{},"lineages":[]}"#).unwrap()),
        ),
        (
            "another version",
            Box::new(|| std::fs::write(&path, r#"{"format":2,"clusters":{},"lineages":[]}"#).unwrap()),
        ),
        (
            "larger than",
            Box::new(|| std::fs::write(&path, vec![b' '; (16 << 20) + 1]).unwrap()),
        ),
    ];
    for (why, put) in in_the_way {
        put();
        let ledger = Ledger::open(dir.path());
        let facts = ledger.facts();
        assert!(!facts.known && !facts.is_lost(), "{why}");
        assert!(
            facts.unreadable.as_ref().is_some_and(|text| text.contains(why)),
            "{why}: {facts:?}"
        );
        for result in [
            ledger.accept_now(&prod(), generation(600), None),
            ledger.promise_now(&prod(), generation(600)).map(drop),
            ledger.may_enter(&prod(), generation(600)),
            ledger.may_rejoin_alone(&prod()).map(drop),
        ] {
            let failure = result.unwrap_err();
            assert_eq!((failure.code.as_str(), failure.retry), ("ledger_unreadable", true));
        }
        assert!(!ledger.rebuild_now(generation(600), LastWords::new()).unwrap());
        assert!(path.symlink_metadata().is_ok() && !dir.path().join("ledger.json.lost").exists());
        // The disk gives it again: this process goes on with it.
        if path.is_dir() {
            std::fs::remove_dir(&path).unwrap();
        }
        std::fs::write(&away, &whole).unwrap();
        std::fs::rename(&away, &path).unwrap();
        ledger.read_again();
        assert!(
            ledger.may_enter(&prod(), generation(499)).is_err() && ledger.facts().known,
            "{why}"
        );
        drop(ledger);
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn an_unreadable_file_is_read_again() {
    let (dir, ledger) = fresh();
    drop(ledger);
    let (path, away) = (dir.path().join(FILE), dir.path().join("away"));
    std::fs::rename(&path, &away).unwrap();
    std::fs::create_dir(&path).unwrap();
    let ledger = Arc::new(Ledger::open(dir.path()));
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    let again = async {
        while !ledger.facts().known {
            ledger.refresh().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.unwrap();
}

#[test]
fn a_lost_file_that_somebody_brings_back_is_not_overwritten() {
    let (dir, ledger) = fresh();
    ledger.promise_now(&prod(), generation(500)).unwrap();
    drop(ledger);
    let (path, away) = (dir.path().join(FILE), dir.path().join("away"));
    std::fs::rename(&path, &away).unwrap();
    let ledger = Ledger::open(dir.path());
    assert!(ledger.facts().is_lost());
    std::fs::rename(&away, &path).unwrap();
    ledger.rebuild_now(generation(300), LastWords::new()).unwrap();
    assert_eq!(ledger.facts().promises[&prod()], generation(500));
}

/// As the version before wrote it.
const FORMAT_1: &str = r#"{
  "format": 1,
  "floor": {
    "epoch": 1,
    "index": 5
  },
  "clusters": {
    "prod": {
      "generation": {
        "epoch": 1,
        "index": 66
      },
      "promise": {
        "epoch": 1,
        "index": 12
      },
      "entered": {
        "epoch": 1,
        "index": 40
      }
    },
    "shop": {
      "generation": {
        "epoch": 1,
        "index": 7
      }
    }
  }
}
"#;

#[test]
fn a_file_of_format_1_is_read_and_written_as_format_2() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), FORMAT_1).unwrap();
    let ledger = Ledger::open(dir.path());
    let facts = ledger.facts();
    let shop: ClusterName = "shop".parse().unwrap();
    assert_eq!(
        (facts.generations[&prod()], facts.promises[&prod()]),
        (generation(66), generation(12))
    );
    assert_eq!(
        (facts.generations[&shop], facts.promises[&shop]),
        (generation(7), generation(5))
    );
    assert!(facts.proofs.is_empty());
    assert_eq!(ledger.may_rejoin_alone(&prod()).unwrap(), generation(40));
    assert_eq!(
        std::fs::read_to_string(dir.path().join(FILE)).unwrap(),
        FORMAT_1,
        "reading writes nothing"
    );
    ledger.accept_now(&prod(), generation(67), None).unwrap();
    let written = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
    assert!(written.contains("\"format\": 2"), "{written}");
    let again = restart(&dir, ledger);
    assert_eq!(again.facts().generations[&shop], generation(7));
    assert_eq!(again.may_rejoin_alone(&prod()).unwrap(), generation(40));
}

#[test]
fn a_proof_stays_beside_its_generation_and_goes_with_it() {
    let (dir, ledger) = fresh();
    let proof = |text: &str| OrderProof {
        signature: text.to_owned(),
        certificates: Vec::new(),
    };
    ledger.accept_now(&prod(), generation(5), None).unwrap();
    assert!(ledger.facts().proofs.is_empty());
    ledger.accept_now(&prod(), generation(5), Some(proof("5"))).unwrap();
    ledger.accept_now(&prod(), generation(5), None).unwrap();
    ledger.promise_now(&prod(), generation(5)).unwrap();
    let ledger = restart(&dir, ledger);
    assert_eq!(ledger.facts().proofs[&prod()], proof("5"));
    assert!(ledger.accept_now(&prod(), generation(4), Some(proof("4"))).is_err());
    assert_eq!(ledger.facts().proofs[&prod()], proof("5"));
    ledger.accept_now(&prod(), generation(6), None).unwrap();
    assert!(ledger.facts().proofs.is_empty(), "it proves 5, not 6");
}

#[test]
fn a_cancel_is_remembered_until_its_generation_is_stale() {
    let (dir, ledger) = fresh();
    let cancel = |ledger: &Ledger, plan, step| {
        ledger.cancel_now(Cancelled {
            cluster: prod(),
            epoch: 1,
            plan: PlanId(plan),
            step,
        })
    };
    ledger.accept_now(&prod(), generation(7), None).unwrap();
    assert_eq!(
        cancel(&ledger, 7, 2).unwrap(),
        Began::Never,
        "this process accepted it, no earlier one"
    );
    assert_eq!(cancel(&ledger, 9, 1).unwrap(), Began::Never);
    let ledger = restart(&dir, ledger);
    assert!(ledger.is_cancelled(&prod(), 1, PlanId(7), 2) && ledger.is_cancelled(&prod(), 1, PlanId(9), 1));
    for (epoch, plan, step) in [(1, 7, 1), (2, 7, 2), (1, 8, 2)] {
        assert!(!ledger.is_cancelled(&prod(), epoch, PlanId(plan), step));
    }
    assert!(!ledger.is_cancelled(&"other".parse().unwrap(), 1, PlanId(7), 2));
    assert_eq!(cancel(&ledger, 7, 3).unwrap(), Began::Perhaps);
    assert_eq!(cancel(&ledger, 6, 3).unwrap(), Began::Perhaps);
    assert_eq!(cancel(&ledger, 8, 3).unwrap(), Began::Never);
    assert!(
        !ledger.is_cancelled(&prod(), 1, PlanId(6), 3),
        "an order of it is stale"
    );
    ledger.accept_now(&prod(), generation(8), None).unwrap();
    assert!(!ledger.is_cancelled(&prod(), 1, PlanId(7), 2) && ledger.is_cancelled(&prod(), 1, PlanId(9), 1));
}

#[test]
fn after_a_loss_nothing_is_called_never_begun() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path());
    let step = |plan| Cancelled {
        cluster: prod(),
        epoch: 1,
        plan: PlanId(plan),
        step: 1,
    };
    assert_eq!(ledger.cancel_now(step(7)).unwrap_err().code, "ledger_lost");
    ledger.rebuild_now(generation(20), LastWords::new()).unwrap();
    assert_eq!(ledger.cancel_now(step(7)).unwrap(), Began::Perhaps);
    let ledger = restart(&dir, ledger);
    assert_eq!(ledger.cancel_now(step(7)).unwrap(), Began::Perhaps);
    assert_eq!(ledger.cancel_now(step(21)).unwrap(), Began::Never);
}

#[test]
fn a_crash_while_writing_leaves_the_old_ledger() {
    let (dir, ledger) = fresh();
    ledger.accept_now(&prod(), generation(5), None).unwrap();
    // what a crash leaves: the temporary file, not yet renamed
    std::fs::write(dir.path().join(".clusterctl-abc"), "{\"format\":1,").unwrap();
    let again = restart(&dir, ledger);
    assert_eq!(again.facts().generations[&prod()], generation(5));
}

#[test]
fn an_order_that_cannot_be_written_down_is_not_obeyed() {
    let (dir, ledger) = fresh();
    ledger.accept_now(&prod(), generation(5), None).unwrap();
    std::fs::remove_dir_all(dir.path()).unwrap();
    let error = ledger.accept_now(&prod(), generation(6), None).unwrap_err();
    assert_eq!((error.code.as_str(), error.retry), ("ledger_write", true));
    assert_eq!(ledger.facts().generations[&prod()], generation(5));
}

#[test]
fn an_existing_ledger_is_not_replaced_by_enrolment() {
    let (dir, ledger) = fresh();
    ledger.accept_now(&prod(), generation(5), None).unwrap();
    Ledger::create(dir.path()).unwrap();
    assert_eq!(Ledger::look(dir.path()).generations[&prod()], generation(5));
}

#[test]
fn who_promised_and_was_not_let_in_since_does_nothing_alone() {
    let (dir, ledger) = fresh();
    let told = |ledger: &Ledger| ledger.facts().may_return.expect("it tells").contains(&prod());
    let code = |ledger: &Ledger| {
        assert!(!told(ledger), "what is told is what counts");
        ledger.may_rejoin_alone(&prod()).unwrap_err().code
    };
    assert_eq!(code(&ledger), "never_entered");
    ledger.accept_now(&prod(), generation(3), None).unwrap();
    assert_eq!(code(&ledger), "never_entered", "obeying is not entering");
    ledger.entered_now(&prod(), generation(3)).unwrap();
    ledger.may_rejoin_alone(&prod()).unwrap();
    assert!(told(&ledger));
    assert!(ledger.may_rejoin_alone(&"other".parse().unwrap()).is_err());
    ledger.promise_now(&prod(), generation(5)).unwrap();
    assert_eq!(code(&ledger), "promised");
    let ledger = restart(&dir, ledger);
    assert_eq!(code(&ledger), "promised", "also after a restart");
    ledger.entered_now(&prod(), generation(4)).unwrap();
    assert_eq!(code(&ledger), "promised");
    ledger.entered_now(&prod(), generation(5)).unwrap();
    ledger.may_rejoin_alone(&prod()).unwrap();
    ledger.entered_now(&prod(), generation(4)).unwrap();
    restart(&dir, ledger).may_rejoin_alone(&prod()).unwrap();
}

#[test]
fn a_lost_or_rebuilt_ledger_permits_nothing_alone() {
    let (dir, ledger) = fresh();
    ledger.entered_now(&prod(), generation(5)).unwrap();
    std::fs::write(dir.path().join(FILE), "{").unwrap();
    let again = restart(&dir, ledger);
    assert_eq!(again.may_rejoin_alone(&prod()).unwrap_err().code, "ledger_lost");
    assert_eq!(
        again.entered_now(&prod(), generation(6)).unwrap_err().code,
        "ledger_lost"
    );
    again.rebuild_now(generation(7), LastWords::new()).unwrap();
    assert_eq!(again.may_rejoin_alone(&prod()).unwrap_err().code, "never_entered");
    again.entered_now(&prod(), generation(6)).unwrap();
    assert_eq!(
        again.may_rejoin_alone(&prod()).unwrap_err().code,
        "promised",
        "the floor"
    );
    again.entered_now(&prod(), generation(7)).unwrap();
    again.may_rejoin_alone(&prod()).unwrap();
}

#[test]
fn the_previous_version_s_file_is_read_and_permits_nothing_alone() {
    let dir = tempfile::tempdir().unwrap();
    let old =
        r#"{"format":1,"clusters":{"prod":{"generation":{"epoch":1,"index":66},"promise":{"epoch":1,"index":12}}}}"#;
    std::fs::write(dir.path().join(FILE), old).unwrap();
    let ledger = Ledger::open(dir.path());
    assert_eq!(ledger.facts().promises[&prod()], generation(12));
    assert_eq!(ledger.may_rejoin_alone(&prod()).unwrap_err().code, "never_entered");
}

#[tokio::test]
async fn the_entrance_lets_one_in_at_a_time() {
    let (_dir, ledger) = fresh();
    let held = ledger.entrance().await;
    let wait = tokio::time::timeout(Duration::from_millis(20), ledger.entrance());
    assert!(wait.await.is_err());
    drop(held);
    ledger.entrance().await;
}

/// No other thread works for it: each call has an answer when it is polled for the first time.
#[test]
fn a_ledger_over_another_disk_does_all_at_once() {
    use futures_util::FutureExt;
    let disk = Memory::default();
    Ledger::create_on(&disk).unwrap();
    let ledger = Arc::new(Ledger::over(Box::new(disk.clone())));
    assert_eq!(ledger.promise(&prod(), generation(5)).now_or_never(), Some(Ok(true)));
    let accepted = ledger.accept(&prod(), generation(6), None).now_or_never();
    assert_eq!(accepted, Some(Ok(())));
    let again = Ledger::over(Box::new(disk.clone()));
    assert_eq!(again.facts().generations[&prod()], generation(6));
    assert_eq!(again.may_enter(&prod(), generation(4)).unwrap_err().code, "promised");
    disk.set_aside();
    assert!(Ledger::over(Box::new(disk)).facts().is_lost());
}
