//! A host that enrols again as itself: its certificate has expired, or its system disk was replaced while its data survived.

use super::*;

/// A token that replaces the key of this host.
fn replacing(id: &str, host: &str) -> Token {
    Token {
        host: Some(name(host)),
        replace: true,
        ..token(id, 1, i64::MAX)
    }
}

fn enrol(world: &mut World, token: &str, host: Host) -> Answer {
    world.apply(Change::Enrol {
        token: token.to_owned(),
        host,
    })
}

#[test]
fn a_member_with_a_new_key_can_be_enrolled_again() {
    let mut world = World::formed(&["node1", "node2"]);
    for (id, host) in [("r1", "node1"), ("r2", "node2")] {
        let token = replacing(id, host);
        assert_eq!(world.apply(Change::AddToken { token }), Answer::Applied);
    }
    let bound = Token {
        host: Some(name("node1")),
        ..token("bound", 1, i64::MAX)
    };
    world.apply(Change::AddToken { token: bound });
    let new = || host("node1", "new key");
    let before = world.model.hosts[&name("node1")].clone();

    // Any other token is rejected, and a member is not forgotten instead.
    for (token, refusal) in [
        ("t", "host_name_taken"),
        ("bound", "host_name_taken"),
        ("r2", "token_for_other_host"),
    ] {
        let answer = enrol(&mut world, token, new());
        assert_eq!(code(&answer), refusal, "{token}");
        if let Answer::Rejected(failure) = answer
            && refusal == "host_name_taken"
        {
            let hint = failure.hint.expect("a hint");
            assert!(
                hint.contains("clusterctl token create --host node1 --replace"),
                "{hint}"
            );
        }
    }
    let removed = world.apply(Change::RemoveHost { name: name("node1") });
    assert_eq!(code(&removed), "host_in_cluster");
    assert_eq!(world.model.hosts[&name("node1")], before);

    // Its own is applied: the new key is the only one that counts, and it is the same member.
    let members = world.cluster().expect("cluster").members.clone();
    assert_eq!(enrol(&mut world, "r1", new()), Answer::Applied);
    let now = world.model.hosts[&name("node1")].clone();
    assert_eq!(
        (now.key_sha256.as_str(), now.enrolled_at),
        ("new key", before.enrolled_at)
    );
    assert_eq!(now.roles, before.roles);
    assert_eq!(world.cluster().expect("cluster").members, members);
    let told = world.model.events.back().expect("an event");
    assert_eq!(
        (told.kind.as_str(), told.host.as_ref()),
        ("host_replaced", Some(&name("node1")))
    );
    assert!(told.text.contains("by token r1 of operator/admin"), "{}", told.text);

    // The answer was lost: the same again. A third machine gets nothing.
    assert_eq!(enrol(&mut world, "r1", new()), Answer::Applied);
    assert_eq!(code(&enrol(&mut world, "r1", host("node1", "third key"))), "token_used");
}

#[test]
fn a_token_that_replaces_is_spent_also_by_the_same_key() {
    let mut world = World::new(&["node1"]);
    let token = replacing("r1", "node1");
    world.apply(Change::AddToken { token });
    assert_eq!(enrol(&mut world, "r1", host("node1", "key")), Answer::Applied);
    assert_eq!(world.kinds().last(), Some(&"host_enrolled"), "no key was replaced");
    assert_eq!(code(&enrol(&mut world, "r1", host("node1", "other"))), "token_used");
}

#[test]
fn a_token_that_replaces_names_a_host_that_is_enrolled() {
    let mut world = World::new(&["node1"]);
    let nobody = Token {
        host: None,
        ..replacing("r1", "node1")
    };
    assert_eq!(
        code(&world.apply(Change::AddToken { token: nobody })),
        "replaces_no_host"
    );
    let token = replacing("r2", "node9");
    world.apply(Change::AddToken { token });
    assert_eq!(
        code(&enrol(&mut world, "r2", host("node9", "key"))),
        "host_not_enrolled"
    );
    // A token of an earlier version replaces nothing.
    let old = serde_json::to_value(super::token("t", 1, 1)).expect("JSON");
    assert!(old.get("replace").is_none());
    assert!(!serde_json::from_value::<Token>(old).expect("a token").replace);
}
