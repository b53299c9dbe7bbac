//! Which outcome belongs to which order; what a lost ledger is told.

use clusterctl_proto::identity::{Identity, PeerName, new_key_and_request};
use clusterctl_proto::observe::{LastWords, LedgerFacts, MysqlFacts, Observation, RouterFacts};
use clusterctl_proto::order_proof::{self, OrderProof};
use clusterctl_proto::tls::Credentials;
use clusterctl_proto::wire::agent::{Answer as Told, Question};

use super::*;
use crate::leader::orders::digest;
use crate::pki::{Authority, Names, PublicKey};

fn is_pending(stage: &Stage, plan: PlanId) -> bool {
    let state = stage.leader.node.state();
    state.read(|model| !plans::has_ended(plans::find(&model.plans[&plan], 1).expect("a step")))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_of_another_order_with_this_number_is_dropped() {
    let stage = Stage::new().await;
    let plan = stage.adopt(vec![step(1, "node1", make("a"), &[])]).await;
    let expected = stage.leader.node.state().read(|model| {
        let plan = &model.plans[&plan];
        digest(plan, &plan.draft.steps[0]).expect("JSON").to_vec()
    });
    let told = |epoch: u64, cluster: &str, digest: &[u8]| Outcome {
        epoch,
        cluster: cluster.to_owned(),
        digest: digest.to_vec(),
        ..outcome(plan, 1, StepResult::Unchanged, &[("a", "stolen")])
    };
    let epoch = stage.leader.node.state().read(|model| model.epoch);
    for other in [
        told(epoch + 1, "prod", &expected),
        told(epoch, "prod2", &expected),
        told(epoch, "prod", &[7; 32]),
        told(0, "", &[7; 32]),
        // Of an older agent, but of another epoch.
        told(epoch + 1, "", &[]),
    ] {
        stage.outcome("node1", other.clone()).await;
        assert!(is_pending(&stage, plan), "{other:?}");
        assert_eq!(stage.leader.secrets().find("r", "a"), None, "nor is its secret kept");
    }
    stage.outcome("node1", told(epoch, "prod", &expected)).await;
    assert!(!is_pending(&stage, plan));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_agent_is_believed_by_plan_and_step() {
    let stage = Stage::new().await;
    let plan = stage.adopt(vec![step(1, "node1", make("a"), &[])]).await;
    stage
        .outcome("node1", outcome(plan, 1, StepResult::Unchanged, &[]))
        .await;
    assert!(!is_pending(&stage, plan));
}

fn answered(ledger: LedgerFacts) -> Observation {
    Observation {
        boot_id: "b".to_owned(),
        agent_version: String::new(),
        ledger,
        host: None,
        mysql: MysqlFacts::default(),
        router: RouterFacts::default(),
        own_deeds: Vec::new(),
    }
}

/// node1's agent answers this question.
fn answer(stage: &Stage, id: u64, ledger: LedgerFacts) {
    let session = stage.leader.sessions().current(&name("node1")).expect("a stream");
    let observation_json = serde_json::to_vec(&answered(ledger)).expect("JSON");
    let told = Told { id, observation_json };
    stage.leader.answer(&name("node1"), session, &told).expect("read");
}

/// Asks, and answers the committed index that the question told.
async fn asked(stage: &Stage, orders: &mut mpsc::Receiver<ToAgent>, now: Instant) -> (u64, u64) {
    let question = question(stage, orders, now).await;
    (question.id, question.committed_index)
}

async fn question(stage: &Stage, orders: &mut mpsc::Receiver<ToAgent>, now: Instant) -> Question {
    stage.leader.ask_due(now).await;
    loop {
        let message = orders.try_recv().expect("a question").message.expect("a message");
        if let to_agent::Message::Question(question) = message {
            return question;
        }
    }
}

/// What was heard before the loss goes with the index.
#[tokio::test(flavor = "multi_thread")]
async fn who_lost_its_ledger_is_told_what_it_held_of_lineages() {
    let stage = Stage::new().await;
    let (mut now, second) = (Instant::now(), Duration::from_secs(1));
    let mut orders = stage.connect("node1");
    let answer = |id, ledger| answer(&stage, id, ledger);
    let last_words = LastWords::from([("prod".parse().expect("name"), "a record".into())]);
    let known = LedgerFacts {
        known: true,
        last_words: last_words.clone(),
        ..LedgerFacts::default()
    };
    let asked = question(&stage, &mut orders, now).await;
    answer(asked.id, known);
    now += second;
    let asked = question(&stage, &mut orders, now).await;
    assert!(asked.last_words_json.is_empty(), "its ledger is known");
    answer(asked.id, LedgerFacts::default());
    now += second;
    let asked = question(&stage, &mut orders, now).await;
    assert!(asked.committed_index > 0);
    let words: LastWords = serde_json::from_slice(&asked.last_words_json).expect("JSON");
    assert_eq!(words, last_words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_told_the_committed_index_on_its_own_stream_only() {
    let stage = Stage::new().await;
    let (mut now, second) = (Instant::now(), Duration::from_secs(1));
    let mut orders = stage.connect("node1");
    let answer = |id, ledger| answer(&stage, id, ledger);
    let (id, committed) = asked(&stage, &mut orders, now).await;
    assert_eq!(committed, 0, "nothing is known of its ledger");
    answer(id, LedgerFacts::default());
    now += second;
    let (mut id, committed) = asked(&stage, &mut orders, now).await;
    let applied = *stage.leader.node.state().changes().borrow();
    assert!(committed > 0 && committed == applied, "{committed}");
    let unreadable = LedgerFacts {
        unreadable: Some("EIO".to_owned()),
        ..LedgerFacts::default()
    };
    for ledger in [
        unreadable,
        LedgerFacts {
            known: true,
            ..LedgerFacts::default()
        },
    ] {
        answer(id, ledger);
        now += second;
        let told = asked(&stage, &mut orders, now).await;
        assert_eq!(told.1, 0, "it is not lost");
        id = told.0;
    }
    answer(id, LedgerFacts::default());
    let mut orders = stage.connect("node1");
    assert_eq!(
        asked(&stage, &mut orders, now).await.1,
        0,
        "what it said on another stream"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_that_confirms_it_no_index_is_told() {
    let stage = Stage::new().await;
    let mut orders = stage.connect("node1");
    let now = Instant::now();
    let (id, _) = asked(&stage, &mut orders, now).await;
    let session = stage.leader.sessions().current(&name("node1")).expect("a stream");
    let observation_json = serde_json::to_vec(&answered(LedgerFacts::default())).expect("JSON");
    let told = Told { id, observation_json };
    stage.leader.answer(&name("node1"), session, &told).expect("read");
    // Its raft has stopped; a deposed leader's does not confirm either.
    stage.voter.stop().await;
    assert_eq!(asked(&stage, &mut orders, now + Duration::from_secs(1)).await.1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_carries_the_coordinators_signature_of_its_generation() {
    let stage = Stage::new().await;
    let made = Authority::generate().expect("CA");
    let authority = Authority::from_pem(made.certificate_pem, &made.key_pem).expect("loads");
    let mine = new_key_and_request().expect("key");
    let (key_pem, key) = (mine.key_pem, PublicKey::from_request(&mine.csr_der).expect("request"));
    let peer = PeerName {
        group: "g1".to_owned(),
        identity: Identity::Coordinator(4),
    };
    let life = Duration::from_secs(3600);
    let signed = authority
        .sign_peer(&key, &peer, &Names::default(), life)
        .expect("signed");
    let credentials =
        Credentials::from_pem(authority.certificate_pem(), &signed.certificate_pem, &key_pem).expect("load");
    stage.leader.sign_orders("g1".to_owned(), credentials.into());
    let plan = stage.adopt(vec![step(1, "node1", make("a"), &[])]).await;
    let mut orders = stage.connect("node1");
    stage.dispatch(Instant::now()).await;
    let run = loop {
        if let Some(to_agent::Message::Run(run)) = orders.try_recv().expect("an order").message {
            break run;
        }
    };
    let proof = OrderProof::from_wire(&run.signature.clone().expect("signed"));
    let generation = stage.leader.node.state().read(|model| model.plans[&plan].generation);
    let ca = Credentials::from_pem(authority.certificate_pem(), &signed.certificate_pem, &key_pem).expect("load");
    let prod = "prod".parse().expect("name");
    assert_eq!(proof.verify(ca.ca(), "g1", &prod, generation), Ok(4));
    // The agent's digest of what it received is the coordinator's of its step.
    let expected = stage.leader.node.state().read(|model| {
        let plan = &model.plans[&plan];
        digest(plan, &plan.draft.steps[0])
    });
    assert_eq!(Some(order_proof::digest_of(&run)), expected);
}
