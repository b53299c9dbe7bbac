//! Who leaves a lineage notice where, what a receiver takes from one, and a member that returns by it.

use std::sync::Arc;

use clusterctl_proto::ids::Generation;
use clusterctl_proto::lineage::{Branch, Span};
use clusterctl_proto::observe::GroupMember;
use clusterctl_proto::wire::agent::{self, Question};

use super::super::act;
use super::super::decide::ALONE;
use super::super::decide::tests::seen;
use super::super::tests::{Two, keeper_of, tools};
use super::super::{Keeper, Memory, deeds};
use super::*;
use crate::host::Access;
use crate::ledger::Ledger;
use crate::membership::tests::sample;
use crate::mysql::fake::FakeMysqld;

const GROUP: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn id(text: &str) -> LineageId {
    text.parse().unwrap()
}

fn set(ranges: &str) -> GtidSet {
    if ranges.is_empty() {
        return GtidSet::new();
    }
    format!("{GROUP}:{ranges}").parse().unwrap()
}

fn uuid() -> ServerUuid {
    "6ced32ca-e649-11f1-bb94-02fc00000001".parse().unwrap()
}

fn tree(branches: &[(&str, Option<&str>, &str)]) -> Lineages {
    let mut all = Lineages::default();
    for (name, parent, base) in branches {
        let branch = Branch {
            parent: parent.map(id),
            base: set(base),
            generation: None,
            host: None,
            abandoned: Default::default(),
        };
        assert!(all.add(id(name), branch));
    }
    all
}

/// The tree that the agent of the bootstrapped member holds, with a branch that has nothing to do with it.
fn by_hand() -> Lineages {
    tree(&[("1", None, ""), ("17", Some("1"), "1-9"), ("5", Some("1"), "1-3")])
}

fn member_of(lineage: &str, known: Lineages) -> Record {
    let mut record = Record::default();
    record.learn(&known);
    record.enter(uuid(), id(lineage), String::new());
    record
}

fn notice(group: &str, lineages: &Lineages) -> String {
    let notice = Notice {
        cluster: "prod".parse().unwrap(),
        group: id(group),
        lineages: lineages.clone(),
        sender: Some(uuid()),
        stay: None,
        before: Vec::new(),
    };
    serde_json::to_string(&notice).unwrap()
}

/// node1 in view 17:2 with node2.
fn online() -> MysqlFacts {
    let mut facts = seen(MemberState::Online);
    let view = facts.server.as_mut().unwrap().group.as_mut().unwrap();
    view.view_id = "17:2".to_owned();
    view.members = ["node1", "NODE2"].map(row).to_vec();
    facts
}

fn row(host: &str) -> GroupMember {
    GroupMember {
        server_uuid: uuid(),
        host: host.to_owned(),
        port: 3306,
        state: MemberState::Online,
        role: clusterctl_proto::observe::MemberRole::Primary,
        version: "9.7.4".to_owned(),
    }
}

/// What is due for an agent that is alone, but for what the closure changes.
fn due_with(server: &MysqlFacts, record: &Record, change: impl FnOnce(&mut Facts<'_>)) -> Option<Vec<String>> {
    let membership = sample();
    let mut facts = Facts {
        server,
        step_runs: false,
        deed_runs: false,
        hands_off: false,
        flag_looked_at: true,
        new_view: false,
        alone_for: Some(ALONE),
        membership: Some(&membership),
        may_rejoin: true,
    };
    change(&mut facts);
    due(&facts, record).map(|(_, addresses)| addresses)
}

#[test]
fn a_member_in_the_group_tells_those_that_are_out_where_its_lineage_began() {
    let (server, record, membership) = (online(), member_of("17", by_hand()), sample());
    assert_eq!(
        due_with(&server, &record, |_| ()).as_deref(),
        Some(&["node3:3306".to_owned()][..])
    );
    let notice = of_group(&server, &membership, &record).unwrap();
    assert_eq!(
        (notice.group, notice.lineages),
        (id("17"), by_hand().ancestry(&id("17")))
    );
    assert!(
        !by_hand().ancestry(&id("17")).contains(&id("5")),
        "what has nothing to do with the group is not told"
    );
    // The other one may be cut off from the coordinator that leads this agent; and telling does nothing to this host.
    assert!(due_with(&server, &record, |f| f.alone_for = None).is_some());
    assert!(due_with(&server, &record, |f| f.hands_off = true).is_some());
    assert_eq!(due_with(&server, &record, |f| f.membership = None), None);
    let mut all_in = online();
    let view = all_in.server.as_mut().unwrap().group.as_mut().unwrap();
    view.members.push(row("node3"));
    assert_eq!(due_with(&all_in, &record, |_| ()), None, "nobody is out");
    let view = all_in.server.as_mut().unwrap().group.as_mut().unwrap();
    view.members[2].state = MemberState::Unreachable;
    assert!(due_with(&all_in, &record, |_| ()).is_some(), "about to be expelled");
    let view = all_in.server.as_mut().unwrap().group.as_mut().unwrap();
    view.members[2].state = MemberState::Recovering;
    assert!(
        due_with(&all_in, &record, |_| ()).is_some(),
        "perhaps this one gave it what it lacks"
    );
    let view = all_in.server.as_mut().unwrap().group.as_mut().unwrap();
    view.members[2].state = MemberState::Online;
    let all = due_with(&all_in, &record, |facts| facts.new_view = true);
    assert_eq!(
        all.unwrap(),
        ["node2:3306", "node3:3306"],
        "who entered with this view is told whose data it got"
    );
}

/// By this a member that entered past its agent knows that its donor had the group's data.
#[test]
fn a_notice_tells_since_when_its_sender_is_inside() {
    let (mut record, membership) = (member_of("17", by_hand()), sample());
    let told = |record: &Record| {
        let notice = of_group(&online(), &membership, record).unwrap();
        stays_in(
            &["{}".to_owned(), serde_json::to_string(&notice).unwrap()],
            &membership.cluster,
        )
    };
    assert_eq!(told(&record), [], "its agent has not looked yet");
    let span = Span { since: 0, until: 2 };
    record.member.as_mut().unwrap().span = Some(span);
    let server = online().server.unwrap();
    let stay = Stay {
        address: format!("{}:{}", server.report_host, server.port),
        id: id("17"),
        span,
    };
    assert_eq!(told(&record), [stay]);
    let notice = of_group(&online(), &membership, &record).unwrap();
    let text = serde_json::to_string(&notice).unwrap();
    assert_eq!(stays_in(&[text], &"other".parse().unwrap()), [], "of another cluster");
}

#[test]
fn only_a_member_whose_data_were_measured_tells() {
    let told = |server: &MysqlFacts, record: &Record| of_group(server, &sample(), record).is_some();
    let record = member_of("17", by_hand());
    assert!(told(&online(), &record));
    let mut diverged = record.clone();
    diverged.distrust();
    assert!(!told(&online(), &diverged), "a person started it");
    assert!(!told(&online(), &member_of("1", by_hand())), "its record is of before");
    assert!(
        !told(&online(), &member_of("17", Lineages::default())),
        "where it began is not known"
    );
    let mut other = online();
    other.server.as_mut().unwrap().server_uuid = ServerUuid::nil();
    assert!(!told(&other, &record), "these are other data");
    for state in [MemberState::Offline, MemberState::Recovering, MemberState::Error] {
        let mut out = online();
        out.server.as_mut().unwrap().group.as_mut().unwrap().state = state;
        assert!(!told(&out, &record), "{state:?}");
    }
    let mut other = online();
    other.server.as_mut().unwrap().group_name = "another".to_owned();
    assert!(!told(&other, &record));
    let foreign = MysqlFacts {
        data: DataDirectory::Foreign { what: "x".into() },
        ..online()
    };
    assert!(!told(&foreign, &record));
}

/// Its record says whose data were copied, not that the copy is complete; and a person has started it.
#[test]
fn a_half_copied_member_is_told_of_as_a_donor_by_nobody() {
    let mut record = member_of("17", by_hand());
    record.copies(uuid());
    assert_eq!(of_group(&online(), &sample(), &record), None);
    record.copied(uuid(), Some(id("17")), (String::new(), String::new()));
    assert!(
        of_group(&online(), &sample(), &record).is_some(),
        "the copy is complete"
    );
}

#[test]
fn a_receiver_takes_only_what_is_of_the_group_that_lives() {
    let record = member_of("1", tree(&[("1", None, "")]));
    let prod = "prod".parse().unwrap();
    let taken = |texts: &[String], record: &Record| usable(texts, &prod, "17:2", record, uuid());
    let texts = ["{".to_owned(), notice("17", &by_hand())];
    let told = taken(&texts, &record);
    assert_eq!(
        (told.lineages, told.group),
        (by_hand().ancestry(&id("17")), Some(id("17")))
    );
    let earlier = tree(&[("1", None, ""), ("16", Some("1"), "1-9")]);
    assert!(
        taken(&[notice("16", &earlier)], &record) == Told::default(),
        "left there before a second bootstrap"
    );
    let other = notice("17", &by_hand()).replace("prod", "test");
    assert_eq!(taken(&[other], &record), Told::default());
}

/// All that a release before recorded is one lineage by name only: an abandoned member of its time is not told apart by it.
#[test]
fn data_without_a_certain_lineage_are_not_measured_by_a_notice() {
    let upgraded = tree(&[("0", None, ""), ("17", Some("0"), "1-9")]);
    let prod = "prod".parse().unwrap();
    let mut distrusted = member_of("1", Lineages::default());
    distrusted.distrust();
    for record in [Record::of_before(), Record::without_memory(true), distrusted] {
        let told = usable(&[notice("17", &upgraded)], &prod, "17:2", &record, uuid());
        assert_eq!(told, Told::default(), "{record:?}");
    }
    let record = member_of("1", tree(&[("1", Some("0"), "1-5")]));
    let told = usable(&[notice("17", &upgraded)], &prod, "17:2", &record, uuid());
    assert_eq!(told, Told::default(), "the coordinator knows who was abandoned then");
    let later = tree(&[("1", Some("0"), "1-5"), ("17", Some("1"), "1-9")]);
    let told = usable(&[notice("17", &later)], &prod, "17:2", &record, uuid());
    assert!(
        told.lineages.contains(&id("17")),
        "the coordinator has told of what lies before"
    );
    let record = member_of("1", Lineages::default());
    let told = usable(&[notice("17", &by_hand())], &prod, "17:2", &record, ServerUuid::nil());
    assert_eq!(told, Told::default(), "another server's data");
}

#[test]
fn a_lineage_that_cannot_be_placed_lets_nobody_in() {
    let record = member_of("1", tree(&[("1", None, "")]));
    let place = |lineages: &Lineages, group: &str| {
        let told = Told {
            group: Some(id(group)),
            lineages: lineages.clone(),
            proven: BTreeMap::new(),
        };
        placed(&record, uuid(), &set("1-9"), &told, &format!("{group}:4"))
    };
    assert!(place(&Lineages::default(), "17").is_err());
    assert_eq!(place(&by_hand(), "17"), Ok(()));
    assert_eq!(place(&Lineages::default(), "1"), Ok(()), "its own");
    let untold = placed(&record, uuid(), &set("1-9"), &Told::default(), "1:4");
    assert_eq!(
        untold,
        Err(UNTOLD),
        "its own by the view id, which hides a forced membership"
    );
    let unseen = tree(&[("1", None, ""), ("17", Some("1"), "")]);
    assert!(place(&unseen, "17").is_err(), "its agent had not seen what it held");
    let elsewhere = tree(&[("3", None, ""), ("17", Some("3"), "1-9")]);
    assert!(place(&elsewhere, "17").is_err(), "it branched off data of others");
    let empty = placed(&record, uuid(), &set(""), &Told::default(), "17:2");
    assert_eq!(empty, Ok(()), "one that holds nothing loses nothing");
}

/// The view id keeps its first part: only the notice tells.
#[test]
fn a_forced_membership_that_a_notice_tells_of_counts() {
    let record = member_of("17", by_hand());
    let forced = tree(&[("1", None, ""), ("17", Some("1"), "1-9"), ("17+8", Some("17"), "")]);
    let told = |texts: &[String], view: &str| {
        let told = usable(texts, &"prod".parse().unwrap(), view, &record, uuid());
        let placed = placed(&record, uuid(), &set("1-9"), &told, view);
        (told.group, placed.is_ok())
    };
    let (before, after) = (notice("17", &by_hand()), notice("17+8", &forced));
    assert_eq!(told(std::slice::from_ref(&after), "17:9"), (Some(id("17+8")), false));
    assert_eq!(told(std::slice::from_ref(&before), "17:9"), (Some(id("17")), true));
    let both = [after.clone(), before];
    assert_eq!(
        told(&both, "17:9"),
        (Some(id("17+8")), false),
        "one has not heard of it"
    );
    assert_eq!(told(&both, "17:7"), (Some(id("17")), true), "of the other side");
    assert_eq!(told(&[after], "17:7"), (None, false));
}

/// node1 is out and holds what lineage 1 had; a person has bootstrapped lineage 17 on node2.
struct Scene {
    tools: Tools,
    own: FakeMysqld,
    other: FakeMysqld,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn new(held: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (FakeMysqld::start(), FakeMysqld::start());
        own.with(|server| server.executed = set(held).to_string());
        other.with(|server| {
            (server.state, server.role) = ("ONLINE".to_owned(), "PRIMARY".to_owned());
            (server.super_read_only, server.group_name) = (false, GROUP.to_owned());
            server.executed = set("1-400").to_string();
        });
        Ledger::create(dir.path()).unwrap();
        let servers = Two {
            own: own.config().sockets[0].clone(),
            other: other.config().sockets[0].clone(),
        };
        let tools = tools(dir.path(), Arc::new(servers));
        let membership = sample();
        membership.keep(&*tools.host, dir.path()).await.unwrap();
        let generation = Generation { epoch: 1, index: 7 };
        tools.ledger.entered(&membership.cluster, generation).await.unwrap();
        let entered = tools.ledger.change_lineage(&membership.cluster, |record| {
            record.learn(&tree(&[("1", None, "")]));
            record.enter(uuid(), id("1"), String::new());
        });
        entered.await.unwrap();
        Self {
            tools,
            own,
            other,
            _dir: dir,
        }
    }

    async fn rejoin(&self) -> Result<(), String> {
        let rejoined = act::rejoin(&self.tools, &sample(), || true).await;
        rejoined.map(drop).map_err(|failure| failure.code)
    }

    fn starts(&self) -> usize {
        self.own.with(|server| server.starts.len())
    }

    fn lineage(&self) -> Option<LineageId> {
        let record = self.tools.ledger.lineage(&sample().cluster).unwrap();
        record.verified(uuid()).cloned()
    }
}

#[tokio::test]
async fn after_a_bootstrap_by_hand_a_member_that_lacks_nothing_returns_unaided() {
    let scene = Scene::new("1-9").await;
    let record = member_of("17", by_hand());
    let sender = of_group(&online(), &sample(), &record).unwrap();
    let tools = scene.tools.clone();
    let held = tokio::spawn(async move {
        let addresses = ["node1:3306".to_owned(), "node3:3306".to_owned()];
        leave(&tools, "mysql_innodb_cluster_2", &sender, &addresses).await;
    });
    assert_eq!(scene.rejoin().await, Ok(()));
    held.abort();
    assert_eq!((scene.starts(), scene.lineage()), (1, Some(id("17"))));
}

/// Hundreds of transactions are there when the agent sees the group: it tells of what it saw before.
#[tokio::test]
async fn the_agent_of_a_member_that_a_person_bootstrapped_tells_those_that_are_out() {
    let scene = Scene::new("1-9").await;
    scene.other.with(|server| server.state = "OFFLINE".to_owned());
    let keeper = keeper_of(scene.tools.clone()).await;
    let marker = scene.tools.config.mysql.data_dir.join("clusterctl.json");
    let ours = br#"{"format":1,"cluster":"prod","group":"g1"}"#;
    scene
        .tools
        .host
        .write(&marker, ours, &Access::Own(0o600))
        .await
        .unwrap();
    let mut memory = Memory::default();
    keeper.look(&mut memory).await;
    scene.own.with(|server| {
        (server.state, server.role) = ("ONLINE".to_owned(), "PRIMARY".to_owned());
        (server.super_read_only, server.group_name) = (false, GROUP.to_owned());
        server.executed = set("1-400").to_string();
    });
    keeper.observer.acted();
    keeper.look(&mut memory).await;
    let noted: Vec<String> = keeper.deeds.list().into_iter().map(|deed| deed.kind).collect();
    assert_eq!(noted, [deeds::BOOTSTRAPPED_BY_HAND]);
    assert!(memory.notices.is_some());
    let text = loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if let Some((_, text)) = scene.other.with(|server| server.notices.first().cloned()) {
            break text;
        }
    };
    let told: Notice = serde_json::from_str(&text).unwrap();
    let branch = told.lineages.get(&id("17")).unwrap();
    assert_eq!(
        (branch.parent.clone(), branch.base.clone()),
        (Some(id("1")), set("1-9"))
    );
}

/// node3 is ONLINE, too, and Group Replication may take it for the donor.
#[tokio::test]
async fn while_a_member_of_the_group_does_not_tell_that_its_data_are_proven_nobody_comes_in() {
    let scene = Scene::new("1-9").await;
    let node3 = ("node3".to_owned(), "ONLINE".to_owned());
    scene.other.with(|server| server.others.push(node3));
    let says = |text: String| {
        let left = ("mysql_innodb_cluster_2".to_owned(), text);
        scene.own.with(|server| server.notices.push(left));
    };
    says(notice("17", &by_hand()));
    assert_eq!(scene.rejoin().await, Err("unproven_donor".to_owned()));
    let of_a_release_before = notice("17", &by_hand()).replace(&format!(",\"sender\":\"{}\"", uuid()), "");
    assert!(!of_a_release_before.contains("sender"));
    says(of_a_release_before);
    assert_eq!(scene.rejoin().await, Err("unproven_donor".to_owned()));
    assert_eq!((scene.starts(), scene.lineage()), (0, Some(id("1"))));
    says(notice("17", &by_hand()).replace("02fc00000001", "02fc00000003"));
    assert_eq!(scene.rejoin().await, Ok(()));
    assert_eq!(scene.starts(), 1);
}

#[test]
fn a_donor_is_proven_in_the_very_history_that_lives_and_nobody_waits_for_himself() {
    let other: ServerUuid = "6ced32ca-e649-11f1-bb94-02fc00000003".parse().unwrap();
    let primary = |online: &[ServerUuid]| Primary {
        address: "node2:3306".to_owned(),
        gtid_executed: String::new(),
        view_id: "17:9".to_owned(),
        online: online.to_vec(),
    };
    let told = |group: &str| Told {
        group: Some(id("17+8")),
        lineages: by_hand(),
        proven: BTreeMap::from([(other, id(group))]),
    };
    let record = member_of("17", by_hand());
    let ok = |record: &Record, held: &str, told: &Told, online: &[ServerUuid]| {
        donors(record, (uuid(), &set(held)), told, &primary(online)).is_ok()
    };
    assert!(ok(&record, "1-9", &told("17+8"), &[other]));
    assert!(
        !ok(&record, "1-9", &told("17"), &[other]),
        "it has not gone through the forced membership by its own word"
    );
    assert!(
        ok(&record, "1-9", &told("17+8"), &[other, uuid()]),
        "the primary still sees this server"
    );
    let mut distrusted = record;
    distrusted.distrust();
    assert!(ok(&distrusted, "1-9", &Told::default(), &[other]), "refused later");
    assert!(
        !ok(&distrusted, "", &Told::default(), &[other]),
        "who holds nothing gets all that it has from the donor"
    );
}

/// The group has used the numbers 10 to 12 for other transactions.
#[tokio::test]
async fn a_notice_lets_no_transaction_beyond_the_branch_in() {
    let scene = Scene::new("1-12").await;
    let text = notice("17", &by_hand());
    let left = ("mysql_innodb_cluster_2".to_owned(), text);
    scene.own.with(|server| server.notices.push(left));
    assert_eq!(scene.rejoin().await, Err("errant_transactions".to_owned()));
    assert_eq!((scene.starts(), scene.lineage()), (0, Some(id("1"))));
}

#[tokio::test]
async fn without_a_members_notice_nothing_is_started() {
    let scene = Scene::new("1-9").await;
    let forged = ("app".to_owned(), notice("17", &by_hand()));
    scene.own.with(|server| server.notices.push(forged));
    assert_eq!(scene.rejoin().await, Err("history_unknown".to_owned()));
    assert_eq!((scene.starts(), scene.lineage()), (0, Some(id("1"))));
    let known = scene.tools.ledger.lineage(&sample().cluster).unwrap().known;
    assert!(!known.contains(&id("17")), "and nothing is learned from it");
}

/// Its agent knows node1 as the donor of what it holds.
async fn given(scene: &Scene) -> Keeper {
    let marker = scene.tools.config.mysql.data_dir.join("clusterctl.json");
    let ours = br#"{"format":1,"cluster":"prod","group":"g1"}"#;
    let host = &scene.tools.host;
    host.write(&marker, ours, &Access::Own(0o600)).await.unwrap();
    let cluster = sample().cluster;
    let given = scene.tools.ledger.change_lineage(&cluster, |record| {
        record.learn(&by_hand());
        record.enter(uuid(), id("17"), String::new());
        let donor = online()
            .server
            .map(|server| format!("{}:{}", server.report_host, server.port));
        record
            .member
            .as_mut()
            .unwrap()
            .donors
            .insert(donor.unwrap(), Span { since: 2, until: 2 });
    });
    given.await.unwrap();
    assert_eq!(scene.lineage(), None);
    keeper_of(scene.tools.clone()).await
}

fn vouches() -> Record {
    let mut donor = member_of("17", by_hand());
    donor.member.as_mut().unwrap().span = Some(Span { since: 0, until: 2 });
    donor
}

#[tokio::test]
async fn without_a_coordinator_a_donor_vouches_by_its_notice() {
    let scene = Scene::new("1-9").await;
    let keeper = given(&scene).await;
    let (sender, tools) = (of_group(&online(), &sample(), &vouches()).unwrap(), scene.tools.clone());
    let held = tokio::spawn(async move {
        leave(&tools, "mysql_innodb_cluster_2", &sender, &["node1:3306".to_owned()]).await;
    });
    for _ in 0..500 {
        keeper.look(&mut Memory::default()).await;
        if scene.lineage().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    held.abort();
    assert_eq!(scene.lineage(), Some(id("17")));
}

#[tokio::test]
async fn a_donor_vouches_by_the_leaders_word() {
    let scene = Scene::new("1-9").await;
    let keeper = given(&scene).await;
    let server = online().server.unwrap();
    let stay = vouches()
        .member
        .unwrap()
        .stay(format!("{}:{}", server.report_host, server.port))
        .unwrap();
    let question = Question {
        stays: vec![agent::Stay {
            address: stay.address,
            lineage: stay.id.to_string(),
            since: stay.span.since,
            until: stay.span.until,
        }],
        ..Question::default()
    };
    // Of which cluster its data are is known by a look.
    for _ in ["looks", "hears"] {
        keeper.observer.observe(&question).await;
    }
    assert_eq!(scene.lineage(), Some(id("17")));
}
