use super::*;

const GROUP: &str = "6266fad8-e63f-11f1-a438-8e247ed30bec";

fn id(text: &str) -> LineageId {
    text.parse().unwrap()
}

fn set(ranges: &str) -> GtidSet {
    if ranges.is_empty() {
        GtidSet::new()
    } else {
        format!("{GROUP}:{ranges}").parse().unwrap()
    }
}

fn branch(parent: Option<&str>, base: &str) -> Branch {
    Branch {
        parent: parent.map(id),
        base: set(base),
        generation: None,
        host: None,
        abandoned: BTreeSet::new(),
    }
}

fn tree(branches: &[(&str, Option<&str>, &str)]) -> Lineages {
    let mut all = Lineages::default();
    for (name, parent, base) in branches {
        assert!(all.add(id(name), branch(*parent, base)));
    }
    all
}

#[test]
fn a_view_id_names_its_lineage() {
    assert_eq!(
        LineageId::of_view("17643021939872311:4"),
        Some((id("17643021939872311"), 4))
    );
    for text in ["", "17643021939872311", "a:1", ":1", "1:", "1:x"] {
        assert_eq!(LineageId::of_view(text), None, "{text}");
    }
    let forced = id("17").forced(6);
    assert_eq!(
        (forced.prefix(), forced.forced_at(), forced.as_str()),
        ("17", 6, "17+6")
    );
    assert_eq!(id("17").forced_at(), 0);
    for text in ["", "+", "17+", "+6", "1 7", "17+6+7"] {
        assert!(text.parse::<LineageId>().is_err(), "{text}");
    }
}

#[test]
fn within_one_lineage_numbers_are_compared() {
    let all = tree(&[("1", None, "")]);
    let measure = |held: &str| all.measure(&id("1"), &set(held), &id("1"), &set("1-100"));
    assert_eq!(measure("1-100"), Measure::Inside);
    assert_eq!(measure("1-101"), Measure::Beyond(set("101")));
}

/// Three transactions that were only here; the group then used their numbers for others.
#[test]
fn numbers_that_were_used_again_are_not_the_groups() {
    let all = tree(&[("1", None, ""), ("2", Some("1"), "1-97")]);
    let measure = |held: &str, has: &str| all.measure(&id("1"), &set(held), &id("2"), &set(has));
    assert_eq!(measure("1-97", "1-300"), Measure::Inside);
    assert_eq!(measure("1-100", "1-300"), Measure::Beyond(set("98-100")));
    assert_eq!(measure("1-100", "1-97"), Measure::Beyond(set("98-100")));
}

/// Lineage 2 was bootstrapped by hand and lost; later 3 from 1. A member of 2 must not come in, although the base of 3 has its numbers.
#[test]
fn a_fork_is_measured_at_both_branches() {
    let all = tree(&[("1", None, ""), ("2", Some("1"), "1-50"), ("3", Some("1"), "1-80")]);
    let measure = |held: &str| all.measure(&id("2"), &set(held), &id("3"), &set("1-500"));
    assert_eq!(measure("1-50"), Measure::Inside);
    assert_eq!(measure("1-70"), Measure::Beyond(set("51-70")));
}

#[test]
fn every_branch_between_counts() {
    let all = tree(&[("1", None, ""), ("2", Some("1"), "1-90"), ("3", Some("2"), "1-60")]);
    let measure = |held: &str| all.measure(&id("1"), &set(held), &id("3"), &set("1-500"));
    assert_eq!(measure("1-60"), Measure::Inside);
    assert_eq!(measure("1-61"), Measure::Beyond(set("61")), "3 began without it");
    // And back: who leads with lineage 3 beside a group of 1.
    assert_eq!(
        all.measure(&id("3"), &set("1-60"), &id("1"), &set("1-90")),
        Measure::Inside
    );
}

#[test]
fn what_is_not_known_is_not_inside() {
    let all = tree(&[("1", None, "")]);
    assert_eq!(
        all.measure(&id("9"), &set("1"), &id("1"), &set("1-9")),
        Measure::Unknown
    );
    assert_eq!(
        all.measure(&id("1"), &set("1"), &id("9"), &set("1-9")),
        Measure::Unknown
    );
    assert_eq!(
        all.measure(&id("9"), &set(""), &id("1"), &set("1-9")),
        Measure::Inside,
        "it holds nothing"
    );
    // A base that is not known: nothing is shared.
    let all = tree(&[("1", None, ""), ("2", Some("1"), "")]);
    assert_eq!(
        all.measure(&id("1"), &set("1"), &id("2"), &set("1-9")),
        Measure::Beyond(set("1"))
    );
    // Two roots have nothing in common.
    let all = tree(&[("1", None, ""), ("2", None, "")]);
    assert_eq!(
        all.measure(&id("1"), &set("1"), &id("2"), &set("1-9")),
        Measure::Unknown
    );
}

#[test]
fn what_was_recorded_first_stays() {
    let mut all = tree(&[("1", None, ""), ("2", Some("1"), "1-9")]);
    assert!(!all.add(id("2"), branch(Some("1"), "1-20")));
    assert_eq!(all.get(&id("2")).unwrap().base, set("1-9"));
    let mut all = tree(&[("1", None, ""), ("2", Some("1"), "")]);
    assert!(
        all.add(id("2"), branch(Some("1"), "1-20")),
        "an unknown base is completed"
    );
    assert_eq!(all.get(&id("2")).unwrap().base, set("1-20"));
    assert!(!all.add(id("0"), branch(Some("0"), "")), "no lineage is its own parent");
}

#[test]
fn a_circle_from_outside_ends() {
    let json = r#"{"1":{"parent":"2"},"2":{"parent":"1"}}"#;
    let all: Lineages = serde_json::from_str(json).unwrap();
    assert_eq!(all.path(&id("1")).len(), 2);
    assert_eq!(all.shared(&id("1"), &id("9")), Shared::Unknown);
}

#[test]
fn a_member_that_a_person_started_is_proven_by_what_it_held_before() {
    let all = tree(&[("1", None, ""), ("2", Some("1"), "1-97")]);
    let member = |before: Option<(&str, &str)>| MemberLineage {
        id: id("2"),
        trust: Trust::Unverified,
        server_uuid: GROUP.parse().unwrap(),
        branch: None,
        before: before.map(|(lineage, held)| Before {
            id: (!lineage.is_empty()).then(|| id(lineage)),
            held: set(held),
        }),
        counter: 0,
        span: None,
        donors: BTreeMap::new(),
        copy_of: None,
        past: Vec::new(),
    };
    assert!(member(Some(("1", "1-97"))).proven(&all));
    assert!(
        !member(Some(("1", "1-98"))).proven(&all),
        "98 may be another transaction there"
    );
    assert!(
        member(Some(("2", "1-300"))).proven(&all),
        "it was of that lineage before"
    );
    assert!(
        !member(Some(("9", "1"))).proven(&all) && !member(Some(("", "1"))).proven(&all) && !member(None).proven(&all)
    );
    assert!(member(Some(("", ""))).proven(&all), "it held nothing");
}

#[test]
fn the_ancestry_of_a_lineage_holds_no_other_branch() {
    let all = tree(&[
        ("1", None, ""),
        ("2", Some("1"), "1-9"),
        ("3", Some("1"), "1-7"),
        ("4", Some("3"), "1-20"),
    ]);
    let expected = tree(&[("1", None, ""), ("3", Some("1"), "1-7"), ("4", Some("3"), "1-20")]);
    assert_eq!(all.ancestry(&id("4")), expected);
    assert_eq!(
        expected.shared(&id("1"), &id("4")),
        all.shared(&id("1"), &id("4")),
        "it measures as the whole tree does"
    );
    assert!(all.ancestry(&id("9")).is_empty());
}

fn once(view: u64) -> Span {
    Span {
        since: view,
        until: view,
    }
}

/// Group Replication picks the donor, perhaps one whose own data nobody has measured.
#[test]
fn a_donor_vouches_for_what_it_gave_while_its_data_were_these() {
    let member = |donors: &[(&str, u64)]| MemberLineage {
        id: id("2"),
        trust: Trust::Verified,
        server_uuid: GROUP.parse().unwrap(),
        branch: None,
        before: None,
        counter: 9,
        span: Some(Span { since: 6, until: 9 }),
        donors: donors
            .iter()
            .map(|(name, view)| ((*name).to_owned(), once(*view)))
            .collect(),
        copy_of: None,
        past: Vec::new(),
    };
    let stay = |address: &str, lineage: &str, since, until| Stay {
        address: address.to_owned(),
        id: id(lineage),
        span: Span { since, until },
    };
    let after = |stays: &[Stay]| {
        let mut given = member(&[("node2:3306", 6)]);
        assert_eq!((given.verified(), given.is_pending()), (None, true));
        given.vouched(stays);
        given.verified().is_some()
    };
    assert!(after(&[stay("NODE2:3306", "2", 0, 6)]) && after(&[stay("node2:3306", "2", 6, 9)]));
    assert!(
        after(&[stay("node2:3306", "2+5", 0, 6)]),
        "a membership was forced on the way"
    );
    assert!(!after(&[]));
    assert!(!after(&[stay("node1:3306", "2", 0, 9)]), "another member");
    assert!(!after(&[stay("node2:3306", "2", 7, 9)]), "its data were replaced since");
    assert!(
        !after(&[stay("node2:3306", "2", 0, 5)]),
        "of a time before: it may have got other data since"
    );
    assert!(!after(&[stay("node2:3306", "3", 0, 9)]), "another group");
    let mut two = member(&[("node1:3306", 6), ("node2:3306", 6)]);
    two.vouched(&[stay("node2:3306", "2", 0, 9)]);
    assert_eq!((two.verified(), two.stay("node3:3306".to_owned())), (None, None));
    // What it had before waits for nobody.
    let span = Some(Span { since: 2, until: 9 });
    let before = MemberLineage { span, ..two.clone() };
    assert_eq!(
        before.stay("node3:3306".to_owned()),
        Some(stay("node3:3306", "2", 2, 5))
    );
    two.vouched(&[stay("node1:3306", "2", 0, 9)]);
    assert_eq!(two.stay("node3:3306".to_owned()), Some(stay("node3:3306", "2", 6, 9)));
    // It gave twice, and may have got other data in between.
    let mut twice = member(&[]);
    twice
        .donors
        .insert("node2:3306".to_owned(), Span { since: 5, until: 9 });
    twice.vouched(&[stay("node2:3306", "2", 0, 6)]);
    assert_eq!(twice.verified(), None);
    twice.vouched(&[stay("node2:3306", "2", 0, 9)]);
    assert!(twice.verified().is_some());
    let silent = MemberLineage { span: None, ..two };
    assert_eq!(silent.stay("node3:3306".to_owned()), None);
}

/// An agent of a release before tells neither.
#[test]
fn a_record_of_a_release_before_is_read_as_it_was() {
    let text = format!(
        r#"{{"id":"2","trust":"verified","server_uuid":"{GROUP}","span":{{"since":0,"until":9}},"donors":{{"node2:3306":{{"since":6,"until":6}}}}}}"#
    );
    let member: MemberLineage = serde_json::from_str(&text).unwrap();
    assert!(member.is_pending() && member.copy_of.is_none());
    assert_eq!(
        member.stays("node1:3306"),
        [member.stay("node1:3306".to_owned()).unwrap()]
    );
    assert_eq!(
        serde_json::to_string(&member).unwrap(),
        text.replace(",\"counter\":0", "")
    );
}

#[test]
fn only_the_newest_times_are_remembered() {
    let mut member: MemberLineage =
        serde_json::from_str(&format!(r#"{{"id":"2","trust":"verified","server_uuid":"{GROUP}"}}"#)).unwrap();
    for begins in 1..=20 {
        member.span = Some(Span {
            since: begins,
            until: begins,
        });
        member.remember();
        // The same data in a later view.
        member.span = Some(Span {
            since: begins,
            until: begins + 1,
        });
        member.remember();
    }
    let first = |member: &MemberLineage| member.past[0].span;
    assert_eq!(
        (member.past.len(), first(&member)),
        (PAST, Span { since: 15, until: 16 })
    );
    member.forget_since(18);
    assert_eq!(member.past.len(), 2, "of views up to 16");
    assert_eq!(member.past.last().unwrap().span, Span { since: 16, until: 16 });
    member.forget();
    assert!(member.past.is_empty());
}
