use clusterctl_proto::lineage::Shared;
use clusterctl_proto::observe::{GroupMember, GroupView, MemberRole, MemberState};

use super::log::{Line, Log, Logged, MOST, Older, Said};
use super::*;

const GROUP: &str = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";

fn id(text: &str) -> LineageId {
    text.parse().unwrap()
}

fn set(ranges: &str) -> GtidSet {
    if ranges.is_empty() {
        return GtidSet::new();
    }
    format!("{GROUP}:{ranges}").parse().unwrap()
}

fn uuid(number: u128) -> ServerUuid {
    uuid::Uuid::from_u128(number)
}

fn view(state: MemberState, role: MemberRole, view_id: &str, others: &[&str]) -> GroupView {
    let hosts = ["node1"].iter().chain(others);
    GroupView {
        state,
        role,
        view_id: view_id.to_owned(),
        members: hosts
            .map(|host| GroupMember {
                server_uuid: uuid(9),
                host: (*host).to_owned(),
                port: 3306,
                state,
                role,
                version: "9.7.4".to_owned(),
            })
            .collect(),
        auto_rejoin: false,
        channel_error: None,
    }
}

fn primary(view_id: &str, others: &[&str]) -> GroupView {
    view(MemberState::Online, MemberRole::Primary, view_id, others)
}

fn secondary(view_id: &str) -> GroupView {
    view(MemberState::Online, MemberRole::Secondary, view_id, &["node2"])
}

fn logged(at: &str, prefix: &str, counter: u64) -> Logged {
    Logged {
        at: at.to_owned(),
        id: id(prefix),
        counter,
        refused: false,
    }
}

struct Scene {
    record: Record,
    first_view_here: bool,
    last_in: Option<Logged>,
    force_members: &'static str,
    log: Log,
    older: Option<Older>,
    cloned: &'static str,
    /// Executed before the view was read, where that was less.
    before: Option<GtidSet>,
    /// Microseconds.
    now: u64,
}

impl Scene {
    fn new() -> Self {
        Self {
            record: Record::default(),
            first_view_here: false,
            last_in: None,
            force_members: "",
            log: Log::default(),
            older: None,
            cloned: "",
            before: None,
            now: 0,
        }
    }

    /// A member of this lineage, as a step left it.
    fn member_of(lineage: &str) -> Self {
        let mut scene = Self::new();
        scene.record.known.add(id(lineage), branch(None, ""));
        scene.record.enter(uuid(1), id(lineage), "10:00".to_owned());
        scene
    }

    fn look(&mut self, view: Option<&GroupView>, executed: &str, held: &str) -> Noted {
        let (executed, held) = (set(executed), set(held));
        self.now += 1_000_000;
        let inside = view.and_then(|view| LineageId::of_view(&view.view_id));
        if let Some((id, counter)) = inside.filter(|_| self.record.is_news(view)) {
            self.logs(Said::View { id, counter });
        }
        self.record.look(&Look {
            host: &"node1".parse().unwrap(),
            server_uuid: uuid(1),
            view,
            executed: &executed,
            before: self.before.as_ref().unwrap_or(&executed),
            held: &held,
            force_members: Some(self.force_members),
            last_in: self.last_in.as_ref(),
            first_view_here: self.first_view_here,
            log: Some(&self.log),
            older: self.older.as_ref(),
            at: Some(self.now),
            cloned: Some(self.cloned),
        })
    }

    /// The server logs a line half a second ago.
    fn logs(&mut self, said: Said) {
        let us = self.now - 500_000;
        let at = format!("{us:012}");
        self.log.0.push(Line { at, us, said });
    }

    fn out(&mut self, executed: &str, held: &str) {
        let out = view(MemberState::Offline, MemberRole::None, "", &[]);
        assert_eq!(self.look(Some(&out), executed, held), Noted::Nothing);
    }
}

fn branch(parent: Option<&str>, base: &str) -> Branch {
    Branch {
        parent: parent.map(id),
        base: set(base),
        generation: None,
        host: None,
        abandoned: Default::default(),
    }
}

/// Hundreds of numbers are used before START returns: the base is what was seen before it.
#[test]
fn a_bootstrap_by_hand_begins_with_what_was_seen_while_the_server_was_out() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-98");
    assert_eq!(
        scene.look(Some(&primary("2:1", &[])), "1-400", "1-400"),
        Noted::BootstrappedByHand
    );
    let member = scene.record.member.clone().unwrap();
    assert_eq!((member.id, member.trust), (id("2"), Trust::Verified));
    let branch = member.branch.unwrap();
    assert_eq!(
        (branch.parent, branch.base),
        (Some(id("1")), set("1-97")),
        "what was only received is not synced"
    );
    assert_eq!(
        scene.look(Some(&primary("2:2", &["node2"])), "1-500", "1-500"),
        Noted::Nothing
    );
}

#[test]
fn without_a_look_before_it_nothing_is_known_of_its_base() {
    let mut scene = Scene::member_of("1");
    scene.first_view_here = true;
    assert_eq!(
        scene.look(Some(&primary("2:3", &["node2"])), "1-400", "1-400"),
        Noted::BootstrappedByHand
    );
    assert_eq!(scene.record.member.unwrap().branch.unwrap().base, set(""));
}

/// A data directory that was replaced by an older copy meanwhile.
#[test]
fn a_base_holds_nothing_that_the_server_has_lost_since() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.look(Some(&primary("2:1", &[])), "1-50", "1-50");
    assert_eq!(scene.record.member.unwrap().branch.unwrap().base, set("1-50"));
}

/// A person's START, or Group Replication's own auto-rejoin.
#[test]
fn who_entered_past_the_agent_is_unverified_until_it_is_proven() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None);
    let measured = scene.record.measure(uuid(1), &set("1-400"), &id("2"), &set("1-400"));
    assert_eq!(measured, Measure::Unknown, "nothing is measured by it");

    let mut lineages = Lineages::default();
    lineages.add(id("1"), branch(None, ""));
    lineages.add(id("2"), branch(Some("1"), "1-96"));
    let mut diverged = scene.record.clone();
    diverged.learn(&lineages);
    scene.record = diverged;
    assert_eq!(
        scene.look(Some(&secondary("2:2")), "1-400", "1-400"),
        Noted::Nothing,
        "97 is another there"
    );

    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.look(Some(&secondary("2:2")), "1-400", "1-400");
    let mut lineages = Lineages::default();
    lineages.add(id("2"), branch(Some("1"), "1-97"));
    scene.record.learn(&lineages);
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Proven);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
}

#[test]
fn another_server_on_the_same_host_has_another_history() {
    let scene = Scene::member_of("1");
    assert_eq!(scene.record.verified(uuid(2)), None);
    assert_eq!(
        scene.record.measure(uuid(2), &set("1"), &id("1"), &set("1-9")),
        Measure::Unknown
    );
    assert_eq!(
        scene.record.measure(uuid(2), &set(""), &id("1"), &set("1-9")),
        Measure::Inside
    );
}

#[test]
fn a_step_that_was_measured_enters_and_is_left_alone() {
    let mut scene = Scene::member_of("1");
    scene.record.enter(uuid(1), id("2"), "10:30".to_owned());
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Nothing);
    // The group was replaced by another between the measuring and the START.
    scene.out("1-400", "1-400");
    assert_eq!(scene.look(Some(&secondary("3:2")), "1-400", "1-400"), Noted::Unverified);
}

#[test]
fn a_plan_that_bootstraps_records_what_it_began_with() {
    let generation = Generation { epoch: 1, index: 7 };
    let mut scene = Scene::member_of("1");
    scene.out("1-90", "1-97");
    scene.record.bootstraps(uuid(1), set("1-97"), generation, (0, 0));
    // The agent dies here and looks again when others are in already.
    scene.first_view_here = true;
    assert_eq!(
        scene.look(Some(&primary("2:3", &["node2"])), "1-400", "1-400"),
        Noted::Bootstrapped
    );
    let branch = scene.record.member.clone().unwrap().branch.unwrap();
    assert_eq!((branch.parent, branch.generation), (Some(id("1")), Some(generation)));
    assert_eq!(branch.base, set("1-97"));
    // A new cluster has no parent, one of the release before has.
    for (adopts, parent) in [(false, None), (true, Some(LineageId::origin()))] {
        let mut scene = Scene::new();
        scene.record.adopts = adopts;
        scene.record.bootstraps(uuid(1), set(""), generation, (0, 0));
        assert_eq!(scene.look(Some(&primary("1:1", &[])), "", ""), Noted::Bootstrapped);
        assert_eq!(scene.record.member.unwrap().branch.unwrap().parent, parent);
    }
    // One that failed is not a person's bootstrap later.
    let mut scene = Scene::member_of("1");
    scene.record.bootstraps(uuid(1), set("1-97"), generation, (0, 0));
    scene.record.not_bootstrapped();
    assert_eq!(
        scene.look(Some(&primary("2:1", &[])), "1-97", "1-97"),
        Noted::BootstrappedByHand
    );
}

/// The agent, the host or mysqld died, or the step was cancelled, between the note and the START. Later a person bootstraps there.
#[test]
fn what_a_person_bootstraps_is_not_the_plans_that_never_began() {
    let generation = Generation { epoch: 1, index: 7 };
    for (since, until, noted) in [
        (1, 2_000_000, Noted::Bootstrapped),
        (1, 1_400_000, Noted::BootstrappedByHand),
        (1_500_000, 9_000_000, Noted::BootstrappedByHand),
        (1, 0, Noted::Bootstrapped),
    ] {
        let mut scene = Scene::member_of("1");
        scene.out("1-97", "1-97");
        scene
            .record
            .bootstraps(uuid(1), set("1-97"), generation, (since, until));
        // Its first view is logged at 1,500,000.
        assert_eq!(scene.look(Some(&primary("2:1", &[])), "1-99", "1-99"), noted);
        let branch = scene.record.member.clone().unwrap().branch.unwrap();
        assert_eq!(branch.generation.is_some(), noted == Noted::Bootstrapped);
        assert_eq!((branch.base, &scene.record.bootstrapping), (set("1-97"), &None));
    }
}

/// Two looks were under way; the earlier one is written last.
#[test]
fn a_look_of_before_a_bootstrap_does_not_undo_it() {
    let mut scene = Scene::member_of("1");
    scene.record.log_seen.clear();
    scene.out("1-97", "1-97");
    scene.logs(Said::View {
        id: id("1"),
        counter: 5,
    });
    let before = scene.log.0[0].at.clone();
    assert_eq!(
        scene.look(Some(&primary("2:1", &[])), "1-99", "1-99"),
        Noted::BootstrappedByHand
    );
    scene.last_in = Some(logged(&before, "1", 5));
    scene.out("1-97", "1-97");
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
}

#[test]
fn a_member_of_the_release_before_belongs_to_where_it_is_seen_first() {
    let mut scene = Scene::new();
    scene.record.adopts = true;
    scene.out("1-97", "1-97");
    let measured = scene.record.measure(uuid(1), &set("1-97"), &id("5"), &set("1-99"));
    assert_eq!(measured, Measure::Unknown, "nothing is known of lineage 5 yet");
    let mut lineages = Lineages::default();
    lineages.add(LineageId::origin(), branch(None, ""));
    lineages.add(id("5"), branch(Some("0"), "1-97"));
    scene.record.learn(&lineages);
    let measured = scene.record.measure(uuid(1), &set("1-97"), &id("5"), &set("1-99"));
    assert_eq!(measured, Measure::Inside);
    assert_eq!(scene.look(Some(&secondary("5:4")), "1-99", "1-99"), Noted::Proven);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("5")));
    // Whoever was in the group when its agent was upgraded belongs to it.
    let mut scene = Scene::new();
    scene.record.adopts = true;
    assert_eq!(scene.look(Some(&secondary("5:4")), "1-99", "1-99"), Noted::Adopted);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("5")));
    assert!(!scene.record.adopts);
}

/// The release before had abandoned it; the new agent sees it out for days, and the group uses its numbers again. Then a person starts it.
#[test]
fn who_was_seen_out_since_the_upgrade_is_measured_when_a_person_starts_it() {
    let mut scene = Scene::new();
    scene.record.adopts = true;
    let mut lineages = Lineages::default();
    lineages.add(LineageId::origin(), branch(None, ""));
    lineages.add(id("5"), branch(Some("0"), "1-97"));
    scene.record.learn(&lineages);
    scene.out("1-100", "1-100");
    assert_eq!(scene.look(Some(&secondary("5:9")), "1-120", "1-120"), Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None);
    // Rebooted in the middle of the upgrade: nobody has recorded a lineage yet, and nobody could while this one does not say where it is.
    let mut scene = Scene::new();
    scene.record.adopts = true;
    scene.out("1-100", "1-100");
    assert_eq!(scene.look(Some(&secondary("5:9")), "1-120", "1-120"), Noted::Adopted);
}

/// The view id keeps its first part, and numbers are used again.
#[test]
fn a_forced_membership_is_a_lineage_of_its_own() {
    let mut scene = Scene::member_of("1");
    scene.force_members = "node1:3306";
    assert_eq!(scene.look(Some(&primary("1:8", &[])), "1-99", "1-99"), Noted::Forced);
    let member = scene.record.member.clone().unwrap();
    assert_eq!(member.id, id("1+8"));
    assert_eq!(member.branch.unwrap().parent, Some(id("1")));
    assert_eq!(
        scene.look(Some(&primary("1:9", &["node2"])), "1-99", "1-99"),
        Noted::Nothing,
        "once"
    );
    scene.force_members = "";
    scene.look(Some(&primary("1:9", &["node2"])), "1-99", "1-99");
    assert_eq!(
        scene.record.member.clone().unwrap().id,
        id("1+8"),
        "it stays so when the variable is reset"
    );

    // A survivor beside it hears of it; who is in no view with it does not follow.
    let mut other = Scene::member_of("1");
    let mut lineages = Lineages::default();
    let forced = Branch {
        host: Some("node2".parse().unwrap()),
        ..branch(Some("1"), "")
    };
    lineages.add(id("1+8"), forced);
    other.record.learn(&lineages);
    other.look(Some(&primary("1:9", &["node3"])), "1-99", "1-99");
    assert_eq!(other.record.member.clone().unwrap().id, id("1"));
    other.look(Some(&secondary("1:9")), "1-99", "1-99");
    assert_eq!(other.record.member.clone().unwrap().id, id("1+8"));
}

/// The agent slept from one group into the next. What it saw before the first says nothing of what the server took from there.
#[test]
fn what_was_seen_before_the_last_group_proves_nothing_in_the_next() {
    let mut lineages = Lineages::default();
    lineages.add(id("2"), branch(Some("1"), "1-90"));
    for seen_out_between in [false, true] {
        let mut scene = Scene::member_of("1");
        scene.record.learn(&lineages);
        scene.out("1-50", "1-50");
        scene.look(Some(&secondary("1:3")), "1-50", "1-50");
        if seen_out_between {
            scene.out("1-90", "1-90");
        }
        let noted = scene.look(Some(&secondary("2:3")), "1-99", "1-99");
        let (want, lineage) = if seen_out_between {
            (Noted::Proven, Some(id("2")))
        } else {
            (Noted::Unverified, None)
        };
        assert_eq!((noted, scene.record.verified(uuid(1)).cloned()), (want, lineage));
    }
}

/// Who was out when it was forced may hold other transactions under the numbers that it used since.
#[test]
fn who_came_after_a_forced_membership_came_unmeasured() {
    let mut lineages = Lineages::default();
    let forced = Branch {
        host: Some("node2".parse().unwrap()),
        ..branch(Some("1"), "")
    };
    lineages.add(id("1+6"), forced);
    let scene = |came_at: &str| {
        let mut scene = Scene::member_of("1");
        scene.look(Some(&secondary("1:5")), "1-99", "1-99");
        scene.out("1-99", "1-99");
        scene.look(Some(&secondary(came_at)), "1-99", "1-99");
        scene.record.learn(&lineages);
        (scene.look(Some(&secondary("1:8")), "1-99", "1-99"), scene.record)
    };
    let (noted, record) = scene("1:7");
    assert_eq!((noted, record.verified(uuid(1))), (Noted::Unverified, None));
    assert_eq!(record.member.unwrap().before.unwrap().held, set("1-99"));
    let (_, record) = scene("1:5");
    assert_eq!(record.verified(uuid(1)), Some(&id("1+6")), "back before it");
    // An agent that was away when it was forced does not know when.
    let mut host = Scene::member_of("1");
    host.look(Some(&primary("1:5", &["node2"])), "1-99", "1-99");
    host.force_members = "node1:3306";
    host.look(Some(&primary("1:9", &["node2"])), "1-99", "1-99");
    assert_eq!(host.record.verified(uuid(1)), Some(&id("1+6")), "from the next view on");
}

/// The value stays where a person does not take it back. The server has left before its agent saw it in the forced group.
#[test]
fn a_forced_membership_is_on_record_although_the_member_has_left() {
    let mut scene = Scene::member_of("1");
    scene.look(Some(&primary("1:5", &["node2"])), "1-99", "1-99");
    scene.force_members = "node1:3306";
    let error = view(MemberState::Error, MemberRole::Secondary, "", &[]);
    assert_eq!(scene.look(Some(&error), "1-99", "1-99"), Noted::Forced);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1+6")));
    assert_eq!(scene.look(Some(&error), "1-99", "1-99"), Noted::Nothing, "once");
}

/// A START that is refused for other transactions leaves a view in the log, too: that is no history.
#[test]
fn after_a_loss_of_the_ledger_a_view_that_refused_the_server_does_not_count() {
    let mut scene = Scene::new();
    scene.record = Record::without_memory(true);
    scene.last_in = Some(Logged {
        refused: true,
        ..logged("2026-11-29 10:00:00.000000", "2", 3)
    });
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    scene.look(Some(&out), "1-97", "1-97");
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert!(scene.record.member.is_some(), "not for one of the time before lineages");
}

/// n1 was bootstrapped here, was cut off, and a person bootstrapped it again. It comes back into the first lineage, whose beginning its log
/// still tells, with what it wrote in the second.
#[test]
fn who_comes_back_into_a_lineage_that_began_here_did_not_begin_it_again() {
    let mut scene = Scene::member_of("1");
    scene.record.known.add(id("2"), branch(Some("1"), "1-90"));
    scene.record.enter(uuid(1), id("2"), String::new());
    scene.first_view_here = true;
    assert_eq!(scene.look(Some(&secondary("1:7")), "1-99", "1-99"), Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None);
}

/// Its bootstrap is told by its log, and so is that it was in another group since.
#[test]
fn who_left_what_it_began_for_another_group_began_it_and_is_unverified() {
    let mut scene = Scene::member_of("1");
    (scene.first_view_here, scene.now) = (true, 5_000_000);
    for (prefix, counter) in [("2", 1), ("2", 3), ("3", 1)] {
        let id = id(prefix);
        scene.logs(Said::View { id, counter });
    }
    assert_eq!(scene.look(Some(&secondary("2:5")), "1-130", "1-130"), Noted::Unverified);
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert!(scene.record.known.contains(&id("2")), "the others are measured by it");
}

/// A START that was refused has changed nothing of what the data are.
#[test]
fn a_view_that_refused_the_server_leaves_its_record_alone() {
    let mut scene = Scene::member_of("1");
    scene.last_in = Some(Logged {
        refused: true,
        ..logged("2026-11-29 10:00:00.000000", "2", 3)
    });
    scene.first_view_here = true;
    scene.out("1-97", "1-97");
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
}

/// A plan's bootstrap that came to nothing is forgotten once the server is in a group by other ways.
#[test]
fn a_bootstrap_that_never_was_is_not_found_in_a_later_one_by_hand() {
    for enters in [true, false] {
        let mut scene = Scene::member_of("1");
        let generation = Generation { epoch: 1, index: 7 };
        scene.record.bootstraps(uuid(1), set("1-9"), generation, (0, 0));
        if enters {
            scene.record.enter(uuid(1), id("1"), String::new());
        } else {
            scene.look(Some(&secondary("1:7")), "1-99", "1-99");
        }
        scene.out("1-99", "1-99");
        assert_eq!(
            scene.look(Some(&primary("2:1", &[])), "1-99", "1-99"),
            Noted::BootstrappedByHand
        );
    }
}

/// Which view a member was in last is known of one that has left it, too.
#[test]
fn the_newest_view_of_a_member_is_on_record() {
    let mut scene = Scene::member_of("1");
    scene.look(Some(&secondary("1:5")), "1-99", "1-99");
    scene.look(Some(&secondary("1:7")), "1-99", "1-99");
    assert_eq!(scene.record.member.clone().unwrap().counter, 7);
    scene.last_in = Some(logged("2026-11-29 10:00:00.000000", "1", 9));
    scene.out("1-99", "1-99");
    assert_eq!(scene.record.member.clone().unwrap().counter, 9, "by the server's log");
    scene.record.enter(uuid(1), id("1"), String::new());
    assert_eq!(scene.record.member.unwrap().counter, 9);
}

#[test]
fn a_view_id_without_its_state_says_nothing() {
    let mut scene = Scene::member_of("1");
    let error = view(MemberState::Error, MemberRole::Secondary, "2:8", &["node2"]);
    assert_eq!(scene.look(Some(&error), "1-9", "1-9"), Noted::Nothing);
    assert_eq!(scene.record.out, None, "its plugin runs");
    assert_eq!(scene.record.member.unwrap().id, id("1"));
}

#[test]
fn a_server_that_held_nothing_belongs_to_the_group_that_it_enters() {
    let mut scene = Scene::new();
    scene.record.enters_with(uuid(1), set(""));
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Adopted);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
    let mut scene = Scene::new();
    scene.record.enters_with(uuid(1), set("1-3"));
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Unverified);
}

#[test]
fn after_a_loss_of_the_ledger_only_who_is_inside_then_belongs_to_the_group() {
    let mut scene = Scene::new();
    scene.record = Record::without_memory(true);
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Adopted);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
    // One that is out then, and whose log tells where it was last.
    let mut scene = Scene::new();
    scene.record = Record::without_memory(true);
    scene.last_in = Some(logged("2026-11-29 10:00:00.000000", "1", 3));
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    assert_eq!(scene.look(Some(&out), "1-97", "1-97"), Noted::Adopted);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
    // One that is out then, whose log tells nothing, and that is started by a person later.
    let mut scene = Scene::new();
    scene.record = Record::without_memory(true);
    scene.out("1-97", "1-97");
    assert_eq!(
        scene.record.measure(uuid(1), &set("1-97"), &id("2"), &set("1-400")),
        Measure::Unknown
    );
    assert_eq!(scene.look(Some(&secondary("2:2")), "1-400", "1-400"), Noted::Unverified);
}

/// A person bootstrapped, clients wrote, and the lights went out: all between two looks of the agent. Numbers are used again.
#[test]
fn a_group_that_lived_between_two_looks_is_told_by_the_servers_log() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    let mut scene = Scene::member_of("1");
    scene.last_in = Some(logged("09:59", "1", 7));
    scene.out("1-97", "1-98");
    scene.last_in = Some(logged("10:05", "2", 1));
    scene.first_view_here = true;
    assert_eq!(scene.look(Some(&out), "1-99", "1-99"), Noted::BootstrappedByHand);
    let member = scene.record.member.clone().unwrap();
    assert_eq!((member.id, member.branch.unwrap().base), (id("2"), set("1-97")));
    assert_eq!(scene.record.out.clone().unwrap().held, set("1-99"), "what it holds now");
    assert_eq!(scene.look(Some(&out), "1-99", "1-99"), Noted::Nothing, "told once");
    // Started by a person, and gone again.
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.last_in = Some(logged("10:05", "2", 3));
    assert_eq!(scene.look(Some(&out), "1-97", "1-97"), Noted::Unverified);
}

/// A refused START leaves a view in the log, too; what a person wrote before it is not taken for the group's.
#[test]
fn what_was_written_before_a_start_between_two_looks_is_measured() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    for (held, noted) in [("1-97", Noted::Proven), ("1-98", Noted::Unverified)] {
        let mut scene = Scene::member_of("1");
        scene.record.known.add(id("2"), branch(Some("1"), "1-97"));
        scene.out("1-97", "1-97");
        scene.last_in = Some(logged("10:05", "2", 3));
        scene.now += 2_000_000;
        scene.logs(Said::View {
            id: id("2"),
            counter: 3,
        });
        assert_eq!(scene.look(Some(&out), held, held), noted, "{held}");
    }
}

/// What the log tells of before the last entry by a step says nothing: it may be of data that were copied over since.
#[test]
fn the_log_of_before_an_entry_is_of_no_account() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    let mut scene = Scene::member_of("2");
    scene.last_in = Some(logged("09:59", "1", 7));
    assert_eq!(scene.look(Some(&out), "1-97", "1-97"), Noted::Nothing);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
    // Its own group's next views.
    scene.last_in = Some(logged("10:07", "2", 9));
    assert_eq!(scene.look(Some(&out), "1-97", "1-97"), Noted::Nothing);
    assert_eq!(scene.record.log_seen, "10:07");
}

/// The plan's own bootstrap, of which its agent saw nothing more.
#[test]
fn a_planned_bootstrap_that_was_cut_off_is_the_plans() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    let mut scene = Scene::member_of("1");
    let generation = Generation { epoch: 1, index: 9 };
    scene.record.bootstraps(uuid(1), set("1-97"), generation, (0, 0));
    scene.last_in = Some(logged("10:05", "2", 1));
    scene.first_view_here = true;
    assert_eq!(scene.look(Some(&out), "1-98", "1-98"), Noted::Bootstrapped);
    let branch = scene.record.member.unwrap().branch.unwrap();
    assert_eq!((branch.generation, branch.base), (Some(generation), set("1-97")));
}

/// MySQL's manual says to take the variable back at once, and MySQL Shell does: no look sees it.
#[test]
fn a_membership_that_was_forced_between_two_looks_is_told_by_the_log() {
    for agent_looks in [true, false] {
        let mut scene = Scene::member_of("1");
        scene.look(Some(&secondary("1:3")), "1-90", "1-90");
        scene.logs(Said::MajorityLost);
        scene.now += 8_000_000;
        scene.logs(Said::MajorityBack);
        if !agent_looks {
            scene.logs(Said::View {
                id: id("1"),
                counter: 4,
            });
            let noted = scene.look(
                Some(&view(MemberState::Offline, MemberRole::None, "", &[])),
                "1-95",
                "1-95",
            );
            assert_eq!(noted, Noted::Forced, "it was out again before this agent looked");
        } else {
            assert_eq!(scene.look(Some(&primary("1:4", &[])), "1-95", "1-95"), Noted::Forced);
            assert_eq!(scene.look(Some(&primary("1:4", &[])), "1-96", "1-96"), Noted::Nothing);
            let two = primary("1:5", &["node2"]);
            assert_eq!(scene.look(Some(&two), "1-97", "1-97"), Noted::Nothing, "once");
        }
        assert_eq!(scene.record.verified(uuid(1)), Some(&id("1+4")), "{agent_looks}");
        let shared = scene.record.known.shared(&id("1"), &id("1+4"));
        assert_eq!(shared, Shared::Base(GtidSet::new()), "numbers may be used again");
    }
}

/// The agents were stopped; a person bootstrapped one group and another one after it, and started this server in both.
#[test]
fn what_was_seen_before_another_group_proves_nothing_of_this_one() {
    for other_between in [true, false] {
        let mut scene = Scene::member_of("1");
        scene.record.known.add(id("3"), branch(Some("1"), "1-97"));
        scene.out("1-97", "1-97");
        if other_between {
            scene.now += 60_000_000;
            scene.logs(Said::View {
                id: id("2"),
                counter: 2,
            });
            scene.now += 60_000_000;
        }
        let noted = scene.look(Some(&secondary("3:2")), "1-120", "1-120");
        let wanted = if other_between {
            Noted::Unverified
        } else {
            Noted::Proven
        };
        assert_eq!(noted, wanted);
    }
}

/// Without an answer of the log nothing is concluded; it is asked again at the next look.
#[test]
fn a_view_is_taken_into_account_with_what_led_to_it() {
    let mut scene = Scene::member_of("1");
    scene.look(Some(&secondary("1:3")), "1-90", "1-90");
    let before = scene.record.clone();
    let (view, sets) = (secondary("1:4"), set("1-95"));
    let look = Look {
        host: &"node1".parse().unwrap(),
        server_uuid: uuid(1),
        view: Some(&view),
        executed: &sets,
        before: &sets,
        held: &sets,
        force_members: Some(""),
        last_in: None,
        first_view_here: false,
        log: None,
        older: None,
        at: Some(9),
        cloned: Some(""),
    };
    assert_eq!(scene.record.look(&look), Noted::Nothing);
    assert_eq!(scene.record, before);
}

#[test]
fn data_that_a_person_cloned_over_are_not_those_on_record() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    scene.cloned = "2026-11-29 10:00:00.123";
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    assert_eq!(scene.look(Some(&out), "1-50", "1-50"), Noted::Replaced);
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert_eq!(scene.look(Some(&out), "1-50", "1-50"), Noted::Nothing, "told once");
    // Now by a step.
    scene.record.copies(uuid(1));
    scene.cloned = "2026-11-29 11:00:00.456";
    assert_eq!(scene.look(Some(&out), "", ""), Noted::Nothing);
    let cloned = scene.cloned.to_owned();
    scene.record.copied(uuid(1), Some(id("1")), (String::new(), cloned));
    assert_eq!(scene.look(Some(&out), "1-99", "1-99"), Noted::Nothing);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
    // A backup of this server hides when its own data came.
    scene.cloned = "";
    assert_eq!(scene.look(Some(&out), "1-99", "1-99"), Noted::Nothing);
}

/// While its agent was stopped for long it was in another group, came back, and members came and went.
#[test]
fn a_trip_that_the_newest_lines_do_not_reach_back_to_is_not_overlooked() {
    for (other, trusted) in [
        (Some("000030000000"), false),
        (Some("000000000001"), true),
        (None, true),
    ] {
        let mut scene = Scene::member_of("1");
        scene.record.log_seen.clear();
        scene.look(Some(&secondary("1:3")), "1-90", "1-90");
        let own = scene.log.0[0].at.clone();
        scene.log.0.clear();
        for counter in 0..u64::try_from(MOST).unwrap() {
            scene.now += 60_000_000;
            let id = id("1");
            scene.logs(Said::View {
                id,
                counter: 10 + counter,
            });
        }
        scene.older = Some(Older {
            own: Some(own),
            other: other.map(str::to_owned),
        });
        let noted = scene.look(Some(&secondary("1:89")), "1-99", "1-99");
        assert_eq!(scene.record.verified(uuid(1)).is_some(), trusted, "{other:?}");
        assert_eq!(noted == Noted::Unverified, !trusted);
        scene.older = None;
        assert_eq!(scene.look(Some(&secondary("1:89")), "1-99", "1-99"), Noted::Nothing);
        assert_eq!(
            scene.record.verified(uuid(1)).is_some(),
            trusted,
            "it does not change by looking again"
        );
    }
}

/// RESET BINARY LOGS AND GTIDS on a quarantined member, and what a person may set as purged after it, are as good as any other numbers.
#[test]
fn a_server_that_has_lost_transactions_is_not_trusted_whatever_its_numbers_say() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    for (now, inside) in [("", false), ("1-97", false), ("", true), ("1-97", true)] {
        let mut scene = Scene::member_of("1");
        scene.out("1-100", "1-100");
        if !inside {
            assert_eq!(scene.look(Some(&out), now, now), Noted::Lost);
            assert_eq!(scene.record.verified(uuid(1)), None);
            assert_eq!(scene.look(Some(&out), now, now), Noted::Nothing, "told once");
            let measured = scene.record.measure(uuid(1), &set("1-97"), &id("1"), &set("1-300"));
            assert_eq!(measured, Measure::Unknown, "no step lets it in");
        }
        // A person starts it: into its own lineage, and into one whose base has all that it says it held.
        let (mut other, log) = (scene.record.clone(), scene.log.clone());
        let noted = scene.look(Some(&secondary("1:9")), "1-99", "1-99");
        assert_eq!(noted, if inside { Noted::Lost } else { Noted::Nothing });
        assert_eq!(scene.record.verified(uuid(1)), None);
        other.known.add(id("2"), branch(Some("1"), "1-97"));
        (scene.record, scene.log) = (other, log);
        scene.look(Some(&secondary("2:9")), "1-99", "1-99");
        assert_eq!(scene.record.verified(uuid(1)), None, "{now:?}");
        // A copy that a step makes ends it.
        scene.record.copies(uuid(1));
        scene.look(Some(&out), "", "");
        scene
            .record
            .copied(uuid(1), Some(id("2")), (String::new(), String::new()));
        assert_eq!(scene.look(Some(&out), "1-90", "1-90"), Noted::Nothing);
        assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
    }
}

/// What was received is not executed: a power cut takes it, and nobody has done anything to the data.
#[test]
fn a_server_that_has_lost_what_it_had_only_received_is_what_it_was() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-100");
    scene.out("1-97", "1-97");
    scene.record.enters_with(uuid(1), set("1-100"));
    scene.out("1-97", "1-97");
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
}

/// Of several clones the server tells the last one: a backup to elsewhere hides the copy that its data are of.
#[test]
fn a_loss_is_noticed_on_a_server_whose_copy_is_not_told_any_more() {
    let mut scene = Scene::member_of("1");
    scene.record.cloned = Some("2026-11-29 10:00:00.123".to_owned());
    scene.out("1-97", "1-97");
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    assert_eq!(scene.look(Some(&out), "1-50", "1-50"), Noted::Lost);
}

/// Its founder may be gone for good.
#[test]
fn what_the_coordinator_has_not_heard_of_is_told_by_every_descendant() {
    let mut scene = Scene::member_of("1");
    scene.record.known.add(id("2"), branch(Some("1"), "1-90"));
    scene.record.known.add(id("9"), branch(Some("1"), "1-90"));
    scene.record.enter(uuid(1), id("2"), String::new());
    let mut told = Lineages::default();
    told.add(id("1"), branch(None, ""));
    let untold = scene.record.untold(&told);
    assert!(untold.contains(&id("2")) && !untold.contains(&id("1")));
    assert!(!untold.contains(&id("9")), "not of these data");
    scene.record.distrust();
    assert!(scene.record.untold(&told).is_empty(), "of nobody knows which data");
}

/// Whom a person let in unmeasured, and who then forces a membership or sees one forced, is no better for it.
#[test]
fn a_forced_membership_proves_nobodys_data() {
    let mut scene = Scene::member_of("1");
    scene.record.known.add(id("2"), branch(Some("1"), ""));
    scene.out("1-97", "1-97");
    assert_eq!(scene.look(Some(&secondary("2:3")), "1-120", "1-120"), Noted::Unverified);
    scene.logs(Said::MajorityLost);
    scene.now += 8_000_000;
    scene.logs(Said::MajorityBack);
    assert_eq!(scene.look(Some(&primary("2:4", &[])), "1-121", "1-121"), Noted::Forced);
    assert_eq!(scene.record.verified(uuid(1)), None);
    assert_eq!(scene.record.member.unwrap().id, id("2+4"));
    // Forced here, and then started into another group, before this agent looked.
    let mut scene = Scene::member_of("1");
    scene.look(Some(&secondary("1:3")), "1-90", "1-90");
    scene.logs(Said::MajorityLost);
    scene.now += 8_000_000;
    scene.logs(Said::MajorityBack);
    scene.logs(Said::View {
        id: id("1"),
        counter: 4,
    });
    assert_eq!(scene.look(Some(&secondary("5:3")), "1-120", "1-120"), Noted::Unverified);
    let member = scene.record.member.clone().unwrap();
    assert_eq!((member.id, member.trust), (id("5"), Trust::Unverified));
    assert!(scene.record.known.contains(&id("1+4")) && !scene.record.known.contains(&id("5+4")));
}

/// A group of its own lineage refused it: a second START succeeds as soon as the group has used its numbers (docs/lineages.md).
#[test]
fn who_was_refused_by_its_own_lineage_is_not_trusted_any_more() {
    for prefix in ["1", "2"] {
        let mut scene = Scene::member_of("1");
        scene.record.log_seen.clear();
        scene.look(Some(&secondary("1:3")), "1-90", "1-90");
        scene.now += 1_000_000;
        scene.logs(Said::Refused);
        scene.logs(Said::View {
            id: id(prefix),
            counter: 7,
        });
        let out = view(MemberState::Offline, MemberRole::None, "", &[]);
        let noted = scene.look(Some(&out), "1-91", "1-91");
        if prefix == "1" {
            assert_eq!(noted, Noted::Unverified);
            assert_eq!(scene.look(Some(&secondary("1:9")), "1-99", "1-99"), Noted::Nothing);
            assert_eq!(
                scene.record.verified(uuid(1)),
                None,
                "it is in, and nobody knows with what"
            );
        } else {
            assert_eq!(noted, Noted::Nothing, "another lineage lacks what this one has");
            assert_eq!(scene.record.verified(uuid(1)), Some(&id("1")));
        }
    }
}

/// While the agent was stopped a person wrote on it, started it, and started it again.
#[test]
fn who_was_refused_by_the_group_that_it_is_in_now_is_not_proven_by_what_it_was_seen_with() {
    for refused in [false, true] {
        let mut scene = Scene::member_of("1");
        scene.record.log_seen.clear();
        scene.record.known.add(id("2"), branch(Some("1"), "1-97"));
        scene.out("1-97", "1-97");
        scene.now += 60_000_000;
        if refused {
            scene.logs(Said::Refused);
            scene.logs(Said::View {
                id: id("2"),
                counter: 5,
            });
        }
        let noted = scene.look(Some(&secondary("2:7")), "1-99", "1-99");
        assert_eq!(noted == Noted::Proven, !refused);
        assert_eq!(scene.record.verified(uuid(1)).is_none(), refused);
    }
}

/// While the agent was stopped a person bootstrapped another group on this member, wrote, and started it into the first one again.
#[test]
fn who_came_back_by_way_of_another_group_is_unverified() {
    let out = view(MemberState::Offline, MemberRole::None, "", &[]);
    for inside in [true, false] {
        let mut scene = Scene::member_of("1");
        scene.look(Some(&secondary("1:3")), "1-90", "1-90");
        scene.now += 60_000_000;
        scene.logs(Said::View {
            id: id("2"),
            counter: 1,
        });
        scene.now += 60_000_000;
        if inside {
            assert_eq!(scene.look(Some(&secondary("1:7")), "1-120", "1-120"), Noted::Unverified);
        } else {
            scene.logs(Said::View {
                id: id("1"),
                counter: 7,
            });
            scene.last_in = Some(logged("11:00", "1", 7));
            assert_eq!(scene.look(Some(&out), "1-120", "1-120"), Noted::Unverified);
        }
        assert_eq!(scene.record.verified(uuid(1)), None);
    }
}

/// A person bootstrapped node3 without a coordinator and started this one, too; it is out again when the coordinator tells where that
/// lineage branched off.
#[test]
fn what_it_entered_with_is_proven_also_when_it_is_out_again() {
    let mut scene = Scene::member_of("1");
    scene.out("1-97", "1-97");
    assert_eq!(scene.look(Some(&secondary("2:4")), "1-120", "1-120"), Noted::Unverified);
    scene.out("1-130", "1-130");
    assert_eq!(scene.record.verified(uuid(1)), None);
    let mut lineages = Lineages::default();
    lineages.add(id("1"), branch(None, ""));
    lineages.add(id("2"), branch(Some("1"), "1-97"));
    scene.record.learn(&lineages);
    assert_eq!(scene.record.verified(uuid(1)), None, "not by a step that enters");
    assert_eq!(scene.record.told(&lineages), Noted::Proven);
    assert_eq!(scene.record.verified(uuid(1)), Some(&id("2")));
    // One that held more at that time stays unverified.
    let mut scene = Scene::member_of("1");
    scene.out("1-99", "1-99");
    scene.look(Some(&secondary("2:4")), "1-120", "1-120");
    scene.out("1-130", "1-130");
    scene.record.told(&lineages);
    assert_eq!(scene.record.verified(uuid(1)), None);
}

/// A person bootstraps this server while its agent looks: the view was read before that, the sets after it.
#[test]
fn what_a_group_wrote_during_the_look_is_not_its_base() {
    let mut scene = Scene::member_of("1");
    scene.before = Some(set("1-97"));
    scene.out("1-150", "1-150");
    scene.before = None;
    assert_eq!(
        scene.look(Some(&primary("2:1", &[])), "1-160", "1-160"),
        Noted::BootstrappedByHand
    );
    assert_eq!(scene.record.member.unwrap().branch.unwrap().base, set("1-97"));
}

/// A person started it into lineage 2, and later, while its agent was off, bootstrapped it alone, wrote there and started it again. What it
/// held at the first entry proves nothing any more.
#[test]
fn who_was_elsewhere_since_is_not_proven_by_what_it_entered_with() {
    for refused in [false, true] {
        let mut scene = Scene::member_of("1");
        scene.out("1-97", "1-97");
        assert_eq!(scene.look(Some(&secondary("2:4")), "1-120", "1-120"), Noted::Unverified);
        scene.now += 1_000_000;
        if refused {
            scene.record.log_seen = String::new();
            scene.logs(Said::Refused);
            scene.logs(Said::View {
                id: id("2"),
                counter: 8,
            });
        } else {
            scene.logs(Said::View {
                id: id("3"),
                counter: 1,
            });
        }
        scene.look(Some(&secondary("2:9")), "1-150", "1-150");
        let mut lineages = Lineages::default();
        lineages.add(id("1"), branch(None, ""));
        lineages.add(id("2"), branch(Some("1"), "1-97"));
        scene.record.told(&lineages);
        scene.look(Some(&secondary("2:9")), "1-151", "1-151");
        assert_eq!(scene.record.verified(uuid(1)), None, "refused: {refused}");
    }
}
