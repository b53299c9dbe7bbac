//! What the ledger holds, forgets never, and permits.

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

#[test]
fn what_was_obeyed_and_promised_survives_a_restart() {
    let (dir, ledger) = fresh();
    assert!(ledger.facts().known);
    ledger.accept_now(&prod(), generation(7)).unwrap();
    assert!(ledger.promise_now(&prod(), generation(7)).unwrap());
    assert!(!ledger.promise_now(&prod(), generation(7)).unwrap());
    let again = Ledger::open(dir.path());
    assert_eq!(again.facts(), ledger.facts());
    assert_eq!(again.facts().promises[&prod()], generation(7));
    let error = again.accept_now(&prod(), generation(6)).unwrap_err();
    assert_eq!(error.code, "stale_generation");
    again.accept_now(&prod(), generation(7)).unwrap();
    assert!(
        again.accept_now(&"other".parse().unwrap(), generation(3)).is_ok(),
        "clusters do not mix"
    );
}

#[test]
fn a_higher_epoch_beats_any_index() {
    let (_dir, ledger) = fresh();
    ledger.accept_now(&prod(), generation(900)).unwrap();
    ledger.accept_now(&prod(), Generation { epoch: 2, index: 1 }).unwrap();
    assert!(ledger.accept_now(&prod(), generation(901)).is_err());
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
fn a_lost_ledger_is_unknown_until_a_new_order_and_then_a_floor() {
    let dir = tempfile::tempdir().unwrap();
    for content in [None, Some("{"), Some("{\"format\":99,\"clusters\":{}}"), Some("")] {
        let path = dir.path().join(FILE);
        let _ = std::fs::remove_file(&path);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let ledger = Ledger::open(dir.path());
        assert_eq!(ledger.facts(), LedgerFacts::default());
        assert!(!ledger.facts().known);
        assert_eq!(
            ledger.may_enter(&prod(), generation(50)).unwrap_err().code,
            "ledger_lost"
        );
        assert_eq!(
            ledger.promise_now(&prod(), generation(50)).unwrap_err().code,
            "ledger_lost"
        );
        assert_eq!(ledger.accept_now(&prod(), generation(50)).unwrap(), Accepted::Rebuilt);
        let again = Ledger::open(dir.path());
        assert!(again.facts().known);
        assert_eq!(again.facts().promises[&prod()], generation(50));
        let other: ClusterName = "other".parse().unwrap();
        assert_eq!(
            again.accept_now(&other, generation(49)).unwrap_err().code,
            "stale_generation"
        );
        assert_eq!(again.may_enter(&other, generation(49)).unwrap_err().code, "promised");
        assert_eq!(again.accept_now(&prod(), generation(51)).unwrap(), Accepted::Current);
    }
}

#[test]
fn a_crash_while_writing_leaves_the_old_ledger() {
    let (dir, ledger) = fresh();
    ledger.accept_now(&prod(), generation(5)).unwrap();
    // what a crash leaves: the temporary file, not yet renamed
    std::fs::write(dir.path().join(".clusterctl-abc"), "{\"format\":1,").unwrap();
    let again = Ledger::open(dir.path());
    assert_eq!(again.facts().generations[&prod()], generation(5));
}

#[test]
fn an_order_that_cannot_be_written_down_is_not_obeyed() {
    let (dir, ledger) = fresh();
    ledger.accept_now(&prod(), generation(5)).unwrap();
    std::fs::remove_dir_all(dir.path()).unwrap();
    let error = ledger.accept_now(&prod(), generation(6)).unwrap_err();
    assert_eq!((error.code.as_str(), error.retry), ("ledger_write", true));
    assert_eq!(ledger.facts().generations[&prod()], generation(5));
}

#[test]
fn an_existing_ledger_is_not_replaced_by_enrolment() {
    let (dir, ledger) = fresh();
    ledger.accept_now(&prod(), generation(5)).unwrap();
    Ledger::create(dir.path()).unwrap();
    assert_eq!(Ledger::open(dir.path()).facts().generations[&prod()], generation(5));
}

#[test]
fn who_promised_and_was_not_let_in_since_does_nothing_alone() {
    let (dir, ledger) = fresh();
    let code = |ledger: &Ledger| ledger.may_rejoin_alone(&prod()).unwrap_err().code;
    assert_eq!(code(&ledger), "never_entered");
    ledger.accept_now(&prod(), generation(3)).unwrap();
    assert_eq!(code(&ledger), "never_entered", "obeying is not entering");
    ledger.entered_now(&prod(), generation(3)).unwrap();
    ledger.may_rejoin_alone(&prod()).unwrap();
    assert!(ledger.may_rejoin_alone(&"other".parse().unwrap()).is_err());
    ledger.promise_now(&prod(), generation(5)).unwrap();
    assert_eq!(code(&ledger), "promised");
    assert_eq!(code(&Ledger::open(dir.path())), "promised", "also after a restart");
    ledger.entered_now(&prod(), generation(4)).unwrap();
    assert_eq!(code(&ledger), "promised");
    ledger.entered_now(&prod(), generation(5)).unwrap();
    ledger.may_rejoin_alone(&prod()).unwrap();
    ledger.entered_now(&prod(), generation(4)).unwrap();
    Ledger::open(dir.path()).may_rejoin_alone(&prod()).unwrap();
}

#[test]
fn a_lost_or_rebuilt_ledger_permits_nothing_alone() {
    let (dir, ledger) = fresh();
    ledger.entered_now(&prod(), generation(5)).unwrap();
    std::fs::write(dir.path().join(FILE), "{").unwrap();
    let again = Ledger::open(dir.path());
    assert_eq!(again.may_rejoin_alone(&prod()).unwrap_err().code, "ledger_lost");
    assert_eq!(
        again.entered_now(&prod(), generation(6)).unwrap_err().code,
        "ledger_lost"
    );
    again.accept_now(&prod(), generation(7)).unwrap();
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
    let wait = tokio::time::timeout(std::time::Duration::from_millis(20), ledger.entrance());
    assert!(wait.await.is_err());
    drop(held);
    ledger.entrance().await;
}
