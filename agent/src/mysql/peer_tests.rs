//! What a member's mysqld says, and whom a rejoin takes for the primary.

use super::*;
use crate::mysql::Driver;
use crate::mysql::fake::FakeMysqld;

const GROUP: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn member(state: MemberState, role: MemberRole, writable: bool, name: &str) -> Answer {
    Answer::InGroup(InGroup {
        name: name.to_owned(),
        view_id: "17:3".to_owned(),
        state,
        role,
        others: 1,
        majority: true,
        writable,
        gtid_executed: "set".to_owned(),
        online: Vec::new(),
    })
}

fn primary(name: &str) -> Answer {
    member(MemberState::Online, MemberRole::Primary, true, name)
}

fn chosen(answers: Vec<Answer>) -> Result<Primary, Failure> {
    let seeds: Vec<String> = (1..=answers.len()).map(|n| format!("node{n}:3306")).collect();
    choose(seeds.iter().zip(answers), GROUP.parse().unwrap())
}

#[test]
fn only_a_primary_of_this_group_is_a_live_group() {
    let secondary = member(MemberState::Online, MemberRole::Secondary, false, GROUP);
    let found = chosen(vec![secondary.clone(), primary(&GROUP.to_uppercase())]).unwrap();
    assert_eq!(
        (found.address.as_str(), found.gtid_executed.as_str()),
        ("node2:3306", "set")
    );
    let Answer::InGroup(mut alone) = primary(GROUP) else {
        panic!()
    };
    alone.majority = false;
    let none = chosen(vec![
        secondary,
        primary("another"),
        Answer::InGroup(alone),
        Answer::InNone,
        Answer::Unknown("connecting to node5:3306 did not end within 2 s".to_owned()),
        member(MemberState::Error, MemberRole::Primary, true, GROUP),
        member(MemberState::Online, MemberRole::Primary, false, GROUP),
    ])
    .unwrap_err();
    assert_eq!((none.code.as_str(), none.retry), ("group_not_live", true));
    assert_eq!(
        none.facts,
        [
            "node1:3306 takes no writes",
            "node2:3306 is in another group",
            "node3:3306 hears no majority of its group",
            "node4:3306 is in no group",
            "node5:3306: connecting to node5:3306 did not end within 2 s",
            "node6:3306 takes no writes",
            "node7:3306 takes no writes",
        ]
    );
}

/// A person bootstrapped one while the other lives where it is not reached: Group Replication enters whichever answers first.
#[test]
fn between_two_groups_of_one_name_nobody_chooses() {
    let of = |mut answer: Answer, view: &str| {
        let Answer::InGroup(member) = &mut answer else { panic!() };
        view.clone_into(&mut member.view_id);
        answer
    };
    let secondary = || member(MemberState::Online, MemberRole::Secondary, false, GROUP);
    for other in [primary(GROUP), secondary()] {
        let two = chosen(vec![of(primary(GROUP), "17:3"), of(other, "18:1")]).unwrap_err();
        assert_eq!(two.code, "two_groups_live");
        let told = ["node1:3306 is in lineage 17", "node2:3306 is in lineage 18"];
        assert!(two.facts.ends_with(&told.map(str::to_owned)), "{:?}", two.facts);
    }
    // A membership was forced on one side.
    let two = chosen(vec![of(primary(GROUP), "17:3"), of(primary(GROUP), "17:5")]).unwrap_err();
    assert_eq!(two.code, "two_groups_live");
    assert!(chosen(vec![of(primary(GROUP), "17:3"), of(secondary(), "17:4")]).is_ok());
    let gave_up = member(MemberState::Error, MemberRole::Secondary, false, GROUP);
    assert!(chosen(vec![of(primary(GROUP), "17:3"), of(gave_up, "16:9")]).is_ok());
}

async fn asked(prepare: impl FnOnce(&mut crate::mysql::fake::Server)) -> Answer {
    let mysqld = FakeMysqld::start();
    mysqld.with(prepare);
    let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
    look(&mut db).await.unwrap()
}

#[tokio::test]
async fn a_member_is_in_a_group_whatever_its_name_its_state_and_its_fences() {
    let states = [
        ("ONLINE", MemberState::Online),
        ("RECOVERING", MemberState::Recovering),
        ("ERROR", MemberState::Error),
        ("SOMETHING NEW", MemberState::Error),
    ];
    for (text, state) in states {
        let answer = asked(|server| {
            server.state = text.to_owned();
            server.group_name = "another".to_owned();
            (server.super_read_only, server.offline_mode) = (true, true);
        })
        .await;
        let Answer::InGroup(member) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((member.state, member.name.as_str()), (state, "another"));
        assert!(!member.writable && member.view_id == "17:1");
    }
}

#[tokio::test]
async fn offline_is_in_none_only_if_nobody_bootstraps_there() {
    assert_eq!(asked(|_| {}).await, Answer::InNone);
    assert_eq!(asked(|server| server.plugin = false).await, Answer::InNone);
    let bootstrapping = asked(|server| server.flag = true).await;
    assert!(matches!(bootstrapping, Answer::Unknown(_)), "{bootstrapping:?}");
}

#[tokio::test]
async fn a_member_whose_start_has_not_returned_is_in_a_group_without_a_view_id() {
    let answer = asked(|server| (server.state, server.starting) = ("ONLINE".to_owned(), true)).await;
    let Answer::InGroup(member) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(member.view_id, "");
}

#[tokio::test]
async fn an_account_without_the_rights_proves_a_group_and_never_that_there_is_none() {
    for state in ["OFFLINE", "ONLINE"] {
        let answer = asked(|server| {
            server.peers_may_read = false;
            server.state = state.to_owned();
            server.super_read_only = true;
        })
        .await;
        assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
    }
    let answer = asked(|server| {
        server.peers_may_read = false;
        server.super_read_only = false;
        server.group_name = GROUP.to_owned();
    })
    .await;
    assert!(
        matches!(&answer, Answer::InGroup(member) if member.leads(GROUP.parse().unwrap())),
        "{answer:?}"
    );
}

#[tokio::test]
async fn what_does_not_answer_is_unknown() {
    let peers = ByCertificate {
        servers: Arc::new(Driver),
        tls_dir: "/nowhere".into(),
    };
    // no address, no port, nobody listens (and no certificate to show)
    for address in ["node1", "node1:x", "127.0.0.1:1"] {
        let answer = peers.ask(address, "u").await;
        assert!(matches!(answer, Answer::Unknown(_)), "{address}: {answer:?}");
    }
}

#[test]
fn a_majority_is_more_than_half_of_the_view() {
    const ID: &str = "6ced32ca-e649-11f1-bb94-02fc00000001";
    let row = |own, state: &str| (own, state.to_owned(), "SECONDARY".to_owned(), ID.to_owned());
    let judged = |rows: &[MemberRow]| judge(rows).map(|own| (own.others, own.majority));
    assert_eq!(judged(&[]), None);
    assert_eq!(judged(&[row(true, "OFFLINE")]), None);
    assert_eq!(judged(&[row(true, "ONLINE")]), Some((0, true)));
    assert_eq!(
        judged(&[row(false, "UNREACHABLE"), row(true, "ONLINE")]),
        Some((1, false))
    );
    let all = judge(&[row(true, "ONLINE"), row(false, "RECOVERING"), row(false, "UNREACHABLE")]).unwrap();
    assert_eq!(all.online, [ID.parse::<Uuid>().unwrap()], "who could be a donor");
}
